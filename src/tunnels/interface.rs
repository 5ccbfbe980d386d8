//! One interface of the WireGuard thread: what it should be, what it was when it was seen last, and how
//! the one becomes the other.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Instant;

use grid_keys::WgPublicKey;
use grid_promises::core::Tunnel;
use grid_wg::{
    BackendKind, Desired, Error, IfName, Observed, ObservedInterface, Plan, Step, Table, host, plan,
};
use tracing::{debug, info, warn};

use super::desired::desired;
use super::handshakes::Handshakes;
use crate::store::InterfaceOptions;

/// How many steps may be carried out without a look first.
const FEW: usize = 16;

/// One interface.
pub(super) struct Interface {
    pub(super) name: IfName,
    pub(super) options: InterfaceOptions,
    /// The mark of its own packets; 0: none.
    mark: u32,
    /// Whether it may be somebody else's so far.
    adopt: bool,
    /// Opened when it is needed first, and again after it could not be.
    pub(super) backend: Option<Box<dyn grid_wg::Backend>>,
    pub(super) tunnel: Box<Tunnel>,
    /// The kernel's number of it, as it was seen last.
    pub(super) index: Option<u32>,
    /// What it was when it was seen last, with what this process changed since. None: not to be
    /// relied on.
    pub(super) known: Option<Observed>,
    /// Where the peers were seen last: what the core leaves to WireGuard goes with a peer that
    /// somebody removes.
    endpoints: BTreeMap<WgPublicKey, SocketAddr>,
    handshakes: Handshakes,
    /// What the log said last, so that it does not say it again every time.
    pub(super) complained: Option<String>,
    /// The hint that the log said last.
    pub(super) hinted: Option<String>,
    /// What this host did not allow when it was tried last.
    left_out: Vec<Step>,
}

/// Why a change is made, for the log.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause {
    /// This node wants something else than before.
    Wished,
    /// What failed may work now: that is still this node's own wish, and nobody else's doing.
    Again,
    /// Somebody may have changed something.
    Guarded,
    /// It was looked at for another reason.
    Seen,
}

impl Interface {
    /// One that nothing is known of yet. With `adopt`, it may be somebody else's so far.
    pub(super) const fn new(
        name: IfName,
        options: InterfaceOptions,
        mark: u32,
        adopt: bool,
        tunnel: Box<Tunnel>,
    ) -> Self {
        Self {
            name,
            options,
            mark,
            adopt,
            backend: None,
            tunnel,
            index: None,
            known: None,
            endpoints: BTreeMap::new(),
            handshakes: Handshakes::new(),
            complained: None,
            hinted: None,
            left_out: Vec::new(),
        }
    }

    /// Observes, plans and applies.
    ///
    /// # Errors
    /// What the back end says; then the interface may be half of what it should be.
    pub(super) fn bring(&mut self, cause: Cause) -> Result<(), Error> {
        self.handshakes.expect(&self.tunnel.peers, Instant::now());
        if cause == Cause::Wished && self.changes_few() {
            return Ok(());
        }
        self.known = None;
        let backend = match &mut self.backend {
            Some(backend) => backend,
            None => self.backend.insert(open(&self.name, &self.options)?),
        };
        let own = self.tunnel.private_key.public();
        let observed = match backend.observe(&self.name, &own) {
            Err(Error::ForeignInterface { .. }) if self.adopt => {
                warn!("{}: takes over the interface that was there", self.name);
                backend.adopt(&self.name)?;
                backend.observe(&self.name, &own)?
            }
            other => other?,
        };
        self.put_right(&observed, cause)?;
        self.adopt = false;
        Ok(())
    }

