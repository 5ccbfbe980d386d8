//! `grid symbols`: the names that this node knows, and the tables before; or back to one of those.

use std::io::{self, Write};

use grid_promises::ContentId;
use grid_promises::modules::SymbolTable;
use serde::Serialize;

use crate::advice;
use crate::command::names::{Column, NamesReport};
use crate::command::{Caller, Command, Report};
use crate::console::output;
use crate::exit::{Failure, Outcome};
use crate::store::Store;
use crate::symbols::{self, Symbols};

/// Show the names that this node knows and earlier tables, or go back to one of them
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Show earlier tables, and what each changed
    #[arg(long, conflicts_with = "back")]
    history: bool,

    /// Go back to the names of this table
    #[arg(long, value_name = "ID")]
    back: Option<ContentId>,
}

impl Command for Args {
    fn run(self, caller: &Caller) -> Outcome {
        if let Some(to) = self.back {
            return go_back(caller, &to);
        }
        if self.history {
            return caller.show(&HistoryReport::of(&open(caller)?)?);
        }
        caller.show(&NamesReport::of(&open(caller)?, Column::Module)?)
    }
}

fn open(caller: &Caller) -> Outcome<Symbols> {
    symbols::open(caller.home(), &Store::look(caller.home()).config()?)
}

/// This table and those before it.
#[derive(Debug, Serialize)]
struct HistoryReport {
    history: Vec<TableReport>,
}

/// A table, and what it changed.
#[derive(Debug, Serialize)]
struct TableReport {
    added: Vec<String>,
    changed: Vec<String>,
    names: usize,
    removed: Vec<String>,
    table: String,
    /// Whether it names a table before that is not here.
    #[serde(skip)]
    is_cut: bool,
}

impl HistoryReport {
    fn of(symbols: &Symbols) -> Outcome<Self> {
        let history = symbols.history()?;
        let table = |(at, (id, table)): (usize, &(ContentId, SymbolTable))| {
            let before = history.get(at + 1).map(|(_, before)| before);
            let diff = before.map(|before| before.diff(table)).unwrap_or_default();
            TableReport {
                added: diff.added.keys().map(ToString::to_string).collect(),
                changed: diff.changed.keys().map(ToString::to_string).collect(),
                names: table.names().len(),
                removed: diff.removed.keys().map(ToString::to_string).collect(),
                table: id.to_string(),
                is_cut: before.is_none() && table.previous().is_some(),
            }
        };
        Ok(Self {
            history: history.iter().enumerate().map(table).collect(),
        })
    }
}

impl Report for HistoryReport {
    fn show(&self, out: &mut dyn Write) -> io::Result<()> {
        for table in &self.history {
            write!(out, "{}  {} names", table.table, table.names)?;
            for (sign, names) in [
                ('+', &table.added),
                ('-', &table.removed),
                ('~', &table.changed),
            ] {
                for name in names {
                    write!(out, " {sign}{name}")?;
                }
            }
            if table.is_cut {
                write!(out, "; the tables before are not here")?;
            }
            writeln!(out)?;
        }
        Ok(())
    }
}

/// The table whose names stand now.
#[derive(Debug, Serialize)]
struct BackReport {
    changed: bool,
    table: String,
}

impl Report for BackReport {
    fn show(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "{}", self.table)
    }
}

fn go_back(caller: &Caller, to: &ContentId) -> Outcome {
    let (symbols, changed) = symbols::change(caller.home(), |symbols| {
        let object = symbols.object(to)?;
        let bytes = object.as_ref().and_then(|object| object.bytes());
        let older = bytes.map(SymbolTable::decode).transpose();
        let older = older.map_err(|error| Failure::usage(format!("{to}: {error}")))?;
        let older = older.ok_or_else(|| {
            Failure::failed(format!(
                "the table {to} is not here; {}",
                advice::lists_the_tables()
            ))
        })?;
        let next = symbols.table().back_to(&older);
        let changed = next.is_some();
        Ok((next, changed))
    })?;
    if !caller.wants_json() {
        output::say(if changed {
            "back to the names of that table"
        } else {
            "nothing changes: these are the names"
        });
    }
    caller.show(&BackReport {
        changed,
        table: symbols.id().to_string(),
    })
}
