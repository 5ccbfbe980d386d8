//! `grid publish NAME FILE`: stores a module under its content id and gives it a name.

use std::io::{self, Write};
use std::path::PathBuf;

use clap::ValueEnum;
use grid_promises::modules::{ModuleKind, ModuleName, Protocol};
use serde::Serialize;

use crate::advice;
use crate::command::module_report::{ModuleReport, described};
use crate::command::{Caller, Command, Report};
use crate::console::output;
use crate::exit::{Failure, Outcome};
use crate::kernel::publishing::{Draft, promise_text};

/// Store a module under its content id and give it a name
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What people type to call it
    name: ModuleName,

    /// The module: WebAssembly, or a native executable
    file: PathBuf,

    /// What it promises: a file, or the text itself. A WebAssembly module carries its own
    #[arg(long, value_name = "TEXT|FILE")]
    promise: Option<String>,

    /// How a native executable is spoken to
    #[arg(long, value_enum, default_value_t)]
    protocol: ExecProtocol,
}

/// How a native executable is spoken to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum ExecProtocol {
    /// It gets the arguments and the terminal
    #[default]
    Plain,
    /// It reads and writes messages
    Framed,
}

/// The module that has the name now.
#[derive(Debug, Serialize)]
struct PublishedReport {
    before: Option<String>,
    module: ModuleReport,
    name: String,
    table: String,
    #[serde(skip)]
    id: String,
}

impl Report for PublishedReport {
    fn show(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "{}", self.id)
    }
}

impl Command for Args {
    fn run(self, caller: &Caller) -> Outcome {
        let Self { name, file, .. } = self;
        let code = std::fs::read(&file).map_err(|error| {
            let file = file.display();
            Failure::failed(format!(
                "cannot read {file}: {error}; nothing was published"
            ))
        })?;
        let promise = self.promise.as_deref().map(promise_text).transpose()?;
        let protocol = match self.protocol {
            ExecProtocol::Plain => Protocol::Plain,
            ExecProtocol::Framed => Protocol::Framed,
        };
        let draft = Draft::of(code, promise, protocol)?;
        let published = draft.publish(caller.home(), name.clone())?;
        if !caller.wants_json() {
            if let Some(before) = published.before {
                output::say(&format!(
                    "\"{name}\" was {before}; {}",
                    advice::shows_the_table_before()
                ));
            }
            output::say(&format!("\"{name}\" {}", described(&published.module)));
            if matches!(published.module.kind(), ModuleKind::Exec { .. }) {
                output::say(&format!("it runs here once {}", advice::allows(&name)));
            }
        }
        caller.show(&PublishedReport {
            before: published.before.map(|id| id.to_string()),
            module: ModuleReport::of(&published.id, Some(&published.module)),
            name: name.to_string(),
            table: published.table.to_string(),
            id: published.id.to_string(),
        })
    }
}
