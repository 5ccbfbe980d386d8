//! Routes of the main table through one interface.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;

use ipnet::IpNet;
use netlink_packet_core::Parseable;
use netlink_packet_route::AddressFamily;
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};

use super::socket::{NLM_F_CREATE, NLM_F_EXCL};
use super::{Netlink, already, emit};
use crate::observed::RouteOrigin;

const RTM_NEWROUTE: u16 = 24;
const RTM_DELROUTE: u16 = 25;
const RTM_GETROUTE: u16 = 26;
const MAIN: u32 = RouteHeader::RT_TABLE_MAIN as u32;

impl Netlink {
    /// The unicast routes of the main table that lead into the interface and have no gateway.
    pub(crate) fn routes(&mut self, index: u32) -> io::Result<BTreeMap<IpNet, RouteOrigin>> {
        let mut routes = BTreeMap::new();
        for Route { net, protocol } in self.dump_routes(index)? {
            let origin = match protocol {
                RouteProtocol::Kernel => RouteOrigin::Kernel,
                _ => RouteOrigin::Static,
            };
            // A prefix may have two routes; the one that goes only when told to counts.
            let known = routes.entry(net).or_insert(origin);
            *known = (*known).max(origin);
        }
        Ok(routes)
    }

    /// Adds a route into the interface; one that is there is no error. False: another interface
    /// has the prefix, and keeps it.
    pub(crate) fn add_route(&mut self, index: u32, net: IpNet) -> io::Result<bool> {
        let mut request = message(index, net);
        request.header.protocol = RouteProtocol::Static;
        request.header.scope = if net.addr().is_ipv4() {
            RouteScope::Link
        } else {
            RouteScope::Universe
        };
        match self.change(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, &emit(&request)) {
            Ok(()) => Ok(true),
            Err(error) if error.raw_os_error() == Some(libc::EEXIST) => Ok(self
                .dump_routes(index)?
                .iter()
                .any(|route| route.net == net)),
            Err(error) => Err(error),
        }
    }

    /// Removes all routes of the prefix into the interface but the kernel's own; that there is
    /// none is no error.
    pub(crate) fn delete_route(&mut self, index: u32, net: IpNet) -> io::Result<()> {
        let mut request = message(index, net);
        // The scope that stands for any.
        request.header.scope = RouteScope::NoWhere;
        for found in self.dump_routes(index)? {
            if found.net == net && found.protocol != RouteProtocol::Kernel {
                // Of several routes the kernel takes the first that fits, which may be its own;
                // the protocol tells them apart.
                request.header.protocol = found.protocol;
                let result = self.change(RTM_DELROUTE, 0, &emit(&request));
                already(result, &[libc::ESRCH])?;
            }
        }
        Ok(())
    }

    fn dump_routes(&mut self, index: u32) -> io::Result<Vec<Route>> {
        let mut routes = Vec::new();
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let mut request = RouteMessage::default();
            request.header.address_family = family;
            request.attributes = vec![RouteAttribute::Oif(index), RouteAttribute::Table(MAIN)];
            let answers = match self.dump(RTM_GETROUTE, &emit(&request)) {
                Ok(answers) => answers,
                // The family, or its main table, is not there: no routes.
                Err(error) if no_such_table(&error) => continue,
                Err(error) => return Err(error),
            };
            let answers = answers.iter().filter(|answer| answer.kind == RTM_NEWROUTE);
            routes.extend(answers.filter_map(|answer| parse(&answer.payload, index)));
        }
        Ok(routes)
    }
}

/// A plain route into an interface.
struct Route {
    net: IpNet,
    protocol: RouteProtocol,
}

fn no_such_table(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::ENOENT | libc::EAFNOSUPPORT | libc::EOPNOTSUPP)
    )
}

fn message(index: u32, net: IpNet) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header.address_family = if net.addr().is_ipv4() {
        AddressFamily::Inet
    } else {
        AddressFamily::Inet6
    };
    message.header.destination_prefix_length = net.prefix_len();
    message.header.table = RouteHeader::RT_TABLE_MAIN;
    message.header.kind = RouteType::Unicast;
    message.attributes = vec![
        RouteAttribute::Destination(net.network().into()),
        RouteAttribute::Oif(index),
    ];
    message
}

/// `None` for what is no plain route into the interface, and for what this program cannot read:
/// such a route is not one that it made, and it must not stop anything.
fn parse(payload: &[u8], index: u32) -> Option<Route> {
    let message = RouteMessage::parse(payload).ok()?;
    let (mut destination, mut oif, mut table) = (None, None, u32::from(message.header.table));
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(RouteAddress::Inet(ip)) => {
                destination = Some(IpAddr::V4(*ip));
            }
            RouteAttribute::Destination(RouteAddress::Inet6(ip)) => {
                destination = Some(IpAddr::V6(*ip));
            }
            RouteAttribute::Oif(found) => oif = Some(*found),
            RouteAttribute::Table(found) => table = *found,
            RouteAttribute::Gateway(_) | RouteAttribute::Via(_) | RouteAttribute::MultiPath(_) => {
                return None;
            }
            _ => {}
        }
    }
    if oif != Some(index) || table != MAIN || message.header.kind != RouteType::Unicast {
        return None;
    }
    let any = match message.header.address_family {
        AddressFamily::Inet => IpAddr::from([0u8; 4]),
        AddressFamily::Inet6 => IpAddr::from([0u8; 16]),
        _ => return None,
    };
    let length = message.header.destination_prefix_length;
    let net = IpNet::new(destination.unwrap_or(any), length).ok()?;
    Some(Route {
        net,
        protocol: message.header.protocol,
    })
}
