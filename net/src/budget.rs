//! The memory that requests take while they arrive. A [`Collector`] bounds a message by the longest
//! one allowed, and by the room that its sender has left. No I/O.
//!
//! Nothing announces a length, so there is none to trust: the buffer grows as bytes arrive. A message
//! never waits for room; [`Budget`] says why.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::config::Limits;

/// Messages up to this size need no reservation: the number of streams bounds their sum.
const FREE: usize = 4096;

/// How much is read at once.
const STEP: usize = 16 * 1024;

/// The memory that requests may take: one peer's, and all peers' together.
///
/// A message that exceeds 4 KiB reserves room for the longest one allowed, and returns what it does
/// not need once it is complete. Without room it is refused. It cannot wait, because what a stream
/// leaves unread fills the window of the whole connection: messages that wait for room would keep
/// those that have room from ever becoming complete.
#[derive(Clone, Debug)]
pub struct Budget {
    peer: Arc<Semaphore>,
    total: Arc<Semaphore>,
    longest: u32,
}

/// A message's share of the budget, returned on drop.
#[derive(Debug, Default)]
pub struct Hold(Option<[OwnedSemaphorePermit; 2]>);

impl Budget {
    /// The room that all peers share, in bytes.
    pub fn shared(limits: &Limits) -> Arc<Semaphore> {
        Arc::new(room(limits.max_buffered, limits.max_message))
    }

    /// One peer's room, besides its part in `total`.
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

/// How many requests above [`FREE`] a peer has room for, if its limits are the same as ours. Further
/// ones wait here, where they do not fill its window.
pub(crate) fn large_at_once(limits: &Limits) -> Semaphore {
    let count = usize::try_from(limits.max_buffered_per_peer / limits.max_message.max(1));
    Semaphore::new(count.unwrap_or(1).clamp(1, Semaphore::MAX_PERMITS))
}

/// Whether a request counts among those.
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

/// Why a message is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// It is longer than a message may be.
    TooLarge,
    /// There is no room for it now.
    Busy,
}

/// A message that is arriving.
#[derive(Debug)]
pub struct Collector<'a> {
    message: Vec<u8>,
    hold: Hold,
    longest: usize,
    budget: Option<&'a Budget>,
}

impl<'a> Collector<'a> {
    /// For a message of up to `longest` bytes. `budget` is what its sender may occupy; `None` if that
    /// is bounded elsewhere.
    #[must_use]
    pub fn new(longest: u32, budget: Option<&'a Budget>) -> Self {
        Self {
            message: Vec::new(),
            hold: Hold::default(),
            longest: usize::try_from(longest).unwrap_or(usize::MAX),
            budget,
        }
    }

    /// How many bytes to read next, at most. Without a reservation that is one more than is free.
    #[must_use]
    pub fn step(&self) -> usize {
        if self.has_room() {
            STEP
        } else {
            (FREE + 1).saturating_sub(self.message.len())
        }
    }

    /// Appends the next bytes.
    ///
    /// # Errors
    /// With them the message would be too long, or there is no room for it. Nothing is appended.
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

    /// The whole message, and its share of the budget.
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
