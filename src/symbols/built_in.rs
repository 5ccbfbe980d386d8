//! The names of a build without modules: those of its own commands.

use grid_promises::modules::{Descriptor, SymbolTable, builtins};
use grid_promises::{ContentId, texts};

use crate::exit::Outcome;
use crate::home::Home;
use crate::store::Config;

/// The built-in names.
pub struct Symbols {
    table: SymbolTable,
    id: ContentId,
}

/// The names of a home, whatever its configuration says: what that names is for builds with modules.
///
/// # Errors
/// None; a build with modules has some.
pub fn open(_home: &Home, _config: &Config) -> Outcome<Symbols> {
    let table = builtins::table();
    let id = table.id();
    Ok(Symbols { table, id })
}

impl Symbols {
    /// The table.
    #[must_use]
    pub const fn table(&self) -> &SymbolTable {
        &self.table
    }

    /// The table's content id.
    #[must_use]
    pub const fn id(&self) -> &ContentId {
        &self.id
    }

    /// The descriptor of a built-in module.
    ///
    /// # Errors
    /// None; see [`open`].
    pub fn descriptor(&self, id: &ContentId) -> Outcome<Option<Descriptor>> {
        let mut names = self.table.names().iter();
        let found = names.find(|(_, other)| *other == id);
        Ok(found.and_then(|(name, _)| builtins::descriptor(name.as_str())))
    }

    /// The text of a promise of this version.
    ///
    /// # Errors
    /// None; see [`open`].
    pub fn promise_text(&self, id: &ContentId) -> Outcome<Option<String>> {
        Ok(texts::by_id(id).map(|promise| promise.text.to_owned()))
    }
}
