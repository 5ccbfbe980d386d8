//! The command line of `lab`, which people type as `cargo lab`.

use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, bail};
use clap::{Args, Parser, Subcommand};

use crate::bench::{Bench, bench};
use crate::cargo_test;
use crate::harness;
use crate::kept::Place;
use crate::kernel::{self, Run, Which};
use crate::output::{print, say};
use crate::requirements::{Missing, SKIPPED};
use crate::scenarios::GROUPS;
use crate::supervise::{self, Ending};
use crate::up::{Up, up};

/// A lab for grid: machines made of namespaces, which leave no trace.
#[derive(Parser)]
#[command(name = "lab", bin_name = "cargo lab", version)]
#[command(after_help = "`cargo lab grid ...` runs the program itself on this machine.")]
struct Cli {
    /// Use a kernel that has WireGuard: `uml` (the default) or `unmodified`
    #[arg(
        long,
        global = true,
        value_name = "KERNEL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "uml"
    )]
    kernel: Option<Which>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Start nodes, join them to one network, and show who reaches whom
    Up(UpArguments),
    /// Run a command, or a shell, on a node of the kept lab
    Enter {
        /// The node
        node: String,
        /// The command and its arguments [default: a shell]
        #[arg(last = true)]
        command: Vec<String>,
    },
    /// End the kept lab
    Down,
    /// Measure how fast and how large the program is
    Bench {
        #[command(subcommand)]
        what: BenchWhat,
    },
    /// Check whether this machine can run a lab
    Check,
    /// Run a command as root on a kernel that has WireGuard, in user-mode Linux or in qemu
    Kernel(KernelArguments),
    /// Run all tests as `cargo test` does, with one line of totals at the end
    #[command(disable_help_flag = true)]
    Test {
        /// The arguments of `cargo test`; without `-p`, the whole workspace is tested
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
    /// Run one end-to-end test in its own lab
    #[command(hide = true)]
    Scenario {
        /// Its name
        #[arg(required_unless_present = "list")]
        name: Option<String>,
        /// List all
        #[arg(long)]
        list: bool,
    },
    /// Hold the namespaces of a node
    #[command(hide = true)]
    Hold {
        /// The node
        name: String,
    },
}

#[derive(Args)]
struct UpArguments {
    /// Number of nodes
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=240))]
    nodes: u16,
    /// The network's name
    #[arg(long, default_value = "foo")]
    name: String,
    /// WireGuard's back end: auto, kernel or userspace
    #[arg(long)]
    backend: Option<String>,
    /// Start only the machines, without a network
    #[arg(long)]
    bare: bool,
    /// Keep it running in the background
    #[arg(long, conflicts_with = "wait")]
    keep: bool,
    /// Keep it running until Ctrl-C
    #[arg(long)]
    wait: bool,
}

