//! The names of a home, as its configuration has them.
//!
//! The table is an object in the store; its content id stands in the configuration. A build without
//! modules has the names of its own commands, and no store.

#[cfg(feature = "modules")]
mod stored;

#[cfg(feature = "modules")]
pub use stored::{change, ensure, open};

#[cfg(not(feature = "modules"))]
mod built_in;

#[cfg(not(feature = "modules"))]
pub use built_in::{Symbols, open};
#[cfg(feature = "modules")]
pub use grid_modules::symbols::Symbols;
