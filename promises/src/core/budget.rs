//! What may be done at once, and how soon again.

use std::time::Duration;

use crate::time::Millis;

/// A number of things that may be done at once, which grows back evenly. However the asking is timed, no span of time
/// sees more than a full budget and what grew back meanwhile.
#[derive(Clone, Debug)]
pub(crate) struct Budget {
    size: u32,
    /// How long an empty budget takes to be full again.
    refill: Duration,
    /// When it is full again if nothing more is taken.
    full_at: Millis,
}

impl Budget {
    /// A full budget. `refill` is how long an empty one takes to be full again.
    pub(crate) const fn new(size: u32, refill: Duration) -> Self {
        Self {
            size,
            refill,
            full_at: Millis(0),
        }
    }

    /// Takes one, if there is one.
    pub(crate) fn take(&mut self, now: Millis) -> bool {
        let is_enough = self.holds(1, now);
        if is_enough {
            self.full_at = self.full_without(1, now);
        }
        is_enough
    }

    /// Whether there are so many to take.
    pub(crate) fn holds(&self, count: usize, now: Millis) -> bool {
        self.full_without(count, now) <= now + self.refill
    }

    /// When it is full again if so many are taken.
    fn full_without(&self, count: usize, now: Millis) -> Millis {
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        let all = (self.refill / self.size.max(1)).saturating_mul(count);
        self.full_at.max(now) + all
    }

    /// Puts back one that was taken.
    pub(crate) fn give_back(&mut self) {
        let one = self.refill / self.size.max(1);
        let one = u64::try_from(one.as_millis()).unwrap_or(u64::MAX);
        self.full_at = Millis(self.full_at.0.saturating_sub(one));
    }

    /// Takes so many, or all that there are.
    pub(crate) fn charge(&mut self, count: usize, now: Millis) {
        self.full_at = self.full_without(count, now).min(now + self.refill);
    }

    /// Whether there is none to take.
    pub(crate) fn is_spent(&self, now: Millis) -> bool {
        !self.holds(1, now)
    }

    /// Whether nothing is missing.
    pub(crate) fn is_full(&self, now: Millis) -> bool {
        self.full_at <= now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_span_of_time_sees_more_than_one_budget_and_what_grew_back() {
        let mut budget = Budget::new(64, Duration::from_secs(64));
        // Somebody who waits for the border of any period gains nothing by it.
        let taken: Vec<u64> = (0..200_000)
            .step_by(50)
            .filter(|ms| budget.take(Millis(*ms)))
            .collect();
        for (first, start) in taken.iter().enumerate() {
            let within = taken
                .iter()
                .skip(first)
                .filter(|ms| **ms < start + 10_000)
                .count();
            assert!(within <= 64 + 10, "{within} from {start} on");
        }
        assert!(taken.len() > 250, "it grows back: {}", taken.len());
    }

    #[test]
    fn what_was_refused_costs_nothing() {
        let mut budget = Budget::new(2, Duration::from_secs(2));
        assert!(budget.take(Millis(0)) && budget.take(Millis(0)));
        assert!((0..1000).all(|ms| !budget.take(Millis(ms))));
        assert!(budget.take(Millis(1000)));
    }
}
