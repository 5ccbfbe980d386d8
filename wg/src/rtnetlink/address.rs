//! Addresses of interfaces.

use std::io;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL, Parseable};
use netlink_packet_route::AddressFamily;
use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressMessage, AddressScope};

use super::codec::{emit, ignore, malformed};
use super::socket::Rtnetlink;

/// An address that an interface has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    /// The kernel's number for its interface.
    pub(crate) index: u32,
    /// The address with the length of the prefix that it connects. On a point-to-point link that is
    /// the other end's prefix.
    pub(crate) net: IpNet,
    /// The prefix that is reached directly through it.
    pub(crate) connected: IpNet,
    /// Valid everywhere, not only on this link or host.
    pub(crate) global: bool,
    /// Fit to be told to others: neither tentative nor deprecated.
    pub(crate) usable: bool,
}

impl Address {
    /// All addresses, or those of one interface.
    pub(crate) fn all(socket: &mut Rtnetlink, index: Option<u32>) -> io::Result<Vec<Self>> {
        let mut request = AddressMessage::default();
        request.header.index = index.unwrap_or(0);
        let answers = socket.netlink.dump(libc::RTM_GETADDR, &emit(&request))?;
        let mut addresses = Vec::new();
        for answer in answers
            .iter()
            .filter(|answer| answer.kind == libc::RTM_NEWADDR)
        {
            addresses.extend(parse(&answer.payload)?);
        }
        // Older kernels ignore the index in the request.
        addresses.retain(|address| index.is_none_or(|index| index == address.index));
        Ok(addresses)
    }

    /// Adds an address, unless it exists.
    pub(crate) fn add(socket: &mut Rtnetlink, index: u32, net: IpNet) -> io::Result<()> {
        let request = emit(&message(index, net));
        ignore(
            socket
                .netlink
                .change(libc::RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, &request),
            &[libc::EEXIST],
        )
    }

    /// Removes an address, if it exists.
    pub(crate) fn delete(socket: &mut Rtnetlink, index: u32, net: IpNet) -> io::Result<()> {
        let result = socket
            .netlink
            .change(libc::RTM_DELADDR, 0, &emit(&message(index, net)));
        ignore(result, &[libc::EADDRNOTAVAIL])
    }

    /// Whether this socket may change the network at all. It asks for something impossible: the
    /// kernel checks the capability first, then finds no such interface.
    pub(crate) fn may_configure(socket: &mut Rtnetlink) -> io::Result<bool> {
        const NO_SUCH_INTERFACE: u32 = i32::MAX.unsigned_abs();
        let loopback = IpNet::from(IpAddr::V4(Ipv4Addr::LOCALHOST));
        let request = emit(&message(NO_SUCH_INTERFACE, loopback));
        match socket.netlink.change(libc::RTM_DELADDR, 0, &request) {
            Err(error) if error.raw_os_error() == Some(libc::EPERM) => Ok(false),
            Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Ok(true),
            Err(error) => Err(error),
            Ok(()) => Err(io::Error::other(
                "the kernel changed an interface that cannot exist",
            )),
        }
    }
}

fn message(index: u32, net: IpNet) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.index = index;
    message.header.prefix_len = net.prefix_len();
    message.header.family = if net.addr().is_ipv4() {
        AddressFamily::Inet
    } else {
        AddressFamily::Inet6
    };
    message.attributes = vec![
        AddressAttribute::Local(net.addr()),
        AddressAttribute::Address(net.addr()),
    ];
    if net.addr().is_ipv6() {
        // A tunnel has no neighbours that could have the address already.
        message
            .attributes
            .push(AddressAttribute::Flags(AddressFlags::Nodad));
    }
    message
}

/// `None` for address families other than IP.
fn parse(payload: &[u8]) -> io::Result<Option<Address>> {
    let message = AddressMessage::parse(payload).map_err(|why| malformed("address", why))?;
    let (mut local, mut peer, mut flags) = (None, None, AddressFlags::empty());
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Local(ip) => local = Some(*ip),
            AddressAttribute::Address(ip) => peer = Some(*ip),
            AddressAttribute::Flags(bits) => flags = *bits,
            _ => {}
        }
    }
    let (Some(ip), Some(far)) = (local.or(peer), peer.or(local)) else {
        return Ok(None);
    };
    let net =
        |ip| IpNet::new(ip, message.header.prefix_len).map_err(|why| malformed("address", why));
    let unfit = AddressFlags::Deprecated | AddressFlags::Tentative | AddressFlags::Dadfailed;
    Ok(Some(Address {
        index: message.header.index,
        net: net(ip)?,
        connected: net(far)?.trunc(),
        global: message.header.scope == AddressScope::Universe,
        usable: !flags.intersects(unfit),
    }))
}
