//! What a WebAssembly module says about itself, read without running or compiling it.
//!
//! It stands in custom sections, each at most once:
//!
//! | section | content |
//! |---|---|
//! | `promise` | the promise text, UTF-8, up to 64 KiB |
//! | `promise_name` | the name that the module goes by: a lower-case letter, then up to 62 of `a-z 0-9 -` |
//! | `promise_calls` | the calls it wants, names as above, ascending, each followed by a single space but the last |
//! | `promise_pure` | `yes`: the same call always has the same answer |
//!
//! (WebAssembly's own section `name` holds names for debuggers, and every tool writes it.)
//!
//! A section that cannot be read makes the module useless: nothing is guessed, cut short, or taken
//! from the first of two.

use wasmparser::{ExternalKind, Parser, Payload, TypeRef};

use super::error::{ABI, ABI_PREFIX, ModuleError};
use super::limits::MAX_MODULE;
use super::wasm::{ACCEPT, HANDLE, MEMORY};

const PROMISE: &str = "promise";
const NAME: &str = "promise_name";
const CALLS: &str = "promise_calls";
const PURE: &str = "promise_pure";
const PURE_CONTENT: &[u8] = b"yes";

const MAX_PROMISE: usize = 64 * 1024;
const MAX_NAME: usize = 63;
const MAX_CALLS: usize = 32;
/// The one call whose answer never changes.
const PURE_CALL: &str = "get";
const PAGE: u64 = 64 * 1024;

/// What a module says about itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Manifest {
    /// The text of the promise that it keeps; its content id leads the messages for the module.
    pub promise: Option<String>,
    /// The name that it goes by.
    pub name: Option<String>,
    /// The calls that it may make of its host, ascending. To be shown to the person.
    pub calls: Vec<String>,
    /// The same call always has the same answer, so answers may be kept.
    pub pure: bool,
}

/// What is wrong with a section.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SectionFault {
    /// It is there twice.
    #[error("is there more than once")]
    Repeated,
    /// It is longer than it may be.
    #[error("has {found} bytes, more than the {max} allowed")]
    TooLong {
        /// Its length, in bytes.
        found: usize,
        /// The longest allowed, in bytes.
        max: usize,
    },
    /// It is empty.
    #[error("is empty")]
    Empty,
    /// It is not UTF-8.
    #[error("is not UTF-8")]
    NotText,
    /// A name of other characters.
    #[error("holds a name that is not a lower-case letter and up to 62 of a-z, 0-9 and -")]
    NotAName,
    /// The calls are not in ascending order, or one is there twice.
    #[error("must list its calls in ascending order, each once")]
    Unordered,
    /// More calls than a module may list.
    #[error("lists {found} calls, more than the {max} allowed")]
    TooMany {
        /// How many there are.
        found: usize,
        /// The most allowed.
        max: usize,
    },
    /// Something else than `yes`.
    #[error("must hold `yes`")]
    NotYes,
}

impl Manifest {
    /// Reads it out of a module, also of one that cannot run here.
    ///
    /// # Errors
    /// Not a module, or a section that cannot be read.
    pub fn read(bytes: &[u8]) -> Result<Self, ModuleError> {
        Outline::read(bytes).map(|outline| outline.manifest)
    }

    /// Whether the module lists a call.
    #[must_use]
    pub fn lists(&self, call: &str) -> bool {
        self.calls.iter().any(|listed| listed == call)
    }
}

/// A module as far as it can be seen from outside.
#[derive(Debug, Default)]
pub(super) struct Outline {
    /// What it says about itself.
    pub(super) manifest: Manifest,
    seen: Vec<&'static str>,
    speaks_ours: bool,
    other_abi: Option<String>,
    exports_memory: bool,
    exports_accept: bool,
    exports_handle: bool,
    foreign_import: Option<(String, String)>,
    memory_bytes: u64,
}

