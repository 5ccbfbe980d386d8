//! The document that founds a network. Its content id is the network's id.

use std::fmt;
use std::net::Ipv6Addr;

use ipnet::{Ipv4Net, Ipv6Net};
use minicbor::{Decode, Encode};

use crate::content_id::ContentId;
use crate::limits::MAX_OWNERS;
use crate::network::address;
use crate::network::name::NetworkName;
use crate::network::statement::{Kind, Signed, Statement};
use crate::time::Timestamp;
use crate::wire;
use grid_keys::NodeId;

pub use crate::network::ids::NetworkId;

/// How a node becomes a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
#[cbor(index_only)]
pub enum AdmissionRule {
    /// With an invite from a member. The network has a secret.
    #[n(0)]
    Invite,
    /// By an owner's signature on the node's key.
    #[n(1)]
    Approve,
    /// Whoever asks.
    #[n(2)]
    Open,
}

impl AdmissionRule {
    /// The word for it on the command line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Invite => "invite",
            Self::Approve => "approve",
            Self::Open => "open",
        }
    }
}

impl fmt::Display for AdmissionRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What founds a network. Signed by the founder, who is one of the owners.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Charter {
    /// What people call it.
    #[n(0)]
    pub name: NetworkName,
    /// The range that IPv4 addresses are claimed from.
    #[n(1)]
    #[cbor(with = "wire::ipv4_net")]
    pub ipv4: Ipv4Net,
    /// The ULA /64 (RFC 4193) of the members' IPv6 addresses; follows from founder and nonce.
    #[n(2)]
    #[cbor(with = "wire::ipv6_net")]
    pub ipv6: Ipv6Net,
    /// Who founded it.
    #[n(3)]
    pub founder: NodeId,
    /// Who may admit by name and revoke; ascending, with the founder.
    #[n(4)]
    pub owners: Vec<NodeId>,
    /// How nodes become members.
    #[n(5)]
    pub admission: AdmissionRule,
    /// The promise that members make by joining.
    #[n(6)]
    pub contract: ContentId,
    /// When it was founded.
    #[n(7)]
    pub created: Timestamp,
    /// Makes two networks of one founder differ.
    #[n(8)]
    #[cbor(with = "minicbor::bytes")]
    pub nonce: [u8; 16],
    /// The key that is above every owner: kept on paper, for the day on which owners are lost or stolen.
    #[n(9)]
    pub recovery: Option<NodeId>,
}

impl Charter {
    /// Whether this node may admit and revoke.
    #[must_use]
    pub fn is_owner(&self, node: &NodeId) -> bool {
        self.owners.contains(node)
    }

    /// The IPv6 prefix that follows from a founder and a nonce: `fd` and 56 bits of SHA-256.
    #[must_use]
    pub fn ipv6_prefix(founder: &NodeId, nonce: &[u8; 16]) -> Ipv6Net {
        let hash = address::hash("grid/1 ipv6 prefix", &[&founder.0, nonce]);
        let mut octets = [0; 16];
        octets[0] = 0xfd;
        octets[1..8].copy_from_slice(&hash[..7]);
        Ipv6Net::new_assert(Ipv6Addr::from(octets), 64)
    }
}

impl Statement for Charter {
    const KIND: Kind = Kind::Charter;

    fn signer(&self) -> NodeId {
        self.founder
    }

    fn check(&self) -> Result<(), &'static str> {
        if !self.name.is_valid() {
            return Err("the network's name breaks the rules for names");
        }
        address::check_range(self.ipv4)?;
        if self.ipv6 != Self::ipv6_prefix(&self.founder, &self.nonce) {
            return Err("the IPv6 prefix does not follow from the founder's key");
        }
        if self.owners.is_empty() || self.owners.len() > MAX_OWNERS {
            return Err("a network has 1 to 16 owners");
        }
        if !self.owners.is_sorted_by(|a, b| a < b) || !self.owners.iter().all(NodeId::is_valid) {
            return Err("the owners are not a set of node keys");
        }
        if !self.is_owner(&self.founder) {
            return Err("the founder is not among the owners");
        }
        if let Some(recovery) = &self.recovery
            && (!recovery.is_valid() || self.is_owner(recovery))
        {
            return Err("the recovery key is not a key of its own");
        }
        Ok(())
    }
}

impl Signed<Charter> {
    /// The network that this charter founds.
    #[must_use]
    pub const fn network(&self) -> NetworkId {
        NetworkId(self.id())
    }
}
