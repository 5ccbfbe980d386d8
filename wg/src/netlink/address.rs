//! Addresses of interfaces.

use std::io;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;
use netlink_packet_core::Parseable;
use netlink_packet_route::AddressFamily;
use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressMessage, AddressScope};

use super::socket::{NLM_F_CREATE, NLM_F_EXCL};
use super::{Netlink, already, emit, malformed};

const RTM_NEWADDR: u16 = 20;
const RTM_DELADDR: u16 = 21;
const RTM_GETADDR: u16 = 22;

/// An address that an interface has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    /// The interface.
    pub(crate) index: u32,
    /// The address and the length of the prefix that it connects. On a point-to-point link the
    /// prefix is the other end's.
    pub(crate) net: IpNet,
    /// The prefix that is reached directly through it.
    pub(crate) connected: IpNet,
    /// Valid everywhere, not on this link or host only.
    pub(crate) global: bool,
    /// Fit to be given to others: checked, and not on its way out.
    pub(crate) usable: bool,
}

impl Address {
    /// All addresses, of one interface if given.
    pub(crate) fn all(netlink: &mut Netlink, index: Option<u32>) -> io::Result<Vec<Self>> {
        let mut request = AddressMessage::default();
        request.header.index = index.unwrap_or(0);
        let answers = netlink.dump(RTM_GETADDR, &emit(&request))?;
        let mut addresses = Vec::new();
        for answer in answers.iter().filter(|answer| answer.kind == RTM_NEWADDR) {
            addresses.extend(parse(&answer.payload)?);
        }
        // Older kernels ignore the index in the request.
        addresses.retain(|address| index.is_none_or(|index| index == address.index));
        Ok(addresses)
    }

    /// Adds an address; one that is there is no error.
    pub(crate) fn add(netlink: &mut Netlink, index: u32, net: IpNet) -> io::Result<()> {
        let request = emit(&message(index, net));
        already(
            netlink.change(RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, &request),
            &[libc::EEXIST],
        )
    }

    /// Removes an address; one that is not there is no error.
    pub(crate) fn delete(netlink: &mut Netlink, index: u32, net: IpNet) -> io::Result<()> {
        let result = netlink.change(RTM_DELADDR, 0, &emit(&message(index, net)));
        already(result, &[libc::EADDRNOTAVAIL])
    }

    /// Whether this socket may change the network at all. Asks for something that cannot be: the
    /// kernel looks at the capability first, then finds no such interface.
    pub(crate) fn may_configure(netlink: &mut Netlink) -> io::Result<bool> {
        const NO_SUCH_INTERFACE: u32 = i32::MAX.unsigned_abs();
        let loopback = IpNet::from(IpAddr::V4(Ipv4Addr::LOCALHOST));
        let request = emit(&message(NO_SUCH_INTERFACE, loopback));
        match netlink.change(RTM_DELADDR, 0, &request) {
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
        // A tunnel has no neighbour to ask whether it has the address already.
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
