//! How much of what others do is logged: there is no end to what somebody can do who is out to fill a disk.

use std::time::{Duration, Instant};

/// For how long a quota is, in words.
pub const SPAN_IN_WORDS: &str = "ten minutes";
const SPAN: Duration = Duration::from_secs(10 * 60);

/// So many lines in ten minutes, which begin with the first of them.
#[derive(Clone, Copy, Debug, Default)]
pub struct Quota {
    since: Option<Instant>,
    taken: u32,
}

/// Whether a line may be logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// It may.
    Next,
    /// It may, and none after it for a while.
    Last,
    /// It may not.
    Spent,
}

impl Quota {
    /// One of which nothing was taken.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            since: None,
            taken: 0,
        }
    }

    /// Takes one of `most`.
    pub fn take(&mut self, most: u32, now: Instant) -> Turn {
        if self.is_over(now) {
            *self = Self {
                since: Some(now),
                taken: 0,
            };
        }
        if self.taken >= most {
            return Turn::Spent;
        }
        self.taken += 1;
        if self.taken == most {
            Turn::Last
        } else {
            Turn::Next
        }
    }

    /// Whether nothing is left of what was taken.
    #[must_use]
    pub fn is_over(&self, now: Instant) -> bool {
        self.since
            .is_none_or(|since| now.saturating_duration_since(since) >= SPAN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quota_is_spent_for_ten_minutes() {
        let (mut quota, start) = (Quota::default(), Instant::now());
        let turns = [0, 1, 599].map(|s| quota.take(2, start + Duration::from_secs(s)));
        assert_eq!(turns, [Turn::Next, Turn::Last, Turn::Spent]);
        assert!(!quota.is_over(start + Duration::from_secs(599)));
        assert_eq!(quota.take(2, start + SPAN), Turn::Next);
        assert_eq!(quota.take(1, start + SPAN), Turn::Spent);
    }
}
