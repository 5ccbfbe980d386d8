//! From a name to the code, and running it in this process.
//!
//! A name is looked up in the symbol table, its descriptor and its code in the store. What is missing is
//! asked of whoever the caller gives; what arrives is what its content id verifies, or it does not
//! arrive. A native executable runs only if its content id is on the list of those that may.

use std::cell::Cell;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::sync::Arc;
use std::time::Instant;

use grid_promises::modules::{Descriptor, ModuleKind, Protocol};
use grid_promises::{ContentId, Message, texts};

use super::memos::Memos;
use super::publishing::here;
use super::symbols::Symbols;
use crate::execute::native::{AllowList, Framed, Plain, Sealed};
use crate::execute::wasm::{Settings, Wasm};
use crate::execute::{
    CallError, Executor, Fault, Limits, MAX_EXECUTABLE, MAX_MODULE, ObjectError, Objects, Verdict,
    Verdicts,
};
use crate::exit::{Exit, Failure, Outcome};
use crate::home::Home;
use crate::objects::{Cache as _, Layers, Object};
use crate::store::Config;

/// Where an object is asked for that is not here. Blocks. When it returns, the object is in the store.
pub type Fetch<'a> = dyn Fn(&ContentId) -> Outcome + 'a;

/// A module that was found under a name.
pub struct Found<'a> {
    /// The name.
    pub name: &'a str,
    /// What it is.
    pub module: Descriptor,
    /// The names and objects of the home.
    pub symbols: Symbols,
    /// Whether it kept its promise when it was run; `None` if it was not, or if nobody can say.
    pub kept: Cell<Option<bool>>,
}

/// What running a module came to.
#[derive(Debug)]
pub enum Ran {
    /// It answered.
    Answered(Box<Message>),
    /// It was a program with the terminal for itself, and ended with this exit code.
    Ended(u8),
}

impl<'a> Found<'a> {
    /// Looks a name up. `None` if the table does not have it.
    ///
    /// # Errors
    /// The table, or the descriptor that it names, cannot be had.
    pub fn find(
        home: &Home,
        config: &Config,
        name: &'a str,
        fetch: &Fetch<'_>,
    ) -> Outcome<Option<Self>> {
        let symbols = Symbols::open(home, config)?;
        let Some(id) = symbols.table().get(name).copied() else {
            return Ok(None);
        };
        let module = match symbols.descriptor(&id)? {
            Some(module) => module,
            None => {
                fetch(&id)?;
                symbols.descriptor(&id)?.ok_or_else(|| missing(name, &id))?
            }
        };
        Ok(Some(Self {
            name,
            module,
            symbols,
            kept: Cell::new(None),
        }))
    }

    /// The text of the module's promise.
    ///
    /// # Errors
    /// It cannot be had.
    pub fn promise(&self, fetch: &Fetch<'_>) -> Outcome<String> {
        let id = self.module.promise();
        if let Some(text) = self.symbols.promise_text(id)? {
            return Ok(text);
        }
        fetch(id)?;
        let text = self.symbols.promise_text(id)?;
        text.ok_or_else(|| missing(self.name, id))
    }

    /// Runs it.
    ///
    /// # Errors
    /// The code cannot be had, may not run here, does not take the call, or breaks its promise.
    pub fn run(
        &self,
        home: &Home,
        config: &Config,
        args: &[OsString],
        payload: &[u8],
        fetch: &Fetch<'_>,
    ) -> Outcome<Ran> {
        if let ModuleKind::Exec { platform, protocol } = self.module.kind() {
            let sealed = self.sealed(config, &platform.to_string(), fetch)?;
            return match protocol {
                Protocol::Plain => {
                    let plain = Plain::new(sealed, self.name.into(), args.to_vec());
                    let ended = plain.run();
                    ended
                        .map(Ran::Ended)
                        .map_err(|error| Failure::failed(error.to_string()))
                }
                Protocol::Framed => {
                    let framed = Framed::new(sealed, verdicts(), &Limits::default());
                    self.call(&framed, &self.parms(args), payload)
                        .map(|answer| Ran::Answered(Box::new(answer)))
                }
            };
        }
        let parms = self.parms(args);
        let mut whole = parms.clone();
        whole.payload = payload.to_vec();
        let memos = self.module.is_pure().then(|| Memos::of(home));
        if let Some(known) = memos.as_ref().and_then(|memos| memos.get(&whole)) {
            self.kept.set(Some(true));
            return Ok(Ran::Answered(Box::new(known)));
        }
        let code = self.code(MAX_MODULE, fetch)?;
        let engine = Wasm::new(Settings {
            // One guest after the other: there is no use in room for more.
            limits: Limits {
                instances: 1,
                ..Limits::default()
            },
            verdicts: verdicts(),
            objects: Arc::new(Local(self.symbols.local())),
            compiled: Some(home.cache().join("compiled")),
        })
        .map_err(|error| Failure::failed(error.to_string()))?;
        let module = engine
            .load(self.module.code(), &code)
            .map_err(|error| Failure::failed(format!("\"{}\": {error}", self.name)))?;
        let answer = self.call(&*module, &parms, payload)?;
        if let Some(memos) = memos {
            memos.keep(&whole, &answer);
        }
        Ok(Ran::Answered(Box::new(answer)))
    }

