//! A node that is out asks those that it knew, now and then, whether it was admitted again.
//!
//! Nobody calls it: to the members it is a stranger until they hear of it. They keep no connection to it either, and once
//! its promise has lapsed they do not look for it.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::core::timers;
use grid_keys::NodeId;

/// Whom an expelled node asks.
#[derive(Debug)]
pub(crate) struct Appeal {
    /// Those that are dialled now, and have not answered.
    asked: BTreeSet<NodeId>,
    is_asking: bool,
    /// How long it waits after them.
    pause: Duration,
}

impl Default for Appeal {
    fn default() -> Self {
        Self {
            asked: BTreeSet::new(),
            is_asking: false,
            pause: timers::APPEAL,
        }
    }
}

impl Appeal {
    pub(crate) const fn asked(&self) -> &BTreeSet<NodeId> {
        &self.asked
    }

    /// One of them answered: it is not dialled again when it hangs up on a node that is out.
    pub(crate) fn answered(&mut self, peer: &NodeId) {
        self.asked.remove(peer);
    }

    /// Dials these.
    pub(crate) fn ask(&mut self, nodes: BTreeSet<NodeId>) {
        self.asked = nodes;
        self.is_asking = true;
    }

    /// Dials nobody any longer, for twice as long as before. Returns whether it was asking.
    pub(crate) fn give_up(&mut self) -> bool {
        self.asked.clear();
        let was_asking = std::mem::take(&mut self.is_asking);
        if was_asking {
            self.pause = (self.pause * 2).min(timers::MAX_APPEAL);
        }
        was_asking
    }

    /// How long it waits before it asks again.
    pub(crate) const fn pause(&self) -> Duration {
        self.pause
    }
}
