//! `grid adopt-symbols PEER [NAME ...]`: takes names of a peer into the symbol table, and runs nothing.

use std::io::{self, Write};

use grid_promises::ContentId;
use grid_promises::modules::{
    Adoption, Choice, Conflict, ModuleName, SymbolTable, adopt, builtins,
};
use serde::Serialize;

use super::fetch;
use crate::advice;
use crate::command::described::described;
use crate::command::{Caller, Command, Report, asking};
use crate::console::output;
use crate::control::client::Client;
use crate::exit::{Failure, Outcome};
use crate::store::Store;
use crate::symbols::{self, Symbols};

/// Add names from a peer's symbol table to this node's; this runs nothing
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The peer: its node id or the beginning of it, or HOST:PORT
    peer: String,

    /// The names to take [default: all new ones]
    names: Vec<ModuleName>,

    /// Take a name even if it means something else on this node
    #[arg(long, requires = "names")]
    replace: bool,

    /// Show what would be taken, and change nothing
    #[arg(long)]
    dry_run: bool,
}

impl Command for Args {
    fn run(self, caller: &Caller) -> Outcome {
        asking::with_server(caller, |client| self.adopt(caller, client))
    }
}

impl Args {
    fn adopt(&self, caller: &Caller, mut client: Client) -> Outcome {
        let (peer, table) = fetch::symbols_of(&mut client, &self.peer)?;
        let short = fetch::short(&peer);
        let merge = |symbols: &Symbols| self.merge(symbols, &table, short);
        let (symbols, adoption) = if self.dry_run {
            let symbols = symbols::open(caller.home(), &Store::look(caller.home()).config()?)?;
            let (_, adoption) = merge(&symbols)?;
            (symbols, adoption)
        } else {
            symbols::change(caller.home(), merge)?
        };
        if let [unknown, ..] = adoption.unknown.as_slice() {
            output::say(&format!("{short} has no \"{unknown}\""));
        }
        let is_idle =
            adoption.next.is_none() && adoption.conflicts.is_empty() && adoption.unknown.is_empty();
        if is_idle && !caller.wants_json() {
            output::say("nothing changes: all of these names are here");
        }
        caller.show(&AdoptionReport::of(
            &symbols,
            &peer,
            &adoption,
            self.dry_run,
        )?)?;
        self.judge(&adoption, short)
    }

    /// What the table comes to with that of the peer.
    fn merge(
        &self,
        symbols: &Symbols,
        table: &ContentId,
        short: &str,
    ) -> Outcome<(Option<SymbolTable>, Adoption)> {
        let choice = if self.names.is_empty() {
            Choice::All
        } else {
            Choice::Names {
                names: &self.names,
                replace: self.replace,
            }
        };
        let object = symbols.object(table)?;
        let bytes = object
            .as_ref()
            .and_then(|object| object.bytes())
            .unwrap_or_default();
        let theirs = SymbolTable::decode(bytes)
            .map_err(|error| Failure::failed(format!("the table of {short}: {error}")))?;
        let adoption = adopt(symbols.table(), &theirs, choice)
            .map_err(|error| Failure::failed(error.to_string()))?;
        if let Some(clash) = adoption
            .replaced
            .iter()
            .find(|clash| builtins::is_builtin(clash.name.as_str()))
        {
            return Err(Failure::refused(format!(
                "\"{}\" is a built-in module, and those keep their names; nothing was taken",
                clash.name
            )));
        }
        Ok((adoption.next.clone(), adoption))
    }

    /// Whether all was taken that was asked for.
    fn judge(&self, adoption: &Adoption, short: &str) -> Outcome {
        match (adoption.unknown.as_slice(), adoption.conflicts.as_slice()) {
            ([], []) => Ok(()),
            ([], _) if self.names.is_empty() => Ok(()),
            ([], [clash, ..]) => Err(Failure::refused(format!(
                "\"{}\" is something else here ({}) than at {short} ({}); {}",
                clash.name,
                clash.mine,
                clash.theirs,
                advice::takes_the_peers(short, &clash.name),
            ))),
            _ => Err(Failure::failed("some of the names were not found")),
        }
    }
}

/// What was taken, or would be.
#[derive(Debug, Serialize)]
struct AdoptionReport {
    adopted: Vec<AdoptedReport>,
    changed: bool,
    conflicts: Vec<ConflictReport>,
    peer: String,
    replaced: Vec<ConflictReport>,
    table: String,
    unknown: Vec<String>,
}

#[derive(Debug, Serialize)]
struct AdoptedReport {
    id: String,
    name: String,
    #[serde(skip)]
    what: String,
}

#[derive(Debug, Serialize)]
struct ConflictReport {
    mine: String,
    name: String,
    theirs: String,
}

impl ConflictReport {
    fn of(conflict: &Conflict) -> Self {
        Self {
            mine: conflict.mine.to_string(),
            name: conflict.name.to_string(),
            theirs: conflict.theirs.to_string(),
        }
    }
}

impl AdoptionReport {
    fn of(symbols: &Symbols, peer: &str, adoption: &Adoption, dry_run: bool) -> Outcome<Self> {
        let mut adopted = Vec::new();
        for (name, id) in &adoption.adopted {
            let module = symbols.descriptor(id)?;
            adopted.push(AdoptedReport {
                id: id.to_string(),
                name: name.to_string(),
                what: module.as_ref().map(described).unwrap_or_default(),
            });
        }
        Ok(Self {
            adopted,
            changed: adoption.next.is_some() && !dry_run,
            conflicts: adoption.conflicts.iter().map(ConflictReport::of).collect(),
            peer: peer.to_owned(),
            replaced: adoption.replaced.iter().map(ConflictReport::of).collect(),
            table: symbols.id().to_string(),
            unknown: adoption.unknown.iter().map(ToString::to_string).collect(),
        })
    }
}

impl Report for AdoptionReport {
    fn show(&self, out: &mut dyn Write) -> io::Result<()> {
        for AdoptedReport { name, id, what } in &self.adopted {
            writeln!(out, "+ {name}  {id}  {what}")?;
        }
        for ConflictReport { name, mine, theirs } in &self.replaced {
            writeln!(out, "~ {name}  {theirs} instead of {mine}")?;
        }
        for ConflictReport { name, mine, theirs } in &self.conflicts {
            writeln!(out, "! {name}  stays {mine}; there it is {theirs}")?;
        }
        Ok(())
    }
}
