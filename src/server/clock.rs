//! Time for the core: the wall clock at the start, advanced by the monotonic clock.
//!
//! It never runs backwards, whatever happens to the wall clock. After a machine has slept it may lag
//! behind; [`Clock::now`] then catches up with the wall clock.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use grid_promises::Millis;

/// By how many milliseconds the wall clock must be ahead to be believed: less is jitter and slewing.
const LEAP: u64 = 2_000;

#[derive(Debug)]
pub(super) struct Clock {
    started: Instant,
    /// What to add to the milliseconds since `started`.
    offset: AtomicU64,
}

impl Clock {
    #[must_use]
    pub(super) fn start() -> Self {
        Self {
            started: Instant::now(),
            offset: AtomicU64::new(wall()),
        }
    }

    #[must_use]
    pub(super) fn now(&self) -> Millis {
        self.at(elapsed(self.started), wall())
    }

    fn at(&self, elapsed: u64, wall: u64) -> Millis {
        let seen = self.offset.load(Ordering::Relaxed);
        if wall > seen.saturating_add(elapsed).saturating_add(LEAP) {
            self.offset
                .fetch_max(wall.saturating_sub(elapsed), Ordering::Relaxed);
        }
        Millis(self.offset.load(Ordering::Relaxed).saturating_add(elapsed))
    }

    /// Zero if `moment` has passed.
    #[must_use]
    pub(super) fn until(&self, moment: Millis) -> Duration {
        moment - self.now()
    }
}

fn elapsed(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}

fn wall() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| {
            u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_follows_a_wall_clock_that_leaps_ahead_and_none_that_falls_back() {
        let clock = Clock {
            started: Instant::now(),
            offset: AtomicU64::new(1_000_000),
        };
        assert_eq!(clock.at(10, 1_000_010), Millis(1_000_010));
        assert_eq!(clock.at(20, 500), Millis(1_000_020));
        assert_eq!(clock.at(30, 1_001_000), Millis(1_000_030));
        assert_eq!(clock.at(40, 9_000_000), Millis(9_000_000));
        assert_eq!(clock.at(50, 1_000_000), Millis(9_000_010));
    }
}
