//! `grid contract`: shows or changes which promises this node takes part in.

use std::collections::BTreeMap;
use std::io::{self, Write};

use grid_promises::{ContentId, texts};
use serde::Serialize;

use crate::advice;
use crate::command::{Caller, Command, Report};
use crate::console::output;
use crate::exit::{Failure, Outcome};
use crate::home::Home;
use crate::store::Store;
use crate::symbols::{self, Symbols};

/// Show or change which promises this node takes part in
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Take part in this promise: its name or content id
    #[arg(long, value_name = "PROMISE")]
    add: Vec<String>,

    /// Stop taking part in this promise
    #[arg(long, value_name = "PROMISE")]
    remove: Vec<String>,

    /// Print the texts too
    #[arg(long)]
    texts: bool,
}

/// The promises that this node takes part in.
#[derive(Debug, Serialize)]
struct ContractReport {
    accept: Vec<PromiseReport>,
    #[serde(skip)]
    with_texts: bool,
}

#[derive(Debug, Serialize)]
struct PromiseReport {
    id: String,
    name: Option<String>,
    text: Option<String>,
}

impl Report for ContractReport {
    fn show(&self, out: &mut dyn Write) -> io::Result<()> {
        let names = self
            .accept
            .iter()
            .filter_map(|promise| promise.name.as_ref());
        let width = names.map(String::len).max().unwrap_or(0);
        for PromiseReport { id, name, text } in &self.accept {
            let name = name.as_deref().unwrap_or_default();
            writeln!(out, "{name:width$}  {id}")?;
            if self.with_texts {
                for line in text.as_deref().unwrap_or("its text is not here\n").lines() {
                    writeln!(out, "    {line}")?;
                }
            }
        }
        Ok(())
    }
}

impl Command for Args {
    fn run(self, caller: &Caller) -> Outcome {
        if !self.add.is_empty() || !self.remove.is_empty() {
            self.change(caller.home())?;
        }
        let config = Store::look(caller.home()).config()?;
        let symbols = symbols::open(caller.home(), &config)?;
        let names = names(&symbols)?;
        let promise = |id: &ContentId| PromiseReport {
            id: id.to_string(),
            name: names.get(id).cloned(),
            text: symbols.promise_text(id).ok().flatten(),
        };
        caller.show(&ContractReport {
            accept: config.accept.iter().map(promise).collect(),
            with_texts: self.texts,
        })
    }
}

impl Args {
    fn change(&self, home: &Home) -> Outcome {
        let store = Store::open(home)?;
        store.edit_config(|config, draft| {
            let symbols = symbols::open(home, config)?;
            let names = names(&symbols)?;
            let mut accept = config.accept.clone();
            for what in &self.remove {
                let id = promise_id(&symbols, what)?;
                if !accept.contains(&id) {
                    output::say(&format!("\"{what}\" was not in the contract"));
                }
                accept.retain(|known| *known != id);
            }
            for what in &self.add {
                let id = promise_id(&symbols, what)?;
                if accept.contains(&id) {
                    output::say(&format!("\"{what}\" is in the contract already"));
                } else {
                    accept.push(id);
                }
            }
            if accept != config.accept {
                draft.set_accept(&accept, &names);
                output::say("a running server applies this within a second");
            }
            Ok(())
        })
    }
}

/// The content id that a name or an id of a promise means.
fn promise_id(symbols: &Symbols, what: &str) -> Outcome<ContentId> {
    if let Ok(id) = what.parse() {
        return Ok(id);
    }
    if let Some(promise) = texts::by_name(what) {
        return Ok(promise.id());
    }
    symbols::named(symbols, what)?
        .map(|module| *module.promise())
        .ok_or_else(|| {
            Failure::usage(format!(
                "there is no promise \"{what}\"; {}",
                advice::lists_the_names_of_promises()
            ))
        })
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
