//! One interface of the WireGuard thread: what it should be, what it was when it was last observed, and
//! how the former is made of the latter.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Instant;

use grid_keys::WgPublicKey;
use grid_promises::core::Tunnel;
use grid_wg::{
    Aside, BackendKind, Desired, Error, IfName, Observed, ObservedInterface, Plan, SkipReason,
    Skipped, Step, Table, host, plan,
};
use ipnet::IpNet;
use tracing::{debug, info, warn};

use super::desired::desired;
use super::handshakes::Handshakes;
use crate::quota::{Quota, SPAN_IN_WORDS, Turn};
use crate::store::InterfaceOptions;

/// How many steps may be carried out without observing the interface first.
const FEW: usize = 16;
/// How many steps of one plan are logged.
const SHOWN: usize = 16;
/// Lines in ten minutes about what follows from promises of others.
const MOST: u32 = 100;

pub(super) struct Interface {
    pub(super) name: IfName,
    pub(super) options: InterfaceOptions,
    /// The mark of its own packets; 0: none.
    mark: u32,
    /// Whether it may be taken over from somebody else.
    adopt: bool,
    /// Opened when first needed; a failure is retried.
    pub(super) backend: Option<Box<dyn grid_wg::Backend>>,
    pub(super) tunnel: Box<Tunnel>,
    /// The kernel's number for it, as last observed.
    pub(super) index: Option<u32>,
    /// Its state as last observed, with what this process has changed since. None: unknown.
    pub(super) known: Option<Observed>,
    /// Its addresses as last observed, with what this process has changed since.
    pub(super) addresses: BTreeSet<IpNet>,
    /// Where the peers were last seen: when somebody removes a peer, an endpoint is lost that the core
    /// leaves to WireGuard.
    endpoints: BTreeMap<WgPublicKey, SocketAddr>,
    handshakes: Handshakes,
    /// The problem that was logged last, so that it is not logged every time.
    pub(super) last_problem: Option<String>,
    /// The hint that was logged last.
    pub(super) last_hint: Option<String>,
    /// The steps that this host did not allow the last time.
    skipped: Vec<Skipped>,
    /// The prefixes that went behind the main table the last time.
    aside: Vec<Aside>,
    /// How much was logged of what others cause.
    said: Quota,
}

/// Why a change is made, for the log.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause {
    /// This node wants something different from before.
    Wanted,
    /// What failed may work now. What differs is due to the failure, not to somebody else.
    Retry,
    /// Somebody may have changed something.
    Guard,
    /// It was observed for another reason.
    Observed,
}

