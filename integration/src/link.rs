//! Bridges, veth pairs, addresses and routes, each as one rtnetlink request.
//!
//! Links are named by index, so that a rename cannot redirect a later request.

use std::fs::{self, File};
use std::io;
use std::net::{IpAddr, Ipv6Addr};
use std::os::fd::AsRawFd as _;
use std::thread;
use std::time::{Duration, Instant};

use grid_netlink::Netlink;
use ipnet::IpNet;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL};
use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressMessage, AddressScope};
use netlink_packet_route::link::{
    InfoBridge, InfoData, InfoKind, InfoVeth, LinkAttribute, LinkFlags, LinkInfo, LinkMessage,
    State,
};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::rule::{RuleAttribute, RuleMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

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
    create_wireguard(netlink, name)
        .and_then(|index| delete(netlink, index))
        .is_ok()
}

/// Makes a WireGuard link that is down and has no key.
///
/// # Errors
/// `EOPNOTSUPP` when this kernel has no WireGuard, `EEXIST` when the name is taken.
pub fn create_wireguard(netlink: &mut Netlink, name: &str) -> io::Result<LinkIndex> {
    let mut message = LinkMessage::default();
    message.attributes = vec![
        LinkAttribute::IfName(name.to_owned()),
        LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Wireguard)]),
    ];
    create(netlink, message)?;
    index_of(name)
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
    netlink
        .request(RouteNetlinkMessage::SetLink(message), 0)
        .map(drop)
}

/// Waits until a link that is up, and whose other end is, carries packets.
///
/// The kernel starts a link's queue, and opens its bridge port, from a work item that other
/// namespaces' comings and goings can hold up for a second; until then it drops what is sent.
///
/// # Errors
/// `TimedOut` after five seconds.
pub fn wait_until_it_runs(netlink: &mut Netlink, link: LinkIndex) -> io::Result<()> {
    let until = Instant::now() + Duration::from_secs(5);
    while Instant::now() < until {
        if operational_state(netlink, link)? == Some(State::Up) {
            // The state is written a moment before the queue and the bridge port work, both under
            // the lock that this request takes too: when it returns, they do.
            return set_up(netlink, link, true);
        }
        thread::sleep(Duration::from_millis(1));
    }
    Err(io::Error::new(
        io::ErrorKind::TimedOut,
        format!("link {} does not start", link.0),
    ))
}

/// Waits until link `name`, in the network namespace of the calling thread, hears neighbour
/// solicitations for `address` (RFC 4291, section 2.7.1).
///
/// The kernel joins the multicast group of a new address from a work item; a solicitation that
/// comes earlier is lost, and the next one is sent a second later.
///
/// # Errors
/// `TimedOut` after five seconds.
pub fn wait_until_it_can_be_found(name: &str, address: Ipv6Addr) -> io::Result<()> {
    let [.., high, low] = address.segments();
    let group = format!("ff0200000000000000000001ff{:02x}{low:04x}", high & 0xff);
    let until = Instant::now() + Duration::from_secs(5);
    while Instant::now() < until {
        let groups = fs::read_to_string("/proc/thread-self/net/igmp6")?;
        let joined = groups.lines().any(|line| {
            let mut fields = line.split_whitespace().skip(1);
            fields.next() == Some(name) && fields.next() == Some(&group)
        });
        if joined {
            return Ok(());
        }
        thread::sleep(Duration::from_millis(1));
    }
    Err(io::Error::new(
        io::ErrorKind::TimedOut,
        format!("{name} does not listen for {address}"),
    ))
}

/// The state of RFC 2863. `IFF_RUNNING` will not do: it is also set while the state is unknown.
fn operational_state(netlink: &mut Netlink, link: LinkIndex) -> io::Result<Option<State>> {
    let mut message = LinkMessage::default();
    message.header.index = link.0;
    let answers = netlink.request(RouteNetlinkMessage::GetLink(message), 0)?;
    Ok(answers.into_iter().find_map(|answer| match answer {
        RouteNetlinkMessage::NewLink(link) => link.attributes.into_iter().find_map(|a| match a {
            LinkAttribute::OperState(state) => Some(state),
            _ => None,
        }),
        _ => None,
    }))
}

/// Moves `link` to `bridge` as a port. The other end of a veth keeps its carrier.
///
/// # Errors
/// `ENODEV` when either is gone, `EPERM` without `CAP_NET_ADMIN`.
pub fn set_bridge(netlink: &mut Netlink, link: LinkIndex, bridge: LinkIndex) -> io::Result<()> {
    let mut message = LinkMessage::default();
    message.header.index = link.0;
    message.attributes = vec![LinkAttribute::Controller(bridge.0)];
    netlink
        .request(RouteNetlinkMessage::SetLink(message), 0)
        .map(drop)
}

