//! Which objects a home names, and which ones those name: what is kept whatever the limit says.
//!
//! The one file of this module that knows what objects mean. [`references`] is where every kind of
//! object that names others has its line.

use std::sync::Arc;

use grid_promises::ContentId;
use grid_promises::modules::{Descriptor, SymbolTable};

use crate::builtins;
use crate::objects::{
    CacheError, Collected, GRACE, Layers, Objects, Policy, Reference, Share, reach,
};
use crate::settings::Settings;

/// The most memoised calls that are kept.
pub const MAX_CALLS: u64 = 1 << 16;
/// Of how many parts of the limit memoised calls have one at most.
const PART: u64 = 8;
/// The most unfinished downloads that are kept.
pub const MAX_PARTIALS: u64 = 256;

/// The objects that an object names: a symbol table its descriptors and the table before it, a
/// descriptor its promise text and its code. One of another kind names none.
#[must_use]
pub fn references(_id: &ContentId, bytes: &[u8]) -> Vec<Reference> {
    if let Ok(table) = SymbolTable::decode(bytes) {
        let modules = table.names().values().map(|id| Reference::Maybe(*id));
        let before = table.previous().map(|id| Reference::Inner(*id));
        modules.chain(before).collect()
    } else if let Ok(module) = Descriptor::decode(bytes) {
        [module.promise(), module.code()]
            .map(|id| Reference::Leaf(*id))
            .into()
    } else {
        Vec::new()
    }
}

/// What a home has without asking anybody: what is built in, and what is on disk.
#[must_use]
pub fn local(objects: &Objects) -> Layers {
    Layers::new(vec![
        Arc::new(builtins::embedded()),
        Arc::new(objects.clone()),
    ])
}

/// Collects what a home neither names nor has room for. It names its symbol table, in the
/// configuration, and the judges of its networks.
///
/// # Errors
/// As [`reach`] and [`Objects::collect`]. Nothing was evicted then.
pub fn collect(
    objects: &Objects,
    settings: &Settings,
    judges: &[ContentId],
    is_rehearsal: bool,
) -> Result<Collected, CacheError> {
    let table: Vec<ContentId> = settings.symbols.into_iter().collect();
    let mut reached = reach(&local(objects), &table, &references)?;
    judges.iter().for_each(|judge| reached.add(*judge));
    let limit = settings.cache_limit.0;
    objects.collect(
        &reached,
        &Policy {
            limit,
            calls: Share {
                count: MAX_CALLS,
                bytes: limit / PART,
            },
            partial: Share {
                count: MAX_PARTIALS,
                bytes: limit,
            },
            grace: GRACE,
            is_rehearsal,
        },
    )
}
