//! What the program brings along: promise texts, descriptors of built-in modules. It is always here,
//! takes no room on disk, and keeps nothing that it is given.

use std::collections::BTreeMap;

use grid_promises::ContentId;

use super::cache::Cache;
use super::error::CacheError;
use super::object::Object;

/// Objects that are part of the program.
#[derive(Clone, Debug, Default)]
pub struct Embedded(BTreeMap<ContentId, &'static [u8]>);

impl Embedded {
    /// A table of these objects, by their sha2-256 ids.
    pub fn new(objects: impl IntoIterator<Item = &'static [u8]>) -> Self {
        let objects = objects.into_iter();
        Self(objects.map(|bytes| (ContentId::of(bytes), bytes)).collect())
    }

    /// The texts of every promise of this version.
    #[must_use]
    pub fn promise_texts() -> Self {
        let texts = grid_promises::texts::ALL.iter();
        Self::new(texts.map(|promise| promise.text.as_bytes()))
    }
}

impl Cache for Embedded {
    fn name(&self) -> &str {
        "what is built in"
    }

    fn get(&self, id: &ContentId) -> Result<Option<Object>, CacheError> {
        let bytes = self.0.get(id);
        bytes.map(|bytes| Object::verified(*id, *bytes)).transpose()
    }

    fn has(&self, id: &ContentId) -> Result<bool, CacheError> {
        Ok(self.0.contains_key(id))
    }
}
