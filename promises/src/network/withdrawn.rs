//! What the owners of a network withdrew.

use std::collections::{BTreeMap, BTreeSet};

use crate::network::admission::{Direct, Link, RawLink};
use crate::network::member::Member;
use crate::network::revocation::Revocation;
use crate::network::statement::Signed;
use grid_keys::NodeId;

/// Everything that owners withdrew, added up.
#[derive(Clone, Debug, Default)]
pub struct Withdrawn {
    nodes: BTreeSet<NodeId>,
    /// Nodes that were admitted by name, and the owners who did.
    readmitted: BTreeMap<NodeId, BTreeSet<NodeId>>,
    closed: BTreeMap<NodeId, BTreeSet<NodeId>>,
}

impl Withdrawn {
    /// Adds a revocation. The order does not matter.
    pub(crate) fn add(&mut self, revocation: &Signed<Revocation>) {
        self.nodes.extend(&revocation.nodes);
        for link in &revocation.readmit {
            if let RawLink::Direct(bytes) = link
                && let Ok(direct) = Signed::<Direct>::decode(bytes)
            {
                self.readmitted
                    .entry(direct.node)
                    .or_default()
                    .insert(direct.owner);
            }
        }
        for closure in &revocation.closures {
            let keep: BTreeSet<NodeId> = closure.keep.iter().copied().collect();
            self.closed
                .entry(closure.invite)
                .and_modify(|kept| kept.retain(|node| keep.contains(node)))
                .or_insert(keep);
        }
    }

    /// Whether this node was revoked by name.
    #[must_use]
    pub fn is_revoked(&self, node: &NodeId) -> bool {
        self.nodes.contains(node)
    }

    /// Whether this invite was closed.
    #[must_use]
    pub fn is_closed(&self, invite: &NodeId) -> bool {
        self.closed.contains_key(invite)
    }

    /// Whether an owner admitted this node by name when it withdrew another's admission. What an
    /// owner said who was revoked itself does not count.
    fn is_readmitted(&self, node: &NodeId) -> bool {
        !self.is_revoked(node)
            && self
                .readmitted
                .get(node)
                .is_some_and(|owners| owners.iter().any(|owner| !self.is_revoked(owner)))
    }

    /// Whether a member's admission was withdrawn: itself, someone on the way to it, or its invite.
    #[must_use]
    pub fn voids(&self, member: &Member) -> bool {
        let links = member.admission().links();
        self.is_revoked(&member.node())
            || links[self.first_that_counts(member)..]
                .iter()
                .any(|link| self.cuts(link))
    }

    /// The first link of a member's admission that its membership depends on: the one after the last
    /// node that an owner readmitted, because that node needs none of those before.
    pub(crate) fn first_that_counts(&self, member: &Member) -> usize {
        if self.is_readmitted(&member.node()) {
            return member.admission().links().len();
        }
        member
            .admission()
            .links()
            .iter()
            .rposition(|link| self.is_readmitted(&link.node()))
            .map_or(0, |position| position + 1)
    }

    fn cuts(&self, link: &Link) -> bool {
        self.is_revoked(&link.node())
            || self.is_revoked(&link.issuer())
            || matches!(link, Link::Invite { grant, .. }
                if self.closed.get(&grant.invite).is_some_and(|keep| !keep.contains(&link.node())))
    }
}
