//! The UDP socket: one for IPv4 and IPv6 where the host has both.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};

use nix::sys::socket::{getsockopt, setsockopt, sockopt};
use socket2::{Domain, Protocol, Socket, Type};

use crate::error::BindError;
use crate::transport::Packets;

/// The MTU from which a link is worth probing, in bytes: jumbo frames, loopback. Ethernet has 1500.
const LARGE_LINK: i32 = 4000;

/// How many bytes of packets the kernel queues until they are read. What exceeds it is lost and must
/// be sent again: a peer may send the whole window of its connection (512 kB) in one go, and with the
/// usual 208 kB some of that is lost whenever this process does not run at once. The kernel caps it at
/// `net.core.rmem_max`, and uses memory only for what is queued.
const RECEIVE_BUFFER: usize = 2 << 20;

/// Opens the socket. `[::]` also receives IPv4, and becomes `0.0.0.0` on a host without IPv6. Its
/// packets carry `mark`, unless that is 0.
pub(crate) fn open(addr: SocketAddr, mark: u32) -> Result<UdpSocket, BindError> {
    match open_one(addr, mark) {
        Err(error) if addr.ip().is_unspecified() && addr.is_ipv6() && is_no_ipv6(&error) => {
            let v4 = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), addr.port());
            tracing::debug!(%addr, %v4, "no IPv6 on this host");
            open_one(v4, mark).map_err(|error| explain(v4, error))
        }
        other => other.map_err(|error| explain(addr, error)),
    }
}

/// An address as people write it: IPv4 inside IPv6 (`::ffff:192.0.2.1`) becomes IPv4.
pub(crate) fn canonical(addr: SocketAddr) -> SocketAddr {
    match addr {
        SocketAddr::V6(v6) => match v6.ip().to_ipv4_mapped() {
            Some(v4) => SocketAddr::new(IpAddr::V4(v4), v6.port()),
            None => addr,
        },
        SocketAddr::V4(_) => addr,
    }
}

/// How long packets to an address may be, judging by the first link on the way. Sends nothing.
pub(crate) fn packets_to(addr: SocketAddr) -> Packets {
    let is_large = match canonical(addr) {
        SocketAddr::V4(v4) => link_mtu(v4.into()).is_ok_and(|mtu| mtu >= LARGE_LINK),
        // For IPv6 the kernel tells the MTU only through calls that need `unsafe`.
        SocketAddr::V6(v6) => v6.ip().is_loopback(),
    };
    if is_large {
        Packets::Long
    } else {
        Packets::Short
    }
}

fn link_mtu(addr: SocketAddr) -> io::Result<i32> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    // Only looks up the route.
    socket.connect(addr)?;
    Ok(getsockopt(&socket, sockopt::IpMtu)?)
}

fn open_one(addr: SocketAddr, mark: u32) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(addr), Type::DGRAM, Some(Protocol::UDP))?;
    if addr.is_ipv6() {
        socket.set_only_v6(!addr.ip().is_unspecified())?;
    }
    socket.set_nonblocking(true)?;
    // A smaller buffer works too.
    let _ = socket.set_recv_buffer_size(RECEIVE_BUFFER);
    if mark != 0
        && let Err(error) = setsockopt(&socket, sockopt::Mark, &mark)
    {
        tracing::debug!(%error, "sending packets without a mark");
    }
    socket.bind(&addr.into())?;
    Ok(socket.into())
}

/// Whether the error means that the host has no IPv6: the family is unknown (no module) or has no
/// address (disabled).
fn is_no_ipv6(error: &io::Error) -> bool {
    // The former has no `ErrorKind`.
    error.kind() == io::ErrorKind::AddrNotAvailable
        || error.raw_os_error() == Some(libc::EAFNOSUPPORT)
}

fn explain(addr: SocketAddr, source: io::Error) -> BindError {
    match source.kind() {
        io::ErrorKind::AddrInUse => BindError::AddrInUse { addr },
        io::ErrorKind::PermissionDenied => BindError::PermissionDenied { addr },
        io::ErrorKind::AddrNotAvailable => BindError::AddrNotAvailable { addr },
        _ => BindError::Io { addr, source },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mapped_addresses_become_ipv4() {
        let mapped: SocketAddr = "[::ffff:192.0.2.1]:5".parse().unwrap();
        assert_eq!(canonical(mapped), "192.0.2.1:5".parse().unwrap());
        for same in ["192.0.2.1:5", "[2001:db8::1]:5", "[::1]:5"] {
            let addr: SocketAddr = same.parse().unwrap();
            assert_eq!(canonical(addr), addr);
        }
    }

    #[test]
    fn loopback_takes_long_packets() {
        for addr in ["127.0.0.1:5", "[::1]:5", "[::ffff:127.0.0.1]:5"] {
            assert_eq!(packets_to(addr.parse().unwrap()), Packets::Long, "{addr}");
        }
        // There is no route, or none over a link of this host's own.
        let addr = "[2001:db8::1]:5".parse().unwrap();
        assert_eq!(packets_to(addr), Packets::Short);
    }

    #[test]
    fn a_taken_port_is_named() {
        let first = open("127.0.0.1:0".parse().unwrap(), 0).unwrap();
        let addr = first.local_addr().unwrap();
        assert!(
            matches!(open(addr, 0), Err(BindError::AddrInUse { addr: named }) if named == addr)
        );
    }

    #[test]
    fn packets_carry_the_mark_where_this_process_may_set_one() {
        let socket = open("127.0.0.1:0".parse().unwrap(), 0x67).unwrap();
        let mark = getsockopt(&socket, sockopt::Mark).unwrap();
        let may = setsockopt(&socket, sockopt::Mark, &0x68).is_ok();
        assert_eq!(mark, if may { 0x67 } else { 0 });
    }

    #[test]
    fn a_host_without_ipv6_is_recognised() {
        assert!(is_no_ipv6(&io::Error::from_raw_os_error(
            libc::EAFNOSUPPORT
        )));
        assert!(is_no_ipv6(&io::Error::from_raw_os_error(
            libc::EADDRNOTAVAIL
        )));
        assert!(!is_no_ipv6(&io::Error::from_raw_os_error(libc::EADDRINUSE)));
    }

    #[test]
    fn an_address_of_another_host_is_named() {
        let addr = "192.0.2.1:0".parse().unwrap();
        assert!(matches!(
            open(addr, 0),
            Err(BindError::AddrNotAvailable { .. })
        ));
    }
}
