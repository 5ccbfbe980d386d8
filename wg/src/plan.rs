//! From what is to what should be: the smallest list of changes, in a safe order.
//!
//! The order, and why:
//! 1. create the interface;
//! 2. remove stale policy rules, before the mark that they exempt changes and before the routes that
//!    they lead to go: otherwise the tunnel's own packets would enter the tunnel, or other packets
//!    would get lost;
//! 3. remove peers, which frees their prefixes;
//! 4. set private key, port and mark, then the MTU; and take routes out of the main table that would
//!    send a peer's packets into the tunnel, each once the interface's own table and the rules have it;
//! 5. set peers. Giving a prefix to a peer takes it from its old one in the same operation, as
//!    WireGuard defines it, so the old peer needs no step of its own;
//! 6. remove stale routes; bring the link up; add addresses before removing the old ones, so that
//!    routes which depend on the last address of a family survive; add routes, which need link and
//!    address;
//! 7. add policy rules last: nothing is sent to a table or a marked interface that is not ready, and
//!    the rule that exempts the main table comes before the one that takes the rest. Only routes that
//!    change no more than their table or metric go after that, and with them the rules that led to a
//!    table that they leave: before, nothing else leads into the tunnel.
//!
//! Nothing here does I/O, or looks at any state of the host but [`Observed`].

mod ip;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, SocketAddr};

use grid_keys::{PresharedKey, WgPublicKey};
use ipnet::IpNet;

use crate::backend_kind::BackendKind;
use crate::desired::Desired;
use crate::if_name::IfName;
use crate::observed::{Observed, ObservedInterface, ObservedPeer};
use crate::step::{AllowedIpsChange, DeviceChange, PeerChange, PskChange, Step};

/// A list of changes to one interface. Prints one line per step, without any key but public ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The interface.
    pub name: IfName,
    /// The public key that the interface will have, by which a back end recognises it.
    pub own: WgPublicKey,
    /// The changes, in order.
    pub steps: Vec<Step>,
}

impl Plan {
    /// Whether there is nothing to do.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }
}

/// The changes that turn `observed` into `desired`, or an empty plan.
///
/// Applying the plan and observing again yields an empty plan. A peer appears only if its
/// configuration differs. The plan leaves alone, although `desired` does not list them: endpoints
/// where it has none, link-local IPv6 addresses, routes that the kernel made for an address that
/// stays, and routes that others made in a table that is neither the main one nor the interface's
/// own (under [`Table::Off`](crate::Table::Off): nor those in the main one).
#[must_use]
pub fn plan(desired: &Desired, observed: &Observed) -> Plan {
    let own = desired.private_key.public();
    let mut steps = Vec::new();
    let blank;
    let now = match &observed.interface {
        Some(interface) => interface,
        None => {
            steps.push(Step::Create);
            blank = blank_interface();
            &blank
        }
    };
    let mut ways = ip::Ways::of(desired, observed);
    ways.plan_stale_rules(&mut steps);
    let wanted = effective_peers(desired, now, &own);
    let stays = |key: &&WgPublicKey| **key != own && desired.peers.contains_key(*key);
    let gone = now.peers.keys().filter(|key| !stays(key));
    steps.extend(gone.map(|key| Step::RemovePeer(*key)));
    plan_device(desired, now, &own, &mut steps);
    ways.plan_evasions(desired, observed, now, &mut steps);
    plan_peers(&wanted, &mut steps);
    ways.plan_link(desired, now, &mut steps);
    Plan {
        name: desired.name.clone(),
        own,
        steps,
    }
}

fn blank_interface() -> ObservedInterface {
    ObservedInterface {
        index: 0,
        kind: BackendKind::Kernel,
        up: false,
        mtu: 0,
        public_key: None,
        listen_port: 0,
        fwmark: None,
        addresses: BTreeSet::new(),
        routes: BTreeMap::new(),
        peers: BTreeMap::new(),
    }
}

/// A wanted peer as WireGuard can hold it, next to what is there.
struct Wanted<'a> {
    public_key: &'a WgPublicKey,
    preshared_key: Option<&'a PresharedKey>,
    endpoint: Option<SocketAddr>,
    allowed_ips: Cow<'a, BTreeSet<IpNet>>,
    keepalive: Option<u16>,
    now: Option<&'a ObservedPeer>,
}

impl Wanted<'_> {
    /// Whether it is there, and configured as wanted.
    fn is_there(&self) -> bool {
        let nothing_moves = BTreeSet::new();
        self.now
            .is_some_and(|now| changed_peer(self, now, &nothing_moves).is_none())
    }
}

/// The peers that may have to change, as WireGuard can hold them: without ourselves, and with each
/// prefix at one peer only.
///
/// Of thousands of peers few change at a time, so the others are compared without being collected.
/// Two wanted peers can list the same prefix only if one of them does not hold it now.
fn effective_peers<'a>(
    desired: &'a Desired,
    now: &'a ObservedInterface,
    own: &'a WgPublicKey,
) -> Vec<Wanted<'a>> {
    let all = || beside(desired, now, own);
    let changed: Vec<Wanted<'a>> = all().filter(|peer| !peer.is_there()).collect();
    let moves = changed.iter().filter(|peer| {
        peer.now
            .is_none_or(|now| now.allowed_ips != *peer.allowed_ips)
    });
    let contested: BTreeSet<IpNet> = moves
        .flat_map(|peer| peer.allowed_ips.iter().map(IpNet::trunc))
        .collect();
    if contested.is_empty() {
        return changed;
    }
    let mut wanted: Vec<Wanted<'a>> = all().collect();
    give_each_prefix_once(&mut wanted, &contested);
    wanted
}

