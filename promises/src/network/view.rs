//! What follows from a set of statements at a moment: the members, and who holds which address.
//!
//! When two members claim the same address, the one with the better evidence holds it
//! ([`evidence`](crate::network::evidence)), then the one with the lower hash. Nobody can choose an IPv6 address; should
//! two come by the same one, the better admission holds it ([`rank`](crate::network::rank)). Every node that holds the
//! same statements comes to the same view.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, Ipv6Addr};

use crate::limits::QUIET_TIME;
use crate::network::address;
use crate::network::evidence::{Evidence, Standings, Worth};
use crate::network::ledger::Ledger;
use crate::network::member::{Member, Standing};
use crate::network::membership::{self, NotAMember};
use crate::time::Timestamp;
use grid_keys::NodeId;

/// Whether a member is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// Its promise stands.
    Live,
    /// Its promise was not renewed; its address is reserved for a while.
    Lapsed,
    /// It left; its address is reserved for a while.
    Left,
}

/// One member as it follows from the statements.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberView {
    /// Whether it is there.
    pub presence: Presence,
    /// The IPv4 address that it holds; `None` if another member holds the one that it claims.
    pub ipv4: Option<Ipv4Addr>,
    /// Who holds what it claims, where that is another.
    pub lost_to: Option<NodeId>,
}

/// A network at a moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    /// Everybody whose admission holds, also those who are away or left, within their quiet time.
    pub members: BTreeMap<NodeId, MemberView>,
    /// Nodes with a verified promise that are no members, and why.
    pub refused: BTreeMap<NodeId, NotAMember>,
    /// Who holds each address, also those reserved for absent members.
    pub addresses: BTreeMap<Ipv4Addr, NodeId>,
    /// Who has each IPv6 address.
    pub ipv6: BTreeMap<Ipv6Addr, NodeId>,
    /// Since when each of them has been seen as a member: what its word is worth.
    pub standings: Standings,
}

impl View {
    /// What a ledger says at a moment.
    #[must_use]
    pub fn of(ledger: &Ledger, now: Timestamp) -> Self {
        let mut view = Self::default();
        for (node, verdict) in membership::decide(ledger, now) {
            match verdict {
                Ok(()) => {
                    view.members.insert(node, MemberView::new());
                }
                Err(why) => {
                    view.refused.insert(node, why);
                }
            }
        }
        let members: Vec<&Member> = view
            .members
            .keys()
            .filter_map(|node| ledger.members().get(node))
            .filter(|member| is_reserved(member, now))
            .collect();
        let evidence = Evidence::of(ledger, now);
        view.addresses = contest(&members, |m| {
            (m.promise().ipv4.address, claim_rank(&evidence, m))
        });
        let authority = ledger.authority();
        let claims = members.iter().map(|m| (m.promise().ipv6.address, *m));
        let holders = sole_holders(claims, |m| authority.rank(m)).into_iter();
        view.ipv6 = holders.map(|(address, m)| (address, m.node())).collect();
        view.standings = evidence.into_standings();
        for member in members {
            view.settle(member, now);
        }
        view.members.retain(|node, _| {
            ledger
                .members()
                .get(node)
                .is_some_and(|m| is_reserved(m, now))
        });
        view
    }

    fn settle(&mut self, member: &Member, now: Timestamp) {
        let node = member.node();
        let promise = member.promise();
        let holder = self.addresses.get(&promise.ipv4.address).copied();
        if let Some(view) = self.members.get_mut(&node) {
            view.presence = presence(member, now);
            view.ipv4 = (holder == Some(node)).then_some(promise.ipv4.address);
            view.lost_to = holder.filter(|holder| *holder != node);
        }
    }

    /// Members that are there.
    pub fn live(&self) -> impl Iterator<Item = (&NodeId, &MemberView)> {
        self.members
            .iter()
            .filter(|(_, member)| member.presence == Presence::Live)
    }

    /// Whether a node is a member that is there.
    #[must_use]
    pub fn is_live(&self, node: &NodeId) -> bool {
        self.members
            .get(node)
            .is_some_and(|member| member.presence == Presence::Live)
    }