/// Deletes a link.
///
/// # Errors
/// `ENODEV` when it is already gone.
pub fn delete(netlink: &mut Netlink, link: LinkIndex) -> io::Result<()> {
    let mut message = LinkMessage::default();
    message.header.index = link.0;
    netlink
        .request(RouteNetlinkMessage::DelLink(message), 0)
        .map(drop)
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
    netlink
        .request(
            RouteNetlinkMessage::NewAddress(message),
            NLM_F_CREATE | NLM_F_EXCL,
        )
        .map(drop)
}

/// Removes `address/length` from a link.
///
/// # Errors
/// `EADDRNOTAVAIL` when the link does not have it.
pub fn remove_address(
    netlink: &mut Netlink,
    link: LinkIndex,
    address: IpAddr,
    length: u8,
) -> io::Result<()> {
    let mut message = AddressMessage::default();
    message.header.family = family(address);
    message.header.prefix_len = length;
    message.header.index = link.0;
    message.attributes = vec![AddressAttribute::Local(address)];
    netlink
        .request(RouteNetlinkMessage::DelAddress(message), 0)
        .map(drop)
}

/// Sets the maximum transmission unit of a link, in bytes.
///
/// # Errors
/// `EINVAL` when the link cannot have it.
pub fn set_mtu(netlink: &mut Netlink, link: LinkIndex, mtu: u32) -> io::Result<()> {
    let mut message = LinkMessage::default();
    message.header.index = link.0;
    message.attributes = vec![LinkAttribute::Mtu(mtu)];
    netlink
        .request(RouteNetlinkMessage::SetLink(message), 0)
        .map(drop)
}

/// The route of `net` out of a link, in the main table.
fn route(link: LinkIndex, net: IpNet) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header.address_family = family(net.addr());
    message.header.destination_prefix_length = net.prefix_len();
    message.header.table = RouteHeader::RT_TABLE_MAIN;
    message.attributes = vec![
        RouteAttribute::Destination(RouteAddress::from(net.network())),
        RouteAttribute::Oif(link.0),
    ];
    message
}

/// Removes the routes of `net` through a link from the main table.
///
/// # Errors
/// `ESRCH` when there is none.
pub fn remove_route(netlink: &mut Netlink, link: LinkIndex, net: IpNet) -> io::Result<()> {
    let mut message = route(link, net);
    message.header.scope = RouteScope::NoWhere;
    netlink
        .request(RouteNetlinkMessage::DelRoute(message), 0)
        .map(drop)
}

/// Adds a route of `net` that leads out of a link, to the main table.
///
/// # Errors
/// `EEXIST` when there is one, `ENETDOWN` when the link is down.
pub fn add_route(netlink: &mut Netlink, link: LinkIndex, net: IpNet) -> io::Result<()> {
    let mut message = route(link, net);
    message.header.protocol = RouteProtocol::Static;
    message.header.scope = RouteScope::Link;
    message.header.kind = RouteType::Unicast;
    netlink
        .request(
            RouteNetlinkMessage::NewRoute(message),
            NLM_F_CREATE | NLM_F_EXCL,
        )
        .map(drop)
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
    netlink
        .request(
            RouteNetlinkMessage::NewRoute(message),
            NLM_F_CREATE | NLM_F_EXCL,
        )
        .map(drop)
}

/// Removes the policy rules of both families that `protocol` made; how many there were.
///
/// # Errors
/// What the kernel refused.
pub fn remove_rules(netlink: &mut Netlink, protocol: u8) -> io::Result<usize> {
    let rules = netlink.request(
        RouteNetlinkMessage::GetRule(RuleMessage::default()),
        NLM_F_DUMP,
    )?;
    let protocol = RuleAttribute::Protocol(RouteProtocol::from(protocol));
    let ours = rules.into_iter().filter_map(|rule| match rule {
        RouteNetlinkMessage::NewRule(rule) => rule.attributes.contains(&protocol).then_some(rule),
        _ => None,
    });
    let ours: Vec<RuleMessage> = ours.collect();
    let count = ours.len();
    for rule in ours {
        netlink.request(RouteNetlinkMessage::DelRule(rule), 0)?;
    }
    Ok(count)
}

fn create(netlink: &mut Netlink, message: LinkMessage) -> io::Result<()> {
    netlink
        .request(
            RouteNetlinkMessage::NewLink(message),
            NLM_F_CREATE | NLM_F_EXCL,
        )
        .map(drop)
}

fn family(address: IpAddr) -> AddressFamily {
    match address {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    }
}
