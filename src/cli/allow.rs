//! `allow`: the native executables that may run here.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use grid_promises::ContentId;
use grid_promises::modules::ModuleKind;
use serde_json::{Value, json};

use super::args::{Allow, Global};
use super::contract::module;
use super::output;
use crate::exit::{Failure, Outcome};
use crate::home::Home;
use crate::store::Store;
use crate::symbols::{self, Symbols};

/// `allow`.
pub(super) fn allow(home: &Home, global: &Global, allow: &Allow) -> Outcome {
    let Some(what) = &allow.what else {
        return show_allowed(home, global);
    };
    let store = Store::open(home)?;
    let (id, changed) = store.edit_config(|config, draft| -> Outcome<_> {
        let symbols = symbols::open(home, config)?;
        let id = executable_id(&symbols, what)?;
        let mut allowed = config.allow.clone();
        allowed.retain(|known| *known != id);
        if !allow.remove {
            allowed.push(id);
        }
        let changed = allowed.len() != config.allow.len();
        if changed {
            draft.set_allow(&allowed, &executables(&symbols)?);
        }
        Ok((id, changed))
    })?;
    if global.json {
        let report = json!({ "id": id.to_string(), "allowed": !allow.remove, "changed": changed });
        return output::print(&format!("{report}\n"));
    }
    output::say(match (allow.remove, changed) {
        (false, true) => "it may run here now",
        (false, false) => "nothing changes: it may run here already",
        (true, true) => "it may not run here any more",
        (true, false) => "nothing changes: it was not allowed",
    });
    output::print(&format!("{id}\n"))
}

fn show_allowed(home: &Home, global: &Global) -> Outcome {
    let config = Store::look(home).config()?;
    let names = executables(&symbols::open(home, &config)?)?;
    if global.json {
        let all: Vec<Value> = config
            .allow
            .iter()
            .map(|id| json!({ "id": id.to_string(), "name": names.get(id) }))
            .collect();
        return output::print(&format!("{}\n", json!({ "allow": all })));
    }
    let mut text = String::new();
    for id in &config.allow {
        let name = names.get(id).map_or("", String::as_str);
        let _ = writeln!(text, "{id}  {name}");
    }
    output::print(&text)
}

/// The content id of an executable that a name or an id means.
fn executable_id(symbols: &Symbols, what: &str) -> Outcome<ContentId> {
    if let Ok(id) = what.parse() {
        return Ok(id);
    }
    match module(symbols, what)? {
        Some(module) if matches!(module.kind(), ModuleKind::Exec { .. }) => Ok(*module.code()),
        Some(_) => Err(Failure::usage(format!(
            "\"{what}\" is no native executable: it needs no permission"
        ))),
        None => Err(Failure::usage(format!(
            "there is no \"{what}\"; `grid symbols` lists the names"
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
