//! What the program learns about a connection.

use std::net::SocketAddr;
use std::time::Duration;

use grid_keys::NodeId;

/// The result of a successful dial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connected {
    /// The node at the other end, proven by its key.
    pub peer: NodeId,
    /// Where its packets come from. IPv4 is never written as IPv6.
    pub remote: SocketAddr,
}

/// How a connection is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionInfo {
    /// The node at the other end, proven by its key.
    pub peer: NodeId,
    /// Where its packets come from at the moment.
    pub remote: SocketAddr,
    /// Which end dialled.
    pub direction: Direction,
    /// The smoothed round-trip time.
    pub rtt: Duration,
    /// UDP payload sent so far, in bytes.
    pub sent: u64,
    /// UDP payload received so far, in bytes.
    pub received: u64,
    /// UDP packets sent so far. Each costs 28 bytes of headers on IPv4, 48 on IPv6.
    pub sent_packets: u64,
    /// UDP packets received so far.
    pub received_packets: u64,
}

/// Which end dialled a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// This node.
    Outgoing,
    /// The peer.
    Incoming,
}
