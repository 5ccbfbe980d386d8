//! Bridges, veth pairs, addresses and routes, each as one rtnetlink request.
//!
//! Links are named by index, so that a rename cannot redirect a later request.

use std::fs::File;
use std::io;
use std::net::IpAddr;
use std::os::fd::AsRawFd as _;

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressMessage, AddressScope};
use netlink_packet_route::link::{
    InfoBridge, InfoData, InfoKind, InfoVeth, LinkAttribute, LinkFlags, LinkInfo, LinkMessage,
};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use crate::netlink::Netlink;

/// The kernel's number of a link, valid inside one network namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LinkIndex(pub u32);

/// Looks up the link `name` in the network namespace of the calling thread.
///
/// # Errors
/// `ENODEV` when there is none.
pub fn index_of(name: &str) -> io::Result<LinkIndex> {
    Ok(LinkIndex(nix::net::if_::if_nametoindex(name)?))
}

/// Makes a bridge that is down and has no ports. Spanning tree is off (the kernel's default), so
/// that a port forwards at once; multicast snooping is off, so that neighbour discovery is flooded.
///
/// # Errors
/// `EEXIST` when the name is taken, `EPERM` without `CAP_NET_ADMIN`.
pub fn create_bridge(netlink: &mut Netlink, name: &str) -> io::Result<LinkIndex> {
    let mut message = LinkMessage::default();
    message.attributes = vec![
        LinkAttribute::IfName(name.to_owned()),
        LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::Bridge),
            LinkInfo::Data(InfoData::Bridge(vec![InfoBridge::MulticastSnooping(false)])),
        ]),
    ];
    create(netlink, message)?;
    index_of(name)
}

/// Makes a veth pair: `here` in this namespace as a port of `bridge`, and `there` in the network
/// namespace that `namespace` refers to. Both are down. The pair vanishes with either end.
///
/// # Errors
/// `EEXIST` when a name is taken, `EPERM` without `CAP_NET_ADMIN` in both namespaces.
pub fn create_veth(
    netlink: &mut Netlink,
    here: &str,
    there: &str,
    namespace: &File,
    bridge: LinkIndex,
) -> io::Result<LinkIndex> {
    let mut peer = LinkMessage::default();
    peer.attributes = vec![
        LinkAttribute::IfName(there.to_owned()),
        LinkAttribute::NetNsFd(namespace.as_raw_fd()),
    ];
    let mut message = LinkMessage::default();
    message.attributes = vec![
        LinkAttribute::IfName(here.to_owned()),
        LinkAttribute::Controller(bridge.0),
        LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::Veth),
            LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(peer))),
        ]),
    ];
    create(netlink, message)?;
    index_of(here)
}

/// Tries to make and remove a WireGuard link, which tells whether this kernel has WireGuard.
pub fn kernel_has_wireguard(netlink: &mut Netlink) -> bool {
    let name = "wg-probe";
    let mut message = LinkMessage::default();
    message.attributes = vec![
        LinkAttribute::IfName(name.to_owned()),
        LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Wireguard)]),
    ];
    create(netlink, message).is_ok()
        && index_of(name)
            .and_then(|index| delete(netlink, index))
            .is_ok()
}

/// Sets a link up or down.
///
/// # Errors
/// `ENODEV` when the link is gone, `EPERM` without `CAP_NET_ADMIN`.
pub fn set_up(netlink: &mut Netlink, link: LinkIndex, up: bool) -> io::Result<()> {
    let mut message = LinkMessage::default();
    message.header.index = link.0;
    message.header.change_mask = LinkFlags::Up;
    if up {
        message.header.flags = LinkFlags::Up;
    }
    netlink.request(RouteNetlinkMessage::SetLink(message), 0)
}

/// Makes `link` a port of `bridge`, or of none. The other end of a veth keeps its carrier.
///
/// # Errors
/// `ENODEV` when either is gone, `EPERM` without `CAP_NET_ADMIN`.
pub fn set_bridge(
    netlink: &mut Netlink,
    link: LinkIndex,
    bridge: Option<LinkIndex>,
) -> io::Result<()> {
    let mut message = LinkMessage::default();
    message.header.index = link.0;
    message.attributes = vec![LinkAttribute::Controller(bridge.map_or(0, |b| b.0))];
    netlink.request(RouteNetlinkMessage::SetLink(message), 0)
}

/// Deletes a link.
///
/// # Errors
/// `ENODEV` when it is already gone.
pub fn delete(netlink: &mut Netlink, link: LinkIndex) -> io::Result<()> {
    let mut message = LinkMessage::default();
    message.header.index = link.0;
    netlink.request(RouteNetlinkMessage::DelLink(message), 0)
}

/// Adds `address/length` to a link. IPv6 addresses skip duplicate address detection: the lab hands
/// them out itself, and detection would keep them unusable for a second.
///
/// # Errors
/// `EEXIST` when the link has it already, `EACCES` when IPv6 is disabled in this namespace.
pub fn add_address(
    netlink: &mut Netlink,
    link: LinkIndex,
    address: IpAddr,
    length: u8,
) -> io::Result<()> {
    let mut message = AddressMessage::default();
    message.header.family = family(address);
    message.header.prefix_len = length;
    message.header.index = link.0;
    message.header.scope = AddressScope::Universe;
    message.attributes = vec![
        AddressAttribute::Local(address),
        AddressAttribute::Address(address),
    ];
    match address {
        IpAddr::V4(v4) => {
            let host_bits = u32::MAX.checked_shr(u32::from(length)).unwrap_or(0);
            let broadcast = (u32::from(v4) | host_bits).into();
            message
                .attributes
                .push(AddressAttribute::Broadcast(broadcast));
        }
        IpAddr::V6(_) => {
            message
                .attributes
                .push(AddressAttribute::Flags(AddressFlags::Nodad));
        }
    }
    netlink.request(
        RouteNetlinkMessage::NewAddress(message),
        NLM_F_CREATE | NLM_F_EXCL,
    )
}

/// Adds a default route through `gateway`.
///
/// # Errors
/// `ENETUNREACH` when the gateway is not on a connected prefix of a link that is up.
pub fn add_default_route(netlink: &mut Netlink, gateway: IpAddr) -> io::Result<()> {
    let mut message = RouteMessage::default();
    message.header.address_family = family(gateway);
    message.header.table = RouteHeader::RT_TABLE_MAIN;
    message.header.protocol = RouteProtocol::Static;
    message.header.scope = RouteScope::Universe;
    message.header.kind = RouteType::Unicast;
    message.attributes = vec![RouteAttribute::Gateway(RouteAddress::from(gateway))];
    netlink.request(
        RouteNetlinkMessage::NewRoute(message),
        NLM_F_CREATE | NLM_F_EXCL,
    )
}

fn create(netlink: &mut Netlink, message: LinkMessage) -> io::Result<()> {
    netlink.request(
        RouteNetlinkMessage::NewLink(message),
        NLM_F_CREATE | NLM_F_EXCL,
    )
}

fn family(address: IpAddr) -> AddressFamily {
    match address {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    }
}
