//! What is known of this node's interfaces: written by the WireGuard thread, read by everybody else.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use grid_keys::WgPublicKey;
use grid_promises::core::PeerObservation;
use grid_promises::network::charter::NetworkId;
use grid_wg::{Changes, Netns, ObservedPeer, Place};
use ipnet::IpNet;
use parking_lot::Mutex;

/// What WireGuard measured, by network.
pub type Observations = BTreeMap<NetworkId, BTreeMap<WgPublicKey, PeerObservation>>;

/// What is known of an interface.
#[derive(Clone, Debug, Default)]
pub struct InterfaceStatus {
    /// Who runs it.
    pub backend: Option<String>,
    /// Why that back end was chosen.
    pub reason: Option<String>,
    /// Why it is not as it should be.
    pub problem: Option<String>,
    /// What on this machine prevents it from working as it should.
    pub hint: Option<String>,
    /// The namespace that it is in, if not this process's.
    pub netns: Option<Netns>,
    /// The kernel's number for it, if it has been observed since it was made.
    pub index: Option<u32>,
    /// Its addresses as they were last observed, with what this process has changed since.
    pub addresses: BTreeSet<IpNet>,
    /// The addresses that this host does not allow.
    pub refused: BTreeSet<IpNet>,
    /// Its peers as they were last observed, without pre-shared keys.
    pub peers: BTreeMap<WgPublicKey, ObservedPeer>,
}

/// The status of every interface. Clones share it.
#[derive(Clone, Default)]
pub(super) struct Statuses(Arc<Mutex<BTreeMap<NetworkId, InterfaceStatus>>>);

impl Statuses {
    pub(super) fn get(&self, network: &NetworkId) -> InterfaceStatus {
        self.0.lock().get(network).cloned().unwrap_or_default()
    }

    pub(super) fn update(&self, network: NetworkId, change: impl FnOnce(&mut InterfaceStatus)) {
        change(self.0.lock().entry(network).or_default());
    }

    /// The places of all interfaces that exist.
    pub(super) fn places(&self) -> BTreeSet<Place> {
        let statuses = self.0.lock();
        let existing = statuses.values().filter(|status| status.backend.is_some());
        existing
            .map(|status| {
                let netns = status.netns.clone();
                netns.map_or_else(Place::default, Place::in_netns)
            })
            .collect()
    }

    /// Whether these changes may concern one of the interfaces.
    pub(super) fn are_concerned(&self, changes: &Changes) -> bool {
        let statuses = self.0.lock();
        let mut existing = statuses.values().filter(|status| status.backend.is_some());
        existing.any(|status| match status.index {
            Some(index) => changes.lost || changes.rules || changes.interfaces.contains(&index),
            None => true,
        })
    }
}
