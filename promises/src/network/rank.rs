//! How admissions rank: where two nodes cannot both have something and nobody saw who was first, and where there is no
//! room for both.
//!
//! A rank follows from the acts of owners and from what one member shows: its admission, and who saw it used. It never
//! looks at a time that its node wrote, nor at what another member says now, so that it does not change when those do.

use crate::network::address;
use crate::network::admission::Admission;
use crate::network::authority::Authority;
use crate::network::ids::NetworkId;
use crate::network::member::Member;
use crate::network::uses::{in_link, seen_since};
use crate::time::Timestamp;
use grid_keys::NodeId;

/// How a node came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Class {
    Owner,
    ByName,
    ByOwnersInvite,
    Other,
    Void,
}

/// The rank of an admission. The lesser is the better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AdmissionRank {
    class: Class,
    /// How many invites it takes.
    depth: usize,
    /// Whether a link does not show since when its node is there.
    is_undated: bool,
    /// Since when the nodes on the way have been there, the last of them.
    since: Timestamp,
    hash: [u8; 32],
}

impl AdmissionRank {
    /// That of an admission that does not count: after all others.
    pub(crate) const fn void(self) -> Self {
        Self {
            class: Class::Void,
            ..self
        }
    }
}

impl Authority {
    /// How the admission of a member ranks.
    #[must_use]
    pub fn rank(&self, member: &Member) -> AdmissionRank {
        let seen = |position| seen_since(self, member, position);
        self.rank_on(
            &member.promise().network,
            member.admission(),
            &member.node(),
            seen,
        )
    }

    /// The same of an admission that is shown without a promise.
    pub(crate) fn rank_shown(
        &self,
        network: &NetworkId,
        admission: &Admission,
        node: &NodeId,
    ) -> AdmissionRank {
        let links = admission.links();
        let seen = |position: usize| in_link(self, links.get(position)?);
        self.rank_on(network, admission, node, seen)
    }

    /// `seen` says since when the node of a link has been seen to use its invite.
    fn rank_on(
        &self,
        network: &NetworkId,
        admission: &Admission,
        node: &NodeId,
        seen: impl Fn(usize) -> Option<Timestamp>,
    ) -> AdmissionRank {
        let first = self.first_that_counts(admission, node);
        let links = admission.links().get(first..).unwrap_or_default();
        let dates = (first..admission.links().len()).map(seen);
        let since = dates.collect::<Option<Vec<_>>>();
        let since = since.and_then(|dates| dates.into_iter().max());
        let class = match links {
            _ if self.is_owner(node) => Class::Owner,
            _ if self.is_named(node) => Class::ByName,
            [link] if link.grant.office.is_some() || self.is_owner(&link.issuer()) => {
                Class::ByOwnersInvite
            }
            _ => Class::Other,
        };
        AdmissionRank {
            class,
            depth: links.len(),
            is_undated: since.is_none(),
            since: since.unwrap_or_default(),
            hash: address::hash("grid/1 rank", &[&network.0.to_bytes(), &node.0]),
        }
    }
}
