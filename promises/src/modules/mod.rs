//! Modules as objects: what a module is, what people call it, and how large ones travel.
//!
//! A module is content-addressed code that keeps a promise. A [`Descriptor`] says what it is, a
//! [`SymbolTable`] gives it a name, [`adopt()`] merges the names of a peer, and a [`Manifest`] lets
//! an object travel in chunks that are verified one by one. All of them are objects themselves:
//! strict deterministic CBOR with a version number first, named by the hash of their bytes.
//!
//! Nothing here fetches, stores or runs anything, and nothing here decides whether a module may
//! run. Whether an id in a descriptor or a table leads to an object at all shows when it is fetched.

pub mod adopt;
pub mod builtins;
pub mod chunks;
pub mod descriptor;
pub mod fetch;
pub mod name;
pub mod platform;
pub mod progress;
pub mod table;

pub use crate::object;
pub use crate::object::ObjectError;
pub use adopt::{Adoption, Choice, Conflict, adopt};
pub use chunks::{Manifest, ManifestBuilder};
pub use descriptor::{Descriptor, ModuleKind, Protocol};
pub use name::{CallName, ModuleName, NameError};
pub use platform::Platform;
pub use progress::Progress;
pub use table::{SymbolTable, TableDiff};
