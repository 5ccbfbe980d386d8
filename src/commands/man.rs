//! `grid man FOLDER`: writes the manual pages, one for the program and one for each command.

use std::path::PathBuf;

use crate::command::plain::TextReport;
use crate::command::{Caller, Command};
use crate::exit::{Failure, Outcome};

/// Write the manual pages
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The folder to write to
    #[arg(value_name = "FOLDER")]
    dir: PathBuf,
}

impl Command for Args {
    fn run(self, caller: &Caller) -> Outcome {
        let failed = |error: std::io::Error| {
            Failure::failed(format!(
                "the manual pages cannot be written to {}: {error}",
                self.dir.display()
            ))
        };
        std::fs::create_dir_all(&self.dir).map_err(failed)?;
        let parser = (caller.program().parser)();
        clap_mangen::generate_to(parser, &self.dir).map_err(failed)?;
        if caller.wants_json() {
            let written = self.dir.display();
            caller.show(&TextReport::of(format!(
                "the manual pages are in {written}"
            )))?;
        }
        Ok(())
    }
}
