//! How many guests may run at once: as many as the pool has instances. The next one waits, and not
//! beyond its own deadline.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Instant;

/// Places for guests.
pub(super) struct Slots {
    free: Mutex<u32>,
    freed: Condvar,
}

/// A place, until it is dropped.
pub(super) struct Slot<'a>(&'a Slots);

impl Slots {
    pub(super) const fn new(count: u32) -> Self {
        Self {
            free: Mutex::new(count),
            freed: Condvar::new(),
        }
    }

    /// A place, or none until the deadline.
    pub(super) fn take(&self, until: Instant) -> Option<Slot<'_>> {
        let free = super::lock(&self.free);
        let time = until.saturating_duration_since(Instant::now());
        let (mut free, _) = self
            .freed
            .wait_timeout_while(free, time, |free| *free == 0)
            .unwrap_or_else(PoisonError::into_inner);
        *free = free.checked_sub(1)?;
        Some(Slot(self))
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        *super::lock(&self.0.free) += 1;
        self.0.freed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_place_is_given_back() {
        let slots = Slots::new(1);
        let soon = || Instant::now() + Duration::from_millis(20);
        let first = slots.take(soon());
        assert!(first.is_some());
        assert!(slots.take(soon()).is_none());
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| {
                slots
                    .take(Instant::now() + Duration::from_secs(60))
                    .is_some()
            });
            drop(first);
            assert!(waiting.join().unwrap());
        });
        assert!(slots.take(soon()).is_some());
    }
}
