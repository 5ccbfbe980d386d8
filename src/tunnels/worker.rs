//! The work of the WireGuard thread: all interfaces of this node, and their status.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Instant, UNIX_EPOCH};

use grid_keys::{Secret, WgPublicKey, WgSecretKey};
use grid_promises::Timestamp;
use grid_promises::core::{PeerObservation, Tunnel};
use grid_promises::network::charter::NetworkId;
use grid_promises::network::name::NetworkName;
use grid_wg::ObservedPeer;
use tracing::{debug, error, info, warn};

use super::desired::name_of;
use super::interface::{Cause, Interface};
use super::interface_status::{InterfaceStatus, Observations, Statuses};
use crate::exit::Failure;
use crate::store::InterfaceOptions;

pub(super) struct Worker {
    interfaces: BTreeMap<NetworkId, Interface>,
    /// Networks whose interface may be taken over from somebody else when it is first configured.
    adopting: BTreeSet<NetworkName>,
    /// The mark of the tunnels' own packets; 0: none.
    mark: u32,
    statuses: Statuses,
}

impl Worker {
    pub(super) const fn new(statuses: Statuses, mark: u32) -> Self {
        Self {
            interfaces: BTreeMap::new(),
            adopting: BTreeSet::new(),
            mark,
            statuses,
        }
    }

    pub(super) fn configure(
        &mut self,
        network: NetworkId,
        name: &NetworkName,
        options: InterfaceOptions,
        tunnel: Option<Box<Tunnel>>,
    ) {
        let Some(tunnel) = tunnel else {
            self.take_down(network);
            return;
        };
        match self.interfaces.get_mut(&network) {
            Some(interface) => interface.tunnel = tunnel,
            None => match name_of(name) {
                Ok(interface) => {
                    let adopt = self.adopting.remove(name);
                    let interface = Interface::new(interface, options, self.mark, adopt, tunnel);
                    self.interfaces.insert(network, interface);
                }
                Err(failure) => {
                    error!("{name}: {failure}");
                    return;
                }
            },
        }
        self.reconcile(network, Cause::Wanted);
    }

    fn take_down(&mut self, network: NetworkId) {
        self.statuses
            .update(network, |status| *status = InterfaceStatus::default());
        let Some(mut interface) = self.interfaces.remove(&network) else {
            return;
        };
        let own = interface.tunnel.private_key.public();
        let Some(backend) = &mut interface.backend else {
            return;
        };
        match backend.remove(&interface.name, &own) {
            Ok(true) => info!("{}: took the interface down", interface.name),
            Ok(false) => {}
            Err(error) => warn!(
                "{}: cannot take the interface down: {error}",
                interface.name
            ),
        }
    }

    fn reconcile(&mut self, network: NetworkId, cause: Cause) {
        let Some(interface) = self.interfaces.get_mut(&network) else {
            return;
        };
        let result = interface.reconcile(cause);
        self.report(network, result);
    }

    /// Reports the outcome in the log and in the interface's status.
    fn report(&mut self, network: NetworkId, result: Result<(), grid_wg::Error>) {
        let Some(interface) = self.interfaces.get_mut(&network) else {
            return;
        };
        let problem = result.err().map(|error| error.to_string());
        if problem != interface.last_problem {
            match &problem {
                Some(problem) => error!(
                    "{}: the interface is not as it should be: {problem}; retrying every 30 seconds",
                    interface.name
                ),
                None => info!("{}: the interface is as it should be again", interface.name),
            }
            interface.last_problem.clone_from(&problem);
        }
        let (backend, reason) = interface.backend.as_ref().map_or((None, None), |backend| {
            (
                Some(backend.kind().to_string()),
                Some(backend.reason().to_owned()),
            )
        });
        let hint = interface.hint();
        if hint != interface.last_hint {
            if let Some(hint) = &hint {
                warn!("{}: {hint}", interface.name);
            }
            interface.last_hint = hint;
        }
        let netns = interface.options.netns.clone();
        self.statuses.update(network, |status| {
            status.netns = netns;
            status.backend = backend;
            status.reason = reason;
            status.problem = problem;
        });
        self.publish(network);
    }

