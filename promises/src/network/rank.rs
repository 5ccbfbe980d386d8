//! How admissions rank, where two nodes cannot both have something and nobody saw who was first.
//!
//! A rank follows from the acts of owners and from one admission. It never looks at a time that its node wrote, nor at
//! what another member says now, so that it does not change when those do.

use crate::network::address;
use crate::network::admission::Admission;
use crate::network::authority::Authority;
use crate::network::ids::NetworkId;
use crate::network::uses::in_link;
use crate::time::Timestamp;
use grid_keys::NodeId;

/// How a node came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Class {
    Owner,
    ByName,
    ByOwnersInvite,
    Other,
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

impl Authority {
    /// How the admission of a node ranks.
    #[must_use]
    pub fn rank(&self, network: &NetworkId, admission: &Admission, node: &NodeId) -> AdmissionRank {
        let first = self.first_that_counts(admission, node);
        let links = admission.links().get(first..).unwrap_or_default();
        let dates = links.iter().map(|link| in_link(self, link));
        let since = dates.collect::<Option<Vec<_>>>();
        let since = since.and_then(|dates| dates.into_iter().max());
        let is_by_owner = |node: &NodeId| self.is_owner(node);
        let class = match links {
            _ if self.is_owner(node) => Class::Owner,
            _ if self.is_named(node) => Class::ByName,
            [link] if link.grant.office.is_some() || is_by_owner(&link.issuer()) => {
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
