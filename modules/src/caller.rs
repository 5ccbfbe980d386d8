//! Who sent a message, and what this node keeps to it.

use grid_keys::NodeId;
use grid_promises::network::name::NetworkName;

/// A node that sent a message: its key was proven by its connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The node.
    pub node: NodeId,
    /// The networks in which both it and this node were members when the message came.
    pub networks: Vec<NetworkName>,
}

/// What a node keeps to a caller under a promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// The node takes no part in the promise.
    NoPart,
    /// It does, but not with this caller.
    MayNot,
    /// It keeps it to anybody, and the caller is nobody else.
    Stranger,
    /// The caller is a member, or a person named it.
    Known,
}

impl Admission {
    /// Whether a message is handled at all.
    #[must_use]
    pub const fn is_granted(self) -> bool {
        matches!(self, Self::Stranger | Self::Known)
    }
}
