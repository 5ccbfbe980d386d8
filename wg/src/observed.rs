//! What an interface is, as a back end found it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::SystemTime;

use grid_keys::{PresharedKey, WgPublicKey};
use ipnet::IpNet;

use crate::backend_kind::BackendKind;
use crate::routing::{PolicyRule, Route};
use crate::step::{AllowedIpsChange, PeerChange, PskChange, Step};

/// The state of one interface of ours. An interface of that name that somebody else made is not an
/// observation but [`Error::ForeignInterface`](crate::Error::ForeignInterface).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observed {
    /// `None`: there is no interface of that name.
    pub interface: Option<ObservedInterface>,
    /// Our policy rules for that name. They outlive the interface.
    pub rules: BTreeSet<PolicyRule>,
    /// The prefixes that addresses of other interfaces connect, in the same network namespace and as far
    /// as those interfaces are up. Loopback does not count.
    pub connected: BTreeSet<IpNet>,
}

/// An interface that exists and is ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObservedInterface {
    /// The kernel's number for it.
    pub index: u32,
    /// Who runs WireGuard behind it.
    pub kind: BackendKind,
    /// Whether the link is administratively up.
    pub up: bool,
    /// Maximum transmission unit in bytes.
    pub mtu: u32,
    /// The public half of the private key that is set. `None`: no key yet.
    pub public_key: Option<WgPublicKey>,
    /// UDP port, 0 if none is bound yet.
    pub listen_port: u16,
    /// Mark on outgoing UDP packets, never 0.
    pub fwmark: Option<u32>,
    /// Addresses with the length of their connected prefix.
    pub addresses: BTreeSet<IpNet>,
    /// Unicast routes through this interface alone, without a gateway, from all tables except the
    /// one for local addresses.
    pub routes: BTreeMap<Route, RouteOrigin>,
    /// Its peers.
    pub peers: BTreeMap<WgPublicKey, ObservedPeer>,
}

/// The WireGuard device of an interface, without its link. The fields are those of
/// [`ObservedInterface`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ObservedDevice {
    /// `None`: no key yet.
    pub public_key: Option<WgPublicKey>,
    /// UDP port, 0 if none is bound yet.
    pub listen_port: u16,
    /// Never 0.
    pub fwmark: Option<u32>,
    /// Its peers.
    pub peers: BTreeMap<WgPublicKey, ObservedPeer>,
}

/// Who made a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RouteOrigin {
    /// The kernel, because an address connects the prefix. It disappears with the address.
    Kernel,
    /// Anybody else: a person, or another program.
    Static,
    /// This crate, as its [`PROTOCOL`](crate::ownership::PROTOCOL) shows.
    Own,
}

/// One peer of the interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ObservedPeer {
    /// The pre-shared key, for comparison; prints as `[redacted]`. Never all zeros.
    pub preshared_key: Option<PresharedKey>,
    /// Where packets are sent: as configured, or as learned from the peer's last valid packet.
    pub endpoint: Option<SocketAddr>,
    /// The prefixes that it may send from, and that are sent to it.
    pub allowed_ips: BTreeSet<IpNet>,
    /// Persistent keepalive in seconds, `None` if off.
    pub keepalive: Option<u16>,
    /// When the last handshake was completed.
    pub latest_handshake: Option<SystemTime>,
    /// Bytes received, including WireGuard's overhead.
    pub rx_bytes: u64,
    /// Bytes sent, including WireGuard's overhead.
    pub tx_bytes: u64,
}

impl ObservedInterface {
    /// Applies these steps to this state, if all of them are about peers; otherwise returns `false`
    /// and changes nothing. With it one peer of thousands can be changed without reading all of them
    /// again.
    ///
    /// The result is as true as the state was: it lacks what WireGuard and other people changed
    /// since.
    pub fn follow(&mut self, steps: &[Step]) -> bool {
        let is_of_a_peer = |step: &Step| matches!(step, Step::SetPeer(_) | Step::RemovePeer(_));
        if !steps.iter().all(is_of_a_peer) {
            return false;
        }
        for step in steps {
            match step {
                Step::SetPeer(change) => self.set_peer(change),
                Step::RemovePeer(key) => drop(self.peers.remove(key)),
                _ => {}
            }
        }
        true
    }

    /// Sets a peer by WireGuard's rules: the interface's own key is never a peer, and a prefix
    /// belongs to the peer that got it last.
    pub(crate) fn set_peer(&mut self, change: &PeerChange) {
        let key = change.public_key;
        let held = self.peers.get(&key).map(|peer| &peer.allowed_ips);
        if self.public_key == Some(key) || (held.is_none() && !change.create) {
            return;
        }
        if let AllowedIpsChange::Add(ips) | AllowedIpsChange::Replace(ips) = &change.allowed_ips {
            let its_own = |ip: &IpNet| held.is_some_and(|held| held.contains(ip));
            let gained: Vec<IpNet> = ips.iter().filter(|ip| !its_own(ip)).copied().collect();
            for ip in gained {
                for peer in self.peers.values_mut() {
                    peer.allowed_ips.remove(&ip);
                }
            }
        }
        self.peers.entry(key).or_default().set(change);
    }
}

impl ObservedPeer {
    fn set(&mut self, change: &PeerChange) {
        match &change.allowed_ips {
            AllowedIpsChange::Keep => {}
            AllowedIpsChange::Add(ips) => self.allowed_ips.extend(ips),
            AllowedIpsChange::Replace(ips) => self.allowed_ips.clone_from(ips),
        }
        match &change.preshared_key {
            Some(PskChange::Set(psk)) => self.preshared_key = Some(psk.clone()),
            Some(PskChange::Clear) => self.preshared_key = None,
            None => {}
        }
        if change.endpoint.is_some() {
            self.endpoint = change.endpoint;
        }
        if let Some(seconds) = change.keepalive {
            self.keepalive = (seconds != 0).then_some(seconds);
        }
    }
}
