//! Finds a module by its name and runs it in this process.
//!
//! The name is looked up in the symbol table, its descriptor and code in the store. The caller says where to
//! fetch what is missing; what arrives has been verified by its content id. A native executable runs only if
//! its content id is on the allow-list.

use std::cell::Cell;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use grid_promises::modules::{Descriptor, ModuleKind, Protocol};
use grid_promises::{ContentId, Message, texts};

use crate::cache_dir::CacheDir;
use crate::execute::native::{AllowList, Framed, Plain, PlainError, SealError, Sealed};
use crate::execute::wasm::{SetUpError, Settings as EngineSettings, Wasm};
use crate::execute::{
    CallError, Executor, Fault, Limits, MAX_EXECUTABLE, MAX_MODULE, ModuleError, ObjectError,
    ObjectSource, Verdict, Verdicts,
};
use crate::memos::Memos;
use crate::objects::{Cache as _, CacheError, Layers, Object};
use crate::publish::{UnknownPlatform, here};
use crate::settings::Settings;
use crate::symbols::{Symbols, SymbolsError};

/// Fetches an object that is not here into the store. Blocks.
pub type Fetch<'a, E> = dyn Fn(&ContentId) -> Result<(), E> + 'a;

/// Why a module was not run, or yielded no answer.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// An object is nowhere.
    #[error(
        "the object {id} of \"{name}\" is not here, and nobody who was asked has it; try again when \
         the peer that published it can be reached"
    )]
    Missing {
        /// The module.
        name: String,
        /// The object.
        id: ContentId,
    },
    /// The person has not allowed it.
    #[error("\"{name}\" is a native executable, and may not run here")]
    NotAllowed {
        /// The module.
        name: String,
    },
    /// It was built for another sort of machine.
    #[error("\"{name}\" was built for {platform}, and this machine is another")]
    OtherPlatform {
        /// The module.
        name: String,
        /// What it was built for.
        platform: String,
    },
    /// Its code is too long for code, or the disk fails.
    #[error("the code of \"{name}\" cannot be read")]
    Unreadable {
        /// The module.
        name: String,
    },
    /// Its code cannot be used.
    #[error("\"{name}\": {why}")]
    Unusable {
        /// The module.
        name: String,
        /// What is wrong with it.
        why: ModuleError,
    },
    /// It does not take the call.
    #[error("\"{name}\" does not take this call: {why}")]
    Rejected {
        /// The module.
        name: String,
        /// What it says.
        why: String,
    },
    /// It yielded no answer.
    #[error("{}", no_answer(.name, .why))]
    NoAnswer {
        /// The module.
        name: String,
        /// Why, and whose fault that is.
        why: CallError,
    },
    /// An executable cannot be made ready.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// A program for the terminal cannot be started.
    #[error(transparent)]
    Start(#[from] PlainError),
    /// The engine cannot be started.
    #[error(transparent)]
    Engine(#[from] SetUpError),
    /// This machine's platform has no name.
    #[error(transparent)]
    Platform(#[from] UnknownPlatform),
    /// A name or what it leads to cannot be had.
    #[error(transparent)]
    Symbols(#[from] SymbolsError),
    /// An object is damaged, or the store cannot be read.
    #[error(transparent)]
    Store(#[from] CacheError),
}

fn no_answer(name: &str, why: &CallError) -> String {
    match why.fault() {
        Fault::Module => format!("\"{name}\" broke its promise: {why}; nothing was changed"),
        Fault::Host => format!("\"{name}\" could not be run now: {why}"),
        Fault::Caller => format!("\"{name}\" cannot be called like this: {why}"),
        Fault::Bug => format!("\"{name}\" met a bug of this program: {why}"),
    }
}

/// A module that was found under a name.
pub struct Found<'a> {
    /// The name.
    pub name: &'a str,
    /// What it is.
    pub module: Descriptor,
    /// The names and objects of the home.
    pub symbols: Symbols,
    /// Whether it kept its promise when it was run; `None` if it was not run or that cannot be said.
    pub kept: Cell<Option<bool>>,
}

/// How running a module ended.
#[derive(Debug)]
pub enum Ran {
    /// It answered.
    Answered(Box<Message>),
    /// It was a program that had the terminal, and ended with this exit code.
    Ended(u8),
}

impl<'a> Found<'a> {
    /// Looks a name up. `None` if the table does not have it.
    ///
    /// # Errors
    /// The descriptor that the table names cannot be had.
    pub fn find<E: From<RunError>>(
        symbols: Symbols,
        name: &'a str,
        fetch: &Fetch<'_, E>,
    ) -> Result<Option<Self>, E> {
        let Some(id) = symbols.table().get(name).copied() else {
            return Ok(None);
        };
        let descriptor = || symbols.descriptor(&id).map_err(RunError::from);
        let module = match descriptor()? {
            Some(module) => module,
            None => {
                fetch(&id)?;
                descriptor()?.ok_or_else(|| missing(name, &id))?
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
    pub fn promise<E: From<RunError>>(&self, fetch: &Fetch<'_, E>) -> Result<String, E> {
        let id = self.module.promise();
        let text = || self.symbols.promise_text(id).map_err(RunError::from);
        if let Some(text) = text()? {
            return Ok(text);
        }
        fetch(id)?;
        Ok(text()?.ok_or_else(|| missing(self.name, id))?)
    }

    /// Runs it.
    ///
    /// # Errors
    /// The code cannot be had, may not run here, rejects the call, or breaks its promise.
    pub fn run<E: From<RunError>>(
        &self,
        cache: &CacheDir,
        settings: &Settings,
        args: &[OsString],
        payload: &[u8],
        fetch: &Fetch<'_, E>,
    ) -> Result<Ran, E> {
        if let ModuleKind::Exec { platform, protocol } = self.module.kind() {
            let sealed = self.sealed(settings, &platform.to_string(), fetch)?;
            return match protocol {
                Protocol::Plain => {
                    let plain = Plain::new(sealed, self.name.into(), args.to_vec());
                    let ended = plain.run().map_err(RunError::from)?;
                    Ok(Ran::Ended(ended))
                }
                Protocol::Framed => {
                    let framed = Framed::new(sealed, verdicts(), &Limits::default());
                    let answer = self.call(&framed, &self.parms(args), payload)?;
                    Ok(Ran::Answered(Box::new(answer)))
                }
            };
        }
        let parms = self.parms(args);
        let mut whole = parms.clone();
        whole.payload = payload.to_vec();
        let memos = self.module.is_pure().then(|| Memos::of(cache));
        if let Some(known) = memos.as_ref().and_then(|memos| memos.get(&whole)) {
            self.kept.set(Some(true));
            return Ok(Ran::Answered(Box::new(known)));
        }
        let code = self.code(MAX_MODULE, fetch)?;
        let objects = Arc::new(Local {
            objects: self.symbols.local(),
            is_asked: AtomicBool::new(false),
        });
        let engine = Wasm::new(EngineSettings {
            // One guest at a time: more slots would be of no use.
            limits: Limits {
                instances: 1,
                ..Limits::default()
            },
            verdicts: verdicts(),
            objects: Arc::clone(&objects) as Arc<dyn ObjectSource>,
            compiled: Some(cache.compiled()),
        })
        .map_err(RunError::from)?;
        let module = engine
            .load(self.module.code(), &code)
            .map_err(|why| RunError::Unusable {
                name: self.name.to_owned(),
                why,
            })?;
        let answer = self.call(&*module, &parms, payload)?;
        // Peers are shown kept results, and may not see every object that a person may.
        if let Some(memos) = memos
            && !objects.is_asked.load(Ordering::Relaxed)
        {
            memos.keep(&whole, &answer);
        }
        Ok(Ran::Answered(Box::new(answer)))
    }

    /// Asks whether the code accepts the call, and makes it.
    fn call(
        &self,
        code: &dyn Executor,
        parms: &Message,
        payload: &[u8],
    ) -> Result<Message, RunError> {
        let failed = |why: CallError| RunError::NoAnswer {
            name: self.name.to_owned(),
            why,
        };
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
                Err(RunError::Rejected {
                    name: self.name.to_owned(),
                    why: why.to_owned(),
                })
            }
        }
    }

    fn parms(&self, args: &[OsString]) -> Message {
        let message = Message::new(*self.module.promise()).module(*self.module.code());
        args.iter()
            .fold(message, |message, arg| message.arg(arg.clone().into_vec()))
    }

    fn sealed<E: From<RunError>>(
        &self,
        settings: &Settings,
        platform: &str,
        fetch: &Fetch<'_, E>,
    ) -> Result<Sealed, E> {
        let name = || self.name.to_owned();
        let allowed = AllowList::new(settings.allow.iter().copied())
            .check(self.module.code())
            .map_err(|_| RunError::NotAllowed { name: name() })?;
        if here().map_err(RunError::from)?.to_string() != platform {
            let platform = platform.to_owned();
            let name = name();
            return Err(RunError::OtherPlatform { name, platform }.into());
        }
        let code = self.code(MAX_EXECUTABLE, fetch)?;
        Ok(Sealed::new(allowed, &code).map_err(RunError::from)?)
    }

    fn code<E: From<RunError>>(&self, max: usize, fetch: &Fetch<'_, E>) -> Result<Vec<u8>, E> {
        let id = self.module.code();
        let object = match self.symbols.object(id) {
            Ok(Some(object)) => object,
            // A damaged one is set aside, and fetched again.
            Ok(None) | Err(_) => {
                fetch(id)?;
                let object = self.symbols.object(id).map_err(RunError::from)?;
                object.ok_or_else(|| missing(self.name, id))?
            }
        };
        let name = || self.name.to_owned();
        Ok(bytes_of(&object, max).ok_or_else(|| RunError::Unreadable { name: name() })?)
    }
}

/// The two promises that may lead an answer to *accept*.
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

fn missing(name: &str, id: &ContentId) -> RunError {
    RunError::Missing {
        name: name.to_owned(),
        id: *id,
    }
}

/// What a guest can `get` that a person calls: whatever is here.
struct Local {
    objects: Arc<Layers>,
    /// Whether it was asked for anything.
    is_asked: AtomicBool,
}

impl ObjectSource for Local {
    fn get(&self, id: &ContentId, max: usize, _: Instant) -> Result<Vec<u8>, ObjectError> {
        self.is_asked.store(true, Ordering::Relaxed);
        match self.objects.get(id) {
            Ok(Some(object)) => bytes_of(&object, max).ok_or(ObjectError::TooLong { max }),
            Ok(None) => Err(ObjectError::Missing),
            Err(error) => Err(ObjectError::Failed {
                why: error.to_string(),
            }),
        }
    }
}
