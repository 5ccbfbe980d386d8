//! What the program brings along: promise texts, descriptors of built-in modules. It is always here,
//! takes no room on disk, and keeps nothing that it is given.

use std::borrow::Cow;
use std::collections::BTreeMap;

use grid_promises::ContentId;

use super::cache::Cache;
use super::error::CacheError;
use super::object::Object;

/// Objects that are part of the program.
#[derive(Clone, Debug, Default)]
pub struct Embedded(BTreeMap<ContentId, Cow<'static, [u8]>>);

impl Embedded {
    /// A table of these objects, by their sha2-256 ids.
    pub fn new(objects: impl IntoIterator<Item: Into<Cow<'static, [u8]>>>) -> Self {
        let objects = objects.into_iter().map(Into::into);
        Self(
            objects
                .map(|bytes| (ContentId::of(&bytes), bytes))
                .collect(),
        )
    }
}

impl Cache for Embedded {
    fn name(&self) -> &str {
        "what is built in"
    }

    fn get(&self, id: &ContentId) -> Result<Option<Object>, CacheError> {
        let bytes = self.0.get(id);
        bytes
            .map(|bytes| Object::verified(*id, bytes.as_ref()))
            .transpose()
    }

    fn has(&self, id: &ContentId) -> Result<bool, CacheError> {
        Ok(self.0.contains_key(id))
    }
}