#[derive(Args)]
struct KernelArguments {
    /// Use the distribution's unmodified kernel, in qemu, instead of user-mode Linux
    #[arg(long, conflicts_with = "simulated_time")]
    unmodified: bool,
    /// Skip the time spent sleeping: an idle kernel's clock jumps to the next timer
    #[arg(long)]
    simulated_time: bool,
    /// End it after this many seconds, with exit code 124
    #[arg(long, default_value_t = kernel::LIMIT.as_secs(), value_name = "SECONDS")]
    time_limit: u64,
    /// The kernel's memory, in MiB
    #[arg(long, default_value_t = kernel::MEMORY_MIB, value_name = "MIB")]
    memory: u32,
    /// Keep what the command writes to this folder; what it writes elsewhere is lost
    #[arg(long, value_name = "FOLDER")]
    write: Vec<PathBuf>,
    /// The command and its arguments
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

#[derive(Subcommand)]
enum BenchWhat {
    /// Time from the join command to the first echo through the tunnel; memory; idle traffic
    Join {
        /// Measure at least this many joins for each size
        #[arg(long, default_value_t = 20)]
        joins: usize,
        /// Sizes of the meshes
        #[arg(long, value_delimiter = ',', default_value = "3,10,30")]
        nodes: Vec<usize>,
        /// Count idle traffic for this many seconds, for each size
        #[arg(long, default_value_t = 60)]
        idle: u64,
        /// WireGuard's back end: auto, kernel or userspace
        #[arg(long)]
        backend: Option<String>,
        /// Delay everything that a node sends by this many milliseconds, if the kernel has netem; a
        /// round trip takes twice as long
        #[arg(long, default_value_t = 0, value_name = "MS")]
        delay: u64,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

/// Reads the arguments and does what they say.
///
/// Exit codes: 0 done, 1 failed, 2 usage; `check`, `scenario` and everything that needs another kernel
/// end with 77 when this machine lacks something; `enter`, `test` and `kernel` pass on the code of the
/// command that they run, and `kernel` adds 124 (the time was up) and 125 (the kernel failed).
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = match cli.kernel {
        None => run(cli.command),
        Some(which) => on_kernel(which, &cli.command),
    };
    match done {
        Ok(code) => ExitCode::from(code),
        Err(error) if error.is::<Missing>() => {
            say(&format!("SKIPPED: {error:#}"));
            ExitCode::from(SKIPPED)
        }
        Err(error) => {
            say(&format!("lab: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// Does the same on a kernel of the lab.
fn on_kernel(which: Which, command: &Command) -> Result<u8> {
    match command {
        Command::Up(up) if up.keep => bail!(
            "a lab on another kernel ends with the command: use `--wait`, or leave out `--kernel`"
        ),
        Command::Enter { .. } | Command::Down | Command::Kernel(_) | Command::Hold { .. } => {
            bail!("`--kernel` has no meaning here: leave it out")
        }
        Command::Test { .. } => {
            bail!("`cargo kernel-test` runs tests on a kernel that has WireGuard")
        }
        Command::Up(_) | Command::Bench { .. } | Command::Check | Command::Scenario { .. } => {}
    }
    let ours = |argument: &OsString| {
        let text = argument.to_string_lossy();
        text == "--kernel" || text.starts_with("--kernel=")
    };
    let arguments = std::env::args_os()
        .skip(1)
        .filter(|argument| !ours(argument));
    kernel::run_lab(which, arguments.collect())
}

fn run(command: Command) -> Result<u8> {
    match command {
        Command::Up(arguments) => up(&Up {
            nodes: arguments.nodes.into(),
            network: arguments.name,
            backend: arguments.backend,
            bare: arguments.bare,
            keep: arguments.keep,
            wait: arguments.wait,
        }),
        Command::Enter { node, command } => {
            let status = Place::of_this_user().enter(&node, &command)?;
            let code = status
                .code()
                .or(status.signal().map(|signal| 128 + signal))
                .unwrap_or(1);
            Ok(u8::try_from(code).unwrap_or(u8::MAX))
        }
        Command::Down => {
            match Place::of_this_user().down()? {
                Some(init) => print(&format!("The lab (process {init}) is gone.")),
                None => print("No lab was up."),
            }
            Ok(0)
        }
        Command::Bench {
            what:
                BenchWhat::Join {
                    joins,
                    nodes,
                    idle,
                    backend,
                    delay,
                    json,
                },
        } => bench(&Bench {
            joins,
            nodes,
            idle: Duration::from_secs(idle.max(1)),
            backend,
            delay: Duration::from_millis(delay),
            json,
        }),
        Command::Check => check(),
        Command::Kernel(arguments) => kernel::run(&Run {
            which: if arguments.unmodified {
                Which::Unmodified
            } else {
                Which::Uml
            },
            simulated_time: arguments.simulated_time,
            memory_mib: arguments.memory,
            limit: Duration::from_secs(arguments.time_limit),
            writable: arguments.write,
            command: arguments.command,
        }),
        Command::Test { mut arguments } => {
            // A `--` before all of them is for cargo, too, and was taken away.
            let before = std::env::args_os().rev().nth(arguments.len());
            if before.is_some_and(|word| word == "--") {
                arguments.insert(0, "--".into());
            }
            cargo_test::run(&arguments)
        }
        Command::Scenario { list: true, .. } => {
            for group in GROUPS {
                for scenario in group.scenarios {
                    print(&format!("{} {}", group.name, scenario.name));
                }
            }
            Ok(0)
        }
        Command::Scenario { name, .. } => harness::run_here(&name.unwrap_or_default()),
        Command::Hold { name } => match crate::holder::hold(&name)? {},
    }
}

fn check() -> Result<u8> {
    let missing = |missing: &dyn std::fmt::Display| {
        say(&format!("SKIPPED: {missing}"));
        SKIPPED
    };
    let ended = supervise::run(None, || match crate::requirements::wireguard() {
        Ok(()) => {
            print("This machine can run a lab.");
            0
        }
        Err(reason) => missing(&reason),
    });
    match ended {
        Ok(Ending::Ended(code)) => Ok(code),
        Ok(Ending::Kept(_)) => Ok(1),
        Err(error) => match error.downcast::<Missing>() {
            Ok(reason) => Ok(missing(&reason)),
            Err(error) => Err(error),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
