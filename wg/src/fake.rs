//! A back end in memory, for tests of what is built on this crate.
//!
//! It follows the rules of WireGuard and of the kernel where a plan depends on them: an allowed IP
//! belongs to the one peer that got it last, the interface's own key is never a peer, an address
//! brings its connected route, removing the last IPv4 address removes the IPv4 routes of all tables,
//! and policy rules outlive their interface. It sends no packets.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use grid_keys::WgPublicKey;
use grid_netlink::Traffic;
use ipnet::IpNet;
use parking_lot::Mutex;

use crate::backend::{Backend, Report, SkipReason, Skipped};
use crate::backend_kind::BackendKind;
use crate::error::Error;
use crate::if_name::IfName;
use crate::observed::{Observed, ObservedInterface, RouteOrigin};
use crate::plan::Plan;
use crate::routing::{Family, PolicyRule, Route};
use crate::step::{DeviceChange, Step};

/// The back end. Clones share their state, so a test can keep one and pass on another.
#[derive(Clone, Debug, Default)]
pub struct Fake(Arc<Mutex<State>>);

/// What a [`Fake`] has done so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Calls to [`Backend::observe`].
    pub observes: u64,
    /// Calls to [`Backend::apply`] with a plan that was not empty.
    pub applies: u64,
    /// Steps carried out.
    pub steps: u64,
    /// How often each peer was added or changed.
    pub peer_sets: BTreeMap<WgPublicKey, u64>,
    /// How often each peer was removed.
    pub peer_removes: BTreeMap<WgPublicKey, u64>,
}

#[derive(Debug, Default)]
struct State {
    interfaces: BTreeMap<IfName, ObservedInterface>,
    rules: BTreeMap<IfName, BTreeSet<PolicyRule>>,
    connected: BTreeSet<IpNet>,
    foreign: BTreeMap<IfName, String>,
    counts: Counts,
    fail_after: Option<usize>,
    ipv6_off: bool,
    last_index: u32,
}

impl Fake {
    /// A host without WireGuard interfaces.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The state of an interface, without counting as an observation.
    #[must_use]
    pub fn interface(&self, name: &IfName) -> Option<ObservedInterface> {
        self.0.lock().interfaces.get(name).cloned()
    }

    /// The policy rules for an interface, which need not exist.
    #[must_use]
    pub fn rules(&self, name: &IfName) -> BTreeSet<PolicyRule> {
        self.0.lock().rules.get(name).cloned().unwrap_or_default()
    }

    /// Replaces the policy rules for the interface of that name.
    pub fn set_rules(&self, name: IfName, rules: BTreeSet<PolicyRule>) {
        self.0.lock().rules.insert(name, rules);
    }

    /// Connects the host to these prefixes, and no others, by interfaces that are not this crate's.
    pub fn connect(&self, connected: BTreeSet<IpNet>) {
        self.0.lock().connected = connected;
    }

    /// What has been done so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.0.lock().counts.clone()
    }

    /// Changes an interface behind the back of whoever uses this back end, as a person with `wg`
    /// would, or a packet that brings a handshake and an endpoint. Does nothing if the interface
    /// does not exist.
    pub fn tamper(&self, name: &IfName, change: impl FnOnce(&mut ObservedInterface)) {
        if let Some(interface) = self.0.lock().interfaces.get_mut(name) {
            change(interface);
        }
    }

    /// Adds an interface in the given state, or replaces it.
    pub fn insert(&self, name: IfName, interface: ObservedInterface) {
        self.0.lock().interfaces.insert(name, interface);
    }

    /// Removes an interface, as `ip link del` would. Its policy rules stay.
    pub fn vanish(&self, name: &IfName) {
        self.0.lock().interfaces.remove(name);
    }

    /// Adds an interface of that kind which somebody else has made.
    pub fn set_foreign(&self, name: IfName, kind: &str) {
        self.0.lock().foreign.insert(name, kind.to_owned());
    }

    /// Switches IPv6 off on this host, or on again, without touching what is there.
    pub fn switch_ipv6(&self, on: bool) {
        self.0.lock().ipv6_off = !on;
    }

    /// Makes the next apply fail once it has carried out this many steps.
    pub fn fail_after(&self, steps: usize) {
        self.0.lock().fail_after = Some(steps);
    }
}

