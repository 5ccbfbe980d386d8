//! Which objects a home names, and which ones those name: what is kept whatever the limit says.
//!
//! The one file of this module that knows what objects mean. [`references`] is where every kind of
//! object that names others has its line.

use std::sync::Arc;

use grid_promises::ContentId;

use super::cache::Layers;
use super::collect::{Collected, GRACE, Policy, Reference, reach};
use super::disk::Objects;
use super::embedded::Embedded;
use super::error::CacheError;
use crate::store::Config;
use crate::store::config::DEFAULT_CACHE_LIMIT;

/// The objects that the configuration names.
#[must_use]
pub fn roots(config: &Config) -> Vec<ContentId> {
    config.symbols.into_iter().collect()
}

/// The objects that an object names. One of a kind that is not known names none.
#[must_use]
pub fn references(_id: &ContentId, _bytes: &[u8]) -> Vec<Reference> {
    // The symbol table and the descriptors come here: decode the bytes as each of them, and name the
    // descriptors and the earlier table as `Reference::Inner`, promise texts and code as
    // `Reference::Leaf`.
    Vec::new()
}

/// Collects what the configuration neither names nor has room for.
///
/// # Errors
/// As [`reach`] and [`Objects::collect`]. Nothing was evicted then.
pub fn collect(
    objects: &Objects,
    config: &Config,
    is_rehearsal: bool,
) -> Result<Collected, CacheError> {
    let cache = Layers::new(vec![
        Arc::new(Embedded::promise_texts()),
        Arc::new(objects.clone()),
    ]);
    let reached = reach(&cache, &roots(config), &references)?;
    let limit = config.cache_limit.unwrap_or(DEFAULT_CACHE_LIMIT).0;
    objects.collect(
        &reached,
        &Policy {
            limit,
            grace: GRACE,
            is_rehearsal,
        },
    )
}
