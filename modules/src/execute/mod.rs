//! How code that keeps a promise is run.
//!
//! | file | concept |
//! |---|---|
//! | `executor` | what all code has in common: two entry points |
//! | `abi` | the names of the interface with modules in WebAssembly |
//! | `manifest` | what a WebAssembly module says about itself, read without running it |
//! | `wasm` | modules in WebAssembly: the engine, a fresh instance per call, what guests may ask |
//! | `native` | executables of this machine's own kind, allowed one by one |
//! | `limits`, `error`, `objects` | what code may use; what goes wrong; where guests get objects |
//!
//! Both are called in one way, by the trait [`Executor`]. There are two entry points:
//!
//! - *accept* is shown the parameters of a call: a message with promise, module and arguments, with
//!   an empty payload and without proof. It answers with a message that is led by one of two
//!   well-known promises ([`Verdicts`]): it will handle such a call, or it will not.
//! - *handle* is shown the same message with the payload, and answers with any message.
//!
//! The bytes that cross are those of [`Message::encode`](grid_promises::Message::encode), both ways; see `docs/modules.md`. Between
//! the two calls nothing is kept. A module that says yes and then yields no answer has broken its
//! promise; [`CallError::fault`] tells that from trouble of this node.
//!
//! Calls block: make them on a thread that may (`tokio::task::spawn_blocking`). Nothing here decides
//! *whether* code may run, but for one thing that cannot be left out: native code runs only with an
//! [`native::Allowed`], which an allow-list alone gives.

pub mod abi;
mod error;
mod executor;
mod guest_log;
mod limits;
mod manifest;
pub mod native;
mod object_source;
pub mod wasm;

pub use abi::ABI;
pub use error::{CallError, Fault, ModuleError, SectionFault};
pub use executor::{Executor, Verdict, Verdicts};
pub use limits::{Budget, Limits, MAX_EXECUTABLE, MAX_MODULE};
pub use manifest::Manifest;
pub use object_source::{NoObjects, ObjectError, ObjectSource};
