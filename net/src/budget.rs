//! The memory that requests take while they arrive, without any I/O: what a [`Collector`] is fed it
//! bounds by the longest message there can be, and by what its sender has room for.
//!
//! Nothing announces a length, so there is no length to believe: the buffer grows as bytes arrive.
//! It refuses to wait for room; [`Budget`] says why.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::config::Limits;

/// A message up to this size needs no reservation: the number of streams bounds their sum.
const FREE: usize = 4096;

/// The most that is read at once.
const STEP: usize = 16 * 1024;

/// The memory that requests may take: of one peer, and of all together.
///
/// A message of more than 4 KiB first reserves room for the longest message there can be, and
/// returns what it does not need when it is complete. If there is no room it is refused. It does not
/// wait, because what a stream leaves unread takes up the window of the whole connection: messages
/// that wait for room would keep those that have room from ever being complete.
#[derive(Clone, Debug)]
pub struct Budget {
    peer: Arc<Semaphore>,
    total: Arc<Semaphore>,
    longest: u32,
}

/// What a message holds of the budget, until it is dropped.
#[derive(Debug, Default)]
pub struct Hold(Option<[OwnedSemaphorePermit; 2]>);

impl Budget {
    /// The part that all peers share.
    pub fn shared(limits: &Limits) -> Arc<Semaphore> {
        Arc::new(room(limits.max_buffered, limits.max_message))
    }

    /// One peer's part.
    pub fn new(limits: &Limits, total: &Arc<Semaphore>) -> Self {
        Self {
            peer: Arc::new(room(limits.max_buffered_per_peer, limits.max_message)),
            total: Arc::clone(total),
            longest: limits.max_message,
        }
    }

    fn reserve(&self) -> Option<Hold> {
        let peer = Arc::clone(&self.peer)
            .try_acquire_many_owned(self.longest)
            .ok()?;
        let total = Arc::clone(&self.total)
            .try_acquire_many_owned(self.longest)
            .ok()?;
        Some(Hold(Some([peer, total])))
    }
}

/// What a peer has room for if its limits are the same: how many requests above [`FREE`] may be
/// under way to it. Those that wait here do not occupy its window.
pub(crate) fn large_at_once(limits: &Limits) -> Semaphore {
    let count = usize::try_from(limits.max_buffered_per_peer / limits.max_message.max(1));
    Semaphore::new(count.unwrap_or(1).clamp(1, Semaphore::MAX_PERMITS))
}

/// Whether a request takes one of those places.
pub(crate) fn is_large(message: &[u8]) -> bool {
    message.len() > FREE
}

impl Hold {
    fn shrink(&mut self, size: usize) {
        for permit in self.0.iter_mut().flatten() {
            let surplus = permit.num_permits().saturating_sub(size);
            drop(permit.split(surplus));
        }
    }
}

fn room(wanted: u32, longest: u32) -> Semaphore {
    let bytes = usize::try_from(wanted.max(longest)).unwrap_or(usize::MAX);
    Semaphore::new(bytes.min(Semaphore::MAX_PERMITS))
}

/// Why a message is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// It is longer than a message can be.
    TooLarge,
    /// There is no room for it now.
    Busy,
}

/// A message as far as it has arrived.
#[derive(Debug)]
pub struct Collector<'a> {
    message: Vec<u8>,
    hold: Hold,
    longest: usize,
    budget: Option<&'a Budget>,
}

impl<'a> Collector<'a> {
    /// For a message of up to `longest` bytes. `budget` is what its sender may occupy, if that is
    /// not bounded elsewhere.
    #[must_use]
    pub fn new(longest: u32, budget: Option<&'a Budget>) -> Self {
        Self {
            message: Vec::new(),
            hold: Hold::default(),
            longest: usize::try_from(longest).unwrap_or(usize::MAX),
            budget,
        }
    }

    /// How many bytes to ask for next, at most: not more than one above what is free, as long as
    /// there is no room for more.
    #[must_use]
    pub fn step(&self) -> usize {
        if self.has_room() {
            STEP
        } else {
            (FREE + 1).saturating_sub(self.message.len())
        }
    }

