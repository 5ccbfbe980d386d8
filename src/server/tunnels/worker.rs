//! The work of the WireGuard thread: observe, plan, apply.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::UNIX_EPOCH;

use grid_promises::core::{PeerObservation, Tunnel};
use grid_promises::network::charter::NetworkId;
use grid_promises::network::name::NetworkName;
use grid_promises::{Secret, Timestamp, WgPublicKey, WgSecretKey};
use grid_wg::{
    Desired, IfName, Observed, ObservedInterface, ObservedPeer, Place, Plan, Step, plan,
};
use tracing::{debug, error, info, warn};

use super::desired::{desired, interface};
use super::{About, Observations};
use crate::exit::Failure;
use crate::store::Backend;

/// How many steps may be carried out without a look first.
const FEW: usize = 16;

/// One interface.
struct Interface {
    name: IfName,
    choice: Backend,
    /// Opened when it is needed first, and again after it could not be.
    backend: Option<Box<dyn grid_wg::Backend>>,
    tunnel: Box<Tunnel>,
    /// The kernel's number of it, as it was seen last.
    index: Option<u32>,
    /// What it was when it was seen last, with what this process changed since. None: not to be
    /// relied on.
    known: Option<ObservedInterface>,
    /// Where the peers were seen last: what the core leaves to WireGuard goes with a peer that
    /// somebody removes.
    endpoints: BTreeMap<WgPublicKey, SocketAddr>,
    /// What the log said last, so that it does not say it again every time.
    complained: Option<String>,
    /// What this host did not allow when it was tried last.
    left_out: Vec<Step>,
}

/// Why a change is made, for the log.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Cause {
    /// This node wants something else than before.
    Wished,
    /// Somebody may have changed something, and what failed may work now.
    Guarded,
    /// It was looked at for another reason.
    Seen,
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
                        index: None,
                        known: None,
                        endpoints: BTreeMap::new(),
                        complained: None,
                        left_out: Vec::new(),
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
        self.set_about(network, |about| {
            about.backend = backend;
            about.reason = reason;
            about.index = index;
            about.problem = problem;
        });
    }

    /// Whether an interface of this name can be made.
    pub(super) fn check(&mut self, name: &NetworkName, choice: Backend) -> Result<(), Failure> {
        let name = interface(name)?;
        let mut backend = grid_wg::open(choice.into(), &Place::default())?;
        // No interface can have the key whose bytes nobody else has seen.
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes)
            .map_err(|error| Failure::failed(format!("the system has no randomness: {error}")))?;
        let nobody = WgSecretKey::from_bytes(&Secret::new(bytes)).public();
        backend.observe(&name, &nobody)?;
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
                        && let Err(error) = interface.put_right(&observed, Cause::Seen)
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
        if cause == Cause::Wished && self.changes_few() {
            return Ok(());
        }
        self.known = None;
        let backend = match &mut self.backend {
            Some(backend) => backend,
            None => self.backend.insert(open(&self.name, self.choice)?),
        };
        let own = self.tunnel.private_key.public();
        let observed = backend.observe(&self.name, &own)?;
        self.put_right(&observed, cause)
    }

    /// Changes some peers without a look at all of them first: with thousands the look is what
    /// takes time. The guard looks a second later. False: this is not enough.
    fn changes_few(&mut self) -> bool {
        // What is not put back is forgotten, and looked at.
        let (Some(backend), Some(known)) = (&mut self.backend, self.known.take()) else {
            return false;
        };
        let mut known = Observed {
            interface: Some(known),
            ..Observed::default()
        };
        let plan = plan(&desired(self.name.clone(), &self.tunnel, &known), &known);
        let is_fit = plan.steps.len() <= FEW && plan.steps.iter().all(is_safe_unseen);
        let Some(interface) = known.interface.as_mut().filter(|_| is_fit) else {
            return false;
        };
        interface.follow(&plan.steps);
        if !plan.is_empty() {
            say(&self.name, &plan, Cause::Wished, false);
            if let Err(error) = backend.apply(&plan) {
                debug!("{}: {error}; it is looked at", self.name);
                return false;
            }
        }
        self.known = known.interface;
        true
    }

    /// Gives peers that are missing the endpoint that they had, if no other is wished.
    fn remember_endpoints(&mut self, desired: &mut Desired, observed: &Observed) {
        let there = observed.interface.iter().flat_map(|found| &found.peers);
        for (key, endpoint) in there.filter_map(|(key, peer)| Some((*key, peer.endpoint?))) {
            self.endpoints.insert(key, endpoint);
        }
        self.endpoints
            .retain(|key, _| desired.peers.contains_key(key));
        let is_there = |key| matches!(&observed.interface, Some(i) if i.peers.contains_key(key));
        for (key, peer) in &mut desired.peers {
            if peer.endpoint.is_none() && !is_there(key) {
                peer.endpoint = self.endpoints.get(key).copied();
            }
        }
    }

    /// Turns what was just observed into what is wished.
    fn put_right(&mut self, observed: &Observed, cause: Cause) -> Result<(), grid_wg::Error> {
        self.index = observed.interface.as_ref().map(|interface| interface.index);
        self.known = None;
        let mut desired = desired(self.name.clone(), &self.tunnel, observed);
        if cause == Cause::Seen {
            leave_endpoints(&mut desired, observed);
        }
        self.remember_endpoints(&mut desired, observed);
        let plan = plan(&desired, observed);
        if plan.is_empty() {
            self.left_out.clear();
            self.known.clone_from(&observed.interface);
            return Ok(());
        }
        // What this host did not allow a moment ago is nobody's doing now.
        let is_known = plan.steps.iter().all(|step| self.left_out.contains(step));
        match cause {
            Cause::Seen if is_known => return Ok(()),
            Cause::Guarded if is_known => {}
            _ => say(&self.name, &plan, cause, observed.interface.is_none()),
        }
        let Some(backend) = &mut self.backend else {
            return Ok(());
        };
        let report = backend.apply(&plan)?;
        for skipped in &report.skipped {
            if !self.left_out.contains(&skipped.step) {
                warn!("{}: {skipped}", self.name);
            }
        }
        self.left_out = report
            .skipped
            .into_iter()
            .map(|skipped| skipped.step)
            .collect();
        Ok(())
    }
}

