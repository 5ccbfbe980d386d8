//! The symbol table: what people type, and which module that is.
//!
//! A table is an object that never changes. What changes a table makes the next one, which names the
//! one before it: so a node has a history that it can show and go back in, and its current table is
//! one content id. A change that would change nothing makes no table.
//!
//! On the wire: `[1, previous | null, [[name, descriptor], ...]]`, names ascending by their bytes,
//! each once. A table is read without looking at the objects that it names: whether they exist, and
//! whether they are descriptors, shows when they are fetched.

use std::collections::BTreeMap;

use minicbor::{Decode, Encode};

use super::name::{ModuleName, NameError};
use crate::cbor::{self, Bounds};
use crate::content_id::ContentId;
use crate::object::{self, ObjectError, Version};

/// Names, and the content ids of the descriptors that they stand for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SymbolTable {
    previous: Option<ContentId>,
    names: BTreeMap<ModuleName, ContentId>,
}

impl SymbolTable {
    /// The most names that a table may have.
    pub const MAX_NAMES: usize = 16_384;
    /// The longest encoding, in bytes: a name takes up to 139 bytes (array, 65 of text, 73 of the
    /// longest content id), version and previous table up to 80.
    pub const MAX_LEN: usize = Self::MAX_NAMES * (1 + 2 + ModuleName::MAX_LEN + CID_LEN) + 80;
    /// A name is four items (array, text, tag, byte string). Room for a few names too many, so that
    /// they are refused as such.
    const BOUNDS: Bounds = Bounds {
        max_bytes: Self::MAX_LEN,
        max_depth: 4,
        max_items: 4 * (Self::MAX_NAMES as u64 + 64),
    };

    /// A table without names and without history.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            previous: None,
            names: BTreeMap::new(),
        }
    }

    /// The first table of a history.
    ///
    /// # Errors
    /// More names than a table may have.
    pub fn first(names: BTreeMap<ModuleName, ContentId>) -> Result<Self, TableFull> {
        fits(names.len())?;
        Ok(Self {
            previous: None,
            names,
        })
    }

    /// The table before this one. None for the first.
    #[must_use]
    pub const fn previous(&self) -> Option<&ContentId> {
        self.previous.as_ref()
    }

    /// The names, ascending, and the descriptors that they stand for.
    #[must_use]
    pub const fn names(&self) -> &BTreeMap<ModuleName, ContentId> {
        &self.names
    }

    /// The descriptor that a name stands for.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&ContentId> {
        self.names.get(name)
    }

    /// The next table, in which `name` stands for `descriptor`, whatever it stood for before. None
    /// if it does already.
    ///
    /// # Errors
    /// The table is full, and the name is new.
    pub fn with(&self, name: ModuleName, descriptor: ContentId) -> Result<Option<Self>, TableFull> {
        let mut names = self.names.clone();
        names.insert(name, descriptor);
        self.followed_by(names)
    }

    /// The next table, without `name`. None if the name is not there.
    #[must_use]
    pub fn without(&self, name: &str) -> Option<Self> {
        let mut names = self.names.clone();
        names.remove(name)?;
        Some(self.before(names))
    }

    /// The next table, with the names of an older one, or of any other. None if they are the same.
    ///
    /// Going back is a step forward in the history, so that it can be undone as well.
    #[must_use]
    pub fn back_to(&self, older: &Self) -> Option<Self> {
        (self.names != older.names).then(|| self.before(older.names.clone()))
    }

    /// What is different in `to`. Histories are not compared.
    #[must_use]
    pub fn diff(&self, to: &Self) -> TableDiff {
        let mut diff = TableDiff::default();
        for (name, from) in &self.names {
            match to.names.get(name) {
                None => _ = diff.removed.insert(name.clone(), *from),
                Some(to) if to == from => {}
                Some(to) => _ = diff.changed.insert(name.clone(), (*from, *to)),
            }
        }
        let added = |(name, _): &(&ModuleName, _)| !self.names.contains_key(*name);
        let added = to.names.iter().filter(added);
        diff.added = added.map(|(name, id)| (name.clone(), *id)).collect();
        diff
    }

    /// The object's bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        cbor::encode(&Fields {
            version: Version,
            previous: self.previous,
            names: self
                .names
                .iter()
                .map(|(name, descriptor)| Entry {
                    name: name.as_str(),
                    descriptor: *descriptor,
                })
                .collect(),
        })
    }

    /// The sha2-256 content id of the object.
    #[must_use]
    pub fn id(&self) -> ContentId {
        ContentId::of(&self.encode())
    }

    /// Reads a table that takes up all of `bytes`.
    ///
    /// # Errors
    /// Not the encoding of a table of this version, too many names, or names that break the rules or
    /// are not ascending.
    pub fn decode(bytes: &[u8]) -> Result<Self, TableError> {
        let fields: Fields<'_> = object::read("symbol table", bytes, &Self::BOUNDS)?;
        fits(fields.names.len())?;
        let mut names = BTreeMap::new();
        for (index, entry) in fields.names.iter().enumerate() {
            let name: ModuleName = entry
                .name
                .parse()
                .map_err(|source| TableError::Name { index, source })?;
            if names.last_key_value().map(|(last, _)| last) >= Some(&name) {
                return Err(TableError::Order { index });
            }
            names.insert(name, entry.descriptor);
        }
        Ok(Self {
            previous: fields.previous,
            names,
        })
    }

    /// The next table, with these names. None if they are the same.
    ///
    /// # Errors
    /// They are too many.
    pub fn followed_by(
        &self,
        names: BTreeMap<ModuleName, ContentId>,
    ) -> Result<Option<Self>, TableFull> {
        fits(names.len())?;
        Ok((self.names != names).then(|| self.before(names)))
    }

    fn before(&self, names: BTreeMap<ModuleName, ContentId>) -> Self {
        Self {
            previous: Some(self.id()),
            names,
        }
    }
}

