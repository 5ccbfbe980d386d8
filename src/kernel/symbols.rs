//! The symbol table of a home: which names it knows, and what they lead to.
//!
//! The table is an object like any other; its content id stands in the configuration. A home that has
//! none yet has the table of the built-in modules. A table is never changed: the next one names it as
//! the one before.

use std::sync::Arc;

use grid_promises::ContentId;
use grid_promises::content_id::HashCode;
use grid_promises::modules::{Descriptor, SymbolTable};

use super::builtins;
use crate::exit::{Failure, Outcome};
use crate::home::Home;
use crate::objects::{Cache as _, Layers, Object, Objects, roots};
use crate::store::{Config, Store};

/// The longest history that is followed.
const MAX_HISTORY: usize = 10_000;

/// The names of a home, and the objects that it has.
#[derive(Clone)]
pub struct Symbols {
    objects: Objects,
    local: Arc<Layers>,
    table: SymbolTable,
    id: ContentId,
}

impl Symbols {
    /// Those of a home. It need not exist.
    ///
    /// # Errors
    /// The table that the configuration names is not in the store, is damaged, or is no table.
    pub fn open(home: &Home, config: &Config) -> Outcome<Self> {
        let objects = Objects::of(home);
        let local = Arc::new(roots::local(&objects));
        let table = match config.symbols {
            Some(id) => read_table(&local, &id)?,
            None => builtins::table(),
        };
        Ok(Self {
            objects,
            local,
            id: table.id(),
            table,
        })
    }

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

    /// The objects on disk.
    #[must_use]
    pub const fn objects(&self) -> &Objects {
        &self.objects
    }

    /// What the home has without asking anybody.
    #[must_use]
    pub fn local(&self) -> Arc<Layers> {
        Arc::clone(&self.local)
    }

    /// An object, if it is here.
    ///
    /// # Errors
    /// It is damaged, or the store cannot be read.
    pub fn object(&self, id: &ContentId) -> Outcome<Option<Object>> {
        Ok(self.local.get(id)?)
    }

    /// A descriptor, if it is here.
    ///
    /// # Errors
    /// The object is damaged, or is no descriptor.
    pub fn descriptor(&self, id: &ContentId) -> Outcome<Option<Descriptor>> {
        let Some(object) = self.object(id)? else {
            return Ok(None);
        };
        let bytes = object.bytes().unwrap_or_default();
        Descriptor::decode(bytes)
            .map(Some)
            .map_err(|error| Failure::failed(format!("the module {id} cannot be used: {error}")))
    }

    /// What a name stands for, if the table has it and its descriptor is here.
    ///
    /// # Errors
    /// As [`descriptor`](Self::descriptor).
    pub fn module(&self, name: &str) -> Outcome<Option<Descriptor>> {
        match self.table.get(name) {
            Some(id) => self.descriptor(id),
            None => Ok(None),
        }
    }

    /// The text of a promise, if it is here.
    ///
    /// # Errors
    /// The object is damaged, or is no text.
    pub fn promise_text(&self, id: &ContentId) -> Outcome<Option<String>> {
        let Some(object) = self.object(id)? else {
            return Ok(None);
        };
        let text = object
            .bytes()
            .map(|bytes| String::from_utf8(bytes.to_vec()));
        match text {
            Some(Ok(text)) => Ok(Some(text)),
            _ => Err(Failure::failed(format!(
                "the object {id} is no promise text"
            ))),
        }
    }

    /// This table and those before it, the present one first, as far as they are here.
    ///
    /// # Errors
    /// One of them is damaged or is no table.
    pub fn history(&self) -> Outcome<Vec<(ContentId, SymbolTable)>> {
        let mut all = vec![(self.id, self.table.clone())];
        while let Some(before) = all.last().and_then(|(_, table)| table.previous().copied())
            && all.len() < MAX_HISTORY
            && self.local.has(&before)?
        {
            all.push((before, read_table(&self.local, &before)?));
        }
        Ok(all)
    }

    /// Makes the next table of a home, and has the configuration name it. `change` is given the
    /// present one; if it says that nothing changes, nothing is written.
    ///
    /// # Errors
    /// What `change` says, or the table cannot be written. The table before still stands then.
    pub fn change<T>(
        home: &Home,
        change: impl FnOnce(&Self) -> Outcome<(Option<SymbolTable>, T)>,
    ) -> Outcome<(Self, T)> {
        let store = Store::open(home)?;
        store.edit_config(|config, draft| {
            let mut symbols = Self::open(home, config)?;
            let (next, result) = change(&symbols)?;
            if let Some(next) = next {
                symbols.keep()?;
                symbols.id = next.id();
                symbols.table = next;
                symbols.keep()?;
                draft.set_symbols(&symbols.id);
            }
            Ok((symbols, result))
        })
    }

    /// Sees to it that the table is in the store, and knows every built-in module of this version: the
    /// first table of a home comes with one version of the program, and not with the next.
    ///
    /// # Errors
    /// As [`Symbols::change`].
    pub fn ensure(home: &Home, config: &Config) -> Outcome {
        let symbols = Self::open(home, config)?;
        symbols.keep()?;
        if with_builtins(&symbols.table)?.is_some() {
            Self::change(home, |symbols| Ok((with_builtins(&symbols.table)?, ())))?;
        }
        Ok(())
    }

    /// Puts the table into the store, unless it is there.
    fn keep(&self) -> Outcome {
        if !self.objects.has(&self.id)? {
            self.objects.put(HashCode::Sha2_256, &self.table.encode())?;
        }
        Ok(())
    }
}

/// The next table, in which the names of the built-in modules lead to those of this version. `None` if
/// they do already.
fn with_builtins(table: &SymbolTable) -> Outcome<Option<SymbolTable>> {
    let mut names = table.names().clone();
    names.extend(builtins::names());
    table
        .followed_by(names)
        .map_err(|error| Failure::failed(error.to_string()))
}

fn read_table(local: &Layers, id: &ContentId) -> Outcome<SymbolTable> {
    let missing = || {
        Failure::failed(format!(
            "the symbol table {id}, which the configuration names, is not in the store; \
             `grid symbols --back ID` goes to another one, and without the line `symbols` in the \
             configuration the built-in names remain"
        ))
    };
    let object = local.get(id)?.ok_or_else(missing)?;
    let bytes = object.bytes().unwrap_or_default();
    SymbolTable::decode(bytes)
        .map_err(|error| Failure::failed(format!("the object {id} is no symbol table: {error}")))
}
