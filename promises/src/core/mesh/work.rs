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
/// What those may cause together whom no owner let in, nor one whom an owner did: in an open network, as many as have
/// keys.
const BY_THEMSELVES: u32 = OF_A_MEMBER;
/// What all others may cause together.
const OF_STRANGERS: u32 = 512;
/// How long either takes to grow back: one statement in 16 ms costs two percent of a processor.
const REFILL: Duration = Duration::from_secs(32);

/// Who pays for what a node sends in vain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// The node itself: a member whom somebody let in, or a node that this one began with.
    Member,
    /// All members together who came by themselves.
    ByItself,
    /// All strangers together.
    Stranger,
}

/// The budgets of those who send statements to one network.
#[derive(Debug)]
pub(crate) struct Work {
    members: BTreeMap<NodeId, Budget>,
    by_themselves: Budget,
    strangers: Budget,
}

impl Default for Work {
    fn default() -> Self {
        Self {
            members: BTreeMap::new(),
            by_themselves: Budget::new(BY_THEMSELVES, REFILL),
            strangers: Budget::new(OF_STRANGERS, REFILL),
        }
    }
}

impl Work {
    /// The one that a node's statements are paid from.
    pub(crate) fn of(&mut self, peer: &NodeId, side: Side) -> &mut Budget {
        match side {
            Side::Stranger => &mut self.strangers,
            Side::ByItself => &mut self.by_themselves,
            Side::Member => {
                let full = || Budget::new(OF_A_MEMBER, REFILL);
                self.members.entry(*peer).or_insert_with(full)
            }
        }
    }

    /// Forgets those that are full again.
    pub(crate) fn forget(&mut self, now: Millis) {
        self.members.retain(|_, budget| !budget.is_full(now));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How much these nodes cause at once, together.
    fn caused(side: Side) -> u32 {
        let mut work = Work::default();
        let nodes = [1, 2, 3].map(|n| NodeId([n; 32]));
        let tries = nodes.iter().flat_map(|node| vec![node; 10_000]);
        let taken = tries.filter(|node| work.of(node, side).take(Millis(0)));
        taken.map(|_| 1).sum()
    }

    #[test]
    fn who_came_by_itself_pays_from_one_purse() {
        let by_themselves = caused(Side::ByItself);
        assert!(by_themselves >= BY_THEMSELVES);
        assert_eq!(caused(Side::Member), 3 * by_themselves);
        assert!(caused(Side::Stranger) < by_themselves / 3);
    }
}
