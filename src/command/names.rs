//! The names in the symbol table, for `grid --list` and for the commands that show modules.

use std::io::{self, Write};

use grid_promises::ContentId;
use grid_promises::modules::{Descriptor, ModuleKind};
use serde::Serialize;

use super::caller::{Caller, Report};
use crate::exit::Outcome;
use crate::store::Store;
use crate::symbols::{self, Symbols};

/// `grid --list`: the names, each with the promise that its module keeps.
///
/// # Errors
/// The table cannot be read or shown.
pub fn list(caller: &Caller) -> Outcome {
    let symbols = symbols::open(caller.home(), &Store::look(caller.home()).config()?)?;
    caller.show(&NamesReport::of(&symbols, Column::Promise)?)
}

/// The names of a table.
#[derive(Debug, Serialize)]
pub struct NamesReport {
    names: Vec<NameReport>,
    table: String,
    #[serde(skip)]
    column: Column,
}

#[derive(Debug, Serialize)]
struct NameReport {
    module: ModuleReport,
    name: String,
}

/// What stands beside a name.
#[derive(Clone, Copy, Debug)]
pub enum Column {
    /// The module that it stands for.
    Module,
    /// The promise that this module keeps.
    Promise,
}

impl NamesReport {
    /// Reads the names of a table.
    ///
    /// # Errors
    /// A descriptor is damaged.
    pub fn of(symbols: &Symbols, column: Column) -> Outcome<Self> {
        let mut names = Vec::new();
        for (name, id) in symbols.table().names() {
            names.push(NameReport {
                module: ModuleReport::of(id, symbols.descriptor(id)?.as_ref()),
                name: name.to_string(),
            });
        }
        Ok(Self {
            names,
            table: symbols.id().to_string(),
            column,
        })
    }
}

impl Report for NamesReport {
    fn show(&self, out: &mut dyn Write) -> io::Result<()> {
        let width = self.names.iter().map(|row| row.name.len()).max();
        let width = width.unwrap_or(0);
        for NameReport { name, module } in &self.names {
            write!(out, "{name:width$}  ")?;
            match (self.column, module) {
                (Column::Module, ModuleReport::Known { id, kind, .. }) => {
                    writeln!(out, "{kind:8}  {id}")?;
                }
                (Column::Module, ModuleReport::Missing { id }) => writeln!(out, "not here  {id}")?,
                (Column::Promise, ModuleReport::Known { promise, .. }) => {
                    writeln!(out, "{promise}")?;
                }
                (Column::Promise, ModuleReport::Missing { .. }) => {
                    writeln!(out, "its module is not here")?;
                }
            }
        }
        Ok(())
    }
}

/// A module, as JSON.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum ModuleReport {
    /// Its descriptor is here.
    Known {
        /// What it may ask this node for.
        calls: Vec<String>,
        /// The content id of its code.
        code: String,
        /// The content id of its descriptor.
        id: String,
        /// `builtin`, `wasm` or `exec`.
        kind: &'static str,
        /// The content id of its promise.
        promise: String,
        /// Whether the same call always has the same answer.
        pure: bool,
    },
    /// Its descriptor is not here.
    Missing {
        /// The content id of its descriptor.
        id: String,
    },
}

impl ModuleReport {
    /// The module with this descriptor, which may not be here.
    #[must_use]
    pub fn of(id: &ContentId, module: Option<&Descriptor>) -> Self {
        let id = id.to_string();
        let Some(module) = module else {
            return Self::Missing { id };
        };
        let kind = match module.kind() {
            ModuleKind::Builtin => "builtin",
            ModuleKind::Wasm => "wasm",
            ModuleKind::Exec { .. } => "exec",
        };
        Self::Known {
            calls: module
                .calls()
                .iter()
                .map(|call| call.as_str().to_owned())
                .collect(),
            code: module.code().to_string(),
            id,
            kind,
            promise: module.promise().to_string(),
            pure: module.is_pure(),
        }
    }
}
