//! An owner withdraws admissions, for as long as the network lives.
//!
//! A revoked node is out, and so is everybody whose admission leads through it, because it could
//! have signed those after the fact. The owner keeps whom it wants to keep by admitting them by name.
//! The invite by which the node came in can be closed in the same statement: the node may still have
//! it, and would otherwise come back under another key.

use minicbor::{Decode, Encode};

use crate::limits::MAX_REVOKED;
use crate::network::admission::RawLink;
use crate::network::ids::NetworkId;
use crate::network::statement::{Kind, Statement};
use crate::time::Timestamp;
use grid_keys::NodeId;

/// An invite that admits nobody but those named.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Closure {
    /// The invite key.
    #[n(0)]
    pub invite: NodeId,
    /// Who stays a member by it; ascending.
    #[n(1)]
    pub keep: Vec<NodeId>,
}

/// What an owner withdraws.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Revocation {
    /// The network that it holds in.
    #[n(0)]
    pub network: NetworkId,
    /// The owner, who signs this.
    #[n(1)]
    pub owner: NodeId,
    /// Who is out; ascending.
    #[n(2)]
    pub nodes: Vec<NodeId>,
    /// Invites that are closed.
    #[n(3)]
    pub closures: Vec<Closure>,
    /// Admissions by name for those who came in through a revoked node and stay.
    #[n(4)]
    pub readmit: Vec<RawLink>,
    /// When it was signed.
    #[n(5)]
    pub issued: Timestamp,
}

impl Statement for Revocation {
    const KIND: Kind = Kind::Revocation;
    fn signer(&self) -> NodeId {
        self.owner
    }
    fn check(&self) -> Result<(), &'static str> {
        let ascending = |nodes: &[NodeId]| nodes.is_sorted_by(|a, b| a < b);
        if self.nodes.is_empty() || self.nodes.len() > MAX_REVOKED {
            return Err("a revocation names 1 to 128 nodes");
        }
        if self.closures.len() > MAX_REVOKED
            || self
                .closures
                .iter()
                .any(|closure| closure.keep.len() > MAX_REVOKED)
        {
            return Err("a revocation closes at most 128 invites and keeps at most 128 nodes each");
        }
        if !ascending(&self.nodes) || !self.closures.iter().all(|c| ascending(&c.keep)) {
            return Err("the nodes are not in ascending order");
        }
        Ok(())
    }
}
