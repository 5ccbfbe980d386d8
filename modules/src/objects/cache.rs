//! What a cache is, and several of them one below the other.
//!
//! Calls block until they are answered; see the module above. A cache that asks peers blocks on its
//! runtime's handle, inside the `spawn_blocking` in which it was called.

use std::sync::Arc;

use grid_promises::ContentId;
use tracing::warn;

use super::disk::Objects;
use super::error::CacheError;
use super::object::Object;
use grid_files::disk::Disk;

/// Somewhere objects may be.
pub trait Cache: Send + Sync {
    /// What a person calls it, in the middle of a sentence.
    fn name(&self) -> &str;

    /// The object, if it is here. An [`Object`] is verified, wherever it comes from.
    ///
    /// # Errors
    /// Whether it is here is not known, or it was and is not any more ([`CacheError::Damaged`]). It
    /// may be somewhere else.
    fn get(&self, id: &ContentId) -> Result<Option<Object>, CacheError>;

    /// Whether it seems to be here. A cheap hint: only [`get`](Self::get) verifies.
    ///
    /// # Errors
    /// That is not known.
    fn has(&self, id: &ContentId) -> Result<bool, CacheError>;

    /// Keeps an object that was found elsewhere; whether it does. A cache that keeps nothing says so,
    /// as this default does.
    ///
    /// # Errors
    /// It should have, and could not.
    fn keep(&self, object: &Object) -> Result<bool, CacheError> {
        let _ = object;
        Ok(false)
    }
}

impl<D> Cache for Objects<D>
where
    D: Disk + Send + Sync,
{
    fn name(&self) -> &str {
        "the object store on disk"
    }

    fn get(&self, id: &ContentId) -> Result<Option<Object>, CacheError> {
        self.get(id)
    }

    fn has(&self, id: &ContentId) -> Result<bool, CacheError> {
        self.has(id)
    }

    fn keep(&self, object: &Object) -> Result<bool, CacheError> {
        self.put_object(object).map(|_| true)
    }
}

/// Caches one below the other, the nearest first. What a lower one has is kept by those above it.
#[derive(Clone, Default)]
pub struct Layers(Vec<Arc<dyn Cache>>);

impl Layers {
    /// These caches, the nearest first.
    #[must_use]
    pub fn new(layers: Vec<Arc<dyn Cache>>) -> Self {
        Self(layers)
    }

    /// What a layer found is kept by those above it. That they cannot is no failure of the read.
    fn keep_above(&self, below: usize, object: &Object) {
        for upper in self.0.iter().take(below).rev() {
            if let Err(error) = upper.keep(object) {
                warn!("{} is not kept: {error}", object.id());
            }
        }
    }
}

impl Cache for Layers {
    fn name(&self) -> &str {
        "all caches"
    }

    /// Asks one after the other. One that fails does not keep the others from being asked; its error
    /// is returned if none of them has the object, because then it is not known that nobody has it.
    fn get(&self, id: &ContentId) -> Result<Option<Object>, CacheError> {
        let mut failed = None;
        for (at, layer) in self.0.iter().enumerate() {
            match layer.get(id) {
                Ok(None) => {}
                Ok(Some(object)) => {
                    if let Some(error) = failed {
                        warn!("{error}; {} has it", layer.name());
                    }
                    self.keep_above(at, &object);
                    return Ok(Some(object));
                }
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        failed.map_or(Ok(None), Err)
    }

    fn has(&self, id: &ContentId) -> Result<bool, CacheError> {
        let mut failed = None;
        for layer in &self.0 {
            match layer.has(id) {
                Ok(true) => return Ok(true),
                Ok(false) => {}
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        failed.map_or(Ok(false), Err)
    }

    /// Kept by every layer that keeps anything.
    fn keep(&self, object: &Object) -> Result<bool, CacheError> {
        let mut is_kept = false;
        for layer in &self.0 {
            is_kept |= layer.keep(object)?;
        }
        Ok(is_kept)
    }
}
