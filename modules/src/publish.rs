//! From a file to a module under a name: what it is, what it promises, and its place in the symbol
//! table.
//!
//! A WebAssembly module says itself what it promises and what it asks of its host. An executable cannot
//! be asked without running it, so the person says what it promises. Nothing is run here.

use grid_promises::ContentId;
use grid_promises::content_id::HashCode;
use grid_promises::modules::descriptor::DescriptorError;
use grid_promises::modules::platform::PlatformError;
use grid_promises::modules::{
    CallName, Descriptor, ModuleKind, ModuleName, NameError, Platform, Protocol, SymbolTable,
    builtins,
};

use crate::execute::{MAX_EXECUTABLE, MAX_MODULE, Manifest, ModuleError};
use crate::objects::CacheError;
use crate::symbols::{Symbols, SymbolsError};

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

/// A module that is in the store, and what giving it its name means.
#[derive(Debug)]
pub struct Stored {
    /// The module's content id: that of its descriptor.
    pub id: ContentId,
    /// What the name leads to now, if that is something else.
    pub before: Option<ContentId>,
    /// The table that has it; `None`: that is the present one.
    pub next: Option<SymbolTable>,
}

/// Why a module gets no name. The table is as it was.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// Neither WebAssembly nor an executable.
    #[error(
        "the file is neither a WebAssembly module nor an executable (ELF, or a script that begins \
         with #!); nothing was published"
    )]
    NotAModule,
    /// Longer than such a thing may be.
    #[error("{what} has at most {max} bytes; nothing was published")]
    TooLong {
        /// What it is.
        what: &'static str,
        /// The longest, in bytes.
        max: usize,
    },
    /// WebAssembly that cannot be used.
    #[error("{0}; nothing was published")]
    Unusable(#[from] ModuleError),
    /// The module carries one promise, and the person says another.
    #[error("the module carries another promise than the one that was given")]
    OtherPromise,
    /// Neither the module nor the person says what it promises.
    #[error("the module does not say what it promises")]
    NoPromise,
    /// The module wants a call by a name that none can have.
    #[error("a call that the module wants: {0}")]
    Call(#[from] NameError),
    /// The descriptor would break its rules.
    #[error(transparent)]
    Descriptor(#[from] DescriptorError),
    /// The name is taken for good.
    #[error("\"{0}\" is a built-in module, and those keep their names; choose another name")]
    BuiltIn(ModuleName),
    /// This machine cannot be named in a descriptor.
    #[error(transparent)]
    Platform(#[from] UnknownPlatform),
    /// The store or the symbol table cannot be read or written.
    #[error(transparent)]
    Symbols(#[from] SymbolsError),
    /// The store cannot be written.
    #[error(transparent)]
    Store(#[from] CacheError),
}

/// A machine whose platform has no name that descriptors can hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this machine's platform, {name}: {why}")]
pub struct UnknownPlatform {
    /// What it is called here.
    pub name: String,
    /// What is wrong with that.
    pub why: PlatformError,
}

impl Draft {
    /// Reads what the bytes of a file are. `promise` is the text that the person gives, if any;
    /// `protocol` how an executable is spoken to.
    ///
    /// # Errors
    /// The file is neither a WebAssembly module nor an executable, promises nothing or something else
    /// than is said, or is too long.
    pub fn of(
        code: Vec<u8>,
        promise: Option<String>,
        protocol: Protocol,
    ) -> Result<Self, PublishError> {
        if code.starts_with(b"\0asm") {
            Self::of_wasm(code, promise)
        } else if code.starts_with(b"\x7fELF") || code.starts_with(b"#!") {
            Self::of_executable(code, promise, protocol)
        } else {
            Err(PublishError::NotAModule)
        }
    }

    fn of_wasm(code: Vec<u8>, said: Option<String>) -> Result<Self, PublishError> {
        if code.len() > MAX_MODULE {
            return Err(too_long("a WebAssembly module", MAX_MODULE));
        }
        let manifest = Manifest::read(&code)?;
        let promise = match (manifest.promise, said) {
            (Some(own), Some(said)) if own != said => {
                return Err(PublishError::OtherPromise);
            }
            (Some(own), _) => own,
            (None, Some(said)) => said,
            (None, None) => return Err(PublishError::NoPromise),
        };
        let calls = manifest.calls.iter().map(|call| call.parse::<CallName>());
        let calls: Vec<CallName> = calls.collect::<Result<_, _>>()?;
        let id = ContentId::of(promise.as_bytes());
        let module =
            Descriptor::new(id, ModuleKind::Wasm, ContentId::of(&code)).with_calls(calls)?;
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

    fn of_executable(
        code: Vec<u8>,
        promise: Option<String>,
        protocol: Protocol,
    ) -> Result<Self, PublishError> {
        if code.len() > MAX_EXECUTABLE {
            return Err(too_long("an executable", MAX_EXECUTABLE));
        }
        let promise = promise.ok_or(PublishError::NoPromise)?;
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

    /// Stores the module, and makes the table that gives it its name. That table is the caller's to take
    /// up.
    ///
    /// # Errors
    /// The name is that of a built-in module, or the store cannot be written.
    pub fn store(&self, symbols: &Symbols, name: &ModuleName) -> Result<Stored, PublishError> {
        if builtins::is_builtin(name.as_str()) {
            return Err(PublishError::BuiltIn(name.clone()));
        }
        let objects = symbols.objects();
        objects.put_as(self.module.code(), &self.code)?;
        objects.put_as(self.module.promise(), self.promise.as_bytes())?;
        let id = objects.put(HashCode::Sha2_256, &self.module.encode())?.id;
        let before = symbols.table().get(name.as_str()).copied();
        let next = symbols.table().with(name.clone(), id);
        Ok(Stored {
            id,
            before: before.filter(|before| *before != id),
            next: next.map_err(SymbolsError::from)?,
        })
    }
}

/// The platform of this machine.
///
/// # Errors
/// It has no name that descriptors can hold.
pub fn here() -> Result<Platform, UnknownPlatform> {
    let name = format!("{}/{}", std::env::consts::OS, std::env::consts::ARCH);
    name.parse().map_err(|why| UnknownPlatform { name, why })
}

const fn too_long(what: &'static str, max: usize) -> PublishError {
    PublishError::TooLong { what, max }
}
