//! The work of the WireGuard thread: all interfaces of this node, and what is told about them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Instant, UNIX_EPOCH};

use grid_keys::{Secret, WgPublicKey, WgSecretKey};
use grid_promises::Timestamp;
use grid_promises::core::{PeerObservation, Tunnel};
use grid_promises::network::charter::NetworkId;
use grid_promises::network::name::NetworkName;
use grid_wg::ObservedPeer;
use parking_lot::Mutex;
use tracing::{debug, error, info, warn};

use super::desired::name_of;
use super::interface::{Cause, Interface};
use super::seen::{About, Observations};
use crate::exit::Failure;
use crate::store::InterfaceOptions;

pub(super) struct Worker {
    interfaces: BTreeMap<NetworkId, Interface>,
    /// Whose interfaces may be taken over from somebody else when they are configured first.
    adopting: BTreeSet<NetworkName>,
    /// The mark of the tunnels' own packets; 0: none.
    mark: u32,
    about: Arc<Mutex<BTreeMap<NetworkId, About>>>,
}

impl Worker {
    pub(super) const fn new(about: Arc<Mutex<BTreeMap<NetworkId, About>>>, mark: u32) -> Self {
        Self {
            interfaces: BTreeMap::new(),
            adopting: BTreeSet::new(),
            mark,
            about,
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
        self.bring(network, Cause::Wished);
    }

    fn take_down(&mut self, network: NetworkId) {
        self.set_about(network, |about| *about = About::default());
        let Some(mut interface) = self.interfaces.remove(&network) else {
            return;
        };
        let own = interface.tunnel.private_key.public();
        let Some(backend) = &mut interface.backend else {
            return;
        };
        match backend.remove(&interface.name, &own) {
            Ok(true) => info!("{}: the interface is taken down", interface.name),
            Ok(false) => {}
            Err(error) => warn!(
                "{}: the interface could not be taken down: {error}",
                interface.name
            ),
        }
    }

    /// Observes, plans and applies; says what went wrong where `status` finds it.
    fn bring(&mut self, network: NetworkId, cause: Cause) {
        let Some(interface) = self.interfaces.get_mut(&network) else {
            return;
        };
        let result = interface.bring(cause);
        self.conclude(network, result);
    }

    /// Says how it came out, where people look for it.
    fn conclude(&mut self, network: NetworkId, result: Result<(), grid_wg::Error>) {
        let Some(interface) = self.interfaces.get_mut(&network) else {
            return;
        };
        let problem = result.err().map(|error| error.to_string());
        if problem != interface.complained {
            match &problem {
                Some(problem) => error!(
                    "{}: the interface is not as it should be: {problem}; it is tried again every \
                     30 seconds",
                    interface.name
                ),
                None => info!("{}: the interface is as it should be again", interface.name),
            }
            interface.complained.clone_from(&problem);
        }
        let (backend, reason) = interface.backend.as_ref().map_or((None, None), |backend| {
            (
                Some(backend.kind().to_string()),
                Some(backend.reason().to_owned()),
            )
        });
        let index = interface.index;
        let hint = interface.hint();
        if hint != interface.hinted {
            if let Some(hint) = &hint {
                warn!("{}: {hint}", interface.name);
            }
            interface.hinted.clone_from(&hint);
        }
        let netns = interface.options.netns.clone();
        self.set_about(network, |about| {
            about.hint = hint;
            about.netns = netns;
            about.backend = backend;
            about.reason = reason;
            about.index = index;
            about.problem = problem;
        });
    }

    /// Whether an interface of this name can be made, or taken over.
    pub(super) fn check(
        &mut self,
        net: &NetworkName,
        options: &InterfaceOptions,
        adopt: bool,
    ) -> Result<(), Failure> {
        self.adopting.remove(net);
        let name = name_of(net)?;
        let mut backend = grid_wg::open(options.backend.into(), &options.place())?;
        // No interface can have the key whose bytes nobody else has seen.
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes)
            .map_err(|error| Failure::failed(format!("the system has no randomness: {error}")))?;
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

    pub(super) fn observe(&mut self, put_right: bool) -> Observations {
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
                    // What failed is tried again by the guard only.
                    if put_right
                        && interface.complained.is_none()
                        && let Err(error) = interface
                            .put_right(&observed, Cause::Seen)
                            .and_then(|()| interface.begin_again(&observed, Instant::now()))
                    {
                        failed.push((*network, error));
                    }
                    let peers = observed
                        .interface
                        .map(|interface| interface.peers)
                        .unwrap_or_default();
                    let measured = peers.iter().map(|(key, peer)| (*key, measured(peer)));
                    all.insert(*network, measured.collect());
                    seen.push((*network, interface.index, peers));
                }
                Err(error) => {
                    interface.known = None;
                    debug!("{}: cannot be looked at: {error}", interface.name);
                }
            }
        }
        for (network, index, peers) in seen {
            self.set_about(network, |about| {
                about.index = index;
                about.peers = without_keys(peers);
            });
        }
        for (network, error) in failed {
            self.conclude(network, Err(error));
        }
        all
    }

    /// Puts right what is not as it should be. Whether all of it is now.
    pub(super) fn guard(&mut self) -> bool {
        let fails = |interface: &Interface| interface.complained.is_some();
        let networks: Vec<NetworkId> = self.interfaces.keys().copied().collect();
        for network in networks {
            let cause = match self.interfaces.get(&network) {
                Some(interface) if fails(interface) => Cause::Again,
                _ => Cause::Guarded,
            };
            self.bring(network, cause);
        }
        !self.interfaces.values().any(fails)
    }

    fn set_about(&self, network: NetworkId, change: impl FnOnce(&mut About)) {
        let mut about = self.about.lock();
        change(about.entry(network).or_default());
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

/// What `status` needs; the pre-shared keys stay where they are.
fn without_keys(
    mut peers: BTreeMap<WgPublicKey, ObservedPeer>,
) -> BTreeMap<WgPublicKey, ObservedPeer> {
    for peer in peers.values_mut() {
        peer.preshared_key = None;
    }
    peers
}
