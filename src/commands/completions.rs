//! `grid completions SHELL`: prints a completion script.

use crate::command::plain::TextReport;
use crate::command::{Caller, Command};
use crate::exit::Outcome;

/// Print a completion script
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The shell
    shell: clap_complete::Shell,
}

impl Command for Args {
    fn run(self, caller: &Caller) -> Outcome {
        let mut script = Vec::new();
        let mut parser = (caller.program().parser)();
        clap_complete::generate(self.shell, &mut parser, "grid", &mut script);
        // The generator writes text.
        caller.show(&TextReport::of(String::from_utf8_lossy(&script)))
    }
}
