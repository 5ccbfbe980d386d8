//! Recently given objects, verified and open, with their manifests, so that an object given in 256 chunks is
//! verified once.

use std::collections::VecDeque;
use std::sync::{Arc, OnceLock};

use grid_promises::ContentId;
use grid_promises::modules::ManifestBuilder;
use parking_lot::Mutex;

use crate::objects::{Cache, CacheError, Layers, Object};

/// How many are kept. One of up to 4 MiB is held in memory; of a longer one an open file, and 256 KiB
/// of hashes at most.
const KEPT: usize = 8;

/// An object and its manifest.
#[derive(Debug)]
pub(super) struct Held {
    /// Verified.
    pub(super) object: Object,
    manifest: OnceLock<Vec<u8>>,
}

/// Filled by the first who wants it, while the others wait.
type Place = Arc<Mutex<Option<Arc<Held>>>>;

/// The shelf. Everything here blocks.
pub(super) struct RecentObjects {
    local: Layers,
    /// The one that was wanted last is the last.
    places: Mutex<VecDeque<(ContentId, Place)>>,
}

impl RecentObjects {
    /// An empty shelf for what is here.
    pub(super) fn new(local: Layers) -> Self {
        Self {
            local,
            places: Mutex::default(),
        }
    }

    /// The object, if it is here.
    ///
    /// # Errors
    /// As [`Cache::get`].
    pub(super) fn get(&self, id: &ContentId) -> Result<Option<Arc<Held>>, CacheError> {
        let place = self.place(id);
        let mut place = place.lock();
        if place.is_none() {
            let found = self.local.get(id)?;
            *place = found.map(|object| {
                Arc::new(Held {
                    object,
                    manifest: OnceLock::new(),
                })
            });
        }
        Ok(place.clone())
    }

    /// Takes an object off: its file changed.
    pub(super) fn forget(&self, id: &ContentId) {
        let mut places = self.places.lock();
        places.retain(|(other, _)| other != id);
    }

    fn place(&self, id: &ContentId) -> Place {
        let mut places = self.places.lock();
        let at = places.iter().position(|(other, _)| other == id);
        let entry = at.and_then(|at| places.remove(at));
        let (_, place) = entry.unwrap_or_else(|| (*id, Place::default()));
        places.push_back((*id, Arc::clone(&place)));
        if places.len() > KEPT {
            places.pop_front();
        }
        place
    }
}

impl Held {
    /// The encoded manifest, made when it is asked for first.
    ///
    /// # Errors
    /// The file changed since it was verified, or it is too large to travel.
    pub(super) fn manifest(&self) -> Result<&[u8], CacheError> {
        if let Some(manifest) = self.manifest.get() {
            return Ok(manifest);
        }
        let mut builder = ManifestBuilder::new();
        for number in 0.. {
            let chunk = self.object.chunk(number)?;
            if chunk.is_empty() {
                break;
            }
            builder.update(&chunk).map_err(|_| CacheError::TooLarge)?;
        }
        Ok(self.manifest.get_or_init(|| builder.finish().encode()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache_dir::CacheDir;
    use crate::objects::Objects;
    use crate::roots;
    use grid_promises::content_id::HashCode;
    use grid_promises::modules::Manifest;

    #[test]
    fn what_was_verified_once_is_not_read_again_until_it_is_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let cache = CacheDir::new(dir.path().join("cache"));
        let objects = Objects::of(&cache);
        let recent = RecentObjects::new(roots::local(&objects));
        let bytes = vec![7; 5 << 20];
        let id = objects.put(HashCode::Sha2_256, &bytes).unwrap().id;
        assert!(recent.get(&ContentId::of(b"none")).unwrap().is_none());
        let held = recent.get(&id).unwrap().unwrap();
        let manifest = Manifest::of(&bytes).unwrap().encode();
        assert_eq!(held.manifest().unwrap(), manifest);
        // The name is gone: only who has the file open still reads it.
        std::fs::remove_dir_all(cache.path().join("objects")).unwrap();
        let again = recent.get(&id).unwrap().unwrap();
        assert_eq!(again.object.chunk(3).unwrap().len(), 256 << 10);
        for number in 0..KEPT {
            recent.get(&ContentId::of(&number.to_be_bytes())).unwrap();
        }
        assert!(recent.get(&id).unwrap().is_none(), "it was pushed off");
        recent.forget(&id);
        let places = recent.places.lock();
        assert!(places.len() <= KEPT && places.iter().all(|(other, _)| *other != id));
    }
}
