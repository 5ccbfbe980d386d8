//! How many calls are worked on at once, and how they are shared out: no caller has more places than its own
//! few, and strangers together never have all. The others wait, in order.

use std::collections::BTreeMap;
use std::sync::Arc;

use grid_keys::NodeId;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::caller::Admission;

/// Places, and who may take how many.
pub(crate) struct Shares {
    each: usize,
    all: Arc<Semaphore>,
    strangers: Arc<Semaphore>,
    callers: Mutex<BTreeMap<NodeId, Arc<Semaphore>>>,
}

/// A place, until it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    _own: Option<OwnedSemaphorePermit>,
    _strangers: Option<OwnedSemaphorePermit>,
    _one: Option<OwnedSemaphorePermit>,
}

impl Shares {
    /// So many places, of which one caller has at most `each`, and strangers half.
    pub(crate) fn new(places: usize, each: usize) -> Self {
        Self {
            each,
            all: Arc::new(Semaphore::new(places)),
            strangers: Arc::new(Semaphore::new((places / 2).max(1))),
            callers: Mutex::default(),
        }
    }

    /// Waits for a place. Keys cost nothing, so who has none that is known shares with all who have none.
    pub(crate) async fn place(&self, caller: NodeId, admission: Admission) -> Place {
        // In this order: whoever waits for its own share holds nothing of what others wait for.
        let own = self.of(caller).acquire_owned().await;
        let strangers = match admission {
            Admission::Known => None,
            _ => Arc::clone(&self.strangers).acquire_owned().await.ok(),
        };
        let one = Arc::clone(&self.all).acquire_owned().await;
        // They are never closed, so that all are there.
        Place {
            _own: own.ok(),
            _strangers: strangers,
            _one: one.ok(),
        }
    }

    /// The places of one caller.
    fn of(&self, caller: NodeId) -> Arc<Semaphore> {
        let mut callers = self.callers.lock();
        // Those that nobody has or waits for are new again when they are wanted.
        callers.retain(|_, places| Arc::strong_count(places) > 1);
        let places = callers.entry(caller);
        Arc::clone(places.or_insert_with(|| Arc::new(Semaphore::new(self.each))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tokio::time::timeout;

    const WAIT: Duration = Duration::from_millis(50);

    /// As many places as a caller gets while nobody gives one back.
    async fn hoard(shares: &Shares, key: u8, admission: Admission) -> Vec<Place> {
        let mut held = Vec::new();
        while let Ok(place) = timeout(WAIT, shares.place(NodeId([key; 32]), admission)).await {
            held.push(place);
            assert!(held.len() < 100);
        }
        held
    }

    #[tokio::test]
    async fn strangers_with_any_number_of_keys_leave_half_to_members() {
        let shares = Shares::new(4, 1);
        let mut held = Vec::new();
        for key in 0..20 {
            held.extend(hoard(&shares, key, Admission::Stranger).await);
        }
        assert_eq!(held.len(), 2);
        // Two members find a place each, and a third waits for one of them, not for the strangers.
        let first = hoard(&shares, 100, Admission::Known).await;
        let second = hoard(&shares, 101, Admission::Known).await;
        assert_eq!((first.len(), second.len()), (1, 1));
        drop(first);
        assert_eq!(hoard(&shares, 102, Admission::Known).await.len(), 1);
    }

    #[tokio::test]
    async fn two_keys_do_not_hold_all_places_even_if_they_are_members() {
        let shares = Shares::new(4, 1);
        let mut held = Vec::new();
        for key in 0..2 {
            held.extend(hoard(&shares, key, Admission::Known).await);
        }
        assert_eq!(held.len(), 2);
        assert_eq!(hoard(&shares, 9, Admission::Known).await.len(), 1);
        assert_eq!(shares.callers.lock().len(), 3);
        drop(held);
        let _place = shares.place(NodeId([8; 32]), Admission::Known).await;
        assert_eq!(shares.callers.lock().len(), 1, "the others are forgotten");
    }
}
