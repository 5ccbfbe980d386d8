//! The person who runs a command: which home they mean, the global options, and how a report is printed.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{ArgAction, Args};
use serde::Serialize;

use crate::console::output;
use crate::exit::{Failure, Outcome};
use crate::home::Home;
use crate::node::Service;

/// The arguments of a command, which can be run.
pub trait Command: Args {
    /// Runs the command, and prints its report.
    ///
    /// # Errors
    /// Why it failed.
    fn run(self, caller: &Caller) -> Outcome;
}

/// The result of a command. `--json` prints it as JSON.
pub trait Report: Serialize {
    /// Writes it for people.
    ///
    /// # Errors
    /// Those of `out`.
    fn show(&self, out: &mut dyn io::Write) -> io::Result<()>;
}

/// What is common to all commands.
#[derive(Clone, Debug, Default, Args)]
pub struct Global {
    /// This node's folder [default: $GRID_HOME, ~/.grid or /var/lib/grid]
    #[arg(
        long,
        global = true,
        value_name = "FOLDER",
        help_heading = "Global options"
    )]
    pub home: Option<PathBuf>,

    /// Print the result as JSON
    #[arg(long, global = true, help_heading = "Global options")]
    pub json: bool,

    /// Log more in the server that this command starts (-vv: everything)
    #[arg(short, long, global = true, action = ArgAction::Count, help_heading = "Global options")]
    pub verbose: u8,

    /// Input for a module besides its arguments: a file, or `-` for standard input; at most 1 MiB.
    /// Goes before the module's name
    #[arg(long, value_name = "FILE|-", help_heading = "Global options")]
    pub payload: Option<PathBuf>,
}

/// The whole program, for the few commands that need it. They get it as a value, so that no command
/// imports the others.
#[derive(Clone, Copy, Debug)]
pub struct Program {
    /// The parser of the command line.
    pub parser: fn() -> clap::Command,
    /// Carries out the requests that a server receives.
    pub service: Service,
    /// Runs the program again, with other arguments.
    pub main: fn(Vec<OsString>) -> ExitCode,
}

/// The person who runs a command.
#[derive(Debug)]
pub struct Caller {
    home: Home,
    global: Global,
    program: Program,
}

impl Caller {
    /// Finds the home that these options mean.
    ///
    /// # Errors
    /// The home is a relative path, and there is no working directory.
    pub fn new(global: Global, program: Program) -> Outcome<Self> {
        let home = Home::find(global.home.as_deref()).map_err(|error| {
            Failure::usage(format!(
                "the home is a relative path, and there is no working directory: {error}"
            ))
        })?;
        Ok(Self {
            home,
            global,
            program,
        })
    }

    /// The home.
    #[must_use]
    pub const fn home(&self) -> &Home {
        &self.home
    }

    /// Whether results are printed as JSON.
    #[must_use]
    pub const fn wants_json(&self) -> bool {
        self.global.json
    }

    /// How often `-v` was given.
    #[must_use]
    pub const fn verbose(&self) -> u8 {
        self.global.verbose
    }

    /// The file whose content a module gets as its payload.
    #[must_use]
    pub fn payload(&self) -> Option<&Path> {
        self.global.payload.as_deref()
    }

    /// The whole program.
    #[must_use]
    pub const fn program(&self) -> Program {
        self.program
    }

    /// Prints a report.
    ///
    /// # Errors
    /// It cannot be written to standard output.
    pub fn show(&self, report: &impl Report) -> Outcome {
        if self.global.json {
            self.print_json(&serde_json::to_vec(report).unwrap_or_default())
        } else {
            output::print_with(|out| report.show(out))
        }
    }

    /// Prints JSON on a line of its own.
    ///
    /// # Errors
    /// It cannot be written to standard output.
    pub fn print_json(&self, json: &[u8]) -> Outcome {
        output::print_bytes(json)?;
        output::print("\n")
    }
}
