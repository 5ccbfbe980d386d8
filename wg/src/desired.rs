//! What the interface shall be: plain values, filled in by the caller.
//!
//! Nothing here is validated against the host. Where two statements contradict one another,
//! [`plan`](crate::plan()) says which one counts.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use grid_keys::{PresharedKey, WgPublicKey, WgSecretKey};

use ipnet::IpNet;

use crate::name::IfName;
use crate::routing::Routing;

/// The wanted state of one interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Desired {
    /// The interface's name.
    pub name: IfName,
    /// The interface's private key. Its public half is also the proof that a kernel interface of
    /// this name is ours.
    pub private_key: WgSecretKey,
    /// UDP port. 0: whatever WireGuard picks, and whatever is there stays.
    pub listen_port: u16,
    /// Maximum transmission unit of the interface.
    pub mtu: Mtu,
    /// Mark on the outgoing UDP packets. `None` and `Some(0)`: no mark.
    pub fwmark: Option<u32>,
    /// The interface's own addresses, each with the length of its connected prefix.
    pub addresses: BTreeSet<IpNet>,
    /// The peers. An entry under the interface's own public key is ignored, as WireGuard does.
    pub peers: BTreeMap<WgPublicKey, DesiredPeer>,
    /// Prefixes that the host routes into the interface. Bits behind the prefix length are
    /// ignored. A prefix that an address already connects may stand here too. A default route
    /// (prefix length 0) under [`Table::Auto`](crate::Table::Auto) needs `fwmark`: without a mark it
    /// would take the tunnel's own packets into the tunnel, so it is left out.
    pub routes: BTreeSet<IpNet>,
    /// Where these routes go.
    pub routing: Routing,
}

/// The wanted state of one peer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DesiredPeer {
    /// The pre-shared key. `None` and all zeros: none.
    pub preshared_key: Option<PresharedKey>,
    /// Where to send. `None`: leave whatever is there, so that a roaming peer stays reachable.
    pub endpoint: Option<SocketAddr>,
    /// What the peer may send from and is sent. Bits behind the prefix length are ignored. A
    /// prefix that stands at several peers goes to the one with the lowest public key.
    pub allowed_ips: BTreeSet<IpNet>,
    /// Persistent keepalive in seconds. `None` and `Some(0)`: off.
    pub keepalive: Option<u16>,
}

/// A maximum transmission unit in bytes, at least 1280: below that Linux takes IPv6 off the
/// interface (RFC 8200 section 5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mtu(u16);

/// An MTU below 1280 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an MTU of {0} is too small: IPv6 needs at least {min}", min = Mtu::MIN.get())]
pub struct MtuTooSmall(pub u16);

impl Mtu {
    /// What IPv6 needs at least.
    pub const MIN: Self = Self(1280);
    /// 1500 less WireGuard's overhead over IPv6, as wg-quick has it.
    pub const DEFAULT: Self = Self(1420);

    /// An MTU of so many bytes.
    ///
    /// # Errors
    /// Below 1280.
    pub const fn new(bytes: u16) -> Result<Self, MtuTooSmall> {
        if bytes < Self::MIN.0 {
            Err(MtuTooSmall(bytes))
        } else {
            Ok(Self(bytes))
        }
    }

    /// The bytes.
    #[must_use]
    pub const fn get(self) -> u16 {
        self.0
    }
}

impl Default for Mtu {
    fn default() -> Self {
        Self::DEFAULT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_mtu_keeps_ipv6_alive() {
        assert_eq!(Mtu::new(1279), Err(MtuTooSmall(1279)));
        assert_eq!(Mtu::new(1280).unwrap().get(), 1280);
        assert_eq!(Mtu::default().get(), 1420);
        assert!(MtuTooSmall(9).to_string().contains("1280"));
    }
}
