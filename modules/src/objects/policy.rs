//! How much may stay in the cache, and for how long whatever the limit says.

use std::time::{Duration, SystemTime};

use super::listing::Amount;

/// How much may stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// For all of `cache/`, in bytes.
    pub limit: u64,
    /// What of it memoised calls may have.
    pub calls: Share,
    /// What of it unfinished downloads may have.
    pub partial: Share,
    /// How long an object stays after it was put or read, and a download after it was written to:
    /// [`GRACE`](super::GRACE), unless a test knows better.
    pub grace: Duration,
    /// Say what would go, and remove nothing.
    pub is_rehearsal: bool,
}

/// How many of a kind may stay, and how many bytes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// How many.
    pub count: u64,
    /// Their bytes together.
    pub bytes: u64,
}

impl Share {
    /// Whether so much is within it.
    pub(super) const fn holds(&self, amount: &Amount) -> bool {
        amount.count <= self.count && amount.bytes <= self.bytes
    }
}

/// An object may have been put since `now` was taken. A time further ahead is one from a wrong clock,
/// and says nothing of use.
pub(super) fn is_recent(used: SystemTime, now: SystemTime, grace: Duration) -> bool {
    let apart = now
        .duration_since(used)
        .unwrap_or_else(|ahead| ahead.duration());
    apart < grace
}