fn open(name: &IfName, choice: Backend) -> Result<Box<dyn grid_wg::Backend>, grid_wg::Error> {
    let backend = grid_wg::open(choice.into(), &Place::default())?;
    let who = match backend.kind() {
        grid_wg::BackendKind::Kernel => "the kernel",
        grid_wg::BackendKind::Userspace => "this process",
    };
    info!("{name}: WireGuard is run by {who}: {}", backend.reason());
    Ok(backend)
}

/// Whether a step does no harm if the peer is not any more as it was seen: an endpoint would take
/// the place of one that the peer itself has shown since.
const fn is_safe_unseen(step: &Step) -> bool {
    match step {
        Step::RemovePeer(_) => true,
        Step::SetPeer(change) => change.create || change.endpoint.is_none(),
        _ => false,
    }
}

/// A peer's packets move its endpoint, so that one which differs is no sign of somebody's hand.
fn leave_endpoints(desired: &mut Desired, observed: &Observed) {
    let Some(interface) = &observed.interface else {
        return;
    };
    for (key, peer) in &mut desired.peers {
        if interface.peers.contains_key(key) {
            peer.endpoint = None;
        }
    }
}

fn say(name: &IfName, plan: &Plan, cause: Cause, gone: bool) {
    let steps: Vec<String> = plan.steps.iter().map(ToString::to_string).collect();
    let steps = steps.join("; ");
    match cause {
        Cause::Wished => info!("{name}: {steps}"),
        Cause::Guarded | Cause::Seen if gone => warn!("{name}: the interface was gone: {steps}"),
        Cause::Guarded | Cause::Seen => {
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use grid_promises::core::TunnelPeer;
    use grid_wg::{Backend as _, Fake};

    use super::*;

    fn key(byte: u8) -> WgSecretKey {
        WgSecretKey::from_bytes(&Secret::new([byte; 32]))
    }

    fn tunnel(peers: u8) -> Box<Tunnel> {
        let peer = |n: u8| TunnelPeer {
            preshared_key: Secret::new([3; 32]),
            endpoint: Some(([192, 0, 2, n], 51820).into()),
            allowed_ips: BTreeSet::from([format!("10.9.0.{n}/32").parse().unwrap()]),
            keepalive: 25,
        };
        Box::new(Tunnel {
            private_key: key(1),
            listen_port: 51820,
            addresses: BTreeSet::from(["10.9.0.1/16".parse().unwrap()]),
            routes: BTreeSet::new(),
            peers: (2..2 + peers).map(|n| (key(n).public(), peer(n))).collect(),
        })
    }

    fn interface(fake: &Fake) -> Interface {
        Interface {
            name: "foo".parse().unwrap(),
            choice: Backend::Auto,
            backend: Some(Box::new(fake.clone())),
            tunnel: tunnel(3),
            index: None,
            known: None,
            endpoints: BTreeMap::new(),
            complained: None,
            left_out: Vec::new(),
        }
    }

    fn peers(fake: &Fake) -> BTreeMap<WgPublicKey, ObservedPeer> {
        fake.interface(&"foo".parse().unwrap()).unwrap().peers
    }

    /// One that was brought up, and looked at.
    fn looked_at(fake: &Fake) -> Interface {
        let mut interface = interface(fake);
        interface.bring(Cause::Wished).unwrap();
        interface.bring(Cause::Guarded).unwrap();
        interface
    }

    #[test]
    fn a_change_of_one_peer_takes_no_look() {
        let fake = Fake::new();
        let mut interface = looked_at(&fake);
        let looks = fake.counts().observes;
        for count in [4, 3, 3, 5] {
            interface.tunnel = tunnel(count);
            interface.bring(Cause::Wished).unwrap();
            assert_eq!(peers(&fake).len(), usize::from(count));
        }
        assert_eq!(fake.counts().observes, looks);
        // What it believes is what is there.
        let steps = fake.counts().steps;
        interface.bring(Cause::Guarded).unwrap();
        assert_eq!(
            (fake.counts().observes, fake.counts().steps),
            (looks + 1, steps)
        );
    }

    #[test]
    fn an_endpoint_and_an_address_are_changed_after_a_look() {
        let fake = Fake::new();
        let mut interface = looked_at(&fake);
        let looks = fake.counts().observes;
        let moved = Some("198.51.100.7:9".parse().unwrap());
        let peer = key(2).public();
        interface.tunnel.peers.get_mut(&peer).unwrap().endpoint = moved;
        interface.bring(Cause::Wished).unwrap();
        assert_eq!(peers(&fake)[&peer].endpoint, moved);
        interface.bring(Cause::Guarded).unwrap();
        interface
            .tunnel
            .addresses
            .insert("10.9.0.200/16".parse().unwrap());
        interface.bring(Cause::Wished).unwrap();
        assert_eq!(fake.counts().observes, looks + 3);
    }

    #[test]
    fn an_interface_that_is_gone_is_made_again_by_the_next_wish() {
        let fake = Fake::new();
        let mut interface = looked_at(&fake);
        fake.vanish(&interface.name);
        interface.tunnel = tunnel(4);
        interface.bring(Cause::Wished).unwrap();
        assert_eq!(peers(&fake).len(), 4);
    }

    #[test]
    fn what_is_seen_is_put_right_but_not_an_endpoint() {
        let fake = Fake::new();
        let mut interface = looked_at(&fake);
        let (gone, roamed) = (key(2).public(), key(3).public());
        let elsewhere = Some("198.51.100.7:9".parse().unwrap());
        // As the core has it once the path works: what WireGuard has learned stays.
        let its_own = peers(&fake)[&gone].endpoint;
        interface.tunnel.peers.get_mut(&gone).unwrap().endpoint = None;
        fake.tamper(&interface.name, |state| {
            state.peers.remove(&gone);
            state.peers.get_mut(&roamed).unwrap().endpoint = elsewhere;
        });
        let own = key(1).public();
        let observed = fake.clone().observe(&interface.name, &own).unwrap();
        interface.put_right(&observed, Cause::Seen).unwrap();
        assert!(its_own.is_some());
        assert_eq!(peers(&fake)[&gone].endpoint, its_own);
        assert_eq!(peers(&fake)[&roamed].endpoint, elsewhere);
        assert_eq!(fake.counts().peer_sets[&roamed], 1);
    }
}
