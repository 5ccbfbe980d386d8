//! Why this node is no longer a member of a network.

use std::fmt;

use crate::network::membership::NotAMember;
use crate::network::void::Void;
use grid_keys::NodeId;

/// Why this node is no longer a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expulsion {
    /// An owner withdrew its admission.
    Revoked,
    /// An owner withdrew the admission of this node, by which it came.
    RevokedWith(NodeId),
    /// It was an owner, was dismissed, and nobody admitted it by name.
    Dismissed,
    /// This node, by which it came, was an owner, was dismissed, and nobody admitted either by name.
    DismissedWith(NodeId),
    /// An owner closed its invite before anybody who counts saw it join.
    InviteClosed,
    /// Whoever made its invite was dismissed, and no other owner saw it join.
    OfficeEnded,
    /// No owner that it knows of admitted it.
    NotAdmitted,
    /// Others used its invite before it.
    InviteSpent,
    /// Others rank before it, and there is no room for it.
    NoRoom,
    /// Its invite expired before anybody who counts saw it join.
    InviteExpired,
}

impl From<&NotAMember> for Expulsion {
    fn from(why: &NotAMember) -> Self {
        match why {
            NotAMember::Void(why) => why.into(),
            NotAMember::InviteSpent { .. } => Self::InviteSpent,
            NotAMember::InviteExpired { .. } => Self::InviteExpired,
        }
    }
}

impl From<&Void> for Expulsion {
    fn from(why: &Void) -> Self {
        match why {
            Void::Revoked => Self::Revoked,
            Void::Dismissed => Self::Dismissed,
            Void::Closed { .. } => Self::InviteClosed,
            Void::OfficeEnded { .. } => Self::OfficeEnded,
            Void::NotAdmitted => Self::NotAdmitted,
        }
    }
}

impl fmt::Display for Expulsion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Revoked => "an owner of the network revoked this node's admission",
            Self::RevokedWith(node) => {
                let node = node.short();
                return write!(f, "the admission of {node}, by which this node came, was revoked");
            }
            Self::Dismissed => "this node is no owner of the network any longer, and nobody admitted it by name",
            Self::DismissedWith(node) => {
                let node = node.short();
                return write!(f, "{node}, by which this node came, is no owner of the network any longer");
            }
            Self::InviteClosed => "an owner closed the invite before a member saw this node join",
            Self::OfficeEnded => {
                "whoever made the invite is no owner any longer, and no other owner had seen this node join"
            }
            Self::NotAdmitted => "no owner that this node knows of admitted it",
            Self::InviteSpent => "the invite was used by other nodes before this one",
            Self::NoRoom => "the network has no room for this node: others rank before it",
            Self::InviteExpired => "the invite expired before a member saw this node join",
        })
    }
}
