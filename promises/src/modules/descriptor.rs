//! What a module is: its promise, its code, and what it asks of whoever runs it.
//!
//! A descriptor is an object; its content id is what a symbol table maps a name to. It carries no
//! name itself, so that the same module has the same id whatever people call it. It grants nothing:
//! the calls are what the module *wants*, shown to a person, denied unless the host allows them.
//! What it promises (to be pure, to run on a platform) is believed at one's own risk.
//!
//! On the wire: `[1, promise, kind, code, [call, ...], pure]`, and for an executable two fields more,
//! `platform` and `protocol`.

use std::collections::BTreeSet;

use minicbor::{Decode, Encode};

use super::name::{CallName, ModuleName, NameError};
use super::platform::{Platform, PlatformError};
use crate::cbor::{self, Bounds};
use crate::content_id::ContentId;
use crate::object::{self, ObjectError, Version};

/// What a module is. Every value of this type obeys the rules of [`Descriptor::decode`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Descriptor {
    promise: ContentId,
    kind: ModuleKind,
    code: ContentId,
    calls: BTreeSet<CallName>,
    pure: bool,
}

/// How the code of a module is run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ModuleKind {
    /// It is part of the program. The code's id is that of [`builtin_object`].
    Builtin,
    /// A WebAssembly module.
    Wasm,
    /// A native executable.
    Exec {
        /// What it was built for.
        platform: Platform,
        /// How it is spoken to.
        protocol: Protocol,
    },
}

/// How a native executable is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// Messages with their lengths before them, on its standard input and output.
    Framed,
    /// As any program: the arguments are passed through, and what it prints is the result.
    Plain,
}

const BUILTIN: u64 = 0;
const WASM: u64 = 1;
const EXEC: u64 = 2;
const FRAMED: u64 = 0;
const PLAIN: u64 = 1;

/// The object that stands for the code of a built-in module: `grid builtin NAME` and a line feed.
#[must_use]
pub fn builtin_object(name: &ModuleName) -> Vec<u8> {
    format!("{BUILTIN_PREFIX}{name}\n").into_bytes()
}

/// The name in an object that [`builtin_object`] made; none for every other object.
#[must_use]
pub fn builtin_name(object: &[u8]) -> Option<ModuleName> {
    let text = std::str::from_utf8(object).ok()?;
    let name = text.strip_prefix(BUILTIN_PREFIX)?.strip_suffix('\n')?;
    name.parse().ok()
}

/// The content id of [`builtin_object`].
#[must_use]
pub fn builtin_code(name: &ModuleName) -> ContentId {
    ContentId::of(&builtin_object(name))
}

const BUILTIN_PREFIX: &str = "grid builtin ";

impl Descriptor {
    /// The most calls that a module may want: as many as a person can be asked to read.
    pub const MAX_CALLS: usize = 32;
    /// The longest encoding, in bytes: 32 calls of 34 bytes and some 220 bytes for the rest, rounded
    /// up.
    pub const MAX_LEN: usize = 2048;
    const BOUNDS: Bounds = Bounds {
        max_bytes: Self::MAX_LEN,
        max_depth: 2,
        max_items: 64,
    };

    /// A module that wants no calls and does not promise to be pure.
    #[must_use]
    pub const fn new(promise: ContentId, kind: ModuleKind, code: ContentId) -> Self {
        Self {
            promise,
            kind,
            code,
            calls: BTreeSet::new(),
            pure: false,
        }
    }

    /// The built-in module of a name.
    #[must_use]
    pub fn builtin(promise: ContentId, name: &ModuleName) -> Self {
        Self::new(promise, ModuleKind::Builtin, builtin_code(name))
    }

    /// The same module, which wants these calls and no others.
    ///
    /// # Errors
    /// More than [`Descriptor::MAX_CALLS`], or any for an executable that is spoken to in plain: it
    /// has no way to make one.
    pub fn with_calls(
        self,
        calls: impl IntoIterator<Item = CallName>,
    ) -> Result<Self, DescriptorError> {
        let mut set = BTreeSet::new();
        for call in calls {
            set.insert(call);
            if set.len() > Self::MAX_CALLS {
                return Err(DescriptorError::TooManyCalls { found: set.len() });
            }
        }
        if self.is_plain() && !set.is_empty() {
            return Err(DescriptorError::CallsOfPlain);
        }
        Ok(Self { calls: set, ..self })
    }

    /// The same module, which promises to be pure: equal calls give equal answers, and nothing else
    /// happens. Only answers of pure modules may be remembered.
    #[must_use]
    pub fn promising_purity(self) -> Self {
        Self { pure: true, ..self }
    }

    /// The text of the promise that the module keeps.
    #[must_use]
    pub const fn promise(&self) -> &ContentId {
        &self.promise
    }

    /// How the code is run.
    #[must_use]
    pub const fn kind(&self) -> &ModuleKind {
        &self.kind
    }

    /// The code.
    #[must_use]
    pub const fn code(&self) -> &ContentId {
        &self.code
    }

    /// The host calls that the module wants, ascending. All others are denied.
    #[must_use]
    pub const fn calls(&self) -> &BTreeSet<CallName> {
        &self.calls
    }

    /// Whether it promises to be pure.
    #[must_use]
    pub const fn is_pure(&self) -> bool {
        self.pure
    }

