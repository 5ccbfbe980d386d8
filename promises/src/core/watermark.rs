//! The latest time that this machine's clock has shown.
//!
//! WireGuard dates its handshakes by that clock, and a peer takes none that is dated before the last one of the same key,
//! so that the same handshake cannot be sent again. A node whose clock was ahead and is put right would be silent until
//! its clock has come that far again. It takes new keys.

use std::time::Duration;

use crate::time::{Millis, Timestamp};

/// How far the clock may go back without new keys: WireGuard tries a handshake again for longer than that.
pub(crate) const LEEWAY: Duration = Duration::from_secs(30);
/// How close new keys may follow each other: two programs that set one clock may do so again and again.
const PAUSE: Duration = Duration::from_secs(10 * 60);
/// What the clock has shown since this node's WireGuard keys were made.
#[derive(Debug, Default)]
pub(crate) struct Watermark {
    /// Before it leapt last.
    before: Timestamp,
    renewed: Option<Millis>,
}

impl Watermark {
    /// What was written down, or else what the clock shows.
    pub(crate) fn new(before: Timestamp) -> Self {
        Self {
            before,
            renewed: None,
        }
    }

    /// The clock shows that, and is about to leap.
    pub(crate) fn leap_from(&mut self, shown: Timestamp) {
        self.before = self.latest(shown);
    }

    /// The latest time, of a clock that shows that.
    pub(crate) fn latest(&self, shown: Timestamp) -> Timestamp {
        self.before.max(shown)
    }

    /// Whether keys that were used before the clock went back are of no use now.
    pub(crate) fn spoils_keys(&self, shown: Timestamp, now: Millis) -> bool {
        self.before.since(shown) > LEEWAY && self.renewed.is_none_or(|at| now - at >= PAUSE)
    }

    /// There are new keys, with which no handshake was made.
    pub(crate) fn renew(&mut self, shown: Timestamp, now: Millis) {
        *self = Self {
            before: shown,
            renewed: Some(now),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Millis = Millis(1_900_000_000_000);
    const HOUR: u64 = 3600;

    #[test]
    fn keys_are_spoilt_by_a_clock_that_goes_back_and_no_other() {
        let right = START.timestamp();
        let later = right.after(Duration::from_secs(HOUR));
        let mut mark = Watermark::new(right);
        assert!(!mark.spoils_keys(right, START));
        assert!(!mark.spoils_keys(later, START));
        mark.leap_from(later);
        assert!(!mark.spoils_keys(Timestamp(later.0 - 30), START));
        assert!(mark.spoils_keys(Timestamp(later.0 - 31), START));
        assert!(mark.spoils_keys(right, START));
        mark.renew(right, START);
        assert!(!mark.spoils_keys(right, START));
        // Two set one clock.
        let soon = START + Duration::from_secs(30);
        assert!(!mark.spoils_keys(later, soon));
        mark.leap_from(later);
        assert!(!mark.spoils_keys(right, soon));
        assert!(mark.spoils_keys(right, START + PAUSE));
    }
}
