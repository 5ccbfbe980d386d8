//! `grid NAME [ARG ...]`: calls a module by its name in the symbol table; `grid --show NAME`: what it
//! promises.

use std::ffi::OsString;
use std::io::{self, IsTerminal as _, Read as _, Write};
use std::path::Path;
use std::process::ExitCode;

use grid_modules::call::{Found, Ran};
use grid_promises::modules::ModuleKind;
use grid_promises::{ContentId, Message, texts};
use serde::Serialize;

use super::{fetch, routes};
use crate::advice;
use crate::command::described::described;
use crate::command::plain::TextReport;
use crate::command::{Caller, Report, asking};
use crate::console::output;
use crate::console::plain::quoted;
use crate::exit::{Failure, Outcome};
use crate::home::Home;
use crate::store::Store;
use crate::symbols;

/// A module, called by its name. The exit code is the program's, where it is one for the terminal.
///
/// # Errors
/// There is no such module here, or why the call was not answered.
pub fn call(caller: &Caller, words: &[OsString]) -> Outcome<ExitCode> {
    let (name, args) = words
        .split_first()
        .ok_or_else(|| Failure::usage("no promise was named"))?;
    let name = name.to_string_lossy();
    let home = caller.home();
    let config = Store::look(home).config()?;
    let fetch = |id: &ContentId| fetch::object(caller, id);
    let found = Found::find(symbols::open(home, &config)?, &name, &fetch)?;
    let found = found.ok_or_else(|| unknown(home, &name))?;
    if *found.module.kind() == ModuleKind::Builtin {
        return built_in(caller, &found, args);
    }
    let payload = caller.payload().map(read_payload).transpose()?;
    let payload = payload.unwrap_or_default();
    let ran = found.run(&home.cache(), &config.modules(), args, &payload, &fetch);
    routes::count(home, &found);
    match ran? {
        Ran::Ended(code) => Ok(ExitCode::from(code)),
        Ran::Answered(answer) => {
            show_answer(caller, &found, &answer)?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Another name for a subcommand.
fn built_in(caller: &Caller, found: &Found<'_>, args: &[OsString]) -> Outcome<ExitCode> {
    let promise = texts::by_id(found.module.promise())
        .filter(|promise| promise.name != found.name)
        .ok_or_else(|| {
            Failure::failed(format!(
                "\"{}\" is a built-in module of another version of this program",
                found.name
            ))
        })?;
    let mut words = vec!["grid".into(), promise.name.into()];
    words.extend_from_slice(args);
    Ok((caller.program().main)(words))
}

fn show_answer(caller: &Caller, found: &Found<'_>, answer: &Message) -> Outcome {
    if answer.promise == texts::REFUSAL.id() {
        let why = String::from_utf8_lossy(&answer.payload);
        return Err(Failure::refused(format!(
            "\"{}\" refuses: {}",
            found.name,
            why.trim()
        )));
    }
    caller.show(&AnswerReport {
        base64: data_encoding::BASE64.encode(&answer.payload),
        promise: answer.promise.to_string(),
        text: std::str::from_utf8(&answer.payload).ok(),
        bytes: &answer.payload,
    })
}

/// What a module answered.
#[derive(Debug, Serialize)]
struct AnswerReport<'a> {
    base64: String,
    promise: String,
    text: Option<&'a str>,
    #[serde(skip)]
    bytes: &'a [u8],
}

impl Report for AnswerReport<'_> {
    fn show(&self, out: &mut dyn Write) -> io::Result<()> {
        out.write_all(self.bytes)?;
        // For people alone: what goes into a file is what the module said, byte for byte.
        let is_open = |text: &str| !text.is_empty() && !text.ends_with('\n');
        if self.text.is_some_and(is_open) && io::stdout().is_terminal() {
            writeln!(out)?;
        }
        Ok(())
    }
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
    let quoted = quoted(name);
    match fetch::find(home, name).first() {
        Some(there) => Failure::usage(format!(
            "there is no \"{quoted}\" here; {} has one: {}",
            there.short(),
            advice::adopts(there.short(), name)
        )),
        None => {
            let advice = advice::suggests(name);
            let advice = advice.unwrap_or_else(|| advice::lists_names_or_adopts().to_owned());
            Failure::usage(format!("there is no \"{quoted}\"; {advice}"))
        }
    }
}

/// `--show NAME` for a name of the table, or of a peer's: the promise, out of the module.
///
/// # Errors
/// There is no such name, or its promise cannot be had.
pub fn show(caller: &Caller, name: &str) -> Outcome {
    let home = caller.home();
    let config = Store::look(home).config()?;
    let fetch = |id: &ContentId| fetch::object(caller, id);
    if let Some(found) = Found::find(symbols::open(home, &config)?, name, &fetch)? {
        output::say(&format!("\"{name}\" {}", described(&found.module)));
        return caller.show(&TextReport::of(found.promise(&fetch)?));
    }
    let there = fetch::find(home, name);
    let Some(there) = there.first() else {
        return Err(unknown(home, name));
    };
    // The peer's table brings the descriptors and the promise texts along.
    asking::with_server(caller, |mut client| {
        fetch::symbols_of(&mut client, &there.peer)
    })?;
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
    caller.show(&TextReport::of(text.ok_or_else(|| unknown(home, name))?))
}
