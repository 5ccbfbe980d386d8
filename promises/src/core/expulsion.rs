//! Why this node is no longer a member of a network.

use std::fmt;

use crate::network::membership::NotAMember;
use crate::network::void::Void;

/// Why this node is no longer a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expulsion {
    /// An owner withdrew its admission, or one that it depends on.
    Revoked,
    /// It, or who let it in, was an owner, was dismissed, and nobody admitted it by name.
    Dismissed,
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
            Self::Dismissed => "this node, or the one that let it in, is no owner of the network any longer",
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
