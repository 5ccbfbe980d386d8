//! The kernel's notifications about a network namespace: links, addresses, routes, policy rules.
//!
//! A netlink socket in the kernel's multicast groups (rtnetlink(7)). It says *where* something
//! changed, not what: to learn that, observe. The kernel does not notify anyone when the peers of a
//! WireGuard interface change.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsRawFd, RawFd};

use grid_netlink::Parts;
use netlink_packet_core::Parseable;
use netlink_packet_route::route::{RouteAttribute, RouteMessage};
use netlink_sys::{Socket, SocketAddr};

use crate::error::Error;
use crate::place::Place;
use crate::rtnetlink::is_our_rule;

/// `RTNLGRP_LINK`, and address, route and rule of both families.
const GROUPS: [u32; 7] = [1, 5, 7, 8, 9, 11, 19];
/// More than the kernel puts into one datagram to these groups.
const BUFFER: usize = 32 * 1024;

/// A socket that receives notifications about one place. It never blocks: wait until its descriptor
/// is readable.
pub struct Watch {
    socket: Socket,
    buffer: Vec<u8>,
}

/// Where something changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// The interfaces, by the kernel's numbers.
    pub interfaces: BTreeSet<u32>,
    /// A policy rule with our [`PROTOCOL`](crate::ownership::PROTOCOL) was added or removed, for
    /// whichever interface.
    pub rules: bool,
    /// Notifications were lost, so any interface may have changed.
    pub lost: bool,
}

impl Watch {
    /// Starts listening.
    ///
    /// # Errors
    /// [`Error::NoNetns`], [`Error::NotANetns`], [`Error::NetnsDenied`], or what the operating
    /// system says.
    pub fn open(place: &Place) -> Result<Self, Error> {
        let failed = |source| Error::os("listening for changes of the network", source);
        let open = || {
            let mut socket = Socket::new(netlink_sys::protocols::NETLINK_ROUTE)?;
            socket.bind_auto()?;
            // Only from the kernel.
            socket.connect(&SocketAddr::new(0, 0))?;
            socket.set_non_blocking(true)?;
            for group in GROUPS {
                socket.add_membership(group)?;
            }
            Ok(socket)
        };
        Ok(Self {
            socket: place.run(|| open().map_err(failed))?,
            buffer: vec![0; BUFFER],
        })
    }

    /// Reads the next notification.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] if there is none at present. After any other error the socket
    /// is of no further use.
    pub fn read(&mut self) -> io::Result<Changes> {
        loop {
            let mut slice: &mut [u8] = &mut self.buffer;
            match self.socket.recv(&mut slice, libc::MSG_TRUNC) {
                Ok(length) => return Ok(self.buffer.get(..length).map_or_else(lost, read)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // More arrived than the socket can hold.
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => return Ok(lost()),
                Err(error) => return Err(error),
            }
        }
    }
}

impl AsRawFd for Watch {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

fn lost() -> Changes {
    Changes {
        lost: true,
        ..Changes::default()
    }
}

fn read(datagram: &[u8]) -> Changes {
    let mut changes = Changes::default();
    for part in Parts(datagram) {
        match part {
            Ok(part) if matches!(part.kind, libc::RTM_NEWRULE | libc::RTM_DELRULE) => {
                changes.rules |= is_our_rule(part.payload);
            }
            Ok(part) => changes
                .interfaces
                .extend(interface(part.kind, part.payload)),
            Err(_) => changes.lost = true,
        }
    }
    changes
}

/// The interface that a message is about, if any.
fn interface(kind: u16, payload: &[u8]) -> Option<u32> {
    match kind {
        // `struct ifinfomsg` and `struct ifaddrmsg` have the number at the same offset.
        libc::RTM_NEWLINK | libc::RTM_DELLINK | libc::RTM_NEWADDR | libc::RTM_DELADDR => {
            let (_, rest) = payload.split_first_chunk::<4>()?;
            rest.first_chunk().map(|bytes| u32::from_ne_bytes(*bytes))
        }
        // A route that cannot be decoded is not one that this program made.
        libc::RTM_NEWROUTE | libc::RTM_DELROUTE => {
            let route = RouteMessage::parse(payload).ok()?;
            route
                .attributes
                .iter()
                .find_map(|attribute| match attribute {
                    RouteAttribute::Oif(index) => Some(*index),
                    _ => None,
                })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u16, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(16 + payload.len()).unwrap();
        let mut bytes = length.to_ne_bytes().to_vec();
        bytes.extend_from_slice(&kind.to_ne_bytes());
        bytes.extend_from_slice(&[0; 10]);
        bytes.extend_from_slice(payload);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    #[test]
    fn each_kind_of_message_names_its_interface() {
        let link = [&[0; 4][..], &7u32.to_ne_bytes(), &[0; 8]].concat();
        let address = [&[2, 24, 0, 0][..], &8u32.to_ne_bytes()].concat();
        let route = [
            &[2, 24, 0, 0, 254, 4, 0, 1, 0, 0, 0, 0][..],
            &8u16.to_ne_bytes(),
            &4u16.to_ne_bytes(),
            &9u32.to_ne_bytes(),
        ]
        .concat();
        let datagram = [
            message(libc::RTM_DELLINK, &link),
            message(libc::RTM_NEWADDR, &address),
            message(libc::RTM_DELROUTE, &route),
            message(3, &[0; 8]),
        ]
        .concat();
        let heard = read(&datagram);
        assert_eq!(heard.interfaces, [7, 8, 9].into());
        assert!(!heard.lost);
    }

    #[test]
    fn what_cannot_be_read_may_have_been_anything() {
        assert!(read(&[1, 2, 3]).lost);
        let short = read(&message(libc::RTM_NEWLINK, &[0; 6]));
        assert_eq!(short, Changes::default());
        assert!(read(&[]).interfaces.is_empty());
    }
}