    /// What on this machine keeps a default route from doing what it should.
    pub(super) fn hint(&self) -> Option<String> {
        let has_default = |prefix: &ipnet::IpNet| prefix.prefix_len() == 0;
        if self.options.routing.table != Table::Auto {
            return None;
        }
        if !self.tunnel.routes.iter().any(has_default) {
            return None;
        }
        if self.mark == 0 {
            return Some(
                "the default route is not taken, because the configuration says fwmark = 0: without \
                 a mark the tunnel's own packets would go into the tunnel"
                    .to_owned(),
            );
        }
        let is_ipv4 = |prefix: &ipnet::IpNet| has_default(prefix) && prefix.addr().is_ipv4();
        // Elsewhere, no rule stands between the tunnel's own packets and this process.
        if !self.tunnel.routes.iter().any(is_ipv4) || self.options.netns.is_some() {
            return None;
        }
        // In the tunnel itself the answers come in where the route leads out.
        match host::strict_reverse_path(std::slice::from_ref(&self.name)) {
            Ok(strict) if strict.is_empty() => None,
            Ok(strict) => Some(format!(
                "{} drops the answers to the tunnel's own packets, because its rp_filter is strict; \
                 `sysctl -w net.ipv4.conf.all.rp_filter=2` makes it loose",
                strict.join(", ")
            )),
            Err(error) => {
                debug!("{}: rp_filter cannot be read: {error}", self.name);
                None
            }
        }
    }

    /// Begins handshakes again that hang. For one that was just observed, and is as it should be.
    ///
    /// # Errors
    /// What the back end says; then a peer may be missing until the next look.
    pub(super) fn begin_again(&mut self, observed: &Observed, now: Instant) -> Result<(), Error> {
        let kernels = |seen: &&ObservedInterface| seen.kind == BackendKind::Kernel;
        let Some(seen) = observed.interface.as_ref().filter(kernels) else {
            return Ok(());
        };
        let own = self.tunnel.private_key.public();
        let hanging = self.handshakes.hanging(&own, &seen.peers, now);
        if hanging.is_empty() {
            return Ok(());
        }
        let (mut desired, mut without) = (self.desired(observed), seen.clone());
        for key in &hanging {
            // Where it was heard from, or else where it is looked for.
            let heard = without.peers.remove(key).and_then(|peer| peer.endpoint);
            if let (Some(peer), Some(heard)) = (desired.peers.get_mut(key), heard) {
                peer.endpoint = Some(heard);
            }
        }
        let without = Observed {
            interface: Some(without),
            rules: observed.rules.clone(),
        };
        let mut plan = plan(&desired, &without);
        let is_hanging = |step: &Step| matches!(step, Step::SetPeer(change) if hanging.contains(&change.public_key));
        plan.steps.retain(is_hanging);
        plan.steps
            .splice(0..0, hanging.iter().copied().map(Step::RemovePeer));
        info!(
            "{}: handshakes hang and are begun again: {}",
            self.name,
            line(&plan)
        );
        self.known = None;
        match &mut self.backend {
            Some(backend) => backend.apply(&plan).map(drop),
            None => Ok(()),
        }
    }

    fn desired(&self, observed: &Observed) -> Desired {
        let routing = self.options.routing;
        desired(
            self.name.clone(),
            &self.tunnel,
            routing,
            self.mark,
            observed,
        )
    }

