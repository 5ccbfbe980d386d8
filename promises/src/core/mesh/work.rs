//! How much verification others may cause that comes to nothing.
//!
//! A statement that was not known, of a node that was not known, is worth its verification: there is room for so many of
//! those. Any other costs the one who sent it, because there is no end of statements that can be signed.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::core::budget::Budget;
use crate::time::Millis;
use grid_keys::NodeId;

/// What one member may cause at once: half a second of work, and a quarter of the promises of a full network, which it
/// passes on after a night.
const OF_A_MEMBER: u32 = 2048;
/// What all others may cause together.
const OF_STRANGERS: u32 = 512;
/// How long either takes to grow back: one statement in 16 ms costs two percent of a processor.
const REFILL: Duration = Duration::from_secs(32);

/// The budgets of those who send statements to one network.
#[derive(Debug)]
pub(crate) struct Work {
    members: BTreeMap<NodeId, Budget>,
    strangers: Budget,
}

impl Default for Work {
    fn default() -> Self {
        Self {
            members: BTreeMap::new(),
            strangers: Budget::new(OF_STRANGERS, REFILL),
        }
    }
}

impl Work {
    /// That of a member or of a node that this one began with, or the one of all strangers.
    pub(crate) fn of(&mut self, peer: &NodeId, is_stranger: bool) -> &mut Budget {
        if is_stranger {
            return &mut self.strangers;
        }
        let full = || Budget::new(OF_A_MEMBER, REFILL);
        self.members.entry(*peer).or_insert_with(full)
    }

    /// Forgets those that are full again.
    pub(crate) fn forget(&mut self, now: Millis) {
        self.members.retain(|_, budget| !budget.is_full(now));
    }
}
