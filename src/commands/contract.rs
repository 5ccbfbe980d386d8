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
use crate::store::{Accepted, Store, Who, is_of_the_mesh};
use crate::symbols::{self, Symbols};

/// Show or change which promises this node takes part in
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Take part in this promise: its name or content id
    #[arg(long, value_name = "PROMISE")]
    add: Vec<String>,

    /// Keep what is added to WHO: "members" of this node's networks (the default), "anybody", a network, or a node
    /// id. Can be given several times. Replaces what was said before
    #[arg(long = "for", value_name = "WHO", requires = "add")]
    with: Vec<Who>,

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
    /// With whom.
    #[serde(rename = "for")]
    with: Vec<String>,
    text: Option<String>,
}

impl Report for ContractReport {
    fn show(&self, out: &mut dyn Write) -> io::Result<()> {
        let names = self
            .accept
            .iter()
            .filter_map(|promise| promise.name.as_ref());
        let width = names.map(String::len).max().unwrap_or(0);
        for promise in &self.accept {
            let PromiseReport { id, text, .. } = promise;
            let name = promise.name.as_deref().unwrap_or_default();
            writeln!(out, "{name:width$}  {id}  {}", promise.callers())?;
            if self.with_texts {
                for line in text.as_deref().unwrap_or("its text is not here\n").lines() {
                    writeln!(out, "    {line}")?;
                }
            }
        }
        Ok(())
    }
}

impl PromiseReport {
    fn callers(&self) -> String {
        // What people ask of their own node: no peer can.
        let is_own = |name: &str| texts::commands().any(|command| command.name == name);
        let name = self.name.as_deref().unwrap_or_default();
        if is_own(name) && !self.with.iter().any(|with| with == "anybody") {
            return "this machine only".to_owned();
        }
        if self.with.is_empty() {
            return "for nobody".to_owned();
        }
        format!("for {}", self.with.join(", "))
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
        let promise = |accepted: &Accepted| {
            let id = &accepted.promise;
            PromiseReport {
                id: id.to_string(),
                name: names.get(id).cloned(),
                with: accepted.with.iter().map(ToString::to_string).collect(),
                text: symbols.promise_text(id).ok().flatten(),
            }
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
                if !config.takes_part_in(&id) {
                    output::say(&format!("\"{what}\" was not in the contract"));
                }
                accept.retain(|known| known.promise != id);
            }
            for what in &self.add {
                let wished = self.wished(promise_id(&symbols, what)?, what)?;
                let known = accept.iter_mut().find(|it| it.promise == wished.promise);
                match known {
                    Some(known) if self.with.is_empty() || *known == wished => {
                        output::say(&format!("\"{what}\" is in the contract already"));
                    }
                    Some(known) => *known = wished,
                    None => accept.push(wished),
                }
            }
            self.name_strange_networks(home)?;
            if accept != config.accept {
                draft.set_accept(&accept, &names);
                output::say("a running server applies this within a second");
            }
            Ok(())
        })
    }
}

impl Args {
    /// What is to stand in the list.
    fn wished(&self, promise: ContentId, what: &str) -> Outcome<Accepted> {
        let usual = Accepted::usual(promise);
        if self.with.is_empty() {
            return Ok(usual);
        }
        if is_of_the_mesh(&promise) {
            return Err(Failure::usage(format!(
                "\"{what}\" is for anybody: a node that wants to join is no member yet; leave --for out"
            )));
        }
        let with = self.with.clone();
        Ok(Accepted { with, ..usual })
    }

    /// Somebody may have mistyped a name, or may join that network later.
    fn name_strange_networks(&self, home: &Home) -> Outcome {
        let names: Vec<String> = Store::look(home).folders()?.collect();
        for who in &self.with {
            if let Who::Network(network) = who
                && !names.iter().any(|name| name == network.as_str())
            {
                output::say(&format!(
                    "this node is not in a network \"{network}\" at present"
                ));
            }
        }
        Ok(())
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
