//! The work of the WireGuard thread: observe, plan, apply.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::UNIX_EPOCH;

use grid_promises::core::{PeerObservation, Tunnel};
use grid_promises::network::charter::NetworkId;
use grid_promises::network::name::NetworkName;
use grid_promises::{Secret, Timestamp, WgPublicKey, WgSecretKey};
use grid_wg::{IfName, ObservedPeer, Plan, plan};
use tracing::{debug, error, info, warn};

use super::desired::{desired, interface};
use super::{About, Observations};
use crate::exit::Failure;
use crate::store::Backend;

/// One interface.
struct Interface {
    name: IfName,
    choice: Backend,
    /// Opened when it is needed first, and again after it could not be.
    backend: Option<Box<dyn grid_wg::Backend>>,
    tunnel: Box<Tunnel>,
    /// What the log said last, so that it does not say it again every time.
    complained: Option<String>,
}

/// Why a change is made, for the log.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Cause {
    Wished,
    Guarded,
}

pub(super) struct Worker {
    interfaces: BTreeMap<NetworkId, Interface>,
    about: Arc<Mutex<BTreeMap<NetworkId, About>>>,
}

impl Worker {
    pub(super) const fn new(about: Arc<Mutex<BTreeMap<NetworkId, About>>>) -> Self {
        Self {
            interfaces: BTreeMap::new(),
            about,
        }
    }

    pub(super) fn configure(
        &mut self,
        network: NetworkId,
        name: &NetworkName,
        choice: Backend,
        tunnel: Option<Box<Tunnel>>,
    ) {
        let Some(tunnel) = tunnel else {
            self.take_down(network);
            return;
        };
        match self.interfaces.get_mut(&network) {
            Some(interface) => interface.tunnel = tunnel,
            None => match interface(name) {
                Ok(name) => {
                    let interface = Interface {
                        name,
                        choice,
                        backend: None,
                        tunnel,
                        complained: None,
                    };
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
        self.set_about(network, |about| {
            about.backend = backend;
            about.reason = reason;
            about.problem = problem;
        });
    }

    /// Whether an interface of this name can be made.
    pub(super) fn check(&mut self, name: &NetworkName, choice: Backend) -> Result<(), Failure> {
        let name = interface(name)?;
        let mut backend = grid_wg::open(choice.into())?;
        // No interface can have the key whose bytes nobody else has seen.
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes)
            .map_err(|error| Failure::failed(format!("the system has no randomness: {error}")))?;
        let nobody = WgSecretKey::from_bytes(&Secret::new(bytes)).public();
        backend.observe(&name, &nobody)?;
        Ok(())
    }

    pub(super) fn observe(&mut self) -> Observations {
        let mut all = Observations::new();
        let mut seen = Vec::new();
        for (network, interface) in &mut self.interfaces {
            let own = interface.tunnel.private_key.public();
            let Some(backend) = &mut interface.backend else {
                continue;
            };
            match backend.observe(&interface.name, &own) {
                Ok(observed) => {
                    let peers = observed
                        .interface
                        .map(|interface| interface.peers)
                        .unwrap_or_default();
                    let measured = peers.iter().map(|(key, peer)| (*key, measured(peer)));
                    all.insert(*network, measured.collect());
                    seen.push((*network, peers));
                }
                Err(error) => debug!("{}: cannot be looked at: {error}", interface.name),
            }
        }
        for (network, peers) in seen {
            self.set_about(network, |about| about.peers = without_keys(peers));
        }
        all
    }

    pub(super) fn guard(&mut self) {
        let networks: Vec<NetworkId> = self.interfaces.keys().copied().collect();
        for network in networks {
            let failed = self
                .interfaces
                .get(&network)
                .is_some_and(|interface| interface.complained.is_some());
            // What failed before is still this node's own wish, and nobody else's doing.
            let cause = if failed {
                Cause::Wished
            } else {
                Cause::Guarded
            };
            self.bring(network, cause);
        }
    }

    fn set_about(&self, network: NetworkId, change: impl FnOnce(&mut About)) {
        let mut about = self.about.lock().unwrap_or_else(PoisonError::into_inner);
        change(about.entry(network).or_default());
    }
}

impl Interface {
    fn bring(&mut self, cause: Cause) -> Result<(), grid_wg::Error> {
        let backend = match &mut self.backend {
            Some(backend) => backend,
            None => {
                let backend = grid_wg::open(self.choice.into())?;
                info!(
                    "{}: WireGuard is run by {}: {}",
                    self.name,
                    match backend.kind() {
                        grid_wg::BackendKind::Kernel => "the kernel",
                        grid_wg::BackendKind::Userspace => "this process",
                    },
                    backend.reason()
                );
                self.backend.insert(backend)
            }
        };
        let own = self.tunnel.private_key.public();
        let observed = backend.observe(&self.name, &own)?;
        let gone = observed.interface.is_none();
        let plan = plan(
            &desired(self.name.clone(), &self.tunnel, &observed),
            &observed,
        );
        if plan.is_empty() {
            return Ok(());
        }
        say(&self.name, &plan, cause, gone);
        backend.apply(&plan)?;
        Ok(())
    }
}

fn say(name: &IfName, plan: &Plan, cause: Cause, gone: bool) {
    let steps: Vec<String> = plan.steps.iter().map(ToString::to_string).collect();
    let steps = steps.join("; ");
    match cause {
        Cause::Wished => info!("{name}: {steps}"),
        Cause::Guarded if gone => warn!("{name}: the interface was gone: {steps}"),
        Cause::Guarded => {
            warn!("{name}: somebody changed the interface, putting it right: {steps}")
        }
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