    /// Whether a member has the IPv6 address that it claims, and no other has it.
    #[must_use]
    pub fn has_ipv6(&self, node: &NodeId, address: Ipv6Addr) -> bool {
        self.ipv6.get(&address) == Some(node)
    }

    /// The addresses that anybody but `node` holds.
    #[must_use]
    pub fn held_by_others(&self, node: &NodeId) -> BTreeSet<Ipv4Addr> {
        self.addresses
            .iter()
            .filter(|(_, holder)| *holder != node)
            .map(|(a, _)| *a)
            .collect()
    }
}

fn claim_rank(evidence: &Evidence<'_>, member: &Member) -> Rank {
    let address = member.promise().ipv4.address;
    let worth = evidence.address_worth(member, address);
    Rank::new(worth, "grid/1 claim", member, &address.octets())
}

impl MemberView {
    const fn new() -> Self {
        Self {
            presence: Presence::Live,
            ipv4: None,
            lost_to: None,
        }
    }
}

/// How a claim ranks: the better evidence first, none last, then the lower hash.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    is_unseen: bool,
    worth: Option<Worth>,
    hash: [u8; 32],
}

impl Rank {
    fn new(worth: Option<Worth>, domain: &str, member: &Member, what: &[u8]) -> Self {
        let network = member.promise().network.0.to_bytes();
        let hash = address::hash(domain, &[&network, what, &member.node().0]);
        Self {
            is_unseen: worth.is_none(),
            worth,
            hash,
        }
    }
}

fn contest<K: Ord + Copy>(
    members: &[&Member],
    claim: impl Fn(&Member) -> (K, Rank),
) -> BTreeMap<K, NodeId> {
    let mut best: BTreeMap<K, (Rank, NodeId)> = BTreeMap::new();
    for member in members {
        let (key, rank) = claim(member);
        let wins = best.get(&key).is_none_or(|(standing, _)| rank < *standing);
        if wins {
            best.insert(key, (rank, member.node()));
        }
    }
    best.into_iter()
        .map(|(key, (_, node))| (key, node))
        .collect()
}

/// Who has each thing: of several who want it, the one of the best rank, which is only asked for where there are several.
fn sole_holders<'a, K: Ord, T, R: Ord>(
    wanted: impl Iterator<Item = (K, &'a T)>,
    rank: impl Fn(&T) -> R,
) -> BTreeMap<K, &'a T> {
    let mut holders: BTreeMap<K, &'a T> = BTreeMap::new();
    for (key, one) in wanted {
        match holders.entry(key) {
            Entry::Vacant(free) => _ = free.insert(one),
            Entry::Occupied(mut held) if rank(one) < rank(held.get()) => _ = held.insert(one),
            Entry::Occupied(_) => {}
        }
    }
    holders
}

fn presence(member: &Member, now: Timestamp) -> Presence {
    let promise = member.promise();
    match promise.standing {
        Standing::Withdrawn => Presence::Left,
        Standing::Promised if now > promise.expires => Presence::Lapsed,
        Standing::Promised => Presence::Live,
    }
}

/// Whether a member's address is still its own.
fn is_reserved(member: &Member, now: Timestamp) -> bool {
    let promise = member.promise();
    let from = match promise.standing {
        Standing::Promised => promise.expires,
        Standing::Withdrawn => promise.issued,
    };
    now <= from.after(QUIET_TIME)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_several_the_best_rank_holds_it_in_whatever_order_they_come() {
        let ranks = [("a", 5), ("b", 3), ("a", 2), ("a", 9), ("b", 4)];
        let forth = sole_holders(ranks.iter().map(|one| (one.0, one)), |one| one.1);
        let back = sole_holders(ranks.iter().rev().map(|one| (one.0, one)), |one| one.1);
        assert_eq!(forth, BTreeMap::from([("a", &("a", 2)), ("b", &("b", 3))]));
        assert_eq!(forth, back);
        // Where nobody else wants it, nobody's rank is asked for.
        let alone = [("a", ()), ("b", ())];
        let asked = |_: &(&str, ())| -> u32 { panic!("a rank was asked for") };
        assert_eq!(
            sole_holders(alone.iter().map(|one| (one.0, one)), asked).len(),
            2
        );
    }
}
