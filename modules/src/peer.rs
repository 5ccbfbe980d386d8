//! A node that can be asked, and where it may be.

use std::net::SocketAddr;

use grid_keys::NodeId;

/// A node, and where it may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its key.
    pub node: NodeId,
    /// Where its QUIC was reached. Empty for one that is only known to be connected.
    pub addresses: Vec<SocketAddr>,
}
