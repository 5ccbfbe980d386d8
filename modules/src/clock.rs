//! The clock of this machine. The one place where this crate asks what time it is in the world.

use std::time::{SystemTime, UNIX_EPOCH};

use grid_promises::Timestamp;

/// The wall clock, in Unix time. Before 1970 it is 0.
#[must_use]
pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    Timestamp(since.unwrap_or_default().as_secs())
}