    /// Puts into an interface's status what is known of it since it was last observed.
    fn publish(&self, network: NetworkId) {
        let Some(interface) = self.interfaces.get(&network) else {
            return;
        };
        let left_out = interface.left_out();
        let hints = interface.last_hint.iter().chain(&left_out);
        let hints: Vec<&str> = hints.map(String::as_str).collect();
        self.statuses.update(network, |status| {
            status.hint = (!hints.is_empty()).then(|| hints.join("; "));
            status.index = interface.index;
            status.addresses.clone_from(&interface.addresses);
            status.refused = interface.refused_addresses();
        });
    }

    /// Checks that an interface of this name can be made, or taken over.
    pub(super) fn check(
        &mut self,
        net: &NetworkName,
        options: &InterfaceOptions,
        adopt: bool,
    ) -> Result<(), Failure> {
        self.adopting.remove(net);
        let name = name_of(net)?;
        let mut backend = grid_wg::open(options.backend.into(), &options.place())?;
        // No interface can have a key that nobody has seen.
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes).map_err(|error| {
            Failure::failed(format!("cannot get randomness from the system: {error}"))
        })?;
        let nobody = WgSecretKey::from_bytes(&Secret::new(bytes)).public();
        match backend.observe(&name, &nobody) {
            Err(grid_wg::Error::ForeignInterface { .. }) if adopt => {
                backend.adopt(&name)?;
                self.adopting.insert(net.clone());
            }
            other => drop(other?),
        }
        Ok(())
    }

    /// Measures every interface. With `repair`, undoes what others changed.
    pub(super) fn observe(&mut self, repair: bool) -> Observations {
        let mut all = Observations::new();
        let mut seen = Vec::new();
        let mut failed = Vec::new();
        for (network, interface) in &mut self.interfaces {
            let own = interface.tunnel.private_key.public();
            let Some(backend) = &mut interface.backend else {
                continue;
            };
            match backend.observe(&interface.name, &own) {
                Ok(observed) => {
                    interface.see(&observed);
                    // What failed is left to `Worker::repair`.
                    if repair
                        && interface.last_problem.is_none()
                        && let Err(error) = interface
                            .repair(&observed, Cause::Observed)
                            .and_then(|()| interface.restart_handshakes(&observed, Instant::now()))
                    {
                        failed.push((*network, error));
                    }
                    let peers = observed
                        .interface
                        .map(|interface| interface.peers)
                        .unwrap_or_default();
                    let measured = peers.iter().map(|(key, peer)| (*key, measured(peer)));
                    all.insert(*network, measured.collect());
                    seen.push((*network, peers));
                }
                Err(error) => {
                    interface.known = None;
                    debug!("{}: cannot observe the interface: {error}", interface.name);
                }
            }
        }
        for (network, peers) in seen {
            self.statuses
                .update(network, |status| status.peers = without_keys(peers));
            self.publish(network);
        }
        for (network, error) in failed {
            self.report(network, Err(error));
        }
        all
    }

    /// Repairs every interface that is not as it should be. False: one of them still is not.
    pub(super) fn repair(&mut self) -> bool {
        let fails = |interface: &Interface| interface.last_problem.is_some();
        let networks: Vec<NetworkId> = self.interfaces.keys().copied().collect();
        for network in networks {
            let cause = match self.interfaces.get(&network) {
                Some(interface) if fails(interface) => Cause::Retry,
                _ => Cause::Guard,
            };
            self.reconcile(network, cause);
        }
        !self.interfaces.values().any(fails)
    }
}

fn measured(peer: &ObservedPeer) -> PeerObservation {
    PeerObservation {
        latest_handshake: peer
            .latest_handshake
            .and_then(|at| at.duration_since(UNIX_EPOCH).ok())
            .map(|since| Timestamp(since.as_secs())),
        endpoint: peer.endpoint,
        rx_bytes: peer.rx_bytes,
        tx_bytes: peer.tx_bytes,
    }
}

/// What `status` needs: everything but the pre-shared keys.
fn without_keys(
    mut peers: BTreeMap<WgPublicKey, ObservedPeer>,
) -> BTreeMap<WgPublicKey, ObservedPeer> {
    for peer in peers.values_mut() {
        peer.preshared_key = None;
    }
    peers
}
