//! What this node takes part in: the list of promises.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use grid_promises::modules::Descriptor;
use grid_promises::{ContentId, texts};
use serde_json::{Value, json};

use super::args::{Contract, Global};
use super::output;
use crate::exit::{Failure, Outcome};
use crate::home::Home;
use crate::store::Store;
use crate::symbols::{self, Symbols};

/// `contract`.
pub(super) fn contract(home: &Home, global: &Global, contract: &Contract) -> Outcome {
    if !contract.add.is_empty() || !contract.remove.is_empty() {
        change(home, contract)?;
    }
    let config = Store::look(home).config()?;
    let symbols = symbols::open(home, &config)?;
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
        let symbols = symbols::open(home, config)?;
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

/// The module that a name stands for, if its descriptor is here.
pub(super) fn module(symbols: &Symbols, name: &str) -> Outcome<Option<Descriptor>> {
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
