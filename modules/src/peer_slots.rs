//! How many requests of one peer are worked on at once. The others wait, so that one peer does not take
//! the places of all.

use std::collections::BTreeMap;
use std::sync::Arc;

use grid_keys::NodeId;
use parking_lot::Mutex;
use tokio::sync::Semaphore;

/// So many places for each peer.
pub(crate) struct PeerSlots {
    each: usize,
    peers: Mutex<BTreeMap<NodeId, Arc<Semaphore>>>,
}

impl PeerSlots {
    pub(crate) const fn new(each: usize) -> Self {
        Self {
            each,
            peers: Mutex::new(BTreeMap::new()),
        }
    }

    /// The places of a peer. Never closed.
    pub(crate) fn of(&self, peer: NodeId) -> Arc<Semaphore> {
        let mut peers = self.peers.lock();
        // Those that nobody waits for are new again when they are wanted.
        peers.retain(|_, slots| Arc::strong_count(slots) > 1);
        let slots = peers.entry(peer);
        Arc::clone(slots.or_insert_with(|| Arc::new(Semaphore::new(self.each))))
    }
}
