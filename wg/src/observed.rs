//! What the interface is, as a back end found it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::SystemTime;

use grid_promises::{PresharedKey, WgPublicKey};
use ipnet::IpNet;

use crate::backend::BackendKind;

/// The state of one interface of ours. An interface of the name that somebody else made is not an
/// observation but [`Error::ForeignInterface`](crate::Error::ForeignInterface).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observed {
    /// `None`: there is no interface of that name.
    pub interface: Option<ObservedInterface>,
}

/// An interface that exists and is ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObservedInterface {
    /// The kernel's number of the interface.
    pub index: u32,
    /// Who runs WireGuard behind it.
    pub kind: BackendKind,
    /// Whether the link is administratively up.
    pub up: bool,
    /// Maximum transmission unit in bytes.
    pub mtu: u32,
    /// The public half of the private key that is set. `None`: no key yet.
    pub public_key: Option<WgPublicKey>,
    /// UDP port, 0 when none is bound yet.
    pub listen_port: u16,
    /// Mark on the outgoing packets; `None` when there is none.
    pub fwmark: Option<u32>,
    /// Addresses with the length of their connected prefix.
    pub addresses: BTreeSet<IpNet>,
    /// Unicast routes of the main table through this interface alone.
    pub routes: BTreeMap<IpNet, RouteOrigin>,
    /// The peers.
    pub peers: BTreeMap<WgPublicKey, ObservedPeer>,
}

/// Who made a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RouteOrigin {
    /// The kernel, because an address connects the prefix. It goes when the address goes.
    Kernel,
    /// Anybody else: us, or a person.
    Static,
}

/// One peer of the interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ObservedPeer {
    /// The pre-shared key, to compare with; prints as `[redacted]`. Never all zeros.
    pub preshared_key: Option<PresharedKey>,
    /// Where packets are sent: as configured, or as learnt from the peer's last valid packet.
    pub endpoint: Option<SocketAddr>,
    /// Allowed IPs.
    pub allowed_ips: BTreeSet<IpNet>,
    /// Persistent keepalive in seconds, `None` when off.
    pub keepalive: Option<u16>,
    /// When the last handshake was completed.
    pub latest_handshake: Option<SystemTime>,
    /// Bytes received from the peer, with WireGuard's overhead.
    pub rx_bytes: u64,
    /// Bytes sent to the peer, with WireGuard's overhead.
    pub tx_bytes: u64,
}
