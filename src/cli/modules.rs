//! Modules on the command line: giving them names, looking at names, taking names of peers, and calling
//! a module by its name.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::io::{self, IsTerminal as _, Read as _};
use std::path::Path;
use std::process::ExitCode;

use grid_promises::modules::{
    Adoption, Choice, Descriptor, ModuleKind, Protocol, SymbolTable, adopt,
};
use grid_promises::{ContentId, Message, texts};
use serde_json::{Value, json};

use super::args::{AdoptSymbols, ExecProtocol, Global, Publish};
use super::names::{kind, module_json, show_names};
use super::{output, peers, routes};
use crate::exit::{Failure, Outcome};
use crate::home::Home;
use crate::store::Store;
use crate::symbols::{self, Symbols};
use grid_modules::call::{Found, Ran};
use grid_modules::publish::{Draft, MAX_PROMISE, PublishError};
use grid_promises::modules::builtins;

/// `publish`.
pub(super) fn publish(home: &Home, global: &Global, publish: Publish) -> Outcome {
    let Publish {
        name,
        file,
        promise,
        protocol,
    } = publish;
    let code = std::fs::read(&file).map_err(|error| {
        let file = file.display();
        Failure::failed(format!(
            "cannot read {file}: {error}; nothing was published"
        ))
    })?;
    let promise = promise.as_deref().map(promise_text).transpose()?;
    let protocol = match protocol {
        ExecProtocol::Plain => Protocol::Plain,
        ExecProtocol::Framed => Protocol::Framed,
    };
    let draft = Draft::of(code, promise, protocol)?;
    let (symbols, stored) = symbols::change(home, |symbols| {
        let mut stored = draft.store(symbols, &name)?;
        Ok((stored.next.take(), stored))
    })?;
    let module = &draft.module;
    if global.json {
        let report = json!({
            "name": name.as_str(),
            "module": module_json(&stored.id, module),
            "before": stored.before.map(|id| id.to_string()),
            "table": symbols.id().to_string(),
        });
        return output::print(&format!("{report}\n"));
    }
    if let Some(before) = stored.before {
        output::say(&format!(
            "\"{name}\" was {before}; `grid symbols --history` shows the table before"
        ));
    }
    output::say(&format!("\"{name}\" {}", described(module)));
    if matches!(module.kind(), ModuleKind::Exec { .. }) {
        output::say(&format!("it runs here once `grid allow {name}` allows it"));
    }
    output::print(&format!("{}\n", stored.id))
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

/// `symbols`.
pub(super) fn symbols(
    home: &Home,
    global: &Global,
    history: bool,
    back: Option<ContentId>,
) -> Outcome {
    if let Some(to) = back {
        return go_back(home, global, &to);
    }
    let symbols = symbols::open(home, &Store::look(home).config()?)?;
    if history {
        return show_history(&symbols, global.json);
    }
    show_names(&symbols, global.json, |id, module| {
        let kind = module.map_or("not here", kind);
        format!("{kind:8}  {id}")
    })
}

fn show_history(symbols: &Symbols, is_json: bool) -> Outcome {
    let history = symbols.history()?;
    let changes = history.iter().enumerate().map(|(at, (id, table))| {
        let before = history.get(at + 1).map(|(_, before)| before);
        let diff = before.map(|before| before.diff(table)).unwrap_or_default();
        (id, table, before.is_some(), diff)
    });
    if is_json {
        let tables: Vec<Value> = changes
            .map(|(id, table, _, diff)| {
                json!({
                    "table": id.to_string(),
                    "names": table.names().len(),
                    "added": diff.added.keys().map(|name| name.as_str()).collect::<Vec<_>>(),
                    "removed": diff.removed.keys().map(|name| name.as_str()).collect::<Vec<_>>(),
                    "changed": diff.changed.keys().map(|name| name.as_str()).collect::<Vec<_>>(),
                })
            })
            .collect();
        return output::print(&format!("{}\n", json!({ "history": tables })));
    }
    let mut text = String::new();
    for (id, table, has_before, diff) in changes {
        let mut line = format!("{id}  {} names", table.names().len());
        for (sign, names) in [
            ('+', diff.added.keys().collect::<Vec<_>>()),
            ('-', diff.removed.keys().collect()),
            ('~', diff.changed.keys().collect()),
        ] {
            for name in names {
                let _ = write!(line, " {sign}{name}");
            }
        }
        if !has_before && table.previous().is_some() {
            line.push_str("; the tables before are not here");
        }
        let _ = writeln!(text, "{line}");
    }
    output::print(&text)
}

fn go_back(home: &Home, global: &Global, to: &ContentId) -> Outcome {
    let (symbols, changed) = symbols::change(home, |symbols| {
        let object = symbols.object(to)?;
        let bytes = object.as_ref().and_then(|object| object.bytes());
        let older = bytes.map(SymbolTable::decode).transpose();
        let older = older.map_err(|error| Failure::usage(format!("{to}: {error}")))?;
        let older = older.ok_or_else(|| {
            Failure::failed(format!(
                "the table {to} is not here; `grid symbols --history` lists those that are"
            ))
        })?;
        let next = symbols.table().back_to(&older);
        let changed = next.is_some();
        Ok((next, changed))
    })?;
    if global.json {
        let report = json!({ "changed": changed, "table": symbols.id().to_string() });
        return output::print(&format!("{report}\n"));
    }
    output::say(if changed {
        "the names are those of that table again"
    } else {
        "nothing changes: these are the names"
    });
    output::print(&format!("{}\n", symbols.id()))
}

/// `adopt-symbols`.
pub(super) fn adopt_symbols(home: &Home, global: &Global, wanted: AdoptSymbols) -> Outcome {
    let (peer, table) = peers::symbols_of(home, global, &wanted.peer)?;
    let choice = if wanted.names.is_empty() {
        Choice::All
    } else {
        Choice::Names {
            names: &wanted.names,
            replace: wanted.replace,
        }
    };
    let short = peers::short(&peer);
    let merge = |symbols: &Symbols| -> Outcome<(Option<SymbolTable>, Adoption)> {
        let object = symbols.object(&table)?;
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
    };
    let (symbols, adoption) = if wanted.dry_run {
        let symbols = symbols::open(home, &Store::look(home).config()?)?;
        let (_, adoption) = merge(&symbols)?;
        (symbols, adoption)
    } else {
        symbols::change(home, merge)?
    };
    if let [unknown, ..] = adoption.unknown.as_slice() {
        output::say(&format!("{short} has no \"{unknown}\""));
    }
    report_adoption(global, &symbols, &peer, &adoption, wanted.dry_run)?;
    match (adoption.unknown.as_slice(), adoption.conflicts.as_slice()) {
        ([], []) => Ok(()),
        ([], _) if wanted.names.is_empty() => Ok(()),
        ([], [clash, ..]) => Err(Failure::refused(format!(
            "\"{name}\" is something else here ({}) than at {short} ({}); \
             `grid adopt-symbols {short} {name} --replace` takes the peer's",
            clash.mine,
            clash.theirs,
            name = clash.name,
        ))),
        _ => Err(Failure::failed(
            "not all of the names were there to be taken",
        )),
    }
}

fn report_adoption(
    global: &Global,
    symbols: &Symbols,
    peer: &str,
    adoption: &Adoption,
    is_rehearsal: bool,
) -> Outcome {
    let names = |list: &[grid_promises::modules::Conflict]| -> Vec<Value> {
        let each = list.iter().map(|clash| {
            json!({ "name": clash.name.as_str(), "mine": clash.mine.to_string(),
                    "theirs": clash.theirs.to_string() })
        });
        each.collect()
    };
    if global.json {
        let adopted: Vec<Value> = adoption
            .adopted
            .iter()
            .map(|(name, id)| json!({ "name": name.as_str(), "id": id.to_string() }))
            .collect();
        let report = json!({
            "peer": peer,
            "changed": adoption.next.is_some() && !is_rehearsal,
            "adopted": adopted,
            "replaced": names(&adoption.replaced),
            "conflicts": names(&adoption.conflicts),
            "unknown": adoption.unknown.iter().map(|name| name.as_str()).collect::<Vec<_>>(),
            "table": symbols.id().to_string(),
        });
        return output::print(&format!("{report}\n"));
    }
    let mut text = String::new();
    for (name, id) in &adoption.adopted {
        let what = symbols
            .descriptor(id)?
            .map_or_else(String::new, |it| described(&it));
        let _ = writeln!(text, "+ {name}  {id}  {what}");
    }
    for clash in &adoption.replaced {
        let _ = writeln!(
            text,
            "~ {}  {} instead of {}",
            clash.name, clash.theirs, clash.mine
        );
    }
    for clash in &adoption.conflicts {
        let _ = writeln!(
            text,
            "! {}  stays {}; there it is {}",
            clash.name, clash.mine, clash.theirs
        );
    }
    if adoption.next.is_none() && adoption.conflicts.is_empty() && adoption.unknown.is_empty() {
        output::say("nothing changes: all of these names are here");
    }
    output::print(&text)
}

/// A module, called by its name. The exit code is the program's, where it is one for the terminal.
pub(super) fn call(home: &Home, global: &Global, words: &[OsString]) -> Outcome<ExitCode> {
    let (name, args) = words
        .split_first()
        .ok_or_else(|| Failure::usage("no promise was named"))?;
    let name = name.to_string_lossy();
    let config = Store::look(home).config()?;
    let fetch = |id: &ContentId| peers::fetch(home, global, id);
    let found = Found::find(symbols::open(home, &config)?, &name, &fetch)?;
    let found = found.ok_or_else(|| unknown(home, &name))?;
    if *found.module.kind() == ModuleKind::Builtin {
        return built_in(&found, args);
    }
    let payload = global.payload.as_deref().map(read_payload).transpose()?;
    let payload = payload.unwrap_or_default();
    let ran = found.run(&home.cache(), &config.modules(), args, &payload, &fetch);
    routes::count(home, &found);
    match ran? {
        Ran::Ended(code) => Ok(ExitCode::from(code)),
        Ran::Answered(answer) => {
            show_answer(global, &found, &answer)?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Another name for a subcommand.
fn built_in(found: &Found<'_>, args: &[OsString]) -> Outcome<ExitCode> {
    let promise = texts::by_id(found.module.promise())
        .filter(|promise| promise.name != found.name)
        .ok_or_else(|| {
            Failure::failed(format!(
                "\"{}\" is a built-in module of another version of this program",
                found.name
            ))
        })?;
    let words = ["grid".into(), promise.name.into()];
    Ok(super::main(words.into_iter().chain(args.iter().cloned())))
}

fn show_answer(global: &Global, found: &Found<'_>, answer: &Message) -> Outcome {
    if answer.promise == texts::REFUSAL.id() {
        let why = String::from_utf8_lossy(&answer.payload);
        return Err(Failure::refused(format!(
            "\"{}\" refuses: {}",
            found.name,
            why.trim()
        )));
    }
    let text = std::str::from_utf8(&answer.payload).ok();
    if global.json {
        let report = json!({
            "promise": answer.promise.to_string(),
            "text": text,
            "base64": data_encoding::BASE64.encode(&answer.payload),
        });
        return output::print(&format!("{report}\n"));
    }
    output::print_bytes(&answer.payload)?;
    // For people alone: what goes into a file is what the module said, byte for byte.
    if text.is_some_and(|text| !text.is_empty() && !text.ends_with('\n'))
        && io::stdout().is_terminal()
    {
        output::print("\n")?;
    }
    Ok(())
}

fn read_payload(path: &Path) -> Outcome<Vec<u8>> {
    let unreadable =
        |error: io::Error| Failure::failed(format!("cannot read {}: {error}", path.display()));
    let mut bytes = Vec::new();
    let limit = Message::MAX_PAYLOAD as u64 + 1;
    if path == Path::new("-") {
        io::stdin().lock().take(limit).read_to_end(&mut bytes)
    } else {
        std::fs::File::open(path).and_then(|file| file.take(limit).read_to_end(&mut bytes))
    }
    .map_err(unreadable)?;
    if bytes.len() > Message::MAX_PAYLOAD {
        return Err(Failure::usage("a payload has at most 1 MiB"));
    }
    Ok(bytes)
}

/// A name that this home does not have. One that a peer has is named with the peer, and not run.
fn unknown(home: &Home, name: &str) -> Failure {
    match peers::find(home, name).first() {
        Some(there) => Failure::usage(format!(
            "there is no \"{name}\" here; {peer} has one: `grid adopt-symbols {peer} {name}` takes \
             it, and `grid --show {name}` says what it promises",
            peer = there.short()
        )),
        None => Failure::usage(format!(
            "there is no \"{name}\"; `grid symbols` lists the names, and `grid adopt-symbols PEER` \
             takes those of a peer"
        )),
    }
}

/// `--show NAME` for a name of the table, or of a peer's: the promise, out of the module.
pub(super) fn show(home: &Home, global: &Global, name: &str) -> Outcome {
    let config = Store::look(home).config()?;
    let fetch = |id: &ContentId| peers::fetch(home, global, id);
    if let Some(found) = Found::find(symbols::open(home, &config)?, name, &fetch)? {
        output::say(&format!("\"{name}\" {}", described(&found.module)));
        return output::print(&found.promise(&fetch)?);
    }
    let there = peers::find(home, name);
    let Some(there) = there.first() else {
        return Err(unknown(home, name));
    };
    // The peer's table brings the descriptors and the promise texts along.
    peers::symbols_of(home, global, &there.peer)?;
    let symbols = symbols::open(home, &config)?;
    let module = there
        .module
        .map(|id| symbols.descriptor(&id))
        .transpose()?
        .flatten();
    let module = module.ok_or_else(|| unknown(home, name))?;
    output::say(&format!(
        "\"{name}\" at {} {}",
        there.peer,
        described(&module)
    ));
    let text = symbols.promise_text(module.promise())?;
    output::print(&text.ok_or_else(|| unknown(home, name))?)
}

/// What a module is and asks for, as the end of a sentence.
fn described(module: &Descriptor) -> String {
    let mut text = match module.kind() {
        ModuleKind::Builtin => "is part of this program".to_owned(),
        ModuleKind::Wasm => "is a WebAssembly module".to_owned(),
        ModuleKind::Exec { platform, .. } => format!("is an executable for {platform}"),
    };
    let calls: Vec<&str> = module.calls().iter().map(|call| call.as_str()).collect();
    match (calls.as_slice(), module.kind()) {
        ([], ModuleKind::Wasm) => text.push_str(" that asks nothing of this node"),
        ([], _) => {}
        _ => {
            let _ = write!(text, " that may ask this node for: {}", calls.join(", "));
        }
    }
    if module.is_pure() {
        text.push_str("; the same call always has the same answer");
    }
    text
}