/// What is different between two tables, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TableDiff {
    /// Names that only the second has, and what they stand for.
    pub added: BTreeMap<ModuleName, ContentId>,
    /// Names that only the first has, and what they stood for.
    pub removed: BTreeMap<ModuleName, ContentId>,
    /// Names that both have, and what they stand for in the first and in the second.
    pub changed: BTreeMap<ModuleName, (ContentId, ContentId)>,
}

impl TableDiff {
    /// Whether the two have the same names for the same modules.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty() && self.changed.is_empty()
    }
}

/// The longest content id in CBOR: a tag of two bytes, a head of two, a zero, the binary form.
const CID_LEN: usize = 2 + 2 + 1 + ContentId::MAX_LEN;

const fn fits(names: usize) -> Result<(), TableFull> {
    if names > SymbolTable::MAX_NAMES {
        Err(TableFull { names })
    } else {
        Ok(())
    }
}

#[derive(Encode, Decode)]
struct Fields<'a> {
    #[n(0)]
    version: Version,
    #[n(1)]
    previous: Option<ContentId>,
    #[b(2)]
    names: Vec<Entry<'a>>,
}

#[derive(Encode, Decode)]
struct Entry<'a> {
    #[b(0)]
    name: &'a str,
    #[n(1)]
    descriptor: ContentId,
}

/// More names than a table may have. There is no next table, and this one stays as it is. Remove
/// names, or adopt fewer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a symbol table with {names} names would be over the bound of {}; nothing was changed",
    SymbolTable::MAX_NAMES
)]
pub struct TableFull {
    /// How many there would be.
    pub names: usize,
}

/// What is not a symbol table. Nothing was changed; the same bytes will fail again. From a peer it
/// is the fault of whoever made the object, or a newer version.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TableError {
    /// Damaged, something else, or of another version.
    #[error(transparent)]
    Object(#[from] ObjectError),
    /// Too many names.
    #[error(transparent)]
    Full(#[from] TableFull),
    /// A name that breaks the rules.
    #[error("entry {index} of the symbol table has no good name: {source}")]
    Name {
        /// Which one, from 0.
        index: usize,
        /// The rule that it breaks.
        source: NameError,
    },
    /// Names that are not in ascending order, or one that stands there twice.
    #[error(
        "the names of a symbol table are ascending, each once; entry {index} is not after the last"
    )]
    Order {
        /// The first one that is out of order, from 0.
        index: usize,
    },
}
