//! How many guests may run at once: as many as the pool has instances. The next one waits, and not
//! beyond its own deadline.

use std::time::Instant;

use parking_lot::{Condvar, Mutex};

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
        let mut free = self.free.lock();
        self.freed
            .wait_while_until(&mut free, |free| *free == 0, until);
        *free = free.checked_sub(1)?;
        Some(Slot(self))
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        *self.0.free.lock() += 1;
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
