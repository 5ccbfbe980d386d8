//! Modules in WebAssembly.
//!
//! | file | concept |
//! |---|---|
//! | `engine` | the engine: loading a module, once |
//! | `module` | a module that is ready, and one call: a fresh instance, its budget, its answer |
//! | `host` | the one import, and what a guest may ask with it |
//! | `memory` | ranges of a guest's memory |
//! | `failure` | what the engine has to say when something fails |
//! | `compiled` | compiled modules on disk |
//! | `ticker` | time for guests |
//! | `slots` | how many guests may run at once |
//!
//! Every call gets an instance of its own out of a pool, and the instance is gone with the call:
//! a guest cannot keep anything. It can compute, use its memory, and ask the host by `grid.call`;
//! there is nothing else to import, and each thing that it may ask has to stand in its module.
//! What a module computes does not depend on the machine: NaNs are canonical, relaxed vector
//! instructions and threads are off.

mod compiled;
mod engine;
mod failure;
mod host;
mod memory;
mod module;
mod slots;
mod ticker;

pub use engine::{Settings, Wasm};
pub use failure::SetUpError;
pub use module::WasmModule;

pub use super::abi::{ACCEPT, HANDLE, MEMORY};
