//! The bounds of objects, in one place.

use std::time::Duration;

use grid_promises::modules::SymbolTable;

/// The longest object, in bytes.
pub const MAX_OBJECT: u64 = 1 << 30;
/// The longest object that is held in memory when read from disk, in bytes. The longest symbol table
/// fits.
pub const IN_MEMORY: u64 = 4 << 20;
const _: () = assert!(SymbolTable::MAX_LEN as u64 <= IN_MEMORY);
/// How much of a longer one is read at once, in bytes.
pub const CHUNK: usize = 256 << 10;
/// The resolution of the time at which an object was last used. That is the modification time of its file,
/// which is free for this because objects do not change. A read sets it if it is older than this, and syncs
/// nothing: a power cut costs a few minutes of recency at most.
pub const RECENCY: Duration = Duration::from_secs(5 * 60);
/// How long an object stays after it was put or read.
pub const GRACE: Duration = Duration::from_secs(10 * 60);
/// The most objects that roots may reach.
pub const MAX_REACHED: usize = 1_000_000;
/// After this long without a write, an unfinished file counts as abandoned.
pub const ABANDONED: Duration = Duration::from_secs(24 * 3600);