impl Backend for Fake {
    fn traffic(&self) -> Traffic {
        Traffic::default()
    }

    fn kind(&self) -> BackendKind {
        BackendKind::Userspace
    }

    fn reason(&self) -> &str {
        "a test asked for the back end in memory"
    }

    fn observe(&mut self, name: &IfName, _own: &WgPublicKey) -> Result<Observed, Error> {
        let mut state = self.0.lock();
        state.counts.observes += 1;
        state.check_ours(name)?;
        Ok(Observed {
            interface: state.interfaces.get(name).cloned(),
            rules: state.rules.get(name).cloned().unwrap_or_default(),
            connected: state.connected.clone(),
        })
    }

    fn apply(&mut self, plan: &Plan) -> Result<Report, Error> {
        let mut state = self.0.lock();
        let mut report = Report::default();
        if plan.is_empty() {
            return Ok(report);
        }
        state.check_ours(&plan.name)?;
        if !plan.steps.contains(&Step::Create) && !state.interfaces.contains_key(&plan.name) {
            return Err(Error::InterfaceGone {
                name: plan.name.clone(),
            });
        }
        state.counts.applies += 1;
        let limit = state.fail_after.take().unwrap_or(usize::MAX);
        for (done, step) in plan.steps.iter().enumerate() {
            if done == limit {
                return Err(state.failed(plan, done, step, report.created));
            }
            if state.ipv6_off && adds_ipv6(step) {
                report.skipped.push(Skipped {
                    step: step.clone(),
                    why: SkipReason::NoIpv6,
                });
            } else {
                report.created |= state.step(&plan.name, step);
            }
            report.count(step);
        }
        Ok(report)
    }

    fn remove(&mut self, name: &IfName, _own: &WgPublicKey) -> Result<bool, Error> {
        let mut state = self.0.lock();
        state.check_ours(name)?;
        state.rules.remove(name);
        Ok(state.interfaces.remove(name).is_some())
    }

    fn adopt(&mut self, name: &IfName) -> Result<(), Error> {
        let mut state = self.0.lock();
        match state.foreign.get(name).map(String::as_str) {
            Some("wireguard") => {
                state.foreign.remove(name);
                state.create(name);
                Ok(())
            }
            Some(_) => state.check_ours(name),
            None if state.interfaces.contains_key(name) => Ok(()),
            None => Err(Error::InterfaceGone { name: name.clone() }),
        }
    }
}

impl State {
    fn check_ours(&self, name: &IfName) -> Result<(), Error> {
        match self.foreign.get(name) {
            Some(kind) => Err(Error::ForeignInterface {
                name: name.clone(),
                kind: kind.clone(),
            }),
            None => Ok(()),
        }
    }

    fn failed(&mut self, plan: &Plan, done: usize, step: &Step, created: bool) -> Error {
        if created {
            self.interfaces.remove(&plan.name);
            let rules = self.rules.entry(plan.name.clone()).or_default();
            for step in plan.steps.iter().take(done) {
                if let Step::AddRule(rule) = step {
                    rules.remove(rule);
                }
            }
        }
        Error::Apply {
            step: done + 1,
            of: plan.steps.len(),
            what: step.to_string(),
            rolled_back: created,
            source: Box::new(Error::os(
                "a test",
                std::io::Error::other("asked for a failure"),
            )),
        }
    }

    fn create(&mut self, name: &IfName) -> bool {
        self.last_index += 1;
        let index = self.last_index;
        let new = !self.interfaces.contains_key(name);
        self.interfaces
            .entry(name.clone())
            .or_insert_with(|| ObservedInterface {
                index,
                kind: BackendKind::Userspace,
                up: false,
                mtu: 1500,
                public_key: None,
                listen_port: 0,
                fwmark: None,
                addresses: Default::default(),
                routes: Default::default(),
                peers: Default::default(),
            });
        new
    }

