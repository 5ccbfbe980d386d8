//! A token bucket: how many requests a peer may send, and how long the next one has to wait.

use std::time::{Duration, Instant};

/// A bucket that holds up to `burst` tokens and gains `rate` tokens a second. Reads no clock: every
/// method is told the time, which must not run backwards.
#[derive(Clone, Debug)]
pub(crate) struct TokenBucket {
    /// The time in which one token is earned.
    interval: Duration,
    /// The time in which an empty bucket fills. `full_at` lies further ahead only for tokens that were
    /// taken on credit.
    depth: Duration,
    /// When the bucket will be full if nothing more is taken.
    full_at: Instant,
}

impl TokenBucket {
    /// A full bucket. A `rate` or `burst` of zero counts as one.
    #[must_use]
    pub(crate) fn new(rate: u32, burst: u32, now: Instant) -> Self {
        let interval = Duration::from_secs(1) / rate.max(1);
        Self {
            interval,
            depth: interval * burst.max(1),
            full_at: now,
        }
    }

    /// Takes a token, on credit if there is none, and returns how long until it is earned: zero if it
    /// was there.
    pub(crate) fn take(&mut self, now: Instant) -> Duration {
        self.full_at = self.full_at.max(now) + self.interval;
        self.full_at
            .saturating_duration_since(now)
            .saturating_sub(self.depth)
    }

    /// Whether every token that was taken has been earned again.
    #[must_use]
    pub(crate) fn is_full(&self, now: Instant) -> bool {
        self.full_at <= now
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_burst_is_free_and_the_rest_waits() {
        let now = Instant::now();
        let mut bucket = TokenBucket::new(10, 5, now);
        for _ in 0..5 {
            assert_eq!(bucket.take(now), Duration::ZERO);
        }
        assert_eq!(bucket.take(now), Duration::from_millis(100));
        assert_eq!(bucket.take(now), Duration::from_millis(200));
        assert_eq!(bucket.take(now + Duration::from_secs(10)), Duration::ZERO);
    }

    proptest! {
        /// A peer that waits as told gets no more than burst + rate * time through.
        #[test]
        fn the_rate_holds(rate in 1u32..1000, burst in 1u32..100, steps in prop::collection::vec(0u64..200, 1..300)) {
            let start = Instant::now();
            let mut bucket = TokenBucket::new(rate, burst, start);
            let mut now = start;
            let mut passed = 0u32;
            for step in steps {
                now += Duration::from_millis(step);
                now += bucket.take(now);
                passed += 1;
                let earned = now.duration_since(start).as_secs_f64() * f64::from(rate);
                prop_assert!(f64::from(passed) <= f64::from(burst) + earned + 1e-3 * f64::from(passed));
            }
        }
    }
}
