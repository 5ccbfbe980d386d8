//! What is known of the interfaces of this node.

use std::collections::BTreeMap;

use grid_keys::WgPublicKey;
use grid_promises::core::PeerObservation;
use grid_promises::network::charter::NetworkId;
use grid_wg::{Netns, ObservedPeer};

/// What WireGuard measured, by network.
pub type Observations = BTreeMap<NetworkId, BTreeMap<WgPublicKey, PeerObservation>>;

/// What is known of an interface.
#[derive(Clone, Debug, Default)]
pub struct About {
    /// Who runs it.
    pub backend: Option<String>,
    /// Why that one.
    pub reason: Option<String>,
    /// Why it is not as it should be.
    pub problem: Option<String>,
    /// What on this machine keeps it from doing what it should.
    pub hint: Option<String>,
    /// The namespace that it is in, if not this process's.
    pub netns: Option<Netns>,
    /// The kernel's number of it, where it was seen since it was made.
    pub index: Option<u32>,
    /// Its peers as they were seen last.
    pub peers: BTreeMap<WgPublicKey, ObservedPeer>,
}
