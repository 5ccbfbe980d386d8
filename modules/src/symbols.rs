//! The symbol table of a node: which names it knows, and what they lead to.
//!
//! The table is an object like any other; its content id is a setting. A node that has none yet has the
//! table of the built-in modules. A table is never changed: the next one names it as the one before.

use std::sync::Arc;

use grid_promises::ContentId;
use grid_promises::content_id::HashCode;
use grid_promises::modules::descriptor::DescriptorError;
use grid_promises::modules::table::{TableError, TableFull};
use grid_promises::modules::{Descriptor, SymbolTable, builtins};

use crate::cache_dir::CacheDir;
use crate::objects::{Cache as _, CacheError, Layers, Object, Objects};
use crate::roots;

/// The longest history that is followed.
const MAX_HISTORY: usize = 10_000;

/// Why a name or what it leads to cannot be had. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum SymbolsError {
    /// The settings name a table that is not here.
    #[error("the symbol table {0}, which the configuration names, is not in the store")]
    NoTable(ContentId),
    /// Another object stands where a table should be.
    #[error("the object {id} is no symbol table: {why}")]
    NotATable {
        /// The object.
        id: ContentId,
        /// What is wrong with it.
        why: TableError,
    },
    /// Another object stands where a descriptor should be.
    #[error("the module {id} cannot be used: {why}")]
    NotADescriptor {
        /// The object.
        id: ContentId,
        /// What is wrong with it.
        why: DescriptorError,
    },
    /// Another object stands where a promise text should be.
    #[error("the object {0} is no promise text")]
    NotAPromise(ContentId),
    /// There are too many names for one table.
    #[error(transparent)]
    Full(#[from] TableFull),
    /// An object is damaged, or the store cannot be read or written.
    #[error(transparent)]
    Store(#[from] CacheError),
}

/// The names of a node, and the objects that it has.
#[derive(Clone)]
pub struct Symbols {
    objects: Objects,
    local: Arc<Layers>,
    table: SymbolTable,
    id: ContentId,
}

impl Symbols {
    /// The names in this table; in that of the built-in modules if there is none. The folder need not
    /// exist.
    ///
    /// # Errors
    /// The table is not in the store, is damaged, or is no table.
    pub fn open(cache: &CacheDir, table: Option<ContentId>) -> Result<Self, SymbolsError> {
        let objects = Objects::of(cache);
        let local = Arc::new(roots::local(&objects));
        let table = match table {
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

    /// What the node has without asking anybody.
    #[must_use]
    pub fn local(&self) -> Arc<Layers> {
        Arc::clone(&self.local)
    }

    /// An object, if it is here.
    ///
    /// # Errors
    /// It is damaged, or the store cannot be read.
    pub fn object(&self, id: &ContentId) -> Result<Option<Object>, CacheError> {
        self.local.get(id)
    }

    /// A descriptor, if it is here.
    ///
    /// # Errors
    /// The object is damaged, or is no descriptor.
    pub fn descriptor(&self, id: &ContentId) -> Result<Option<Descriptor>, SymbolsError> {
        let Some(object) = self.object(id)? else {
            return Ok(None);
        };
        let bytes = object.bytes().unwrap_or_default();
        Descriptor::decode(bytes)
            .map(Some)
            .map_err(|why| SymbolsError::NotADescriptor { id: *id, why })
    }

    /// The text of a promise, if it is here.
    ///
    /// # Errors
    /// The object is damaged, or is no text.
    pub fn promise_text(&self, id: &ContentId) -> Result<Option<String>, SymbolsError> {
        let Some(object) = self.object(id)? else {
            return Ok(None);
        };
        let text = object
            .bytes()
            .map(|bytes| String::from_utf8(bytes.to_vec()));
        match text {
            Some(Ok(text)) => Ok(Some(text)),
            _ => Err(SymbolsError::NotAPromise(*id)),
        }
    }

    /// This table and those before it, the present one first, as far as they are here.
    ///
    /// # Errors
    /// One of them is damaged or is no table.
    pub fn history(&self) -> Result<Vec<(ContentId, SymbolTable)>, SymbolsError> {
        let mut all = vec![(self.id, self.table.clone())];
        while let Some(before) = all.last().and_then(|(_, table)| table.previous().copied())
            && all.len() < MAX_HISTORY
            && self.local.has(&before)?
        {
            all.push((before, read_table(&self.local, &before)?));
        }
        Ok(all)
    }

    /// Stores the next table, and the one before it, so that its history is here. What the settings name
    /// is the caller's to change, afterwards.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn advance(&mut self, next: SymbolTable) -> Result<(), CacheError> {
        self.keep()?;
        self.id = next.id();
        self.table = next;
        self.keep()
    }

    /// The next table, in which the names of the built-in modules lead to those of this version: the
    /// first table of a node comes with one version of the program, and not with the next. `None` if
    /// they do already.
    ///
    /// # Errors
    /// There are too many names.
    pub fn with_builtins(&self) -> Result<Option<SymbolTable>, TableFull> {
        let mut names = self.table.names().clone();
        names.extend(builtins::names());
        self.table.followed_by(names)
    }

    /// Puts the table into the store, unless it is there.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn keep(&self) -> Result<(), CacheError> {
        if !self.objects.has(&self.id)? {
            self.objects.put(HashCode::Sha2_256, &self.table.encode())?;
        }
        Ok(())
    }
}

fn read_table(local: &Layers, id: &ContentId) -> Result<SymbolTable, SymbolsError> {
    let object = local.get(id)?.ok_or(SymbolsError::NoTable(*id))?;
    let bytes = object.bytes().unwrap_or_default();
    SymbolTable::decode(bytes).map_err(|why| SymbolsError::NotATable { id: *id, why })
}
