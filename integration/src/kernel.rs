//! A kernel with WireGuard for one command, on a machine whose own kernel has none.
//!
//! Two kernels: *user-mode Linux*, a program that any user may run, built once by
//! `integration/kernel/build`; and the *unmodified* kernel of the distribution in qemu, without
//! hardware virtualisation, unpacked by `integration/kernel/unmodified`. Both see this machine's root
//! file system; what is written there goes to memory and is lost when the kernel ends. This
//! executable is the first process in either ([`inside`]), so nothing else is needed there.
//!
//! It is no sandbox: the kernel runs with the rights of whoever starts it, and a malicious command can
//! get at this user's files.

pub mod cache;
mod channels;
mod initrd;
pub mod inside;
pub mod job;
pub mod keeper;
mod qemu;
mod request;
mod uml;
mod watch;

use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use self::job::Job;
use self::keeper::Keeper;
pub use self::request::{Run, Which, is_inside, require_large_processes};
use self::watch::{Ended, Machine};
use crate::output::say;

/// The memory of a kernel by default. The machine outside provides only what is used of it.
pub const MEMORY_MIB: u32 = 2048;
/// The time limit by default.
pub const LIMIT: Duration = Duration::from_secs(600);
/// The exit code when the time was up.
pub const TIME_UP: u8 = 124;
/// The exit code when the kernel did not start, could not run the command, or ended before it.
pub const BROKEN: u8 = 125;
/// How many of a kernel's last messages are shown when it fails.
const LAST_WORDS: usize = 30;

/// Runs a command as root in a kernel of its own, in the current folder and with this environment.
/// Its standard input is empty; its output is passed on as it comes.
///
/// Returns its exit code (128 and the signal's number when a signal ended it), [`TIME_UP`] or
/// [`BROKEN`]. A signal to this process ends the kernel.
///
/// # Errors
/// [`crate::Missing`] when there is no such kernel on this machine, or nothing to run it with; else
/// what could not be started.
pub fn run(run: &Run) -> Result<u8> {
    let folder = tempfile::Builder::new()
        .prefix(keeper::PREFIX)
        .tempdir()
        .context("cannot make a folder for the kernel")?;
    let modules = match run.which {
        Which::Uml => None,
        Which::Unmodified => Some(qemu::modules()?),
    };
    let job = Job::of_here(run, modules)?;
    // Holds the environment, as /proc/PID/environ does: the folder is this user's alone.
    fs::write(folder.path().join(job::FILE), serde_json::to_vec(&job)?)?;
    // Before there are pipes that it would inherit and hold open.
    let _keeper =
        Keeper::start(folder.path()).context("cannot start the process that cleans up")?;
    let machine: Machine = match run.which {
        Which::Uml => uml::machine(run, folder.path())?,
        Which::Unmodified => qemu::machine(run, folder.path())?,
    };
    let console = machine.console.clone();
    Ok(match watch::watch(machine, run.limit)? {
        Ended::Exit(code) => code,
        Ended::Signal(number) => 128u8.saturating_add(number),
        Ended::TimeUp => {
            let limit = run.limit.as_secs();
            say(&format!(
                "lab: the time of {limit} s was up (--time-limit){}",
                last_words(&console)
            ));
            TIME_UP
        }
        Ended::Failed(why) => {
            say(&format!("lab: {why}"));
            BROKEN
        }
        Ended::Broken(why) => {
            say(&format!("lab: {why}{}", last_words(&console)));
            BROKEN
        }
    })
}

/// What the kernel said last, as the end of a sentence.
fn last_words(console: &Path) -> String {
    let words = fs::read(console).unwrap_or_default();
    let words = String::from_utf8_lossy(&words);
    let lines: Vec<&str> = words.lines().collect();
    let tail = lines.get(lines.len().saturating_sub(LAST_WORDS)..);
    format!(
        "; the kernel's last messages:\n  {}",
        tail.unwrap_or_default().join("\n  ")
    )
}

/// Runs `lab` itself with `arguments` on another kernel.
///
/// # Errors
/// As [`run`].
pub fn run_lab(which: Which, arguments: Vec<OsString>) -> Result<u8> {
    if is_inside() {
        bail!("this is already a kernel of the lab: leave out --kernel");
    }
    let own = std::env::current_exe().context("cannot find this executable")?;
    let mut command = vec![own.into_os_string()];
    command.extend(arguments);
    run(&Run {
        which,
        simulated_time: false,
        memory_mib: MEMORY_MIB,
        limit: LIMIT,
        writable: Vec::new(),
        command,
    })
}
