//! One interface as a whole: what the kernel says of its link, and a back end of its WireGuard.

use std::collections::BTreeSet;
use std::io;

use ipnet::IpNet;

use super::address::Address;
use super::link::Link;
use super::socket::Rtnetlink;
use crate::backend_kind::BackendKind;
use crate::if_name::IfName;
use crate::observed::{ObservedDevice, ObservedInterface};

impl Rtnetlink {
    /// Completes the observation of an interface.
    pub(crate) fn observe(
        &mut self,
        link: &Link,
        kind: BackendKind,
        device: ObservedDevice,
    ) -> io::Result<ObservedInterface> {
        let addresses = Address::all(self, Some(link.index))?;
        Ok(ObservedInterface {
            index: link.index,
            kind,
            up: link.up,
            mtu: link.mtu,
            public_key: device.public_key,
            listen_port: device.listen_port,
            fwmark: device.fwmark,
            addresses: addresses.into_iter().map(|address| address.net).collect(),
            routes: self.routes(link.index)?,
            peers: device.peers,
        })
    }

    /// The prefixes that interfaces other than this one connect, as far as they are up.
    pub(crate) fn connected_beside(&mut self, name: &IfName) -> io::Result<BTreeSet<IpNet>> {
        let links = Link::all(self)?;
        let counts = |index| {
            let mut links = links.iter().filter(|link| link.up && !link.loopback);
            links.any(|link| link.index == index && link.name != name.as_str())
        };
        let addresses = Address::all(self, None)?.into_iter();
        let addresses = addresses.filter(|address| counts(address.index));
        Ok(addresses.map(|address| address.connected).collect())
    }
}