    /// Asks whether the code takes the call, and makes it.
    fn call(&self, code: &dyn Executor, parms: &Message, payload: &[u8]) -> Outcome<Message> {
        let failed = |error: CallError| self.call_failure(&error);
        match code.accept(parms).map_err(failed)? {
            Verdict::Accepted(_) => {
                let handled = code.handle(parms, payload);
                self.kept.set(match &handled {
                    Ok(answer) => (answer.promise != texts::REFUSAL.id()).then_some(true),
                    Err(error) if error.fault() == Fault::Module => Some(false),
                    Err(_) => None,
                });
                handled.map_err(failed)
            }
            Verdict::Rejected(why) => {
                let why = String::from_utf8_lossy(&why.payload);
                let why = why.trim();
                let why = if why.is_empty() {
                    "it does not say why"
                } else {
                    why
                };
                Err(Failure::refused(format!(
                    "\"{name}\" does not take this call: {why}; `grid --show {name}` says what it \
                     promises",
                    name = self.name
                )))
            }
        }
    }

    fn call_failure(&self, error: &CallError) -> Failure {
        let name = self.name;
        let exit = match (error, error.fault()) {
            (CallError::Deadline { .. }, _) => Exit::TimedOut,
            (_, Fault::Caller) => Exit::Usage,
            _ => Exit::Failed,
        };
        let text = match error.fault() {
            Fault::Module => format!("\"{name}\" broke its promise: {error}; nothing was changed"),
            Fault::Host => format!("\"{name}\" could not be run now: {error}"),
            Fault::Caller => format!("\"{name}\" cannot be called like this: {error}"),
            Fault::Bug => format!("\"{name}\" met a bug of this program: {error}"),
        };
        Failure::new(exit, text)
    }

    fn parms(&self, args: &[OsString]) -> Message {
        let message = Message::new(*self.module.promise()).module(*self.module.code());
        args.iter()
            .fold(message, |message, arg| message.arg(arg.clone().into_vec()))
    }

    fn sealed(&self, config: &Config, platform: &str, fetch: &Fetch<'_>) -> Outcome<Sealed> {
        let name = self.name;
        let allowed = AllowList::new(config.allow.iter().copied())
            .check(self.module.code())
            .map_err(|_| {
                Failure::refused(format!(
                    "\"{name}\" is a native executable, and may not run here: once you know what it \
                     does (`grid --show {name}`), `grid allow {name}` allows it"
                ))
            })?;
        if here()?.to_string() != platform {
            return Err(Failure::failed(format!(
                "\"{name}\" was built for {platform}, and this machine is another"
            )));
        }
        let code = self.code(MAX_EXECUTABLE, fetch)?;
        Sealed::new(allowed, &code).map_err(|error| Failure::failed(error.to_string()))
    }

    fn code(&self, max: usize, fetch: &Fetch<'_>) -> Outcome<Vec<u8>> {
        let id = self.module.code();
        let object = match self.symbols.object(id) {
            Ok(Some(object)) => object,
            // A damaged one is set aside, and fetched again.
            Ok(None) | Err(_) => {
                fetch(id)?;
                self.symbols
                    .object(id)?
                    .ok_or_else(|| missing(self.name, id))?
            }
        };
        bytes_of(&object, max)
            .ok_or_else(|| Failure::failed(format!("the code of \"{}\" cannot be read", self.name)))
    }
}

/// The two promises that lead an answer to *accept*.
#[must_use]
pub fn verdicts() -> Verdicts {
    Verdicts {
        accept: texts::ACCEPT_MESSAGE.id(),
        reject: texts::REJECT_MESSAGE.id(),
    }
}

/// The bytes of an object of at most `max` bytes.
pub(crate) fn bytes_of(object: &Object, max: usize) -> Option<Vec<u8>> {
    if object.len() > max as u64 {
        return None;
    }
    let mut bytes = Vec::new();
    object.copy_to(&mut bytes, &mut |_| {}).ok()?;
    Some(bytes)
}

fn missing(name: &str, id: &ContentId) -> Failure {
    Failure::failed(format!(
        "the object {id} of \"{name}\" is not here, and nobody who was asked has it; try again when \
         the peer that published it can be reached"
    ))
}

/// What guests can get: what is here.
pub(crate) struct Local(pub(crate) Arc<Layers>);

impl Objects for Local {
    fn get(&self, id: &ContentId, max: usize, _: Instant) -> Result<Vec<u8>, ObjectError> {
        match self.0.get(id) {
            Ok(Some(object)) => bytes_of(&object, max).ok_or(ObjectError::TooLong { max }),
            Ok(None) => Err(ObjectError::Missing),
            Err(error) => Err(ObjectError::Failed {
                why: error.to_string(),
            }),
        }
    }
}
