//! How much verification others may cause that comes to nothing.
//!
//! A statement that was not known, of a node that was not known, is worth its verification: there is room for so many of
//! those. Any other costs the one who sent it, because there is no end of statements that can be signed.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::time::Duration;

use ipnet::IpNet;

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
const OF_STRANGERS: u32 = 480;
/// What those from one network may cause before that: enough for one who joins, whatever others ask.
const OF_A_NETWORK: u32 = 32;
/// Networks of strangers that have something of their own at a time: as many as there are places for strangers.
const MOST_NETWORKS: usize = 128;
/// How often a member may compare what is not equal, or ask for single statements: often enough to be told all that a full
/// network holds, at 256 KiB a time.
const COMPARISONS: u32 = 64;
/// How long that takes to grow back: each takes a look at all that is held, and is answered at length.
const COMPARE_AGAIN: Duration = Duration::from_secs(64);
/// How long what may be verified takes to grow back: one statement in 16 ms costs two percent of a processor.
const REFILL: Duration = Duration::from_secs(32);

/// Who pays for what a node sends in vain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// The node itself: a member whom somebody let in, or a node that this one began with.
    Member,
    /// All members together who came by themselves.
    ByItself,
    /// All strangers from this network, and what they lack all strangers together.
    Stranger(Option<IpNet>),
}

/// The budgets of those who send statements to one network.
#[derive(Debug)]
pub(crate) struct Work {
    members: BTreeMap<NodeId, Budget>,
    /// How often members may still compare.
    comparisons: BTreeMap<NodeId, Budget>,
    by_themselves: Budget,
    strangers: Budget,
    /// What is left to those networks of strangers that have asked something.
    networks: BTreeMap<Option<IpNet>, Budget>,
}

impl Default for Work {
    fn default() -> Self {
        Self {
            members: BTreeMap::new(),
            comparisons: BTreeMap::new(),
            by_themselves: Budget::new(BY_THEMSELVES, REFILL),
            strangers: Budget::new(OF_STRANGERS, REFILL),
            networks: BTreeMap::new(),
        }
    }
}

impl Work {
    /// The one that so many statements of a node are paid from.
    pub(crate) fn of(
        &mut self,
        peer: &NodeId,
        side: Side,
        count: usize,
        now: Millis,
    ) -> &mut Budget {
        match side {
            Side::Stranger(from) => self.of_network(from, count, now),
            Side::ByItself => &mut self.by_themselves,
            Side::Member => {
                let full = || Budget::new(OF_A_MEMBER, REFILL);
                self.members.entry(*peer).or_insert_with(full)
            }
        }
    }

    /// Whether a member may compare what is not equal, or ask for single statements.
    pub(crate) fn may_compare(&mut self, member: &NodeId, now: Millis) -> bool {
        let full = || Budget::new(COMPARISONS, COMPARE_AGAIN);
        self.comparisons
            .entry(*member)
            .or_insert_with(full)
            .take(now)
    }

    /// That of a network if it is enough for all of them, so that no message is cut where it ends.
    fn of_network(&mut self, from: Option<IpNet>, count: usize, now: Millis) -> &mut Budget {
        if !self.networks.contains_key(&from) && self.networks.len() >= MOST_NETWORKS {
            self.networks.retain(|_, budget| !budget.is_full(now));
        }
        let has_room = self.networks.len() < MOST_NETWORKS;
        let own = match self.networks.entry(from) {
            Entry::Vacant(place) if has_room => place.insert(Budget::new(OF_A_NETWORK, REFILL)),
            Entry::Vacant(_) => return &mut self.strangers,
            Entry::Occupied(own) => own.into_mut(),
        };
        if own.holds(count, now) {
            own
        } else {
            &mut self.strangers
        }
    }

    /// Forgets those that are full again.
    pub(crate) fn forget(&mut self, now: Millis) {
        self.networks.retain(|_, budget| !budget.is_full(now));
        for all in [&mut self.members, &mut self.comparisons] {
            all.retain(|_, budget| !budget.is_full(now));
        }
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
        let taken = tries.filter(|node| work.of(node, side, 1, Millis(0)).take(Millis(0)));
        taken.map(|_| 1).sum()
    }

    #[test]
    fn who_came_by_itself_pays_from_one_purse() {
        let by_themselves = caused(Side::ByItself);
        assert!(by_themselves >= BY_THEMSELVES);
        assert_eq!(caused(Side::Member), 3 * by_themselves);
        assert!(caused(Side::Stranger(None)) < by_themselves / 3);
    }

    /// However many networks strangers ask from, the next one has something of its own, up to as many as there are
    /// places.
    #[test]
    fn each_network_of_strangers_has_something_of_its_own() {
        let mut work = Work::default();
        let mut caused = |network: u8, tries: usize| {
            let from = IpNet::new([10, 0, network, 0].into(), 24).unwrap();
            let mut take = || {
                let budget = work.of(&NodeId([1; 32]), Side::Stranger(Some(from)), 1, Millis(0));
                budget.take(Millis(0))
            };
            (0..tries).filter(|_| take()).count()
        };
        assert!((512..520).contains(&caused(0, 10_000)));
        for network in 1..128 {
            assert_eq!(caused(network, 10_000), 32);
        }
        for network in 128..=255 {
            assert_eq!(caused(network, 10_000), 0);
        }
    }

    #[test]
    fn a_message_is_not_cut_where_what_its_network_has_ends() {
        let mut work = Work::default();
        let from = Side::Stranger(IpNet::new([10, 0, 0, 0].into(), 24).ok());
        let mut taken = 0;
        for _ in 0..25 {
            let budget = work.of(&NodeId([1; 32]), from, 20, Millis(0));
            taken += (0..20).filter(|_| budget.take(Millis(0))).count();
        }
        // One message is paid from its own, and 24 from what strangers share.
        assert_eq!(taken, 25 * 20);
    }
}
