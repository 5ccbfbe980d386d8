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

use grid_promises::ContentId;
use grid_promises::modules::Descriptor;

use crate::exit::Outcome;

/// The first name that stands for a module with this code.
///
/// # Errors
/// A descriptor is damaged.
pub fn name_of(symbols: &Symbols, code: &ContentId) -> Outcome<Option<String>> {
    for (name, id) in symbols.table().names() {
        let module = symbols.descriptor(id)?;
        if module.is_some_and(|module| module.code() == code) {
            return Ok(Some(name.to_string()));
        }
    }
    Ok(None)
}

/// What a name stands for, if the table has it and its descriptor is here.
///
/// # Errors
/// The descriptor is damaged, or is none.
pub fn named(symbols: &Symbols, name: &str) -> Outcome<Option<Descriptor>> {
    match symbols.table().get(name) {
        Some(id) => Ok(symbols.descriptor(id)?),
        None => Ok(None),
    }
}
