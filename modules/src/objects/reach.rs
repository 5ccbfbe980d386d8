//! What the roots reach: it is never evicted.
//!
//! This file knows nothing of what objects mean: which other objects one names is the caller's to say.

use std::collections::BTreeMap;

use grid_promises::ContentId;

use super::cache::Cache;
use super::error::CacheError;
use super::limits::MAX_REACHED;

/// What an object names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reference {
    /// An object that names none: a promise text, code. It is not read, and need not be here.
    Leaf(ContentId),
    /// An object that may name others, and names none if it is not here: a descriptor. What it named
    /// may go then; without it nobody can use that.
    Maybe(ContentId),
    /// An object that names others: a table. If it is not here, what it reaches is not known, and
    /// nothing is evicted.
    Inner(ContentId),
}

/// What the roots reach.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reached(BTreeMap<ContentId, Depth>);

/// How far an object is followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Depth {
    Leaf,
    Maybe,
    Inner,
}

impl Reached {
    /// Whether an object is reached.
    #[must_use]
    pub fn contains(&self, id: &ContentId) -> bool {
        self.0.contains_key(id)
    }

    /// How many objects are reached; they need not all be here.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Counts an object among them that names none.
    pub fn add(&mut self, id: ContentId) {
        self.note(Reference::Leaf(id));
    }

    /// Notes an object; whether it is new and has to be read.
    fn note(&mut self, reference: Reference) -> Option<ContentId> {
        let (id, depth) = match reference {
            Reference::Leaf(id) => (id, Depth::Leaf),
            Reference::Maybe(id) => (id, Depth::Maybe),
            Reference::Inner(id) => (id, Depth::Inner),
        };
        let known = self.0.entry(id).or_insert(Depth::Leaf);
        // What one object calls a leaf another may know better.
        let is_new = depth > *known;
        *known = depth.max(*known);
        is_new.then_some(id)
    }
}

/// Follows references from the roots on. `cache` is where inner objects are read from: the embedded
/// ones and the disk, and not peers. An inner object that is not in memory
/// ([`IN_MEMORY`](super::IN_MEMORY)) names nothing: nobody decodes one of that size.
///
/// # Errors
/// [`CacheError::Unreached`], [`CacheError::TooMany`], [`CacheError::Damaged`] and what the cache
/// says: what the roots reach is not known then, and nothing may be evicted.
pub fn reach(
    cache: &dyn Cache,
    roots: &[ContentId],
    references: &dyn Fn(&ContentId, &[u8]) -> Vec<Reference>,
) -> Result<Reached, CacheError> {
    let mut reached = Reached::default();
    let mut unread: Vec<ContentId> = Vec::new();
    for root in roots {
        unread.extend(reached.note(Reference::Inner(*root)));
    }
    while let Some(id) = unread.pop() {
        let object = match cache.get(&id)? {
            Some(object) => object,
            None if reached.0.get(&id) == Some(&Depth::Inner) => {
                return Err(CacheError::Unreached { id });
            }
            None => continue,
        };
        let named = object.bytes().map(|bytes| references(&id, bytes));
        for reference in named.unwrap_or_default() {
            unread.extend(reached.note(reference));
            if reached.len() > MAX_REACHED {
                return Err(CacheError::TooMany { limit: MAX_REACHED });
            }
        }
    }
    Ok(reached)
}
