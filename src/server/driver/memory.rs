//! Whether the home takes changes, and when that is tried again.

use std::time::{Duration, Instant};

use crate::store::StoreError;

/// How soon the disk is tried again after the first failure. Each failure doubles it.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// How long people wait at most, once there is room again, until that is noticed.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Whether what is decided can be written down.
pub(super) struct Memory {
    failing: Option<Failing>,
    /// How long the next failure is waited after. Back to the first one only when a change is durable: where there
    /// is room for the trial and not for the change, each new core finds that out at a cost.
    pause: Duration,
}

struct Failing {
    why: String,
    next_try: Instant,
}

/// A change that could not be made durable and without which nothing behind it may be done.
pub(super) struct Forgotten {
    pub(super) error: StoreError,
    /// Whether it were statements: then those of the core hold what nobody may rely on.
    pub(super) is_of_statements: bool,
}

impl Default for Memory {
    fn default() -> Self {
        Self {
            failing: None,
            pause: FIRST_PAUSE,
        }
    }
}

impl Memory {
    /// Why changes cannot be written down at present.
    pub(super) fn why(&self) -> Option<String> {
        self.failing.as_ref().map(|failing| failing.why.clone())
    }

    pub(super) fn next_try(&self) -> Option<Instant> {
        self.failing.as_ref().map(|failing| failing.next_try)
    }

    pub(super) const fn is_failing(&self) -> bool {
        self.failing.is_some()
    }

    /// A change is durable.
    pub(super) const fn worked(&mut self) {
        self.pause = FIRST_PAUSE;
    }

    /// The home takes changes, as far as a trial shows. Returns whether that is news.
    pub(super) fn heal(&mut self) -> bool {
        self.failing.take().is_some()
    }

    /// The home does not take a change. Returns whether that is news.
    pub(super) fn fail(&mut self, error: &StoreError) -> bool {
        let failing = Failing {
            why: error.to_string(),
            next_try: Instant::now() + self.pause,
        };
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        self.failing.replace(failing).is_none()
    }
}
