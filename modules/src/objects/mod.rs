//! The objects of a home, by content id: `$GRID_HOME/cache/`.
//!
//! | file | concept |
//! |---|---|
//! | `object` | a verified object, in memory or in an open file |
//! | `hash` | a content id from pieces |
//! | `cache` | what a cache is; several of them, one below the other |
//! | `embedded` | what the program brings along |
//! | `disk` | the objects on disk: where they lie, how they are read, setting damaged ones aside |
//! | `incoming` | an object on its way to the disk |
//! | `listing` | what is there: ids, sizes, and whether it is whole |
//! | `loose` | memoised calls and unfinished downloads, which go as objects do |
//! | `collect` | what goes when there is too much, and what may not |
//! | `roots` | which objects the home names, and which ones those name |
//! | `error` | what can go wrong |
//!
//! ```text
//! cache/objects/<last 2 characters of the id>/<the rest of it>
//! cache/incoming/<process>-<number>.tmp      being written
//! cache/damaged/<id>[.<number>]              set aside, never read again, never removed
//! cache/calls/                               memoised calls: written by others, counted and evicted here
//! cache/partial/                             unfinished downloads: likewise
//! ```
//!
//! The folder is chosen by the *last* two characters. All ids of one hash function begin with the same
//! seven characters (`bafkrei` for sha2-256), because version, codec, hash function and length come
//! first. The last two hold the last 8 bits of a digest of 32 bytes (the last 9 of one of 64): 256
//! folders (512) that fill evenly.
//!
//! Everything here blocks: it reads, hashes and syncs. There is no async in it, so that it works in
//! any runtime and in none; in tokio it is called inside `spawn_blocking`.
//!
//! Several processes and threads may use a home at once, with or without a server:
//! - an object appears by one rename, whole and durable, and never changes after that;
//! - whoever reads has the file open: evicting it, or setting it aside, takes its name away and no
//!   byte from the reader;
//! - whoever makes an object appear, or says that it is there already, holds the lock of `cache/`
//!   together with others (`flock`, shared) while it does so; whoever takes a name away holds it alone,
//!   and looks again under the lock whether the file is still the one that was judged. So nothing that
//!   was just put is lost to somebody who looked before.
//!
//! What this module refuses: to return bytes that are not the object, to remove damaged ones, and to
//! repair; and it knows nothing of what objects mean, but for `roots`.

mod cache;
mod collect;
mod disk;
mod embedded;
mod error;
mod hash;
mod incoming;
mod listing;
mod loose;
mod object;

#[cfg(test)]
mod crash;
#[cfg(test)]
mod tests;

pub use cache::{Cache, Layers};
pub use collect::{Collected, GRACE, MAX_REACHED, Passed, Policy, Reached, Reference, Why, reach};
pub use disk::{Objects, RECENCY};
pub use embedded::Embedded;
pub use error::CacheError;
pub use hash::Hasher;
pub use incoming::{ABANDONED, How, Incoming, Put};
pub use listing::{Amount, Audit, DamagedObject, Listed, Sizes};
pub use loose::Share;
pub use object::{CHUNK, IN_MEMORY, Object};

/// The longest object, in bytes.
pub const MAX_OBJECT: u64 = 1 << 30;
