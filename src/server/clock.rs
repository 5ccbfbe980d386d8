//! The machine's clocks for the core: one that never leaps, for timers, and the one that people set.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use grid_promises::{Millis, Timestamp};
use nix::time::{ClockId, clock_gettime};

/// By how many seconds the clock that people set may differ from the other before that is told: less is slewing.
const LEAP: u64 = 2;

/// Counts from what the machine's clock showed at the start, also while the machine sleeps.
#[derive(Debug)]
pub(super) struct Clock {
    /// In milliseconds since 1970.
    begun: u64,
    started: Passed,
    /// What the machine's clock was last told to show ahead of this one, in seconds.
    told: i64,
}

impl Clock {
    #[must_use]
    pub(super) fn start() -> Self {
        Self {
            begun: u64::try_from(wall().as_millis()).unwrap_or(u64::MAX),
            started: Passed::now(),
            told: 0,
        }
    }

    #[must_use]
    pub(super) fn now(&self) -> Millis {
        Millis(self.begun) + self.started.elapsed()
    }

    /// What the machine's clock shows.
    #[must_use]
    pub(super) fn shown() -> Timestamp {
        Timestamp(wall().as_secs())
    }

    /// What the machine's clock shows, if it did not go on as this one did since that was asked last.
    pub(super) fn leap(&mut self) -> Option<Timestamp> {
        self.leap_to(Self::shown(), self.now())
    }

    fn leap_to(&mut self, shown: Timestamp, now: Millis) -> Option<Timestamp> {
        let [shown_at, now] =
            [shown, now.timestamp()].map(|time| i64::try_from(time.0).unwrap_or(i64::MAX));
        let ahead = shown_at.saturating_sub(now);
        let leaps = ahead.abs_diff(self.told) > LEAP;
        leaps.then(|| {
            self.told = ahead;
            shown
        })
    }

    /// Zero if `moment` has passed.
    #[must_use]
    pub(super) fn until(&self, moment: Millis) -> Duration {
        moment - self.now()
    }
}

/// A moment of the clock that goes on while the machine sleeps; of one that does not, where there is none.
#[derive(Debug)]
enum Passed {
    SinceBoot(Duration),
    Awake(Instant),
}

impl Passed {
    fn now() -> Self {
        since_boot().map_or_else(|| Self::Awake(Instant::now()), Self::SinceBoot)
    }

    fn elapsed(&self) -> Duration {
        match self {
            Self::SinceBoot(begun) => since_boot().unwrap_or(*begun).saturating_sub(*begun),
            Self::Awake(begun) => begun.elapsed(),
        }
    }
}

fn since_boot() -> Option<Duration> {
    clock_gettime(ClockId::CLOCK_BOOTTIME)
        .ok()
        .map(Duration::from)
}

/// Since 1970; a clock that shows less shows 1970.
fn wall() -> Duration {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leap_is_told_once_and_slewing_is_not() {
        let mut clock = Clock {
            begun: 1_000_000,
            started: Passed::now(),
            told: 0,
        };
        let mut told = |shown, now| clock.leap_to(Timestamp(shown), Millis(now)).map(|at| at.0);
        assert_eq!(told(1_000, 1_000_900), None);
        assert_eq!(told(1_002, 1_000_900), None);
        assert_eq!(told(900, 1_001_000), Some(900));
        assert_eq!(told(901, 1_002_000), None);
        assert_eq!(told(9_000, 1_003_000), Some(9_000));
        assert_eq!(told(1_004, 1_004_000), Some(1_004));
    }

    #[test]
    fn it_goes_on() {
        let clock = Clock::start();
        let begun = clock.now();
        assert!(begun.timestamp().since(Clock::shown()) < Duration::from_secs(60));
        assert!(clock.until(begun + Duration::from_secs(60)) <= Duration::from_secs(60));
        std::thread::sleep(Duration::from_millis(5));
        assert!(clock.now() > begun);
    }
}
