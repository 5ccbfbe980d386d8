//! Who may decide in a network, and which acts count: a pure function of the charter and a set of acts.
//!
//! Offices form a tree under the recovery key. An office can be ended by one that is *senior* to it: one above
//! it, or one that took the place of such a one. Whoever ends an office names the last act of it that counts
//! (the *cut*), and the hash chain fixes everything before that: neither a clock nor the order in which things
//! arrive has a say. Seniors are always strictly nearer to the top, so that levels are settled from the top, each
//! by those that are settled already.

use std::collections::{BTreeMap, BTreeSet};

use crate::network::act::{Act, ActId, Action, OfficeId};
use crate::network::charter::Charter;
use crate::network::ids::NetworkId;
use crate::time::Timestamp;
use grid_keys::NodeId;

mod settling;
mod tree;

pub use tree::Place;
pub(crate) use tree::Tree;

/// One office whose appointment counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Office {
    /// Who holds it, and where it stands.
    pub place: Place,
    /// When its holder was appointed, as the act says that did it; `None` for those that the charter made.
    pub since: Option<Timestamp>,
    /// The acts that ended it. It is live as long as there are none.
    pub ended_by: BTreeSet<ActId>,
}

impl Office {
    /// Whether its holder may act by it now.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.ended_by.is_empty()
    }
}

/// What a closed invite still admits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closed {
    /// Who was seen to use it by then.
    pub before: Timestamp,
    /// Who stays whatever was seen.
    pub keep: BTreeSet<NodeId>,
}

/// What follows from a set of acts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Authority {
    founded: Timestamp,
    offices: BTreeMap<OfficeId, Office>,
    counted: BTreeSet<ActId>,
    /// The acts on the way to a cut that a counting dismissal names.
    to_cuts: BTreeSet<ActId>,
    /// The revocations that each admission by name overrides, by the node that is admitted.
    admitted: BTreeMap<NodeId, Vec<BTreeSet<ActId>>>,
    revoked: BTreeMap<NodeId, BTreeSet<ActId>>,
    closed: BTreeMap<NodeId, Vec<Closed>>,
    /// Who holds a live office.
    /// Who is an owner now, and since when it can have seen anything as one.
    owners: BTreeMap<NodeId, Timestamp>,
    /// Who holds an office that counts, live or not.
    holders: BTreeSet<NodeId>,
}

impl Authority {
    /// What follows from these acts. Each must be signed by the owner that it names, and belong to this network.
    #[must_use]
    pub fn of(network: &NetworkId, charter: &Charter, acts: &BTreeMap<ActId, &Act>) -> Self {
        Self::in_tree(&Tree::of(network, charter, acts), acts)
    }

    /// The same, where the places of the offices are known.
    pub(crate) fn in_tree(tree: &Tree, acts: &BTreeMap<ActId, &Act>) -> Self {
        let settled = settling::settle(tree, acts);
        let is_made = |id: &OfficeId| !acts.contains_key(&id.0) || settled.counted.contains(&id.0);
        let offices = tree.places().iter().filter(|(id, _)| is_made(id));
        let offices = offices.map(|(id, place)| {
            let endings = settled.endings.get(id).into_iter().flatten();
            let office = Office {
                place: place.clone(),
                since: acts.get(&id.0).map(|act| act.issued),
                ended_by: endings.map(|(act, _)| *act).collect(),
            };
            (*id, office)
        });
        let mut authority = Self {
            founded: tree.founded(),
            offices: offices.collect(),
            counted: settled.counted,
            to_cuts: settled.to_cuts,
            ..Self::default()
        };
        for (id, office) in &authority.offices {
            authority.holders.insert(office.place.holder);
            if office.is_live() {
                let since = authority.office_since(id);
                let first = authority.owners.entry(office.place.holder).or_insert(since);
                *first = since.min(*first);
            }
        }
        for id in &authority.counted {
            let Some(act) = acts.get(id) else { continue };
            match &act.action {
                Action::Admit { nodes, over } => {
                    let over: BTreeSet<ActId> = over.iter().copied().collect();
                    for node in nodes {
                        let by = authority.admitted.entry(*node).or_default();
                        by.push(over.clone());
                    }
                }
                Action::Revoke { node } => {
                    authority.revoked.entry(*node).or_default().insert(*id);
                }
                Action::Close {
                    invite,
                    before,
                    keep,
                } => {
                    let closed = Closed {
                        before: *before,
                        keep: keep.iter().copied().collect(),
                    };
                    authority.closed.entry(*invite).or_default().push(closed);
                }
                Action::Appoint { .. } | Action::Dismiss { .. } => {}
            }
        }
        authority
    }

