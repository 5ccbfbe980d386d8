//! How long to wait before dialling again: exponential backoff with full jitter.
//!
//! Each wait is uniform between zero and a ceiling that doubles with every attempt, so that nodes
//! that lost the same peer at the same moment do not come back at the same moment. Pure: entropy
//! comes in, a duration goes out; sleeping is the caller's.

use std::time::Duration;

use rand_core::Rng;

/// The state of one peer's reconnects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backoff {
    base: Duration,
    cap: Duration,
    attempts: u32,
}

impl Backoff {
    /// Waits of up to `base` at first and of up to `cap` in the end.
    #[must_use]
    pub const fn new(base: Duration, cap: Duration) -> Self {
        Self {
            base,
            cap,
            attempts: 0,
        }
    }

    /// The next wait: uniform in `0 ..= ceiling()`. Counts the attempt.
    pub fn next(&mut self, entropy: &mut dyn Rng) -> Duration {
        let ceiling = nanos(self.ceiling());
        self.attempts = self.attempts.saturating_add(1);
        // Multiply and shift (Lemire): the bias is below 2^-64 * ceiling, far under a nanosecond.
        let wide = u128::from(entropy.next_u64()) * (u128::from(ceiling) + 1);
        Duration::from_nanos(u64::try_from(wide >> 64).unwrap_or(ceiling))
    }

    /// The longest that the next wait can be: `base * 2^attempts`, at most `cap`.
    #[must_use]
    pub fn ceiling(&self) -> Duration {
        let doubled =
            nanos(self.base).saturating_mul(1u64.checked_shl(self.attempts).unwrap_or(u64::MAX));
        Duration::from_nanos(doubled).min(self.cap)
    }

    /// How many waits were given out since the start or the last reset.
    #[must_use]
    pub const fn attempts(&self) -> u32 {
        self.attempts
    }

    /// Starts over, after an attempt that worked.
    pub fn reset(&mut self) {
        self.attempts = 0;
    }
}

/// Whole nanoseconds; 584 years and more count as 584 years.
fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::SeedableRng;

    proptest! {
        #[test]
        fn a_wait_never_passes_its_ceiling(
            base in 0u64..=u64::MAX, cap in 0u64..=u64::MAX, seed: u64, steps in 1usize..200
        ) {
            let mut entropy = ChaCha8Rng::seed_from_u64(seed);
            let mut backoff = Backoff::new(Duration::from_nanos(base), Duration::from_nanos(cap));
            let mut previous = Duration::ZERO;
            for step in 0..steps {
                let ceiling = backoff.ceiling();
                prop_assert!(ceiling >= previous && ceiling <= Duration::from_nanos(cap));
                prop_assert!(backoff.next(&mut entropy) <= ceiling);
                prop_assert_eq!(usize::try_from(backoff.attempts()).unwrap(), step + 1);
                previous = ceiling;
            }
            backoff.reset();
            prop_assert_eq!(backoff.ceiling(), Duration::from_nanos(base.min(cap)));
        }

        #[test]
        fn the_same_seed_gives_the_same_waits(seed: u64) {
            let run = || {
                let mut entropy = ChaCha8Rng::seed_from_u64(seed);
                let mut backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(60));
                (0..20).map(|_| backoff.next(&mut entropy)).collect::<Vec<_>>()
            };
            prop_assert_eq!(run(), run());
        }
    }

    #[test]
    fn the_ceiling_doubles_up_to_the_cap() {
        let mut entropy = ChaCha8Rng::seed_from_u64(1);
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(10));
        let mut ceilings = Vec::new();
        for _ in 0..6 {
            ceilings.push(backoff.ceiling().as_secs());
            backoff.next(&mut entropy);
        }
        assert_eq!(ceilings, [1, 2, 4, 8, 10, 10]);
    }

    #[test]
    fn waits_are_spread_over_the_whole_range() {
        let mut entropy = ChaCha8Rng::seed_from_u64(2);
        let mut quarters = [0u32; 4];
        for _ in 0..4000 {
            let mut backoff = Backoff::new(Duration::from_millis(1000), Duration::from_secs(1));
            let wait = backoff.next(&mut entropy).as_millis();
            quarters[usize::try_from(wait / 250).unwrap().min(3)] += 1;
        }
        assert!(
            quarters.iter().all(|&count| (850..1150).contains(&count)),
            "{quarters:?}"
        );
    }
}