    /// The object's bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let (kind, exec) = match &self.kind {
            ModuleKind::Builtin => (BUILTIN, None),
            ModuleKind::Wasm => (WASM, None),
            ModuleKind::Exec { platform, protocol } => (EXEC, Some((platform, protocol))),
        };
        cbor::encode(&Fields {
            version: Version,
            promise: self.promise,
            kind,
            code: self.code,
            calls: self.calls.iter().map(CallName::as_str).collect(),
            pure: self.pure,
            platform: exec.map(|(platform, _)| platform.as_str()),
            protocol: exec.map(|(_, protocol)| match protocol {
                Protocol::Framed => FRAMED,
                Protocol::Plain => PLAIN,
            }),
        })
    }

    /// The sha2-256 content id of the object.
    #[must_use]
    pub fn id(&self) -> ContentId {
        ContentId::of(&self.encode())
    }

    /// Reads a descriptor that takes up all of `bytes`.
    ///
    /// # Errors
    /// Not the encoding of a descriptor of this version, or a rule of its fields is broken.
    pub fn decode(bytes: &[u8]) -> Result<Self, DescriptorError> {
        let fields: Fields<'_> = object::read("module descriptor", bytes, &Self::BOUNDS)?;
        let kind = read_kind(&fields)?;
        let calls = read_calls(&fields.calls)?;
        let descriptor = Self {
            pure: fields.pure,
            ..Self::new(fields.promise, kind, fields.code)
        };
        descriptor.with_calls(calls)
    }

    const fn is_plain(&self) -> bool {
        matches!(
            self.kind,
            ModuleKind::Exec {
                protocol: Protocol::Plain,
                ..
            }
        )
    }
}

/// The fields as they travel.
#[derive(Encode, Decode)]
struct Fields<'a> {
    #[n(0)]
    version: Version,
    #[n(1)]
    promise: ContentId,
    #[n(2)]
    kind: u64,
    #[n(3)]
    code: ContentId,
    #[b(4)]
    calls: Vec<&'a str>,
    #[n(5)]
    pure: bool,
    #[b(6)]
    platform: Option<&'a str>,
    #[n(7)]
    protocol: Option<u64>,
}

fn read_kind(fields: &Fields<'_>) -> Result<ModuleKind, DescriptorError> {
    match (fields.kind, fields.platform, fields.protocol) {
        (BUILTIN, None, None) => Ok(ModuleKind::Builtin),
        (WASM, None, None) => Ok(ModuleKind::Wasm),
        (EXEC, Some(platform), Some(protocol)) => Ok(ModuleKind::Exec {
            platform: platform.parse()?,
            protocol: match protocol {
                FRAMED => Protocol::Framed,
                PLAIN => Protocol::Plain,
                found => return Err(DescriptorError::Protocol { found }),
            },
        }),
        (EXEC, _, _) => Err(DescriptorError::ExecIncomplete),
        (BUILTIN | WASM, _, _) => Err(DescriptorError::NotExec),
        (found, _, _) => Err(DescriptorError::Kind { found }),
    }
}

/// Ascending, each once.
fn read_calls(texts: &[&str]) -> Result<Vec<CallName>, DescriptorError> {
    if texts.len() > Descriptor::MAX_CALLS {
        return Err(DescriptorError::TooManyCalls { found: texts.len() });
    }
    let mut calls: Vec<CallName> = Vec::new();
    for (index, text) in texts.iter().enumerate() {
        let call = text
            .parse()
            .map_err(|source| DescriptorError::Call { index, source })?;
        if calls.last() >= Some(&call) {
            return Err(DescriptorError::CallOrder { index });
        }
        calls.push(call);
    }
    Ok(calls)
}

/// What is not a descriptor. Nothing was changed; the same bytes will fail again. From a peer it is
/// the fault of whoever made the object, or a newer version.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DescriptorError {
    /// Damaged, something else, or of another version.
    #[error(transparent)]
    Object(#[from] ObjectError),
    /// A kind of module that this version does not know.
    #[error("a module of kind {found} is not known (0 builtin, 1 wasm and 2 exec are)")]
    Kind {
        /// The number that was found.
        found: u64,
    },
    /// More calls than [`Descriptor::MAX_CALLS`].
    #[error(
        "the module wants {found} calls, more than the {} allowed",
        Descriptor::MAX_CALLS
    )]
    TooManyCalls {
        /// How many there are, or how many had been counted when it was too many.
        found: usize,
    },
    /// A call whose name breaks the rules of names.
    #[error("call {index} of the module has no good name: {source}")]
    Call {
        /// Which one, from 0.
        index: usize,
        /// The rule that it breaks.
        source: NameError,
    },
    /// Calls that are not in ascending order, or one that stands there twice.
    #[error("the calls of a module are ascending, each once; call {index} is not after the last")]
    CallOrder {
        /// The first one that is out of order, from 0.
        index: usize,
    },
    /// A plain executable that lists calls.
    #[error("an executable that is spoken to in plain cannot make calls, and may not list any")]
    CallsOfPlain,
    /// An executable without platform or protocol.
    #[error("an executable must name its platform and how it is spoken to")]
    ExecIncomplete,
    /// A platform or a protocol where there is no executable.
    #[error("only an executable has a platform and a way to be spoken to")]
    NotExec,
    /// A platform that breaks the rules.
    #[error(transparent)]
    Platform(#[from] PlatformError),
    /// A way to be spoken to that this version does not know.
    #[error("the way {found} to speak to an executable is not known (0 framed and 1 plain are)")]
    Protocol {
        /// The number that was found.
        found: u64,
    },
}
