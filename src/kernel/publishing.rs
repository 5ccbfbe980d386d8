//! From a file to a module under a name: what it is, what it promises, and its place in the symbol
//! table.
//!
//! A WebAssembly module says itself what it promises and what it asks of its host. An executable cannot
//! be asked without running it, so the person says what it promises. Nothing is run here.

use std::path::Path;

use grid_promises::ContentId;
use grid_promises::content_id::HashCode;
use grid_promises::modules::{CallName, Descriptor, ModuleKind, ModuleName, Platform, Protocol};

use super::builtins;
use super::symbols::Symbols;
use crate::execute::{MAX_EXECUTABLE, MAX_MODULE, Manifest};
use crate::exit::{Failure, Outcome};
use crate::home::Home;

/// The longest promise text, in bytes.
pub const MAX_PROMISE: usize = 64 * 1024;

/// A module that is about to get a name.
#[derive(Debug)]
pub struct Draft {
    /// What it is.
    pub module: Descriptor,
    /// Its code.
    code: Vec<u8>,
    /// The text of its promise.
    pub promise: String,
}

/// What became of it.
#[derive(Debug)]
pub struct Published {
    /// The module's content id: that of its descriptor.
    pub id: ContentId,
    /// What it is.
    pub module: Descriptor,
    /// The table that has it.
    pub table: ContentId,
    /// What the name led to before, if that was something else.
    pub before: Option<ContentId>,
}

impl Draft {
    /// Reads what the bytes of a file are. `promise` is the text that the person gives, if any;
    /// `protocol` how an executable is spoken to.
    ///
    /// # Errors
    /// The file is neither a WebAssembly module nor an executable, promises nothing or something else
    /// than is said, or is too long.
    pub fn of(code: Vec<u8>, promise: Option<String>, protocol: Protocol) -> Outcome<Self> {
        if code.starts_with(b"\0asm") {
            Self::of_wasm(code, promise)
        } else if code.starts_with(b"\x7fELF") || code.starts_with(b"#!") {
            Self::of_executable(code, promise, protocol)
        } else {
            Err(Failure::usage(
                "the file is neither a WebAssembly module nor an executable (ELF, or a script that \
                 begins with #!); nothing was published",
            ))
        }
    }

    fn of_wasm(code: Vec<u8>, said: Option<String>) -> Outcome<Self> {
        if code.len() > MAX_MODULE {
            return Err(too_long("a WebAssembly module", MAX_MODULE));
        }
        let manifest = Manifest::read(&code)
            .map_err(|error| Failure::usage(format!("{error}; nothing was published")))?;
        let promise = match (manifest.promise, said) {
            (Some(own), Some(said)) if own != said => {
                return Err(Failure::usage(
                    "the module carries another promise than --promise says; leave the option out \
                     to publish it under its own. Nothing was published",
                ));
            }
            (Some(own), _) => own,
            (None, Some(said)) => said,
            (None, None) => return Err(promises_nothing()),
        };
        let calls = manifest.calls.iter().map(|call| call.parse::<CallName>());
        let calls: Vec<CallName> = calls
            .collect::<Result<_, _>>()
            .map_err(|error| Failure::usage(format!("a call that the module wants: {error}")))?;
        let id = ContentId::of(promise.as_bytes());
        let module = Descriptor::new(id, ModuleKind::Wasm, ContentId::of(&code))
            .with_calls(calls)
            .map_err(|error| Failure::usage(error.to_string()))?;
        let module = if manifest.pure {
            module.promising_purity()
        } else {
            module
        };
        Ok(Self {
            module,
            code,
            promise,
        })
    }

    fn of_executable(code: Vec<u8>, promise: Option<String>, protocol: Protocol) -> Outcome<Self> {
        if code.len() > MAX_EXECUTABLE {
            return Err(too_long("an executable", MAX_EXECUTABLE));
        }
        let promise = promise.ok_or_else(promises_nothing)?;
        let id = ContentId::of(promise.as_bytes());
        let kind = ModuleKind::Exec {
            platform: here()?,
            protocol,
        };
        Ok(Self {
            module: Descriptor::new(id, kind, ContentId::of(&code)),
            code,
            promise,
        })
    }

    /// Stores the module and gives it a name in the next symbol table.
    ///
    /// # Errors
    /// The name is that of a built-in module, or the home cannot be written. The table before still
    /// stands then.
    pub fn publish(self, home: &Home, name: ModuleName) -> Outcome<Published> {
        if builtins::is_builtin(name.as_str()) {
            return Err(Failure::refused(format!(
                "\"{name}\" is a built-in module, and those keep their names; choose another name"
            )));
        }
        let (symbols, (id, before)) = Symbols::change(home, |symbols| {
            let objects = symbols.objects();
            objects.put_as(self.module.code(), &self.code)?;
            objects.put_as(self.module.promise(), self.promise.as_bytes())?;
            let id = objects.put(HashCode::Sha2_256, &self.module.encode())?.id;
            let before = symbols.table().get(name.as_str()).copied();
            let next = symbols
                .table()
                .with(name.clone(), id)
                .map_err(|error| Failure::failed(error.to_string()))?;
            Ok((next, (id, before.filter(|before| *before != id))))
        })?;
        Ok(Published {
            id,
            module: self.module,
            table: *symbols.id(),
            before,
        })
    }
}

/// The platform of this machine.
///
/// # Errors
/// It has no name that descriptors can hold.
pub fn here() -> Outcome<Platform> {
    let name = format!("{}/{}", std::env::consts::OS, std::env::consts::ARCH);
    name.parse()
        .map_err(|error| Failure::failed(format!("this machine's platform, {name}: {error}")))
}

/// The text that a person gave for a promise: the content of a file of that name, or the words
/// themselves.
///
/// # Errors
/// The file cannot be read, or the text is empty or too long.
pub fn promise_text(given: &str) -> Outcome<String> {
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
        return Err(too_long("a promise", MAX_PROMISE));
    }
    Ok(text)
}

fn promises_nothing() -> Failure {
    Failure::usage(
        "the module does not say what it promises; say it with `--promise TEXT` or `--promise FILE`. \
         Nothing was published",
    )
}

fn too_long(what: &str, max: usize) -> Failure {
    Failure::usage(format!(
        "{what} has at most {max} bytes; nothing was published"
    ))
}
