//! Links: network interfaces, whatever runs on them.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL, Parseable};
use netlink_packet_route::link::{
    AfSpecInet, AfSpecInet6, AfSpecUnspec, In6AddrGenMode, InetDevConf, InfoKind, LinkAttribute,
    LinkExtentMask, LinkFlags, LinkInfo, LinkMessage,
};

use super::codec::{emit, ignore, malformed};
use super::socket::Rtnetlink;
use crate::error::Error;
use crate::if_name::IfName;

/// A network interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) index: u32,
    pub(crate) name: String,
    /// The kernel's name for its type; `None` for hardware.
    pub(crate) kind: Option<String>,
    pub(crate) up: bool,
    pub(crate) loopback: bool,
    pub(crate) mtu: u32,
    pub(crate) group: u32,
}

impl Link {
    /// The interface of that name.
    pub(crate) fn find(socket: &mut Rtnetlink, name: &str) -> io::Result<Option<Self>> {
        let request = message(
            0,
            vec![LinkAttribute::IfName(name.to_owned()), without_statistics()],
        );
        match socket.netlink.get(libc::RTM_GETLINK, &emit(&request)) {
            Ok(answers) => answers
                .first()
                .map(|answer| parse(&answer.payload))
                .transpose(),
            Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// All interfaces.
    pub(crate) fn all(socket: &mut Rtnetlink) -> io::Result<Vec<Self>> {
        let request = message(0, vec![without_statistics()]);
        let answers = socket.netlink.dump(libc::RTM_GETLINK, &emit(&request))?;
        answers
            .iter()
            .map(|answer| parse(&answer.payload))
            .collect()
    }

    /// Creates an interface, down, in the network namespace `netns` if one is given.
    pub(crate) fn create(
        socket: &mut Rtnetlink,
        name: &str,
        kind: InfoKind,
        group: u32,
        netns: Option<BorrowedFd<'_>>,
    ) -> io::Result<()> {
        let mut attributes = vec![
            LinkAttribute::IfName(name.to_owned()),
            LinkAttribute::Group(group),
            LinkAttribute::LinkInfo(vec![LinkInfo::Kind(kind)]),
        ];
        attributes.extend(netns.map(|netns| LinkAttribute::NetNsFd(netns.as_raw_fd())));
        socket.netlink.change(
            libc::RTM_NEWLINK,
            NLM_F_CREATE | NLM_F_EXCL,
            &emit(&message(0, attributes)),
        )
    }

    /// Applies settings that plans rely on: removing the first address of a subnet does not remove its
    /// other ones, and the kernel adds no link-local address.
    pub(crate) fn prepare(socket: &mut Rtnetlink, index: u32) -> io::Result<()> {
        let mut ipv4 = InetDevConf::default();
        ipv4.promote_secondaries = 1;
        let mut set = |spec| set(socket, index, LinkAttribute::AfSpecUnspec(vec![spec]));
        set(AfSpecUnspec::Inet(vec![AfSpecInet::DevConfRequest(ipv4)]))?;
        let no_address = AfSpecInet6::AddrGenMode(In6AddrGenMode::None);
        // Where IPv6 is off there is nothing to set.
        let no_ipv6 = [libc::EAFNOSUPPORT, libc::EOPNOTSUPP];
        ignore(set(AfSpecUnspec::Inet6(vec![no_address])), &no_ipv6)
    }

    /// Removes an interface, if it exists.
    pub(crate) fn delete(socket: &mut Rtnetlink, index: u32) -> io::Result<()> {
        let result = socket
            .netlink
            .change(libc::RTM_DELLINK, 0, &emit(&message(index, vec![])));
        ignore(result, &[libc::ENODEV])
    }

    /// Renames an interface, which must be down.
    pub(crate) fn rename(socket: &mut Rtnetlink, index: u32, name: &str) -> io::Result<()> {
        set(socket, index, LinkAttribute::IfName(name.to_owned()))
    }

    pub(crate) fn set_mtu(socket: &mut Rtnetlink, index: u32, mtu: u16) -> io::Result<()> {
        set(socket, index, LinkAttribute::Mtu(mtu.into()))
    }

    pub(crate) fn set_group(socket: &mut Rtnetlink, index: u32, group: u32) -> io::Result<()> {
        set(socket, index, LinkAttribute::Group(group))
    }

    pub(crate) fn set_up(socket: &mut Rtnetlink, index: u32) -> io::Result<()> {
        let mut request = message(index, vec![]);
        request.header.flags = LinkFlags::Up;
        request.header.change_mask = LinkFlags::Up;
        socket.netlink.change(libc::RTM_NEWLINK, 0, &emit(&request))
    }

    /// The refusal to touch this interface, which has the name of ours.
    pub(crate) fn foreign(&self, name: &IfName) -> Error {
        Error::ForeignInterface {
            name: name.clone(),
            kind: self.kind.clone().unwrap_or_else(|| "device".to_owned()),
        }
    }
}

/// Sets one attribute of an interface.
fn set(socket: &mut Rtnetlink, index: u32, attribute: LinkAttribute) -> io::Result<()> {
    let request = emit(&message(index, vec![attribute]));
    socket.netlink.change(libc::RTM_NEWLINK, 0, &request)
}

fn message(index: u32, attributes: Vec<LinkAttribute>) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.header.index = index;
    message.attributes = attributes;
    message
}

fn without_statistics() -> LinkAttribute {
    LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats])
}

fn parse(payload: &[u8]) -> io::Result<Link> {
    let message = LinkMessage::parse(payload).map_err(|why| malformed("link", why))?;
    let mut link = Link {
        index: message.header.index,
        name: String::new(),
        kind: None,
        up: message.header.flags.contains(LinkFlags::Up),
        loopback: message.header.flags.contains(LinkFlags::Loopback),
        mtu: 0,
        group: 0,
    };
    for attribute in message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name = name,
            LinkAttribute::Mtu(mtu) => link.mtu = mtu,
            LinkAttribute::Group(group) => link.group = group,
            LinkAttribute::LinkInfo(infos) => {
                link.kind = infos.into_iter().find_map(|info| match info {
                    LinkInfo::Kind(kind) => Some(kind.to_string()),
                    _ => None,
                });
            }
            _ => {}
        }
    }
    Ok(link)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_knows_the_loopback_interface() {
        let mut socket = Rtnetlink::open().unwrap();
        let lo = Link::find(&mut socket, "lo").unwrap().unwrap();
        assert!(lo.loopback);
        assert!(Link::find(&mut socket, "no-such-if").unwrap().is_none());
    }
}
