//! Links: network interfaces as such.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use netlink_packet_core::Parseable;
use netlink_packet_route::link::{
    AfSpecInet, AfSpecInet6, AfSpecUnspec, In6AddrGenMode, InetDevConf, InfoKind, LinkAttribute,
    LinkExtentMask, LinkFlags, LinkInfo, LinkMessage,
};

use super::socket::{NLM_F_CREATE, NLM_F_EXCL};
use super::{Netlink, already, emit, malformed};

const RTM_NEWLINK: u16 = 16;
const RTM_DELLINK: u16 = 17;
const RTM_GETLINK: u16 = 18;

/// A network interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) index: u32,
    pub(crate) name: String,
    /// The kernel's word for it; `None` for hardware.
    pub(crate) kind: Option<String>,
    pub(crate) up: bool,
    pub(crate) loopback: bool,
    pub(crate) mtu: u32,
    pub(crate) group: u32,
}

impl Link {
    /// The interface of that name.
    pub(crate) fn find(netlink: &mut Netlink, name: &str) -> io::Result<Option<Self>> {
        let request = message(
            0,
            vec![LinkAttribute::IfName(name.to_owned()), without_statistics()],
        );
        match netlink.get(RTM_GETLINK, &emit(&request)) {
            Ok(answers) => answers
                .first()
                .map(|answer| parse(&answer.payload))
                .transpose(),
            Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// All interfaces.
    pub(crate) fn all(netlink: &mut Netlink) -> io::Result<Vec<Self>> {
        let request = message(0, vec![without_statistics()]);
        let answers = netlink.dump(RTM_GETLINK, &emit(&request))?;
        answers
            .iter()
            .map(|answer| parse(&answer.payload))
            .collect()
    }

    /// Creates an interface, down, in the network namespace `netns` if one is given.
    pub(crate) fn create(
        netlink: &mut Netlink,
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
        netlink.change(
            RTM_NEWLINK,
            NLM_F_CREATE | NLM_F_EXCL,
            &emit(&message(0, attributes)),
        )
    }

    /// Settings without which a plan would not hold: when the first address of a subnet goes, the
    /// others of it stay, and the kernel invents no link-local address.
    pub(crate) fn prepare(netlink: &mut Netlink, index: u32) -> io::Result<()> {
        let mut ipv4 = InetDevConf::default();
        ipv4.promote_secondaries = 1;
        let set = |netlink: &mut Netlink, spec| {
            let attributes = vec![LinkAttribute::AfSpecUnspec(vec![spec])];
            netlink.change(RTM_NEWLINK, 0, &emit(&message(index, attributes)))
        };
        set(
            netlink,
            AfSpecUnspec::Inet(vec![AfSpecInet::DevConfRequest(ipv4)]),
        )?;
        let no_address = AfSpecInet6::AddrGenMode(In6AddrGenMode::None);
        // Where IPv6 is switched off there is nothing to set.
        let no_ipv6 = [libc::EAFNOSUPPORT, libc::EOPNOTSUPP];
        already(
            set(netlink, AfSpecUnspec::Inet6(vec![no_address])),
            &no_ipv6,
        )
    }

    /// Removes an interface; one that is not there is no error.
    pub(crate) fn delete(netlink: &mut Netlink, index: u32) -> io::Result<()> {
        let result = netlink.change(RTM_DELLINK, 0, &emit(&message(index, vec![])));
        already(result, &[libc::ENODEV])
    }

    /// Gives an interface that is down another name.
    pub(crate) fn rename(netlink: &mut Netlink, index: u32, name: &str) -> io::Result<()> {
        let attributes = vec![LinkAttribute::IfName(name.to_owned())];
        netlink.change(RTM_NEWLINK, 0, &emit(&message(index, attributes)))
    }

    pub(crate) fn set_mtu(netlink: &mut Netlink, index: u32, mtu: u16) -> io::Result<()> {
        let attributes = vec![LinkAttribute::Mtu(mtu.into())];
        netlink.change(RTM_NEWLINK, 0, &emit(&message(index, attributes)))
    }

    pub(crate) fn set_group(netlink: &mut Netlink, index: u32, group: u32) -> io::Result<()> {
        let attributes = vec![LinkAttribute::Group(group)];
        netlink.change(RTM_NEWLINK, 0, &emit(&message(index, attributes)))
    }

    pub(crate) fn set_up(netlink: &mut Netlink, index: u32) -> io::Result<()> {
        let mut request = message(index, vec![]);
        request.header.flags = LinkFlags::Up;
        request.header.change_mask = LinkFlags::Up;
        netlink.change(RTM_NEWLINK, 0, &emit(&request))
    }

    /// The kind as errors name it.
    pub(crate) fn kind_text(&self) -> String {
        self.kind.clone().unwrap_or_else(|| "device".to_owned())
    }
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
