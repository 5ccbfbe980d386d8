//! `grid allow [NAME|ID]`: allows a native executable to run here, or shows which may.

use std::collections::BTreeMap;
use std::io::{self, Write};

use grid_promises::ContentId;
use grid_promises::modules::ModuleKind;
use serde::Serialize;

use crate::advice;
use crate::command::{Caller, Command, Report};
use crate::console::output;
use crate::exit::{Failure, Outcome};
use crate::store::Store;
use crate::symbols::{self, Symbols};

/// Allow a native executable to run here
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A module's name or an executable's content id; without it, list what is allowed
    what: Option<String>,

    /// Withdraw the permission
    #[arg(long, requires = "what")]
    remove: bool,
}

/// The executables that may run.
#[derive(Debug, Serialize)]
struct AllowedReport {
    allow: Vec<ExecutableReport>,
}

#[derive(Debug, Serialize)]
struct ExecutableReport {
    id: String,
    name: Option<String>,
}

impl Report for AllowedReport {
    fn show(&self, out: &mut dyn Write) -> io::Result<()> {
        for ExecutableReport { id, name } in &self.allow {
            writeln!(out, "{id}  {}", name.as_deref().unwrap_or_default())?;
        }
        Ok(())
    }
}

/// What may run now, or may not any more.
#[derive(Debug, Serialize)]
struct PermissionReport {
    allowed: bool,
    changed: bool,
    id: String,
}

impl Report for PermissionReport {
    fn show(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "{}", self.id)
    }
}

impl Command for Args {
    fn run(self, caller: &Caller) -> Outcome {
        let Some(what) = &self.what else {
            return show_allowed(caller);
        };
        let store = Store::open(caller.home())?;
        let (id, changed) = store.edit_config(|config, draft| -> Outcome<_> {
            let symbols = symbols::open(caller.home(), config)?;
            let id = executable_id(&symbols, what)?;
            let mut allowed = config.allow.clone();
            allowed.retain(|known| *known != id);
            if !self.remove {
                allowed.push(id);
            }
            let changed = allowed.len() != config.allow.len();
            if changed {
                draft.set_allow(&allowed, &executables(&symbols)?);
            }
            Ok((id, changed))
        })?;
        if !caller.wants_json() {
            output::say(match (self.remove, changed) {
                (false, true) => "it may run here now",
                (false, false) => "already allowed; nothing was changed",
                (true, true) => "it may no longer run here",
                (true, false) => "nothing changes: it was not allowed",
            });
        }
        caller.show(&PermissionReport {
            allowed: !self.remove,
            changed,
            id: id.to_string(),
        })
    }
}

fn show_allowed(caller: &Caller) -> Outcome {
    let config = Store::look(caller.home()).config()?;
    let names = executables(&symbols::open(caller.home(), &config)?)?;
    let executable = |id: &ContentId| ExecutableReport {
        id: id.to_string(),
        name: names.get(id).cloned(),
    };
    caller.show(&AllowedReport {
        allow: config.allow.iter().map(executable).collect(),
    })
}

/// The content id of an executable that a name or an id means.
fn executable_id(symbols: &Symbols, what: &str) -> Outcome<ContentId> {
    if let Ok(id) = what.parse() {
        return Ok(id);
    }
    match symbols::named(symbols, what)? {
        Some(module) if matches!(module.kind(), ModuleKind::Exec { .. }) => Ok(*module.code()),
        Some(_) => Err(Failure::usage(format!(
            "\"{what}\" is not a native executable: it needs no permission"
        ))),
        None => Err(Failure::usage(format!(
            "there is no \"{what}\"; {}",
            advice::lists_the_names()
        ))),
    }
}

/// What people call each executable.
fn executables(symbols: &Symbols) -> Outcome<BTreeMap<ContentId, String>> {
    let mut names = BTreeMap::new();
    for (name, id) in symbols.table().names() {
        if let Some(module) = symbols.descriptor(id)?
            && matches!(module.kind(), ModuleKind::Exec { .. })
        {
            names.insert(*module.code(), name.to_string());
        }
    }
    Ok(names)
}