impl Interface {
    /// One that has not been observed yet. With `adopt`, it may be taken over from somebody else.
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
            addresses: BTreeSet::new(),
            endpoints: BTreeMap::new(),
            handshakes: Handshakes::new(),
            last_problem: None,
            last_hint: None,
            skipped: Vec::new(),
            aside: Vec::new(),
            said: Quota::new(),
        }
    }

    /// Observes, plans and applies.
    ///
    /// # Errors
    /// What the back end says; then the interface may be only partly as it should be.
    pub(super) fn reconcile(&mut self, cause: Cause) -> Result<(), Error> {
        self.handshakes.expect(&self.tunnel.peers, Instant::now());
        if cause == Cause::Wanted && self.change_few_peers() {
            return Ok(());
        }
        self.known = None;
        self.addresses.clear();
        let backend = match &mut self.backend {
            Some(backend) => backend,
            None => self.backend.insert(open(&self.name, &self.options)?),
        };
        let own = self.tunnel.private_key.public();
        let observed = match backend.observe(&self.name, &own) {
            Err(Error::ForeignInterface { .. }) if self.adopt => {
                warn!("{}: taking over the existing interface", self.name);
                backend.adopt(&self.name)?;
                backend.observe(&self.name, &own)?
            }
            other => other?,
        };
        self.repair(&observed, cause)?;
        self.adopt = false;
        Ok(())
    }

    /// What this host does not allow, by the reason.
    pub(super) fn left_out(&self) -> Option<String> {
        let mut reasons: Vec<(SkipReason, Vec<String>)> = Vec::new();
        for skipped in &self.skipped {
            let step = skipped.step.to_string();
            match reasons.iter_mut().find(|(why, _)| *why == skipped.why) {
                Some((_, steps)) => steps.push(step),
                None => reasons.push((skipped.why, vec![step])),
            }
        }
        let told = reasons
            .iter()
            .map(|(why, steps)| format!("{why}; left out: {}", steps.join(", ")));
        (!reasons.is_empty()).then(|| told.collect::<Vec<_>>().join("; "))
    }

    /// The addresses that this host does not allow.
    pub(super) fn refused_addresses(&self) -> BTreeSet<IpNet> {
        let address = |skipped: &Skipped| match skipped.step {
            Step::AddAddress(address) => Some(address),
            _ => None,
        };
        self.skipped.iter().filter_map(address).collect()
    }

    /// What on this machine prevents what is accepted from going through the tunnel.
    pub(super) fn hint(&self) -> Option<String> {
        if self.options.routing.table != Table::Auto {
            return None;
        }
        let hints: Vec<String> = self
            .unmarked()
            .into_iter()
            .chain(self.nearer())
            .chain(self.strict())
            .collect();
        (!hints.is_empty()).then(|| hints.join("; "))
    }

    /// What needs a mark, if there is none.
    fn unmarked(&self) -> Vec<String> {
        if self.mark != 0 {
            return Vec::new();
        }
        let why = "because the configuration says fwmark = 0: without a mark the tunnel's own packets \
                   would go into the tunnel";
        let default = self.tunnel.routes.iter().find(|net| net.prefix_len() == 0);
        let default = default.map(|_| format!("the default route is not taken, {why}"));
        let with_endpoint = self.aside.iter().filter(|aside| aside.endpoint.is_some());
        let nets: Vec<String> = with_endpoint.map(|aside| aside.net.to_string()).collect();
        let subnets = (!nets.is_empty()).then(|| {
            format!(
                "{}, with the endpoint of a member in it, is not routed, {why}",
                nets.join(", ")
            )
        });
        default.into_iter().chain(subnets).collect()
    }

    /// What goes elsewhere, because this machine is there itself.
    fn nearer(&self) -> impl Iterator<Item = String> {
        self.aside.iter().filter_map(|aside| {
            let (net, near) = (aside.net, aside.connected?);
            Some(format!(
                "{net} does not go through the tunnel while this machine is itself connected to {near}"
            ))
        })
    }

    /// Which interfaces do not let the answers to the tunnel's own packets in.
    fn strict(&self) -> Option<String> {
        let default = self
            .tunnel
            .routes
            .iter()
            .filter(|net| net.prefix_len() == 0);
        let with_endpoint = self.aside.iter().filter(|aside| aside.endpoint.is_some());
        let mut behind = default.chain(with_endpoint.map(|aside| &aside.net));
        // In another namespace, no rule applies to the tunnel's own packets.
        let is_outside = self.mark == 0 || self.options.netns.is_some();
        if is_outside || !behind.any(|net| net.addr().is_ipv4()) {
            return None;
        }
        // The tunnel itself does not count: its answers come in where its route leads out.
        match host::strict_reverse_path(std::slice::from_ref(&self.name)) {
            Ok(strict) if strict.is_empty() => None,
            Ok(strict) => Some(format!(
                "{} drops the answers to the tunnel's own packets, because its rp_filter is strict; \
                 `sysctl -w net.ipv4.conf.all.rp_filter=2` makes it loose",
                strict.join(", ")
            )),
            Err(error) => {
                debug!("{}: cannot read rp_filter: {error}", self.name);
                None
            }
        }
    }

    /// Restarts handshakes that have stalled. The interface was just observed, and is as it should be.
    ///
    /// # Errors
    /// What the back end says; then a peer may be missing until the next observation.
    pub(super) fn restart_handshakes(
        &mut self,
        observed: &Observed,
        now: Instant,
    ) -> Result<(), Error> {
        let waits = |seen: &&ObservedInterface| !seen.kind.retries_handshakes();
        let Some(seen) = observed.interface.as_ref().filter(waits) else {
            return Ok(());
        };
        let own = self.tunnel.private_key.public();
        let stalled = self.handshakes.take_stalled(&own, &seen.peers, now);
        if stalled.is_empty() {
            return Ok(());
        }
        let (mut desired, mut without) = (self.desired(observed), seen.clone());
        for key in &stalled {
            // The endpoint that it was heard from, or otherwise the one that is tried.
            let heard = without.peers.remove(key).and_then(|peer| peer.endpoint);
            if let (Some(peer), Some(heard)) = (desired.peers.get_mut(key), heard) {
                peer.endpoint = Some(heard);
            }
        }
        let without = Observed {
            interface: Some(without),
            rules: observed.rules.clone(),
            connected: observed.connected.clone(),
        };
        let mut plan = plan(&desired, &without);
        let is_stalled = |step: &Step| matches!(step, Step::SetPeer(change) if stalled.contains(&change.public_key));
        plan.steps.retain(is_stalled);
        plan.steps
            .splice(0..0, stalled.iter().copied().map(Step::RemovePeer));
        let what = format!("restarting handshakes that have stalled: {}", line(&plan));
        log_within(&mut self.said, &self.name, &what);
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

    /// Changes a few peers without observing all of them first, which is what takes time if there are
    /// thousands. The guard observes them a second later. False: more is needed.
    fn change_few_peers(&mut self) -> bool {
        // Unless it is put back, the state is unknown and will be observed.
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
            log(&mut self.said, &self.name, &plan, Cause::Wanted, false);
            if let Err(error) = backend.apply(&plan) {
                debug!("{}: {error}; observing the interface", self.name);
                return false;
            }
        }
        self.known = Some(known);
        true
    }

    /// Gives missing peers the endpoint that they had, if no other one is wanted.
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

    /// Turns what was just observed into what is wanted.
    ///
    /// # Errors
    /// What the back end says; then the interface may be only partly as it should be.
    pub(super) fn repair(&mut self, observed: &Observed, cause: Cause) -> Result<(), Error> {
        self.index = observed.interface.as_ref().map(|interface| interface.index);
        self.known = None;
        self.see(observed);
        let mut desired = self.desired(observed);
        if cause == Cause::Observed {
            leave_endpoints(&mut desired, observed);
        }
        self.remember_endpoints(&mut desired, observed);
        let aside = desired.aside(observed);
        // If so, a peer or this machine has moved, and nobody has changed the interface.
        let moved = aside != self.aside;
        self.aside = aside;
        let plan = plan(&desired, observed);
        if plan.is_empty() {
            self.skipped.clear();
            self.known = observed.interface.is_some().then(|| observed.clone());
            return Ok(());
        }
        // What this host did not allow a moment ago was not changed by somebody else.
        let is_skipped = |step: &Step| self.skipped.iter().any(|skipped| skipped.step == *step);
        let is_known = plan.steps.iter().all(is_skipped);
        match cause {
            Cause::Observed if is_known => return Ok(()),
            Cause::Guard if is_known => {}
            _ => {
                let gone = observed.interface.is_none();
                let cause = if moved && cause != Cause::Retry {
                    Cause::Wanted
                } else {
                    cause
                };
                log(&mut self.said, &self.name, &plan, cause, gone);
            }
        }
        let Some(backend) = &mut self.backend else {
            return Ok(());
        };
        let report = backend.apply(&plan)?;
        // They may have been removed by somebody, or with the interface, long after their handshake was
        // expected.
        for key in plan.steps.iter().filter_map(added_peer) {
            self.handshakes.peer_added(key, Instant::now());
        }
        for skipped in &report.skipped {
            if !self.skipped.contains(skipped) {
                warn!("{}: {skipped}", self.name);
            }
        }
        self.skipped = report.skipped;
        for step in &plan.steps {
            match step {
                Step::AddAddress(address) => self.addresses.insert(*address),
                Step::RemoveAddress(address) => self.addresses.remove(address),
                _ => continue,
            };
        }
        let refused = self.refused_addresses();
        self.addresses.retain(|address| !refused.contains(address));
        Ok(())
    }

    /// Notes which addresses the interface has.
    pub(super) fn see(&mut self, observed: &Observed) {
        let found = observed.interface.as_ref();
        self.addresses = found.map_or_else(BTreeSet::new, |found| found.addresses.clone());
    }
}

