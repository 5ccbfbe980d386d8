//! Under whom a member stands: nodes of one line may all be one person's, and have one voice.

use crate::core::mesh::roster::Roster;
use grid_keys::NodeId;

/// What a member's admission hangs on in the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Line {
    /// A node that an owner knows by name, or an owner: itself, and those who came by its invites.
    Node(NodeId),
    /// An owner's invite, by its key: those who came by it, and by theirs.
    Invite(NodeId),
    /// Nothing: anybody may be in an open network.
    Nothing,
}

impl Roster {
    /// The line of a node. `None` if it is no member.
    pub(crate) fn line_of(&self, node: &NodeId) -> Option<Line> {
        if !self.is_member(node) {
            return None;
        }
        let authority = self.ledger().authority();
        if authority.is_rooted(node) {
            return Some(Line::Node(*node));
        }
        let admission = self.ledger().promise_of(node)?.admission();
        let links = admission.links();
        let rooted = authority.first_that_counts(admission, node).checked_sub(1);
        if let Some(link) = rooted.and_then(|position| links.get(position)) {
            return Some(Line::Node(link.node()));
        }
        Some(match links.first() {
            Some(first) if first.grant.office.is_some() => Line::Invite(first.grant.invite),
            Some(first) if authority.is_rooted(&first.issuer()) => Line::Node(first.issuer()),
            Some(_) | None => Line::Nothing,
        })
    }
}
