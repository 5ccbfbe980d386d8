//! The promises of nodes that a ledger holds: for each admission that a node shows, the last one that shows it.
//!
//! By its last promise a node is a member, or is none. The earlier ones that showed other admissions keep those in their
//! places, for as long as they matter: which admissions a ledger has room for must not depend on the order in which
//! promises come.

use std::collections::BTreeMap;
use std::ops::RangeFrom;

use crate::content_id::ContentId;
use crate::network::ids::AdmissionId;
use crate::network::member::Member;
use crate::network::void::Void;
use grid_keys::NodeId;

/// What a promise holds: the place of one admission of a node.
pub(crate) type Place = (NodeId, AdmissionId);

/// That of a promise.
pub(crate) fn place_of(member: &Member) -> Place {
    (member.node(), member.admission_id())
}

/// The order in which promises of one node follow each other.
pub(crate) fn rank(member: &Member) -> (u64, ContentId) {
    (member.promise().sequence, member.promise().id())
}

/// The promises of a network's nodes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Held {
    /// The last promises of nodes, of those that count.
    members: BTreeMap<NodeId, Member>,
    /// Those that count as well, and are not the last ones of their nodes.
    aside: BTreeMap<Place, Member>,
    /// Those that do not count by what owners did.
    void: BTreeMap<Place, (Member, Void)>,
}

impl Held {
    /// The last promises of nodes, of those that count.
    pub(crate) const fn members(&self) -> &BTreeMap<NodeId, Member> {
        &self.members
    }

    /// All that count.
    pub(crate) fn counting(&self) -> impl Iterator<Item = &Member> {
        self.members.values().chain(self.aside.values())
    }

    /// How many do not count.
    pub(crate) fn void_len(&self) -> usize {
        self.void.len()
    }

    /// All that do not count, and why.
    pub(crate) fn void(&self) -> impl Iterator<Item = (&Member, Void)> {
        self.void.values().map(|(member, why)| (member, *why))
    }

    /// All of them.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Member> {
        self.counting().chain(self.void().map(|(member, _)| member))
    }

    /// The one that holds a place, if it counts.
    pub(crate) fn counting_at(&self, place: &Place) -> Option<&Member> {
        let last = self.members.get(&place.0);
        let last = last.filter(|last| last.admission_id() == place.1);
        last.or_else(|| self.aside.get(place))
    }

    /// The one that holds a place.
    pub(crate) fn at(&self, place: &Place) -> Option<&Member> {
        let void = || self.void.get(place).map(|(member, _)| member);
        self.counting_at(place).or_else(void)
    }

    /// The last one of a node, whether it counts or not.
    pub(crate) fn last_of(&self, node: &NodeId) -> Option<&Member> {
        let members = self.members.get(node).into_iter();
        let all = members.chain(self.aside_of(node));
        all.chain(self.void_of(node))
            .max_by_key(|member| rank(member))
    }

    fn aside_of(&self, node: &NodeId) -> impl Iterator<Item = &Member> {
        let from = self.aside.range(places_from(node));
        let own = from.take_while(|(place, _)| place.0 == *node);
        own.map(|(_, member)| member)
    }

    fn void_of(&self, node: &NodeId) -> impl Iterator<Item = &Member> {
        let from = self.void.range(places_from(node));
        let own = from.take_while(|(place, _)| place.0 == *node);
        own.map(|(_, (member, _))| member)
    }

    /// The places of a node.
    pub(crate) fn places_of(&self, node: &NodeId) -> Vec<Place> {
        let members = self.members.get(node).into_iter();
        let all = members.chain(self.aside_of(node));
        all.chain(self.void_of(node)).map(place_of).collect()
    }

    /// Takes one out of its place.
    pub(crate) fn take(&mut self, place: &Place) -> Option<Member> {
        let is_here = |last: &Member| last.admission_id() == place.1;
        if self.members.get(&place.0).is_some_and(is_here) {
            return self.members.remove(&place.0);
        }
        let void = || self.void.remove(place).map(|(member, _)| member);
        self.aside.remove(place).or_else(void)
    }

    /// Puts one into its place, which has to be free.
    pub(crate) fn put(&mut self, member: Member, ruling: Result<(), Void>) {
        let place = place_of(&member);
        match ruling {
            Ok(()) => _ = self.aside.insert(place, member),
            Err(why) => _ = self.void.insert(place, (member, why)),
        }
    }

    /// Finds out by which promise a node is a member, if it is.
    pub(crate) fn seat(&mut self, node: &NodeId) {
        let last = self.last_of(node).map(place_of);
        let last = last.filter(|place| !self.void.contains_key(place));
        let before = self.members.get(node).map(place_of);
        if last == before {
            return;
        }
        if let Some(place) = before
            && let Some(member) = self.members.remove(node)
        {
            self.aside.insert(place, member);
        }
        if let Some(place) = last
            && let Some(member) = self.aside.remove(&place)
        {
            self.members.insert(*node, member);
        }
    }
}

/// All places of a node, and those after it.
const fn places_from(node: &NodeId) -> RangeFrom<Place> {
    (*node, AdmissionId([0; 32]))..
}
