//! How fast peers may send requests to one another.

/// How many requests a second one peer may send in the long run. At 256 KiB a chunk that is 250 MiB a
/// second; the work that one peer may cause is bounded where it is done.
pub const REQUEST_RATE: u32 = 1000;
/// How many requests one peer may send at once.
pub const REQUEST_BURST: u32 = 2000;