/// Each wanted peer next to what is there, in the order of their keys.
fn beside<'a>(
    desired: &'a Desired,
    now: &'a ObservedInterface,
    own: &'a WgPublicKey,
) -> impl Iterator<Item = Wanted<'a>> {
    let mut there = now.peers.iter().peekable();
    let peers = desired.peers.iter().filter(move |(key, _)| *key != own);
    peers.map(move |(public_key, peer)| {
        while there.next_if(|(key, _)| *key < public_key).is_some() {}
        let now = there.next_if(|(key, _)| *key == public_key);
        let preshared_key = peer.preshared_key.as_ref();
        Wanted {
            public_key,
            preshared_key: preshared_key.filter(|psk| psk.expose() != &[0; 32]),
            endpoint: peer.endpoint.map(canonical),
            allowed_ips: Cow::Borrowed(&peer.allowed_ips),
            keepalive: peer.keepalive.filter(|seconds| *seconds != 0),
            now: now.map(|(_, peer)| peer),
        }
    })
}

fn give_each_prefix_once(wanted: &mut [Wanted<'_>], contested: &BTreeSet<IpNet>) {
    let mut taken = BTreeSet::new();
    for peer in wanted {
        let all = peer.allowed_ips.iter().map(IpNet::trunc);
        if all.clone().any(|ip| contested.contains(&ip)) {
            let its = all.filter(|ip| !contested.contains(ip) || taken.insert(*ip));
            peer.allowed_ips = Cow::Owned(its.collect());
        }
    }
}

/// An IPv4-mapped IPv6 address is an IPv4 endpoint; WireGuard reports it as one.
fn canonical(endpoint: SocketAddr) -> SocketAddr {
    match endpoint {
        SocketAddr::V6(v6) => match v6.ip().to_ipv4_mapped() {
            Some(v4) => SocketAddr::new(IpAddr::V4(v4), v6.port()),
            None => endpoint,
        },
        SocketAddr::V4(_) => endpoint,
    }
}

fn plan_device(
    desired: &Desired,
    now: &ObservedInterface,
    own: &WgPublicKey,
    steps: &mut Vec<Step>,
) {
    let port = desired.listen_port;
    let fwmark = desired.fwmark.unwrap_or(0);
    let change = DeviceChange {
        private_key: (now.public_key != Some(*own)).then(|| desired.private_key.clone()),
        listen_port: (port != 0 && port != now.listen_port).then_some(port),
        fwmark: (fwmark != now.fwmark.unwrap_or(0)).then_some(fwmark),
    };
    if change != DeviceChange::default() {
        steps.push(Step::Configure(change));
    }
    if now.mtu != u32::from(desired.mtu.get()) {
        steps.push(Step::SetMtu(desired.mtu));
    }
}

fn plan_peers(wanted: &[Wanted<'_>], steps: &mut Vec<Step>) {
    // Prefixes that a peer gains; their old peers lose them by that.
    let arriving: BTreeSet<IpNet> = wanted
        .iter()
        .flat_map(|peer| {
            let held = peer.now.map(|now| &now.allowed_ips);
            peer.allowed_ips
                .iter()
                .filter(move |ip| held.is_none_or(|held| !held.contains(*ip)))
        })
        .copied()
        .collect();
    for peer in wanted {
        let change = match peer.now {
            None => Some(new_peer(peer)),
            Some(now) => changed_peer(peer, now, &arriving),
        };
        steps.extend(change.map(Step::SetPeer));
    }
}

fn new_peer(peer: &Wanted<'_>) -> PeerChange {
    PeerChange {
        public_key: *peer.public_key,
        create: true,
        preshared_key: peer.preshared_key.cloned().map(PskChange::Set),
        endpoint: peer.endpoint,
        keepalive: peer.keepalive,
        allowed_ips: AllowedIpsChange::Replace(peer.allowed_ips.clone().into_owned()),
    }
}

fn changed_peer(
    peer: &Wanted<'_>,
    now: &ObservedPeer,
    arriving: &BTreeSet<IpNet>,
) -> Option<PeerChange> {
    let psk = peer.preshared_key;
    let change = PeerChange {
        public_key: *peer.public_key,
        create: false,
        preshared_key: (psk != now.preshared_key.as_ref())
            .then(|| psk.cloned().map_or(PskChange::Clear, PskChange::Set)),
        endpoint: peer
            .endpoint
            .filter(|endpoint| Some(*endpoint) != now.endpoint),
        keepalive: (peer.keepalive != now.keepalive).then(|| peer.keepalive.unwrap_or(0)),
        allowed_ips: changed_ips(&peer.allowed_ips, &now.allowed_ips, arriving),
    };
    let changed = change.preshared_key.is_some()
        || change.endpoint.is_some()
        || change.keepalive.is_some()
        || change.allowed_ips != AllowedIpsChange::Keep;
    changed.then_some(change)
}

fn changed_ips(
    wanted: &BTreeSet<IpNet>,
    now: &BTreeSet<IpNet>,
    arriving: &BTreeSet<IpNet>,
) -> AllowedIpsChange {
    if wanted == now {
        return AllowedIpsChange::Keep;
    }
    if now.difference(wanted).any(|ip| !arriving.contains(ip)) {
        return AllowedIpsChange::Replace(wanted.clone());
    }
    let gained: BTreeSet<IpNet> = wanted.difference(now).copied().collect();
    if gained.is_empty() {
        AllowedIpsChange::Keep
    } else {
        AllowedIpsChange::Add(gained)
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.steps.is_empty() {
            return writeln!(f, "{}: nothing to do", self.name);
        }
        self.steps
            .iter()
            .try_for_each(|step| writeln!(f, "{}: {step}", self.name))
    }
}

#[cfg(test)]
mod tests;