fn open(name: &IfName, options: &InterfaceOptions) -> Result<Box<dyn grid_wg::Backend>, Error> {
    let backend = grid_wg::open(options.backend.into(), &options.place())?;
    let who = match backend.kind() {
        BackendKind::Kernel => "the kernel",
        BackendKind::Userspace => "this process",
    };
    info!("{name}: {who} runs WireGuard: {}", backend.reason());
    Ok(backend)
}

/// Whether a step does no harm if the peer has changed since it was observed: an endpoint would replace
/// one that the peer itself has shown in the meantime.
const fn is_safe_unseen(step: &Step) -> bool {
    match step {
        Step::RemovePeer(_) => true,
        Step::SetPeer(change) => change.create || change.endpoint.is_none(),
        _ => false,
    }
}

const fn added_peer(step: &Step) -> Option<&WgPublicKey> {
    match step {
        Step::SetPeer(change) if change.create => Some(&change.public_key),
        _ => None,
    }
}

/// Keeps endpoints as they are: a peer's packets move its endpoint, so a different one does not mean that
/// somebody has changed it.
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
    let shown = plan.steps.iter().take(SHOWN);
    let mut steps: Vec<String> = shown.map(ToString::to_string).collect();
    let more = plan.steps.len().saturating_sub(SHOWN);
    if more > 0 {
        steps.push(format!("and {more} more"));
    }
    steps.join("; ")
}

