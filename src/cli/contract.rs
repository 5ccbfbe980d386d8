//! What this node takes part in: the list of promises, and the native executables that may run.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use grid_promises::modules::{Descriptor, ModuleKind};
use grid_promises::{ContentId, texts};
use serde_json::{Value, json};

use super::args::{Allow, Contract, Global};
use super::output;
use crate::exit::{Failure, Outcome};
use crate::home::Home;
use crate::kernel::symbols::Symbols;
use crate::store::Store;

/// `contract`.
pub(super) fn contract(home: &Home, global: &Global, contract: &Contract) -> Outcome {
    if !contract.add.is_empty() || !contract.remove.is_empty() {
        change(home, contract)?;
    }
    let config = Store::look(home).config()?;
    let symbols = Symbols::open(home, &config)?;
    let names = names(&symbols)?;
    let mut rows = Vec::new();
    for id in &config.accept {
        rows.push((id, names.get(id), symbols.promise_text(id).ok().flatten()));
    }
    if global.json {
        let promises: Vec<Value> = rows
            .iter()
            .map(|(id, name, text)| json!({ "id": id.to_string(), "name": name, "text": text }))
            .collect();
        return output::print(&format!("{}\n", json!({ "accept": promises })));
    }
    let width = rows
        .iter()
        .filter_map(|(_, name, _)| Some(name.as_ref()?.len()))
        .max();
    let width = width.unwrap_or(0);
    let mut text = String::new();
    for (id, name, promise) in rows {
        let name = name.map_or("", String::as_str);
        let _ = writeln!(text, "{name:width$}  {id}");
        if contract.texts {
            let promise = promise.as_deref().unwrap_or("its text is not here\n");
            for line in promise.lines() {
                let _ = writeln!(text, "    {line}");
            }
        }
    }
    output::print(&text)
}

fn change(home: &Home, contract: &Contract) -> Outcome {
    let store = Store::open(home)?;
    store.edit_config(|config, draft| {
        let symbols = Symbols::open(home, config)?;
        let names = names(&symbols)?;
        let mut accept = config.accept.clone();
        for what in &contract.remove {
            let id = promise_id(&symbols, what)?;
            accept.retain(|known| *known != id);
        }
        for what in &contract.add {
            let id = promise_id(&symbols, what)?;
            if !accept.contains(&id) {
                accept.push(id);
            }
        }
        if accept != config.accept {
            draft.set_accept(&accept, &names);
            output::say("a server that runs takes this up within a second");
        }
        Ok(())
    })
}

/// `allow`.
pub(super) fn allow(home: &Home, global: &Global, allow: &Allow) -> Outcome {
    let Some(what) = &allow.what else {
        return show_allowed(home, global);
    };
    let store = Store::open(home)?;
    let (id, changed) = store.edit_config(|config, draft| -> Outcome<_> {
        let symbols = Symbols::open(home, config)?;
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
    let names = executables(&Symbols::open(home, &config)?)?;
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

/// The content id that a name or an id of a promise means.
fn promise_id(symbols: &Symbols, what: &str) -> Outcome<ContentId> {
    if let Ok(id) = what.parse() {
        return Ok(id);
    }
    if let Some(promise) = texts::by_name(what) {
        return Ok(promise.id());
    }
    module(symbols, what)?.map(|module| *module.promise()).ok_or_else(|| {
        Failure::usage(format!(
            "there is no promise \"{what}\"; `grid symbols` lists the names, and a content id does too"
        ))
    })
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

fn module(symbols: &Symbols, name: &str) -> Outcome<Option<Descriptor>> {
    let id = symbols.table().get(name).copied();
    Ok(id.map(|id| symbols.descriptor(&id)).transpose()?.flatten())
}

/// What people call each promise.
fn names(symbols: &Symbols) -> Outcome<BTreeMap<ContentId, String>> {
    let mut names = BTreeMap::new();
    for (name, id) in symbols.table().names() {
        if let Some(module) = symbols.descriptor(id)? {
            names.insert(*module.promise(), name.to_string());
        }
    }
    names.extend(
        texts::ALL
            .iter()
            .map(|promise| (promise.id(), promise.name.to_owned())),
    );
    Ok(names)
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