    /// Carries out a step; true if it created the interface.
    fn step(&mut self, name: &IfName, step: &Step) -> bool {
        self.counts.steps += 1;
        match step {
            Step::Create => return self.create(name),
            Step::SetPeer(change) => {
                *self.counts.peer_sets.entry(change.public_key).or_default() += 1;
            }
            Step::AddRule(rule) => {
                self.rules.entry(name.clone()).or_default().insert(*rule);
            }
            Step::RemoveRule(rule) => {
                self.rules.entry(name.clone()).or_default().remove(rule);
            }
            Step::RemovePeer(key) => *self.counts.peer_removes.entry(*key).or_default() += 1,
            _ => {}
        }
        if let Some(interface) = self.interfaces.get_mut(name) {
            apply(interface, step);
        }
        false
    }
}

fn adds_ipv6(step: &Step) -> bool {
    match step {
        Step::AddAddress(net) => net.addr().is_ipv6(),
        Step::AddRoute(route) => route.net.addr().is_ipv6(),
        Step::AddRule(rule) => rule.family == Family::V6,
        _ => false,
    }
}

fn apply(interface: &mut ObservedInterface, step: &Step) {
    match step {
        // Rules are the host's, not the interface's.
        Step::Create | Step::AddRule(_) | Step::RemoveRule(_) => {}
        Step::RemovePeer(key) => {
            interface.peers.remove(key);
        }
        Step::Configure(change) => configure(interface, change),
        Step::SetMtu(mtu) => interface.mtu = mtu.get().into(),
        Step::SetPeer(change) => interface.set_peer(change),
        Step::RemoveRoute(route) => {
            interface.routes.remove(route);
        }
        Step::LinkUp => {
            interface.up = true;
            for route in interface.addresses.iter().filter_map(Route::connected) {
                interface.routes.entry(route).or_insert(RouteOrigin::Kernel);
            }
        }
        Step::RemoveAddress(address) => remove_address(interface, address),
        Step::AddAddress(address) => add_address(interface, address),
        Step::AddRoute(route) => {
            // The kernel chooses the metric where it is 0.
            let route = Route::new(route.net, route.table, Some(route.metric));
            interface.routes.entry(route).or_insert(RouteOrigin::Own);
        }
    }
}

fn configure(interface: &mut ObservedInterface, change: &DeviceChange) {
    if let Some(key) = &change.private_key {
        let own = key.public();
        interface.peers.remove(&own);
        interface.public_key = Some(own);
    }
    if let Some(port) = change.listen_port {
        interface.listen_port = port;
    }
    if let Some(fwmark) = change.fwmark {
        interface.fwmark = (fwmark != 0).then_some(fwmark);
    }
}

fn add_address(interface: &mut ObservedInterface, address: &IpNet) {
    let twice = address.addr().is_ipv6()
        && interface
            .addresses
            .iter()
            .any(|known| known.addr() == address.addr());
    if twice {
        return;
    }
    let connects = Route::connected(address);
    let shared = interface
        .addresses
        .iter()
        .any(|known| Route::connected(known) == connects);
    interface.addresses.insert(*address);
    if let Some(route) = connects.filter(|_| interface.up && !shared) {
        interface.routes.entry(route).or_insert(RouteOrigin::Kernel);
    }
}

fn remove_address(interface: &mut ObservedInterface, address: &IpNet) {
    interface.addresses.remove(address);
    let connects = Route::connected(address);
    let shared = interface
        .addresses
        .iter()
        .any(|known| Route::connected(known) == connects);
    if let Some(route) = connects.filter(|_| !shared)
        && interface.routes.get(&route) == Some(&RouteOrigin::Kernel)
    {
        interface.routes.remove(&route);
    }
    let is_v4 = |net: &IpNet| net.addr().is_ipv4();
    if is_v4(address) && !interface.addresses.iter().any(is_v4) {
        interface.routes.retain(|route, _| !is_v4(&route.net));
    }
}

#[cfg(test)]
mod tests;