/// Logs what follows from what others promise.
fn log_within(said: &mut Quota, name: &IfName, what: &str) {
    match said.take(MOST, Instant::now()) {
        Turn::Next => info!("{name}: {what}"),
        Turn::Last => info!(
            "{name}: {what} (no more changes that follow from promises are logged for {SPAN_IN_WORDS})"
        ),
        Turn::Spent => debug!("{name}: {what}"),
    }
}

fn log(said: &mut Quota, name: &IfName, plan: &Plan, cause: Cause, gone: bool) {
    let steps = line(plan);
    match cause {
        Cause::Wanted => log_within(said, name, &steps),
        // The first failure was logged, and success will be.
        Cause::Retry => debug!("{name}: {steps}"),
        Cause::Guard | Cause::Observed if gone => warn!("{name}: the interface was gone: {steps}"),
        Cause::Guard | Cause::Observed => {
            warn!("{name}: somebody changed the interface, repairing it: {steps}")
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::Duration;

    use grid_keys::{Secret, WgSecretKey};
    use grid_promises::core::TunnelPeer;
    use grid_wg::{Backend as _, Fake, ObservedPeer, RouteOrigin};

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

    /// One that was brought up, and then observed.
    fn observed(fake: &Fake) -> Interface {
        let mut interface = interface(fake);
        interface.reconcile(Cause::Wanted).unwrap();
        interface.reconcile(Cause::Guard).unwrap();
        interface
    }

    #[test]
    fn a_change_of_a_few_peers_needs_no_observation() {
        let fake = Fake::new();
        let mut interface = observed(&fake);
        let observes = fake.counts().observes;
        for count in [4, 3, 3, 5] {
            interface.tunnel = tunnel(count);
            interface.reconcile(Cause::Wanted).unwrap();
            assert_eq!(peers(&fake).len(), usize::from(count));
        }
        assert_eq!(fake.counts().observes, observes);
        // What it believes matches what is there.
        let steps = fake.counts().steps;
        interface.reconcile(Cause::Guard).unwrap();
        assert_eq!(
            (fake.counts().observes, fake.counts().steps),
            (observes + 1, steps)
        );
    }

    #[test]
    fn endpoints_and_addresses_are_changed_after_an_observation() {
        let fake = Fake::new();
        let mut interface = observed(&fake);
        let observes = fake.counts().observes;
        let moved = Some("198.51.100.7:9".parse().unwrap());
        let peer = key(2).public();
        interface.tunnel.peers.get_mut(&peer).unwrap().endpoint = moved;
        interface.reconcile(Cause::Wanted).unwrap();
        assert_eq!(peers(&fake)[&peer].endpoint, moved);
        interface.reconcile(Cause::Guard).unwrap();
        interface
            .tunnel
            .addresses
            .insert("10.9.0.200/16".parse().unwrap());
        interface.reconcile(Cause::Wanted).unwrap();
        assert_eq!(fake.counts().observes, observes + 3);
    }

    #[test]
    fn addresses_are_what_is_on_the_interface_and_what_is_left_out_is_told() {
        let fake = Fake::new();
        let mut interface = interface(&fake);
        let [v4, v6]: [IpNet; 2] = ["10.9.0.1/16", "fd00::1/64"].map(|net| net.parse().unwrap());
        interface.tunnel.addresses = BTreeSet::from([v4, v6]);
        fake.switch_ipv6(false);
        for cause in [Cause::Wanted, Cause::Guard] {
            interface.reconcile(cause).unwrap();
            assert_eq!(interface.addresses, BTreeSet::from([v4]));
            assert_eq!(interface.refused_addresses(), BTreeSet::from([v6]));
            let told = interface.left_out().unwrap();
            assert!(told.starts_with(
                "IPv6 is switched off on this host; left out: add address fd00::1/64"
            ));
        }
        fake.switch_ipv6(true);
        interface.reconcile(Cause::Guard).unwrap();
        assert_eq!(interface.addresses, BTreeSet::from([v4, v6]));
        assert_eq!(interface.left_out(), None);
        fake.tamper(&interface.name, |state| {
            state.addresses.remove(&v4);
        });
        let own = key(1).public();
        interface.see(&fake.clone().observe(&interface.name, &own).unwrap());
        assert_eq!(interface.addresses, BTreeSet::from([v6]));
    }

    #[test]
    fn an_interface_that_is_gone_is_made_again_with_the_next_change() {
        let fake = Fake::new();
        let mut interface = observed(&fake);
        fake.vanish(&interface.name);
        interface.tunnel = tunnel(4);
        interface.reconcile(Cause::Wanted).unwrap();
        assert_eq!(peers(&fake).len(), 4);
    }

    #[test]
    fn an_observation_leads_to_repairs_but_not_of_endpoints() {
        let fake = Fake::new();
        let mut interface = observed(&fake);
        let (gone, roamed) = (key(2).public(), key(3).public());
        let elsewhere = Some("198.51.100.7:9".parse().unwrap());
        // The core does so once the path works: what WireGuard has learned stays.
        let its_own = peers(&fake)[&gone].endpoint;
        interface.tunnel.peers.get_mut(&gone).unwrap().endpoint = None;
        fake.tamper(&interface.name, |state| {
            state.peers.remove(&gone);
            state.peers.get_mut(&roamed).unwrap().endpoint = elsewhere;
        });
        let own = key(1).public();
        let observed = fake.clone().observe(&interface.name, &own).unwrap();
        interface.repair(&observed, Cause::Observed).unwrap();
        assert!(its_own.is_some());
        assert_eq!(peers(&fake)[&gone].endpoint, its_own);
        assert_eq!(peers(&fake)[&roamed].endpoint, elsewhere);
        assert_eq!(fake.counts().peer_sets[&roamed], 1);
    }

    /// The interface's own routes, beside those that the kernel makes for its addresses.
    fn own_routes(fake: &Fake) -> Vec<String> {
        let routes = fake.interface(&"foo".parse().unwrap()).unwrap().routes;
        let own = routes
            .iter()
            .filter(|(_, origin)| **origin == RouteOrigin::Own);
        own.map(|(route, _)| route.to_string()).collect()
    }

    #[test]
    fn a_subnet_stands_aside_while_a_peer_or_this_machine_is_in_it() {
        let fake = Fake::new();
        let mut interface = interface(&fake);
        let subnet: IpNet = "198.51.100.0/24".parse().unwrap();
        let table = Table::of(&interface.name);
        let aside = format!("198.51.100.0/24 table {table}");
        interface.tunnel.routes = BTreeSet::from([subnet]);
        interface.reconcile(Cause::Wanted).unwrap();
        assert_eq!(own_routes(&fake), ["198.51.100.0/24"]);
        assert_eq!(interface.hint(), None);
        // A peer is heard from there.
        let peer = key(2).public();
        let at = |at: &str| Some(at.parse().unwrap());
        let roam = |to| {
            fake.tamper(&"foo".parse().unwrap(), |state| {
                state.peers.get_mut(&peer).unwrap().endpoint = to;
            })
        };
        let own = key(1).public();
        let look = |interface: &mut Interface| {
            let observed = fake.clone().observe(&interface.name, &own).unwrap();
            interface.repair(&observed, Cause::Observed).unwrap();
        };
        roam(at("198.51.100.7:9"));
        look(&mut interface);
        assert_eq!(own_routes(&fake), [aside.as_str()]);
        roam(at("192.0.2.2:51820"));
        look(&mut interface);
        assert_eq!(own_routes(&fake), ["198.51.100.0/24"]);
        // The machine comes into that network, and leaves it.
        fake.connect(BTreeSet::from([subnet]));
        look(&mut interface);
        assert_eq!(own_routes(&fake), [aside.as_str()]);
        let hint = interface.hint().unwrap();
        assert!(hint.contains("does not go through the tunnel"), "{hint}");
        fake.connect(BTreeSet::new());
        look(&mut interface);
        assert_eq!(own_routes(&fake), ["198.51.100.0/24"]);
        assert_eq!(interface.hint(), None);
    }

    #[test]
    fn without_a_mark_a_subnet_with_a_peer_in_it_is_left_out_and_it_is_said_why() {
        let fake = Fake::new();
        let mut interface = interface(&fake);
        interface.mark = 0;
        interface.tunnel.routes = BTreeSet::from(["192.0.2.0/24".parse().unwrap()]);
        interface.reconcile(Cause::Wanted).unwrap();
        assert!(own_routes(&fake).is_empty());
        let hint = interface.hint().unwrap();
        assert!(
            hint.contains("192.0.2.0/24") && hint.contains("fwmark = 0"),
            "{hint}"
        );
        interface.tunnel.peers.clear();
        interface.reconcile(Cause::Wanted).unwrap();
        assert_eq!(own_routes(&fake), ["192.0.2.0/24"]);
        assert_eq!(interface.hint(), None);
    }

    #[test]
    fn a_handshake_that_stalls_in_the_kernel_is_restarted_where_the_peer_was_heard() {
        let fake = Fake::new();
        let mut interface = observed(&fake);
        let [stalled, silent] = [2, 3].map(|n| key(n).public());
        let heard = Some("198.51.100.7:9".parse().unwrap());
        let mut later = Instant::now() + Duration::from_secs(9);
        let own = key(1).public();
        for (kind, sets) in [(BackendKind::Userspace, 1), (BackendKind::Kernel, 2)] {
            fake.tamper(&interface.name, |state| {
                state.kind = kind;
                let peer = state.peers.get_mut(&stalled).unwrap();
                (peer.tx_bytes, peer.rx_bytes, peer.endpoint) = (240, 148, heard);
            });
            let observed = fake.clone().observe(&interface.name, &own).unwrap();
            interface.restart_handshakes(&observed, later).unwrap();
            let counts = fake.counts();
            assert_eq!(
                (counts.peer_sets[&stalled], counts.peer_sets[&silent]),
                (sets, 1)
            );
            later += Duration::from_secs(60);
        }
        // It is a new peer, with everything that is wanted of it.
        let peer = &peers(&fake)[&stalled];
        assert_eq!((peer.rx_bytes, peer.endpoint), (0, heard));
        interface.tunnel.peers.get_mut(&stalled).unwrap().endpoint = None;
        let steps = fake.counts().steps;
        interface.reconcile(Cause::Guard).unwrap();
        assert_eq!(fake.counts().steps, steps);
    }

    #[test]
    fn a_peer_that_comes_back_has_time_for_its_handshake() {
        let fake = Fake::new();
        let mut interface = observed(&fake);
        let back = key(2).public();
        let own = key(1).public();
        // By the time it is removed, its handshake is long overdue.
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
        interface.reconcile(Cause::Guard).unwrap();
        fake.tamper(&interface.name, |state| {
            let peer = state.peers.get_mut(&back).unwrap();
            (peer.tx_bytes, peer.rx_bytes) = (92, 148);
        });
        let observed = fake.clone().observe(&interface.name, &own).unwrap();
        let now = Instant::now();
        interface.restart_handshakes(&observed, now).unwrap();
        assert_eq!(fake.counts().peer_sets[&back], 2);
        let later = now + Duration::from_secs(3);
        interface.restart_handshakes(&observed, later).unwrap();
        assert_eq!(fake.counts().peer_sets[&back], 3);
    }
}