    /// Whether an act counts.
    #[must_use]
    pub fn counts(&self, act: &ActId) -> bool {
        self.counted.contains(act)
    }

    /// Whether an act matters even if it does not count: it leads to a cut that a counting dismissal names.
    #[must_use]
    pub fn leads_to_a_cut(&self, act: &ActId) -> bool {
        self.to_cuts.contains(act)
    }

    /// Every office whose appointment counts, ended ones too.
    #[must_use]
    pub const fn offices(&self) -> &BTreeMap<OfficeId, Office> {
        &self.offices
    }

    /// The live offices that a node holds.
    pub fn offices_of(&self, node: &NodeId) -> impl Iterator<Item = (&OfficeId, &Office)> {
        let offices = self.offices.iter();
        offices.filter(move |(_, office)| office.place.holder == *node && office.is_live())
    }

    /// Whether one office may end another. Both have to count.
    #[must_use]
    pub fn is_senior(&self, one: &OfficeId, other: &OfficeId) -> bool {
        let place = |id: &OfficeId| self.offices.get(id).map(|office| &office.place);
        tree::is_senior(place, one, other)
    }

    /// The nodes that are owners now.
    pub fn owners(&self) -> impl Iterator<Item = &NodeId> {
        self.owners.keys()
    }

    /// Whether a node is an owner now.
    #[must_use]
    pub fn is_owner(&self, node: &NodeId) -> bool {
        self.owners.contains_key(node)
    }

    /// Whether an owner admitted a node by name, and nothing took that back.
    #[must_use]
    pub fn is_named(&self, node: &NodeId) -> bool {
        let revoked = self.revoked.get(node);
        let stands = |over: &BTreeSet<ActId>| revoked.is_none_or(|acts| acts.is_subset(over));
        self.admitted
            .get(node)
            .is_some_and(|admissions| admissions.iter().any(stands))
    }

    /// Whether a node needs nobody else to be a member: it is an owner, or was admitted by name.
    #[must_use]
    pub fn is_rooted(&self, node: &NodeId) -> bool {
        self.is_named(node) || self.is_owner(node)
    }

    /// Whether a node is out: an owner revoked it, no admission by name overrides that, and it is not an owner.
    #[must_use]
    pub fn is_revoked(&self, node: &NodeId) -> bool {
        self.revoked.contains_key(node) && !self.is_rooted(node)
    }

    /// Whether a node was an owner, is none now, and nobody admitted it by name.
    #[must_use]
    pub fn is_dismissed(&self, node: &NodeId) -> bool {
        self.holders.contains(node) && !self.is_rooted(node)
    }

    /// When the network was founded: nobody can have seen anything in it before.
    #[must_use]
    pub const fn founded(&self) -> Timestamp {
        self.founded
    }

    /// Since when an owner can have seen anything as one: its appointment, as the one dated it who appointed it, or for
    /// those of the charter its making. `None` if it is no owner.
    #[must_use]
    pub fn owner_since(&self, node: &NodeId) -> Option<Timestamp> {
        self.owners.get(node).copied()
    }

    /// Since when an office can have been there: nobody appoints anybody before it is an owner itself.
    fn office_since(&self, office: &OfficeId) -> Timestamp {
        let above = |office: &&Office| self.offices.get(office.place.above.as_ref()?);
        let offices = std::iter::successors(self.offices.get(office), above);
        let since = offices.filter_map(|office| office.since);
        since.max().unwrap_or_default().max(self.founded)
    }

    /// Whether a node is no member by what owners did: revoked, or dismissed.
    #[must_use]
    pub fn is_out(&self, node: &NodeId) -> bool {
        self.is_revoked(node) || self.is_dismissed(node)
    }

    /// The counting revocations of a node: what an admission has to override.
    pub fn revocations_of(&self, node: &NodeId) -> impl Iterator<Item = &ActId> {
        self.revoked.get(node).into_iter().flatten()
    }

    /// What is left of a closed invite; nothing if it was not closed.
    #[must_use]
    pub fn closings_of(&self, invite: &NodeId) -> &[Closed] {
        self.closed.get(invite).map_or(&[], Vec::as_slice)
    }
}
