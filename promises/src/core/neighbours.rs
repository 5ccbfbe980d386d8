//! The members of a network, in a node's orders of preference as neighbours.

use std::collections::BTreeSet;

use crate::network::address;
use crate::network::ids::NetworkId;
use grid_keys::NodeId;

/// The other members of a network, ordered. Hashing and sorting them all costs too much for every step:
/// it is done when the members change.
#[derive(Debug, Default)]
pub(crate) struct Neighbours {
    /// By their distance on the ring.
    ring: Vec<NodeId>,
    /// By an order that differs from node to node.
    liked: Vec<NodeId>,
}

impl Neighbours {
    pub(crate) fn of(network: &NetworkId, own: &NodeId, members: &BTreeSet<NodeId>) -> Self {
        let id = network.0.to_bytes();
        let place = |node: &NodeId| address::hash("grid/1 ring", &[&id, &node.0]);
        let mine = place(own);
        let others = || members.iter().filter(|node| *node != own);
        let mut ring: Vec<(bool, [u8; 32], NodeId)> = others()
            .map(|node| {
                let theirs = place(node);
                (theirs < mine, theirs, *node)
            })
            .collect();
        ring.sort_unstable();
        let mut liked: Vec<([u8; 32], NodeId)> = others()
            .map(|node| {
                (
                    address::hash("grid/1 choice", &[&id, &own.0, &node.0]),
                    *node,
                )
            })
            .collect();
        liked.sort_unstable();
        Self {
            ring: ring.into_iter().map(|(_, _, node)| node).collect(),
            liked: liked.into_iter().map(|(_, node)| node).collect(),
        }
    }

    /// Whether these are the members that the orders were made of; `members` is without this node.
    pub(crate) fn are(&self, members: &BTreeSet<NodeId>) -> bool {
        members.len() == self.ring.len() && self.ring.iter().all(|node| members.contains(node))
    }

    /// The members by their distance on the ring.
    pub(crate) fn ring(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.ring.iter().copied()
    }

    /// The members in this node's own order, different on each node.
    pub(crate) fn liked(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.liked.iter().copied()
    }
}