    /// Changes some peers without a look at all of them first: with thousands the look is what
    /// takes time. The guard looks a second later. False: this is not enough.
    fn changes_few(&mut self) -> bool {
        // What is not put back is forgotten, and looked at.
        let Some(mut known) = self.known.take() else {
            return false;
        };
        let plan = plan(&self.desired(&known), &known);
        let Some(backend) = &mut self.backend else {
            return false;
        };
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
        self.known = Some(known);
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
    ///
    /// # Errors
    /// What the back end says; then the interface may be half of what it should be.
    pub(super) fn put_right(&mut self, observed: &Observed, cause: Cause) -> Result<(), Error> {
        self.index = observed.interface.as_ref().map(|interface| interface.index);
        self.known = None;
        let mut desired = self.desired(observed);
        if cause == Cause::Seen {
            leave_endpoints(&mut desired, observed);
        }
        self.remember_endpoints(&mut desired, observed);
        let plan = plan(&desired, observed);
        if plan.is_empty() {
            self.left_out.clear();
            self.known = observed.interface.is_some().then(|| observed.clone());
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
        // Also by somebody's hand, or with the interface: what was expected of them is long past.
        for key in plan.steps.iter().filter_map(put_in) {
            self.handshakes.put_in(key, Instant::now());
        }
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

fn open(name: &IfName, options: &InterfaceOptions) -> Result<Box<dyn grid_wg::Backend>, Error> {
    let backend = grid_wg::open(options.backend.into(), &options.place())?;
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

const fn put_in(step: &Step) -> Option<&WgPublicKey> {
    match step {
        Step::SetPeer(change) if change.create => Some(&change.public_key),
        _ => None,
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

fn line(plan: &Plan) -> String {
    let steps: Vec<String> = plan.steps.iter().map(ToString::to_string).collect();
    steps.join("; ")
}

fn say(name: &IfName, plan: &Plan, cause: Cause, gone: bool) {
    let steps = line(plan);
    match cause {
        Cause::Wished => info!("{name}: {steps}"),
        // It was said when it failed first; and when it works, that is said.
        Cause::Again => debug!("{name}: {steps}"),
        Cause::Guarded | Cause::Seen if gone => warn!("{name}: the interface was gone: {steps}"),
        Cause::Guarded | Cause::Seen => {
            warn!("{name}: somebody changed the interface, putting it right: {steps}")
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::Duration;

    use grid_keys::{Secret, WgSecretKey};
    use grid_promises::core::TunnelPeer;

    use grid_wg::{Backend as _, Fake, ObservedPeer};

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
        let name = "foo".parse().unwrap();
        let options = InterfaceOptions::default();
        Interface {
            backend: Some(Box::new(fake.clone())),
            ..Interface::new(name, options, 7, false, tunnel(3))
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

    #[test]
    fn a_handshake_that_hangs_in_the_kernel_is_begun_again_where_the_peer_was_heard() {
        let fake = Fake::new();
        let mut interface = looked_at(&fake);
        let [hanging, silent] = [2, 3].map(|n| key(n).public());
        let heard = Some("198.51.100.7:9".parse().unwrap());
        let mut later = Instant::now() + Duration::from_secs(9);
        let own = key(1).public();
        for (kind, sets) in [(BackendKind::Userspace, 1), (BackendKind::Kernel, 2)] {
            fake.tamper(&interface.name, |state| {
                state.kind = kind;
                let peer = state.peers.get_mut(&hanging).unwrap();
                (peer.tx_bytes, peer.rx_bytes, peer.endpoint) = (240, 148, heard);
            });
            let observed = fake.clone().observe(&interface.name, &own).unwrap();
            interface.begin_again(&observed, later).unwrap();
            let counts = fake.counts();
            assert_eq!(
                (counts.peer_sets[&hanging], counts.peer_sets[&silent]),
                (sets, 1)
            );
            later += Duration::from_secs(60);
        }
        // Anew, with all that is wished of it.
        let peer = &peers(&fake)[&hanging];
        assert_eq!((peer.rx_bytes, peer.endpoint), (0, heard));
        interface.tunnel.peers.get_mut(&hanging).unwrap().endpoint = None;
        let steps = fake.counts().steps;
        interface.bring(Cause::Guarded).unwrap();
        assert_eq!(fake.counts().steps, steps);
    }

    #[test]
    fn a_peer_that_comes_back_has_time_for_its_handshake() {
        let fake = Fake::new();
        let mut interface = looked_at(&fake);
        let back = key(2).public();
        let own = key(1).public();
        // By the time it is removed, what was expected of it is long past.
        interface
            .handshakes
            .expect(&BTreeMap::new(), Instant::now());
        let long_ago = Instant::now().checked_sub(Duration::from_secs(60)).unwrap();
        interface
            .handshakes
            .expect(&interface.tunnel.peers, long_ago);
        fake.tamper(&interface.name, |state| {
            state.kind = BackendKind::Kernel;
            state.peers.remove(&back);
        });
        interface.bring(Cause::Guarded).unwrap();
        fake.tamper(&interface.name, |state| {
            let peer = state.peers.get_mut(&back).unwrap();
            (peer.tx_bytes, peer.rx_bytes) = (92, 148);
        });
        let observed = fake.clone().observe(&interface.name, &own).unwrap();
        let now = Instant::now();
        interface.begin_again(&observed, now).unwrap();
        assert_eq!(fake.counts().peer_sets[&back], 2);
        let later = now + Duration::from_secs(3);
        interface.begin_again(&observed, later).unwrap();
        assert_eq!(fake.counts().peer_sets[&back], 3);
    }
}