impl Outline {
    /// Walks over the sections. Linear in the length; copies what is kept of them, and no more.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, ModuleError> {
        if bytes.len() > MAX_MODULE {
            return Err(ModuleError::TooLong {
                found: bytes.len(),
                max: MAX_MODULE,
            });
        }
        // Magic, version, layer: the layer tells components from modules.
        if bytes.starts_with(b"\0asm") && bytes.get(6..8) == Some(&[1, 0]) {
            return Err(ModuleError::Component);
        }
        let mut outline = Self::default();
        for payload in Parser::new(0).parse_all(bytes) {
            outline.add(payload.map_err(not_a_module)?)?;
        }
        outline.check_pure()?;
        Ok(outline)
    }

    /// Whether the module can be called through the interface that is spoken here. Types are left
    /// to the engine, which needs them all anyway.
    pub(super) fn check_interface(&self, max_memory: usize) -> Result<(), ModuleError> {
        if !self.speaks_ours {
            return Err(match self.other_abi.clone() {
                Some(found) => ModuleError::OtherAbi { found },
                None => ModuleError::NoAbi,
            });
        }
        for (name, there) in [
            (MEMORY, self.exports_memory),
            (ACCEPT, self.exports_accept),
            (HANDLE, self.exports_handle),
        ] {
            if !there {
                return Err(missing(name));
            }
        }
        if let Some((module, name)) = &self.foreign_import {
            return Err(ModuleError::OtherImport {
                module: module.clone(),
                name: name.clone(),
            });
        }
        if self.memory_bytes > max_memory as u64 {
            return Err(ModuleError::TooMuchMemory {
                found: self.memory_bytes,
                max: max_memory,
            });
        }
        Ok(())
    }

    fn add(&mut self, payload: Payload<'_>) -> Result<(), ModuleError> {
        match payload {
            Payload::CustomSection(section) => self.custom(section.name(), section.data()),
            Payload::ExportSection(exports) => {
                for export in exports {
                    let export = export.map_err(not_a_module)?;
                    self.export(export.name, export.kind);
                }
                Ok(())
            }
            Payload::ImportSection(imports) => {
                for import in imports.into_imports() {
                    let import = import.map_err(not_a_module)?;
                    let known = (import.module, import.name) == ("grid", "call")
                        && matches!(import.ty, TypeRef::Func(_));
                    if !known && self.foreign_import.is_none() {
                        self.foreign_import = Some((short(import.module), short(import.name)));
                    }
                }
                Ok(())
            }
            Payload::MemorySection(memories) => {
                for memory in memories {
                    let pages = memory.map_err(not_a_module)?.initial;
                    self.memory_bytes =
                        self.memory_bytes.saturating_add(pages.saturating_mul(PAGE));
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn export(&mut self, name: &str, kind: ExternalKind) {
        match (kind, name) {
            (_, ABI) => self.speaks_ours = true,
            (_, other) if other.starts_with(ABI_PREFIX) && self.other_abi.is_none() => {
                self.other_abi = Some(short(other));
            }
            (ExternalKind::Memory, MEMORY) => self.exports_memory = true,
            (ExternalKind::Func, ACCEPT) => self.exports_accept = true,
            (ExternalKind::Func, HANDLE) => self.exports_handle = true,
            _ => {}
        }
    }

    fn custom(&mut self, name: &str, data: &[u8]) -> Result<(), ModuleError> {
        let Some(name) = [PROMISE, NAME, CALLS, PURE]
            .into_iter()
            .find(|known| *known == name)
        else {
            return Ok(());
        };
        let fault = |fault| ModuleError::Section { name, fault };
        if self.seen.contains(&name) {
            return Err(fault(SectionFault::Repeated));
        }
        self.seen.push(name);
        let manifest = &mut self.manifest;
        match name {
            PROMISE => text(data, MAX_PROMISE).map(|text| manifest.promise = Some(text.to_owned())),
            NAME => read_name(data).map(|name| manifest.name = Some(name)),
            CALLS => read_calls(data).map(|calls| manifest.calls = calls),
            _ if data == PURE_CONTENT => {
                manifest.pure = true;
                Ok(())
            }
            _ => Err(SectionFault::NotYes),
        }
        .map_err(fault)
    }

    fn check_pure(&self) -> Result<(), ModuleError> {
        let impure = self.manifest.calls.iter().find(|call| *call != PURE_CALL);
        match impure {
            Some(call) if self.manifest.pure => Err(ModuleError::NotPure { call: call.clone() }),
            _ => Ok(()),
        }
    }
}

fn not_a_module(error: wasmparser::BinaryReaderError) -> ModuleError {
    ModuleError::NotAModule {
        why: format!("{} at byte {}", error.message(), error.offset()),
    }
}

pub(super) const fn missing(name: &'static str) -> ModuleError {
    let wanted = if matches!(name.as_bytes(), b"memory") {
        "a memory"
    } else {
        "a function () -> i64"
    };
    ModuleError::MissingExport { name, wanted }
}

/// As much of a foreign name as belongs into an error.
fn short(name: &str) -> String {
    name.chars().take(64).flat_map(char::escape_debug).collect()
}

fn text(data: &[u8], max: usize) -> Result<&str, SectionFault> {
    if data.is_empty() {
        return Err(SectionFault::Empty);
    }
    if data.len() > max {
        return Err(SectionFault::TooLong {
            found: data.len(),
            max,
        });
    }
    std::str::from_utf8(data).map_err(|_| SectionFault::NotText)
}

fn is_name(text: &str) -> bool {
    let mut bytes = text.bytes();
    text.len() <= MAX_NAME
        && bytes.next().is_some_and(|first| first.is_ascii_lowercase())
        && bytes.all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'))
}

fn read_name(data: &[u8]) -> Result<String, SectionFault> {
    let name = text(data, MAX_NAME)?;
    if is_name(name) {
        Ok(name.to_owned())
    } else {
        Err(SectionFault::NotAName)
    }
}

fn read_calls(data: &[u8]) -> Result<Vec<String>, SectionFault> {
    let calls: Vec<&str> = text(data, MAX_CALLS * (MAX_NAME + 1))?.split(' ').collect();
    if calls.len() > MAX_CALLS {
        return Err(SectionFault::TooMany {
            found: calls.len(),
            max: MAX_CALLS,
        });
    }
    if !calls.iter().all(|call| is_name(call)) {
        return Err(SectionFault::NotAName);
    }
    if !calls.is_sorted_by(|a, b| a < b) {
        return Err(SectionFault::Unordered);
    }
    Ok(calls.into_iter().map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sections(list: &[(&str, &str)]) -> Vec<u8> {
        let body: String = list
            .iter()
            .map(|(name, data)| format!("(@custom \"{name}\" \"{data}\")"))
            .collect();
        wat::parse_str(format!("(module {body})")).unwrap()
    }

    fn fault_of(name: &str, data: &str) -> SectionFault {
        match Manifest::read(&sections(&[(name, data)])) {
            Err(ModuleError::Section { name: found, fault }) if found == name => fault,
            other => panic!("{name} {data:.40}: {other:?}"),
        }
    }

    #[test]
    fn a_module_says_what_it_promises() {
        let bytes = sections(&[
            ("promise", "I will say hello.\\n"),
            ("promise_name", "hello-2"),
            ("promise_calls", "get log"),
            ("other", "anything"),
        ]);
        assert_eq!(
            Manifest::read(&bytes).unwrap(),
            Manifest {
                promise: Some("I will say hello.\n".to_owned()),
                name: Some("hello-2".to_owned()),
                calls: vec!["get".to_owned(), "log".to_owned()],
                pure: false,
            }
        );
        assert_eq!(Manifest::read(&sections(&[])).unwrap(), Manifest::default());
    }

    #[test]
    fn a_pure_module_lists_get_only() {
        let pure = Manifest::read(&sections(&[
            ("promise_pure", "yes"),
            ("promise_calls", "get"),
        ]));
        assert!(pure.unwrap().pure);
        for (calls, first) in [("log", "log"), ("get time", "time")] {
            let error = Manifest::read(&sections(&[
                ("promise_calls", calls),
                ("promise_pure", "yes"),
            ]));
            assert_eq!(
                error,
                Err(ModuleError::NotPure {
                    call: first.to_owned()
                })
            );
        }
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        use SectionFault as F;
        let long = "a".repeat(MAX_NAME + 1);
        let many: Vec<String> = (0..=MAX_CALLS).map(|n| format!("a{n:02}")).collect();
        for (name, data, fault) in [
            ("promise", "", F::Empty),
            ("promise", "\\ff", F::NotText),
            (
                "promise",
                "x".repeat(MAX_PROMISE + 1).as_str(),
                F::TooLong {
                    found: MAX_PROMISE + 1,
                    max: MAX_PROMISE,
                },
            ),
            ("promise_name", "Hello", F::NotAName),
            ("promise_name", "1st", F::NotAName),
            ("promise_name", "a/b", F::NotAName),
            ("promise_name", "a\\n", F::NotAName),
            (
                "promise_name",
                long.as_str(),
                F::TooLong { found: 64, max: 63 },
            ),
            ("promise_calls", "", F::Empty),
            ("promise_calls", "log get", F::Unordered),
            ("promise_calls", "get get", F::Unordered),
            ("promise_calls", "get  log", F::NotAName),
            ("promise_calls", "get\\nlog", F::NotAName),
            (
                "promise_calls",
                many.join(" ").as_str(),
                F::TooMany {
                    found: MAX_CALLS + 1,
                    max: MAX_CALLS,
                },
            ),
            ("promise_pure", "", F::NotYes),
            ("promise_pure", "no", F::NotYes),
        ] {
            assert_eq!(fault_of(name, data), fault, "{name} {data:.40}");
        }
        for name in [PROMISE, NAME, CALLS, PURE] {
            let error = Manifest::read(&sections(&[(name, "yes"), (name, "yes")]));
            let fault = F::Repeated;
            assert_eq!(error, Err(ModuleError::Section { name, fault }));
        }
    }

    #[test]
    fn what_is_no_module_is_said_to_be_none() {
        let good = sections(&[("promise", "I will say hello.")]);
        for bytes in [&b""[..], b"hello", b"\0asm", b"\0asm\x02\0\0\0"] {
            let error = Manifest::read(bytes);
            assert!(
                matches!(error, Err(ModuleError::NotAModule { .. })),
                "{error:?}"
            );
        }
        for cut in 0..good.len() {
            // What is cut between two sections is a module that says less.
            match Manifest::read(&good[..cut]) {
                Err(ModuleError::NotAModule { .. }) => {}
                other => assert_eq!((other, cut), (Ok(Manifest::default()), 8)),
            }
        }
        let component = b"\0asm\x0d\0\x01\0";
        assert_eq!(Manifest::read(component), Err(ModuleError::Component));
        assert!(matches!(
            Manifest::read(&vec![0; MAX_MODULE + 1]),
            Err(ModuleError::TooLong { .. })
        ));
    }

    proptest::proptest! {
        #[test]
        fn damage_never_panics(at in 0usize..200, byte: u8, tail: Vec<u8>) {
            let mut bytes = sections(&[
                ("promise", "I will say hello."), ("promise_name", "hello"),
                ("promise_calls", "get"), ("promise_pure", "yes"),
            ]);
            let at = at % bytes.len();
            bytes[at] = byte;
            bytes.extend(tail);
            let _ = Manifest::read(&bytes);
        }
    }
}
