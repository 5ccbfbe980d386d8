//! The UDP sockets of a device: one per address family, on the same port.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::AsFd;

use nix::sys::socket::{setsockopt, sockopt};
use socket2::{Domain, Protocol, Socket, Type};

/// How many random ports are tried to find one that is free in both families.
const ATTEMPTS: usize = 16;

/// Bytes that may wait while the device's thread is busy: a few milliseconds of fast traffic, or the
/// handshakes of a large network that starts all at once.
const RECEIVE_BUFFER: usize = 2 << 20;

/// The sockets. A host that lacks a family has only the other one's.
#[derive(Debug)]
pub(super) struct Sockets {
    pub(super) v4: Option<UdpSocket>,
    pub(super) v6: Option<UdpSocket>,
    pub(super) port: u16,
}

impl Sockets {
    /// Binds the port in both families; 0: any free one. A port that is in use is refused, not
    /// shared: of two WireGuard devices on one port, each would lose packets.
    pub(super) fn bind(port: u16, fwmark: u32) -> io::Result<Self> {
        let attempts = if port == 0 { ATTEMPTS } else { 1 };
        let mut last = io::Error::from(io::ErrorKind::AddrInUse);
        for _ in 0..attempts {
            match Self::bind_both(port) {
                Ok(sockets) => {
                    sockets.set_mark(fwmark)?;
                    return Ok(sockets);
                }
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => last = error,
                Err(error) => return Err(error),
            }
        }
        Err(last)
    }

    fn bind_both(port: u16) -> io::Result<Self> {
        let v4 = if_family(bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port))))?;
        let port = match &v4 {
            Some(socket) => socket.local_addr()?.port(),
            None => port,
        };
        let v6 = if_family(bind(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port))))?;
        let port = match &v6 {
            Some(socket) => socket.local_addr()?.port(),
            None => port,
        };
        if v4.is_none() && v6.is_none() {
            return Err(io::Error::from_raw_os_error(libc::EAFNOSUPPORT));
        }
        Ok(Self { v4, v6, port })
    }

    /// Marks outgoing packets; 0: no mark.
    pub(super) fn set_mark(&self, fwmark: u32) -> io::Result<()> {
        for socket in [&self.v4, &self.v6].into_iter().flatten() {
            setsockopt(&socket.as_fd(), sockopt::Mark, &fwmark)?;
        }
        Ok(())
    }

    /// Sends a packet. UDP is unreliable, so a packet that the system rejects is lost like any other.
    pub(super) fn send(&self, packet: &[u8], to: SocketAddr) {
        let socket = if to.is_ipv4() { &self.v4 } else { &self.v6 };
        if let Some(socket) = socket {
            let _ = socket.send_to(packet, to);
        }
    }
}

fn bind(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::DGRAM,
        Some(Protocol::UDP),
    )?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    // Beyond the system's limit if permitted, otherwise up to it.
    if setsockopt(&socket.as_fd(), sockopt::RcvBufForce, &RECEIVE_BUFFER).is_err() {
        let _ = socket.set_recv_buffer_size(RECEIVE_BUFFER);
    }
    socket.bind(&address.into())?;
    Ok(socket.into())
}

/// `None` if the host lacks the family.
fn if_family(result: io::Result<UdpSocket>) -> io::Result<Option<UdpSocket>> {
    match result {
        Ok(socket) => Ok(Some(socket)),
        Err(error)
            if matches!(
                error.raw_os_error(),
                Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL)
            ) =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_families_share_a_port_and_nobody_else_gets_it() {
        let sockets = Sockets::bind(0, 0).unwrap();
        assert_ne!(sockets.port, 0);
        let refused = Sockets::bind(sockets.port, 0).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::AddrInUse);
        let port = sockets.port;
        drop(sockets);
        assert_eq!(Sockets::bind(port, 0).unwrap().port, port);
    }
}
