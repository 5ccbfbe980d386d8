//! The changes that a plan consists of. They print without any key but public ones.

use std::collections::BTreeSet;
use std::fmt;
use std::net::SocketAddr;

use grid_keys::{PresharedKey, WgPublicKey, WgSecretKey};
use ipnet::IpNet;

use crate::mtu::Mtu;
use crate::routing::{PolicyRule, Route};

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Create the interface, which is then down and has no configuration.
    Create,
    /// Remove a policy rule.
    RemoveRule(PolicyRule),
    /// Remove a peer.
    RemovePeer(WgPublicKey),
    /// Configure the WireGuard device itself.
    Configure(DeviceChange),
    /// Set the maximum transmission unit.
    SetMtu(Mtu),
    /// Add or change a peer.
    SetPeer(PeerChange),
    /// Remove a route through the interface.
    RemoveRoute(Route),
    /// Bring the link up.
    LinkUp,
    /// Remove an address.
    RemoveAddress(IpNet),
    /// Add an address.
    AddAddress(IpNet),
    /// Add a route through the interface.
    AddRoute(Route),
    /// Add a policy rule.
    AddRule(PolicyRule),
}

/// Changes to the WireGuard device. `None` leaves a field as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeviceChange {
    /// The private key.
    pub private_key: Option<WgSecretKey>,
    /// The UDP port.
    pub listen_port: Option<u16>,
    /// The mark, 0 for none.
    pub fwmark: Option<u32>,
}

/// Changes to one peer. `None` leaves a field as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerChange {
    /// The peer's key.
    pub public_key: WgPublicKey,
    /// Whether to add the peer if it is not there. `false`: then nothing happens, so that a peer
    /// that has been removed in the meantime does not come back half configured.
    pub create: bool,
    /// The pre-shared key.
    pub preshared_key: Option<PskChange>,
    /// The endpoint.
    pub endpoint: Option<SocketAddr>,
    /// Persistent keepalive in seconds, 0 for off.
    pub keepalive: Option<u16>,
    /// The allowed IPs.
    pub allowed_ips: AllowedIpsChange,
}

/// A change of a pre-shared key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PskChange {
    /// Use this one.
    Set(PresharedKey),
    /// Use none.
    Clear,
}

/// A change of a peer's allowed IPs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AllowedIpsChange {
    /// None.
    Keep,
    /// Add these, taking them from whichever peer has them now.
    Add(BTreeSet<IpNet>),
    /// Have exactly these.
    Replace(BTreeSet<IpNet>),
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Create => f.write_str("create the interface"),
            Self::RemoveRule(rule) => write!(f, "remove rule {rule}"),
            Self::RemovePeer(key) => write!(f, "remove peer {key}"),
            Self::Configure(change) => change.fmt(f),
            Self::SetMtu(mtu) => write!(f, "set mtu {}", mtu.get()),
            Self::SetPeer(change) => change.fmt(f),
            Self::RemoveRoute(route) => write!(f, "remove route {route}"),
            Self::LinkUp => f.write_str("set the link up"),
            Self::RemoveAddress(address) => write!(f, "remove address {address}"),
            Self::AddAddress(address) => write!(f, "add address {address}"),
            Self::AddRoute(route) => write!(f, "add route {route}"),
            Self::AddRule(rule) => write!(f, "add rule {rule}"),
        }
    }
}

impl fmt::Display for DeviceChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("set")?;
        if let Some(key) = &self.private_key {
            write!(f, " private key (public {})", key.public())?;
        }
        if let Some(port) = self.listen_port {
            write!(f, " listen port {port}")?;
        }
        if let Some(fwmark) = self.fwmark {
            write!(f, " fwmark {fwmark:#x}")?;
        }
        Ok(())
    }
}

impl fmt::Display for PeerChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = if self.create { "add" } else { "change" };
        write!(f, "{verb} peer {}:", self.public_key)?;
        match &self.preshared_key {
            Some(PskChange::Set(_)) => f.write_str(" preshared key [redacted]")?,
            Some(PskChange::Clear) => f.write_str(" no preshared key")?,
            None => {}
        }
        if let Some(endpoint) = self.endpoint {
            write!(f, " endpoint {endpoint}")?;
        }
        match self.keepalive {
            Some(0) => f.write_str(" keepalive off")?,
            Some(seconds) => write!(f, " keepalive {seconds}s")?,
            None => {}
        }
        let (sign, allowed_ips) = match &self.allowed_ips {
            AllowedIpsChange::Keep => return Ok(()),
            AllowedIpsChange::Add(ips) => (" allowed ips +", ips),
            AllowedIpsChange::Replace(ips) => (" allowed ips =", ips),
        };
        f.write_str(sign)?;
        allowed_ips.iter().try_for_each(|ip| write!(f, " {ip}"))
    }
}