    /// Takes the next bytes.
    ///
    /// # Errors
    /// With them the message is too long, or there is no room for it. They are not taken.
    pub fn take(&mut self, bytes: &[u8]) -> Result<(), Refused> {
        let length = self.message.len().saturating_add(bytes.len());
        if length > self.longest {
            return Err(Refused::TooLarge);
        }
        if length > FREE && !self.has_room() {
            let hold = self.budget.and_then(Budget::reserve);
            self.hold = hold.ok_or(Refused::Busy)?;
        }
        self.message.extend_from_slice(bytes);
        Ok(())
    }

    /// The whole message, and what it holds of the budget.
    #[must_use]
    pub fn finish(mut self) -> (Vec<u8>, Hold) {
        self.hold.shrink(self.message.len());
        (self.message, self.hold)
    }

    fn has_room(&self) -> bool {
        self.budget.is_none() || self.hold.0.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_reserves_room_when_it_outgrows_what_is_free() {
        let limits = Limits {
            max_message: 10_000,
            max_buffered_per_peer: 15_000,
            ..Limits::default()
        };
        let total = Budget::shared(&limits);
        let budget = Budget::new(&limits, &total);
        let mut small = Collector::new(limits.max_message, Some(&budget));
        assert_eq!(small.step(), FREE + 1);
        assert_eq!(small.take(&[0; FREE]), Ok(()));
        assert_eq!(small.step(), 1);
        assert_eq!(budget.peer.available_permits(), 15_000);
        let mut large = Collector::new(limits.max_message, Some(&budget));
        assert_eq!(large.take(&[0; FREE + 1]), Ok(()));
        assert_eq!(
            (large.step(), budget.peer.available_permits()),
            (STEP, 5000)
        );
        assert_eq!(small.take(&[0]), Err(Refused::Busy));
        assert_eq!(large.take(&[0; 10_000 - FREE]), Err(Refused::TooLarge));
        let (message, _hold) = large.finish();
        assert_eq!(message.len(), FREE + 1);
        assert_eq!(budget.peer.available_permits(), 15_000 - FREE - 1);
        assert_eq!(small.take(&[0]), Ok(()));
    }

    #[test]
    fn without_a_budget_only_the_length_counts() {
        let mut answer = Collector::new(100_000, None);
        assert_eq!(answer.step(), STEP);
        assert_eq!(answer.take(&[0; 100_000]), Ok(()));
        assert_eq!(answer.take(&[0]), Err(Refused::TooLarge));
        assert_eq!(answer.finish().0.len(), 100_000);
    }

    #[test]
    fn a_complete_message_returns_what_it_does_not_need() {
        let limits = Limits {
            max_message: 1000,
            max_buffered_per_peer: 2000,
            ..Limits::default()
        };
        let total = Budget::shared(&limits);
        let all = total.available_permits();
        let budget = Budget::new(&limits, &total);
        let mut first = budget.reserve().unwrap();
        assert_eq!(budget.peer.available_permits(), 1000);
        first.shrink(300);
        assert_eq!(budget.peer.available_permits(), 1700);
        assert_eq!(total.available_permits(), all - 300);
        let second = budget.reserve().unwrap();
        assert!(budget.reserve().is_none());
        drop((first, second));
        assert_eq!(total.available_permits(), all);
        assert_eq!(budget.peer.available_permits(), 2000);
    }

    #[test]
    fn what_one_peer_takes_another_does_not_get() {
        let limits = Limits {
            max_message: 1000,
            max_buffered_per_peer: 2000,
            max_buffered: 3000,
            ..Limits::default()
        };
        let total = Budget::shared(&limits);
        let (a, b) = (Budget::new(&limits, &total), Budget::new(&limits, &total));
        let _held = [
            a.reserve().unwrap(),
            a.reserve().unwrap(),
            b.reserve().unwrap(),
        ];
        assert!(b.reserve().is_none());
        assert_eq!(
            b.peer.available_permits(),
            1000,
            "a failed reservation holds nothing"
        );
    }

    #[test]
    fn a_sender_never_exceeds_the_room_of_a_receiver_with_the_same_limits() {
        for (budget, longest, at_once) in [(4 << 20, 1 << 20, 4), (10, 100, 1), (299, 100, 2)] {
            let limits = Limits {
                max_buffered_per_peer: budget,
                max_message: longest,
                ..Limits::default()
            };
            assert_eq!(large_at_once(&limits).available_permits(), at_once);
            assert!(
                Budget::new(&limits, &Budget::shared(&limits))
                    .reserve()
                    .is_some()
            );
        }
    }
}
