//! What an owner does in a network: one link in the chain of an office.
//!
//! An *office* is one appointment. Its holder's acts form a chain: each names the one before it by the hash of
//! its body, so that the signature of the last act vouches for all of them, and whoever dates an act back puts
//! it beside the chain instead of into it. What counts is decided in
//! [`authority`](crate::network::authority); a clock has no say in it.

use std::fmt;

use data_encoding::HEXLOWER;
use minicbor::{Decode, Encode};

use crate::cbor;
use crate::limits::{MAX_NAMED, MAX_OVER};
use crate::network::address;
use crate::network::ids::NetworkId;
use crate::network::statement::{Kind, Statement};
use crate::time::Timestamp;
use grid_keys::NodeId;

/// The hash of an act's body. The signature is not in it: whoever signs the same act again makes no other act.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(transparent)]
pub struct ActId(#[cbor(with = "minicbor::bytes")] pub [u8; 32]);

/// In hexadecimal.
impl fmt::Display for ActId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for ActId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, ..] = self.0;
        write!(f, "ActId({a:02x}{b:02x}{c:02x}{d:02x}..)")
    }
}

/// An office: the act that appointed its holder, or the charter, if that did.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(transparent)]
pub struct OfficeId(#[n(0)] pub ActId);

impl OfficeId {
    /// The office of a founding owner, or of the recovery key.
    #[must_use]
    pub fn founding(network: &NetworkId, holder: &NodeId) -> Self {
        let network = network.0.to_bytes();
        Self(ActId(address::hash(
            "grid/1 office",
            &[&holder.0, &network],
        )))
    }
}

impl fmt::Debug for OfficeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Office{:?}", self.0)
    }
}

/// One act of an owner.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Act {
    /// The network that it holds in.
    #[n(0)]
    pub network: NetworkId,
    /// The owner, who signs this.
    #[n(1)]
    pub owner: NodeId,
    /// The office that it acts by.
    #[n(2)]
    pub office: OfficeId,
    /// Its place in the chain, from 1.
    #[n(3)]
    pub number: u32,
    /// The act before it; the office itself, if it is the first.
    #[n(4)]
    pub previous: ActId,
    /// What it does.
    #[n(5)]
    pub action: Action,
    /// When it was signed. Shown to people, and never judged.
    #[n(6)]
    pub issued: Timestamp,
}

/// What an act does.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Action {
    /// Admits nodes by name.
    #[n(0)]
    Admit {
        /// Who is admitted; ascending.
        #[n(0)]
        nodes: Vec<NodeId>,
        /// Revocations of these nodes that it overrides; ascending. It overrides no others.
        #[n(1)]
        over: Vec<ActId>,
    },
    /// Closes an invite.
    #[n(1)]
    Close {
        /// The invite key.
        #[n(0)]
        invite: NodeId,
        /// Whoever its maker or an owner saw use it by then stays.
        #[n(1)]
        before: Timestamp,
        /// Who stays whatever was seen; ascending.
        #[n(2)]
        keep: Vec<NodeId>,
    },
    /// Withdraws the admission of a node, and of all that came from it.
    #[n(2)]
    Revoke {
        /// Who is out.
        #[n(0)]
        node: NodeId,
    },
    /// Makes a node an owner.
    #[n(3)]
    Appoint {
        /// Who holds the new office.
        #[n(0)]
        node: NodeId,
    },
    /// Ends an office below one's own.
    #[n(4)]
    Dismiss {
        /// The office.
        #[n(0)]
        office: OfficeId,
        /// Its last act that counts; the office itself, if none does.
        #[n(1)]
        cut: ActId,
        /// Who decides from now on about what is below that office.
        #[n(2)]
        heir: Option<NodeId>,
    },
}

impl Action {
    /// Who holds the office that it makes, if it makes one.
    #[must_use]
    pub const fn makes_owner(&self) -> Option<NodeId> {
        match self {
            Self::Appoint { node } => Some(*node),
            Self::Dismiss { heir, .. } => *heir,
            Self::Admit { .. } | Self::Revoke { .. } | Self::Close { .. } => None,
        }
    }

    /// Whether another owner can do the same. Offices are not handed on: whoever is appointed again makes new acts.
    #[must_use]
    pub const fn can_be_restated(&self) -> bool {
        match self {
            Self::Admit { .. } | Self::Revoke { .. } | Self::Close { .. } => true,
            Self::Appoint { .. } | Self::Dismiss { .. } => false,
        }
    }
}

impl Act {
    /// The hash of its body.
    #[must_use]
    pub fn act_id(&self) -> ActId {
        ActId(address::hash("grid/1 act", &[&cbor::encode(self)]))
    }
}

impl Statement for Act {
    const KIND: Kind = Kind::Act;

    fn signer(&self) -> NodeId {
        self.owner
    }

    fn check(&self) -> Result<(), &'static str> {
        if self.number == 0 || (self.number == 1) != (self.previous == self.office.0) {
            return Err("an office's first act, and no other, follows on the office");
        }
        match &self.action {
            Action::Admit { nodes, over } => {
                if nodes.is_empty() || nodes.len() > MAX_NAMED || over.len() > MAX_OVER {
                    return Err("an act admits 1 to 128 nodes over at most 32 revocations");
                }
                if !is_ascending(nodes) || !is_ascending(over) {
                    return Err("the nodes or the revocations are not in ascending order");
                }
            }
            Action::Close { keep, .. } => {
                if keep.len() > MAX_NAMED || !is_ascending(keep) {
                    return Err("an act keeps at most 128 nodes, in ascending order");
                }
            }
            Action::Dismiss { office, .. } => {
                if *office == self.office {
                    return Err("nobody ends his own office");
                }
            }
            Action::Revoke { .. } | Action::Appoint { .. } => {}
        }
        Ok(())
    }
}

fn is_ascending<T: Ord>(items: &[T]) -> bool {
    items.is_sorted_by(|one, other| one < other)
}
