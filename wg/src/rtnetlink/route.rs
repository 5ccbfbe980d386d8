//! Routes through one interface, in all tables except the one for local addresses.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;

use ipnet::IpNet;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL, Parseable};
use netlink_packet_route::AddressFamily;
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};

use super::codec::{emit, ignore, is_unsupported};
use super::socket::Rtnetlink;
use crate::observed::RouteOrigin;
use crate::ownership::PROTOCOL;
use crate::routing::{LOCAL, Route};

impl Rtnetlink {
    /// The unicast routes that lead into the interface and have no gateway.
    pub(crate) fn routes(&mut self, index: u32) -> io::Result<BTreeMap<Route, RouteOrigin>> {
        let mut routes = BTreeMap::new();
        for Found { route, protocol } in self.dump_routes(index)? {
            let origin = match protocol {
                RouteProtocol::Kernel => RouteOrigin::Kernel,
                RouteProtocol::Other(PROTOCOL) => RouteOrigin::Own,
                _ => RouteOrigin::Static,
            };
            // The same route may exist twice; the one that stays until it is removed counts.
            let known = routes.entry(route).or_insert(origin);
            *known = (*known).max(origin);
        }
        Ok(routes)
    }

    /// Adds a route into the interface, unless it exists. False: another interface has the prefix
    /// in that table with that metric, and keeps it.
    pub(crate) fn add_route(&mut self, index: u32, route: &Route) -> io::Result<bool> {
        let mut request = message(index, route);
        request.header.protocol = RouteProtocol::Other(PROTOCOL);
        request.header.scope = if route.net.addr().is_ipv4() {
            RouteScope::Link
        } else {
            RouteScope::Universe
        };
        match self.netlink.change(
            libc::RTM_NEWROUTE,
            NLM_F_CREATE | NLM_F_EXCL,
            &emit(&request),
        ) {
            Ok(()) => Ok(true),
            Err(error) if error.raw_os_error() == Some(libc::EEXIST) => Ok(self
                .dump_routes(index)?
                .iter()
                .any(|found| found.route == *route)),
            Err(error) => Err(error),
        }
    }

    /// Removes the route if it exists, whoever made it except the kernel.
    pub(crate) fn delete_route(&mut self, index: u32, route: &Route) -> io::Result<()> {
        let mut request = message(index, route);
        // This scope matches any.
        request.header.scope = RouteScope::NoWhere;
        for found in self.dump_routes(index)? {
            if found.route == *route && found.protocol != RouteProtocol::Kernel {
                // Of several routes the kernel removes the first that matches, which may be its
                // own; the protocol tells them apart. No metric matches any, but 0 comes first.
                request.header.protocol = found.protocol;
                let result = self.netlink.change(libc::RTM_DELROUTE, 0, &emit(&request));
                ignore(result, &[libc::ESRCH])?;
            }
        }
        Ok(())
    }

    fn dump_routes(&mut self, index: u32) -> io::Result<Vec<Found>> {
        let mut routes = Vec::new();
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let mut request = RouteMessage::default();
            request.header.address_family = family;
            request.attributes = vec![RouteAttribute::Oif(index)];
            let answers = match self.netlink.dump(libc::RTM_GETROUTE, &emit(&request)) {
                Ok(answers) => answers,
                // A family that is not there has no routes.
                Err(error) if is_unsupported(&error) => continue,
                Err(error) => return Err(error),
            };
            let answers = answers
                .iter()
                .filter(|answer| answer.kind == libc::RTM_NEWROUTE);
            routes.extend(answers.filter_map(|answer| parse(&answer.payload, index)));
        }
        Ok(routes)
    }
}

/// A plain route into an interface.
struct Found {
    route: Route,
    protocol: RouteProtocol,
}

fn message(index: u32, route: &Route) -> RouteMessage {
    let net = route.net;
    let mut message = RouteMessage::default();
    message.header.address_family = if net.addr().is_ipv4() {
        AddressFamily::Inet
    } else {
        AddressFamily::Inet6
    };
    message.header.destination_prefix_length = net.prefix_len();
    // The field has only eight bits; the attribute counts.
    message.header.table = u8::try_from(route.table).unwrap_or(RouteHeader::RT_TABLE_UNSPEC);
    message.header.kind = RouteType::Unicast;
    message.attributes = vec![
        RouteAttribute::Destination(net.network().into()),
        RouteAttribute::Oif(index),
        RouteAttribute::Table(route.table),
    ];
    if route.metric != 0 {
        let metric = RouteAttribute::Priority(route.metric);
        message.attributes.push(metric);
    }
    message
}

/// `None` for anything but a plain route into the interface, and for one that cannot be decoded:
/// this program cannot have made it, and it must not stop anything.
fn parse(payload: &[u8], index: u32) -> Option<Found> {
    let message = RouteMessage::parse(payload).ok()?;
    let (mut destination, mut oif, mut metric) = (None, None, 0);
    let mut table = u32::from(message.header.table);
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
            RouteAttribute::Priority(found) => metric = *found,
            RouteAttribute::Gateway(_) | RouteAttribute::Via(_) | RouteAttribute::MultiPath(_) => {
                return None;
            }
            _ => {}
        }
    }
    if oif != Some(index) || table == LOCAL || message.header.kind != RouteType::Unicast {
        return None;
    }
    let any = match message.header.address_family {
        AddressFamily::Inet => IpAddr::from([0u8; 4]),
        AddressFamily::Inet6 => IpAddr::from([0u8; 16]),
        _ => return None,
    };
    let length = message.header.destination_prefix_length;
    let net = IpNet::new(destination.unwrap_or(any), length).ok()?;
    Some(Found {
        route: Route { net, table, metric },
        protocol: message.header.protocol,
    })
}
