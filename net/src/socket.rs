//! The UDP socket: one for IPv4 and IPv6 where the host has both.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};

use socket2::{Domain, Protocol, Socket, Type};

use crate::error::BindError;

/// Opens the socket. `[::]` also takes IPv4; on a host without IPv6 it becomes `0.0.0.0`.
pub(crate) fn open(addr: SocketAddr) -> Result<UdpSocket, BindError> {
    match open_one(addr) {
        Err(error) if addr.ip().is_unspecified() && addr.is_ipv6() && is_no_ipv6(&error) => {
            let v4 = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), addr.port());
            tracing::debug!(%addr, %v4, "no IPv6 on this host");
            open_one(v4).map_err(|error| explain(v4, error))
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

fn open_one(addr: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(addr), Type::DGRAM, Some(Protocol::UDP))?;
    if addr.is_ipv6() {
        socket.set_only_v6(!addr.ip().is_unspecified())?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&addr.into())?;
    Ok(socket.into())
}

/// Whether the error says that the host has no IPv6: the family is unknown (no module) or has no
/// address (switched off).
fn is_no_ipv6(error: &io::Error) -> bool {
    // The former has no `ErrorKind` of its own.
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
    fn a_taken_port_is_named() {
        let first = open("127.0.0.1:0".parse().unwrap()).unwrap();
        let addr = first.local_addr().unwrap();
        assert!(matches!(open(addr), Err(BindError::AddrInUse { addr: named }) if named == addr));
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
            open(addr),
            Err(BindError::AddrNotAvailable { .. })
        ));
    }
}
