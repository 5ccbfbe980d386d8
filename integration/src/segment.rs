//! An Ethernet segment: one bridge with an address plan. Plugging a node in gives it an interface
//! with the next free addresses.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context as _, Result, bail};
use grid_netlink::Netlink;
use ipnet::{Ipv4Net, Ipv6Net};

use crate::Missing;
use crate::link::{self, LinkIndex};
use crate::node::{Node, Port};

/// The lowest host number of a node; lower ones are for gateways.
const FIRST_NODE: u32 = 11;

/// A bridge in the lab's own network namespace, and the addresses on it.
#[derive(Debug)]
pub struct Segment {
    name: String,
    bridge: LinkIndex,
    ipv4: Ipv4Net,
    ipv6: Option<Ipv6Net>,
    taken: Mutex<BTreeSet<u32>>,
}

impl Segment {
    /// Makes a bridge named `name` that is up. `ipv4` must leave room for eleven hosts.
    ///
    /// # Errors
    /// When the bridge exists or the kernel refuses it.
    pub(crate) fn create(
        netlink: &mut Netlink,
        name: &str,
        ipv4: Ipv4Net,
        ipv6: Option<Ipv6Net>,
    ) -> Result<Self> {
        if ipv4.prefix_len() > 27 {
            bail!("{ipv4} is too small for a segment: it needs a /27 or wider");
        }
        let bridge = link::create_bridge(netlink, name)
            .map_err(|error| explain(error, "bridges", "bridge"))
            .with_context(|| format!("cannot make the bridge {name}"))?;
        link::set_up(netlink, bridge, true)?;
        Ok(Self {
            name: name.to_owned(),
            bridge,
            ipv4,
            ipv6,
            taken: Mutex::default(),
        })
    }

    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    #[must_use]
    pub fn bridge(&self) -> LinkIndex {
        self.bridge
    }

    #[must_use]
    pub fn ipv4(&self) -> Ipv4Net {
        self.ipv4
    }

    /// Host 1 of the IPv4 prefix: where this segment's default route goes.
    #[must_use]
    pub fn gateway4(&self) -> Ipv4Addr {
        host4(self.ipv4, 1)
    }

    /// Host 1 of the IPv6 prefix, where there is one.
    #[must_use]
    pub fn gateway6(&self) -> Option<Ipv6Addr> {
        self.ipv6.map(|prefix| host6(prefix, 1))
    }

    /// Gives the bridge itself the gateway addresses, so that the lab's own namespace answers.
    pub(crate) fn answer_as_gateway(&self, netlink: &mut Netlink) -> Result<()> {
        let gateway = self.gateway4().into();
        link::add_address(netlink, self.bridge, gateway, self.ipv4.prefix_len())?;
        if let (Some(prefix), Some(gateway)) = (self.ipv6, self.gateway6()) {
            link::add_address(netlink, self.bridge, gateway.into(), prefix.prefix_len())
                .map_err(|error| explain(error, "IPv6", "ipv6"))?;
        }
        Ok(())
    }

    /// Plugs `node` in as `interface`: host `number` of the prefixes, or the next free one.
    /// `lab_side` names the other end of the cable.
    ///
    /// # Errors
    /// When the prefix is used up, a name is taken, or the kernel refuses.
    pub(crate) fn plug(
        &self,
        netlink: &mut Netlink,
        node: &Node,
        interface: &str,
        lab_side: &str,
        number: Option<u32>,
    ) -> Result<Port> {
        let number = self.take_host(number)?;
        let ipv4 = host4(self.ipv4, number);
        let ipv6 = self.ipv6.map(|prefix| host6(prefix, number));
        let namespace = node.namespaces().net();
        let lab_side = link::create_veth(netlink, lab_side, interface, namespace, self.bridge)
            .map_err(|error| explain(error, "virtual cables", "veth"))
            .with_context(|| format!("cannot plug {} into {}", node.name(), self.name))?;
        link::set_up(netlink, lab_side, true)?;
        let mut addresses = vec![(IpAddr::V4(ipv4), self.ipv4.prefix_len())];
        if let (Some(address), Some(prefix)) = (ipv6, self.ipv6) {
            addresses.push((address.into(), prefix.prefix_len()));
        }
        node.namespaces()
            .in_net(|| -> std::io::Result<()> {
                let mut netlink = Netlink::route()?;
                let index = link::index_of(interface)?;
                for (address, length) in addresses {
                    link::add_address(&mut netlink, index, address, length)?;
                }
                link::set_up(&mut netlink, index, true)?;
                link::wait_until_it_runs(&mut netlink, index)?;
                ipv6.map_or(Ok(()), |address| {
                    link::wait_until_it_can_be_found(interface, address)
                })
            })?
            .with_context(|| format!("cannot set up {interface} of {}", node.name()))?;
        link::wait_until_it_runs(netlink, lab_side)?;
        let port = Port {
            interface: interface.to_owned(),
            lab_side,
            bridge: self.bridge,
            ipv4,
            ipv6,
        };
        node.add_port(port.clone());
        Ok(port)
    }

    fn take_host(&self, wanted: Option<u32>) -> Result<u32> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let broadcast = u32::from(self.ipv4.broadcast()) - u32::from(self.ipv4.network());
        let number = match wanted {
            Some(number) => Some(number).filter(|number| !taken.contains(number)),
            None => (FIRST_NODE..broadcast).find(|number| !taken.contains(number)),
        };
        let Some(number) = number else {
            bail!(
                "the segment {} ({}) has no free address",
                self.name,
                self.ipv4
            );
        };
        taken.insert(number);
        Ok(number)
    }

    /// Frees the address of `port` for the next node, if that is a plug into this segment.
    pub(crate) fn give_back(&self, port: &Port) {
        if port.bridge == self.bridge {
            let number = u32::from(port.ipv4) - u32::from(self.ipv4.network());
            self.taken
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .remove(&number);
        }
    }

    /// Points the default routes of `node` at this segment's gateway.
    ///
    /// # Errors
    /// When the node has a default route or no interface here.
    pub(crate) fn route_default(&self, node: &Node) -> Result<()> {
        let gateways: Vec<IpAddr> = std::iter::once(self.gateway4().into())
            .chain(self.gateway6().map(IpAddr::from))
            .collect();
        node.namespaces()
            .in_net(|| -> std::io::Result<()> {
                let mut netlink = Netlink::route()?;
                gateways
                    .iter()
                    .try_for_each(|to| link::add_default_route(&mut netlink, *to))
            })?
            .with_context(|| format!("cannot set the default route of {}", node.name()))
    }
}

/// Says what this kernel lacks, if that is why the request failed.
fn explain(error: io::Error, what: &str, module: &str) -> anyhow::Error {
    match error.raw_os_error() {
        // EACCES: IPv6 that is switched off.
        Some(libc::EOPNOTSUPP | libc::EAFNOSUPPORT | libc::EACCES) => Missing(format!(
            "this kernel has no {what} ({error}): load the module with `sudo modprobe {module}`, or \
             switch it on"
        ))
        .into(),
        _ => error.into(),
    }
}

fn host4(prefix: Ipv4Net, number: u32) -> Ipv4Addr {
    u32::from(prefix.network()).saturating_add(number).into()
}

/// Host 12 is `...::12`, so that a node's two addresses read alike.
fn host6(prefix: Ipv6Net, number: u32) -> Ipv6Addr {
    let digits = u128::from_str_radix(&number.to_string(), 16).unwrap_or_default();
    u128::from(prefix.network()).saturating_add(digits).into()
}
