//! How a node's network is configured: links, addresses, routes of every table, policy rules.
//! Counters and times are left out, so that two snapshots can be compared.

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context as _, Result};
use grid_netlink::Netlink;
use netlink_packet_core::NLM_F_DUMP;
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::link::{LinkAttribute, LinkInfo, LinkMessage};
use netlink_packet_route::route::{RouteAttribute, RouteMessage};
use netlink_packet_route::rule::RuleMessage;

use crate::node::Node;
use crate::wait::wait_for;

/// One line for each thing.
pub type Snapshot = BTreeSet<String>;

/// What `node` has now.
///
/// # Errors
/// When the kernel does not answer.
pub fn of(node: &Node) -> Result<Snapshot> {
    node.namespaces()
        .in_net(read)?
        .with_context(|| format!("cannot read the network of {}", node.name()))
}

/// The same once duplicate address detection is over, which changes how addresses are reported: about
/// a second after the link came up.
///
/// # Errors
/// As [`of`], and when that takes longer than ten seconds.
pub fn at_rest(node: &Node) -> Result<Snapshot> {
    wait_for("addresses to be tried", Duration::from_secs(10), || {
        let now = of(node)?;
        let is_tried = !now.iter().any(|line| line.contains("Tentative"));
        Ok(is_tried.then_some(now))
    })
}

/// A link's kind, in the kernel's word (`wireguard`); its MTU; its group; whether it is up.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LinkDetails {
    /// Empty for hardware and the loopback interface.
    pub kind: String,
    pub mtu: u32,
    pub group: u32,
    /// Administratively.
    pub up: bool,
}

/// What the kernel says of the link `name` of `node`.
///
/// # Errors
/// When there is no such link.
pub fn link(node: &Node, name: &str) -> Result<LinkDetails> {
    node.namespaces()
        .in_net(|| -> io::Result<LinkDetails> {
            let mut message = LinkMessage::default();
            message.header.index = crate::link::index_of(name)?.0;
            let answers = Netlink::route()?.request(RouteNetlinkMessage::GetLink(message), 0)?;
            let found = answers.into_iter().find_map(|answer| match answer {
                RouteNetlinkMessage::NewLink(link) => Some(details(&link)),
                _ => None,
            });
            found.ok_or_else(|| io::ErrorKind::NotFound.into())
        })?
        .with_context(|| format!("cannot read the link {name} of {}", node.name()))
}

/// The kernel's number of the link `name` of `node`.
///
/// # Errors
/// When there is no such link.
pub fn index(node: &Node, name: &str) -> Result<u32> {
    Ok(node.namespaces().in_net(|| crate::link::index_of(name))??.0)
}

/// The addresses of the link `name` of `node`.
///
/// # Errors
/// As [`of`], and when there is no such link.
pub fn addresses(node: &Node, name: &str) -> Result<Vec<IpAddr>> {
    let index = index(node, name)?;
    let answers = node.namespaces().in_net(|| {
        let question = RouteNetlinkMessage::GetAddress(AddressMessage::default());
        Netlink::route()?.request(question, NLM_F_DUMP)
    })??;
    let of_link = answers.into_iter().filter_map(|answer| match answer {
        RouteNetlinkMessage::NewAddress(address) if address.header.index == index => {
            address.attributes.into_iter().find_map(|a| match a {
                AddressAttribute::Address(ip) => Some(ip),
                _ => None,
            })
        }
        _ => None,
    });
    Ok(of_link.collect())
}

fn details(link: &LinkMessage) -> LinkDetails {
    let up = link
        .header
        .flags
        .contains(netlink_packet_route::link::LinkFlags::Up);
    let mut details = LinkDetails {
        up,
        ..LinkDetails::default()
    };
    for attribute in &link.attributes {
        match attribute {
            LinkAttribute::Mtu(mtu) => details.mtu = *mtu,
            LinkAttribute::Group(group) => details.group = *group,
            LinkAttribute::LinkInfo(infos) => {
                details.kind = infos
                    .iter()
                    .find_map(|info| match info {
                        LinkInfo::Kind(kind) => Some(kind.to_string()),
                        _ => None,
                    })
                    .unwrap_or_default();
            }
            _ => {}
        }
    }
    details
}

fn read() -> io::Result<Snapshot> {
    let mut netlink = Netlink::route()?;
    let questions = [
        RouteNetlinkMessage::GetLink(LinkMessage::default()),
        RouteNetlinkMessage::GetAddress(AddressMessage::default()),
        RouteNetlinkMessage::GetRoute(RouteMessage::default()),
        RouteNetlinkMessage::GetRule(RuleMessage::default()),
    ];
    let mut snapshot = Snapshot::new();
    for question in questions {
        let answers = netlink.request(question, NLM_F_DUMP)?;
        snapshot.extend(answers.iter().filter_map(line));
    }
    Ok(snapshot)
}

fn line(answer: &RouteNetlinkMessage) -> Option<String> {
    Some(match answer {
        RouteNetlinkMessage::NewLink(link) => {
            let name = link.attributes.iter().find_map(|a| match a {
                LinkAttribute::IfName(name) => Some(name.as_str()),
                _ => None,
            });
            format!("link {} {:?}", name.unwrap_or("?"), details(link))
        }
        RouteNetlinkMessage::NewAddress(address) => {
            let kept = address
                .attributes
                .iter()
                .filter(|a| matches!(a, AddressAttribute::Address(_) | AddressAttribute::Local(_)));
            format!(
                "address {:?} {:?}",
                address.header,
                kept.collect::<Vec<_>>()
            )
        }
        RouteNetlinkMessage::NewRoute(route) => {
            let kept = route
                .attributes
                .iter()
                .filter(|a| !matches!(a, RouteAttribute::CacheInfo(_)));
            format!("route {:?} {:?}", route.header, kept.collect::<Vec<_>>())
        }
        RouteNetlinkMessage::NewRule(rule) => format!("rule {rule:?}"),
        _ => return None,
    })
}
