//! What a cache is, and caches in layers.
//!
//! Calls block until they are answered. A cache that asks peers blocks on its runtime's handle, inside the
//! `spawn_blocking` in which it was called.

use std::sync::Arc;

use grid_files::disk::Disk;
use grid_promises::ContentId;
use tracing::warn;

use super::disk::Objects;
use super::error::CacheError;
use super::object::Object;

/// A place where objects may be.
pub trait Cache: Send + Sync {
    /// What a person calls it, in the middle of a sentence.
    fn name(&self) -> &str;

    /// The object, if it is here. An [`Object`] is verified, wherever it comes from.
    ///
    /// # Errors
    /// It is not known whether it is here, or it was damaged ([`CacheError::Damaged`]). Another cache may
    /// still have it.
    fn get(&self, id: &ContentId) -> Result<Option<Object>, CacheError>;

    /// Whether it seems to be here. A cheap hint: only [`get`](Self::get) verifies.
    ///
    /// # Errors
    /// It is not known.
    fn has(&self, id: &ContentId) -> Result<bool, CacheError>;

    /// Keeps an object that was found elsewhere, and says whether it did. By default a cache keeps nothing.
    ///
    /// # Errors
    /// It could not, and should have.
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

/// Caches in layers, the nearest first. The upper ones keep what a lower one has.
#[derive(Clone, Default)]
pub struct Layers(Vec<Arc<dyn Cache>>);

impl Layers {
    /// These caches, the nearest first.
    #[must_use]
    pub fn new(layers: Vec<Arc<dyn Cache>>) -> Self {
        Self(layers)
    }

    /// Keeps what a layer found in those above it. If they cannot, the read still succeeds.
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

    /// Asks one after the other. If one fails, the others are still asked; its error is returned only if none
    /// of them has the object, because it is then not known whether anybody does.
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
