//! `grid publish NAME FILE`: stores a module under its content id and gives it a name.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use grid_modules::publish::{Draft, MAX_PROMISE, PublishError};
use grid_promises::modules::{ModuleKind, ModuleName, Protocol};
use serde::Serialize;

use crate::advice;
use crate::command::described::described;
use crate::command::names::ModuleReport;
use crate::command::{Caller, Command, Report};
use crate::console::output;
use crate::exit::{Failure, Outcome};
use crate::symbols;

/// Store a module under its content id and give it a name
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The name that people call it by
    name: ModuleName,

    /// The module: WebAssembly, or a native executable
    file: PathBuf,

    /// What it promises: a file, or the text itself. A WebAssembly module carries its own
    #[arg(long, value_name = "TEXT|FILE")]
    promise: Option<String>,

    /// How to talk to a native executable
    #[arg(long, value_enum, default_value_t)]
    protocol: ExecProtocol,
}

/// How to talk to a native executable.
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
        let (symbols, stored) = symbols::change(caller.home(), |symbols| {
            let mut stored = draft.store(symbols, &name)?;
            Ok((stored.next.take(), stored))
        })?;
        if !caller.wants_json() {
            if let Some(before) = stored.before {
                output::say(&format!(
                    "\"{name}\" was {before}; {}",
                    advice::shows_the_table_before()
                ));
            }
            output::say(&format!("\"{name}\" {}", described(&draft.module)));
            if matches!(draft.module.kind(), ModuleKind::Exec { .. }) {
                output::say(&format!("it runs here once {}", advice::allows(&name)));
            }
        }
        caller.show(&PublishedReport {
            before: stored.before.map(|id| id.to_string()),
            module: ModuleReport::of(&stored.id, Some(&draft.module)),
            name: name.to_string(),
            table: symbols.id().to_string(),
            id: stored.id.to_string(),
        })
    }
}

/// The text that a person gave for a promise: the content of a file of that name, or the words
/// themselves.
fn promise_text(given: &str) -> Outcome<String> {
    let path = Path::new(given);
    let text = if path.is_file() {
        std::fs::read_to_string(path).map_err(|error| {
            Failure::failed(format!("the promise cannot be read from {given}: {error}"))
        })?
    } else {
        format!("{}\n", given.trim_end())
    };
    if text.trim().is_empty() {
        return Err(Failure::usage("the promise is empty"));
    }
    if text.len() > MAX_PROMISE {
        let (what, max) = ("a promise", MAX_PROMISE);
        return Err(PublishError::TooLong { what, max }.into());
    }
    Ok(text)
}
