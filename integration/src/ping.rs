//! ICMP echo over both families, from inside a node (RFC 792, RFC 4443).

use std::io;
use std::mem::MaybeUninit;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use socket2::{Domain, Protocol, Socket, Type};

use crate::node::Node;

const HEADER: usize = 8;
const PAYLOAD: &[u8] = b"grid lab echo 00";

/// A raw ICMP socket in the network namespace in which it was opened.
pub struct Pinger {
    socket: Socket,
    identifier: u16,
    sequence: u16,
    v6: bool,
}

impl Pinger {
    /// Opens a socket on `node` for the family of `to`.
    ///
    /// # Errors
    /// `EPERM` without `CAP_NET_RAW` there.
    pub fn on(node: &Node, to: IpAddr) -> io::Result<Self> {
        node.namespaces().in_net(|| Self::open(to.is_ipv6()))?
    }

    fn open(v6: bool) -> io::Result<Self> {
        static NEXT: AtomicU16 = AtomicU16::new(1);
        let (domain, protocol) = if v6 {
            (Domain::IPV6, Protocol::ICMPV6)
        } else {
            (Domain::IPV4, Protocol::ICMPV4)
        };
        let socket = Socket::new(domain, Type::RAW, Some(protocol))?;
        let identifier = NEXT.fetch_add(1, Ordering::Relaxed);
        Ok(Self {
            socket,
            identifier,
            sequence: 0,
            v6,
        })
    }

    /// Sends one echo request and waits for its reply. Returns the round-trip time, or `None` if
    /// none came in time.
    ///
    /// # Errors
    /// When it cannot be sent: `ENETUNREACH` without a route, and, on a tunnel, `ENOKEY`,
    /// `EDESTADDRREQ` or `EHOSTUNREACH` while there is no peer for the address.
    pub fn ping(&mut self, to: IpAddr, timeout: Duration) -> io::Result<Option<Duration>> {
        let sent = self.send(to)?;
        let came = self.reply(to, Some(self.sequence), sent + timeout)?;
        Ok(came.then(|| sent.elapsed()))
    }

    fn send(&mut self, to: IpAddr) -> io::Result<Instant> {
        self.sequence = self.sequence.wrapping_add(1);
        let sent = Instant::now();
        self.socket
            .send_to(&self.request(), &SocketAddr::new(to, 0).into())?;
        Ok(sent)
    }

    /// Whether a reply comes by `until`: to request `sequence`, or to any of this socket's.
    fn reply(&self, from: IpAddr, sequence: Option<u16>, until: Instant) -> io::Result<bool> {
        let mut buffer = [MaybeUninit::<u8>::uninit(); 1500];
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(false);
            }
            self.socket
                .set_read_timeout(Some(left.max(Duration::from_micros(1))))?;
            let (length, sender) = match self.socket.recv_from(&mut buffer) {
                Ok(received) => received,
                Err(error) if is_timeout(&error) => continue,
                Err(error) => return Err(error),
            };
            let bytes = initialised(&buffer, length);
            let sender = sender.as_socket().map(|address| address.ip());
            if sender == Some(from) && self.is_reply(&bytes, sequence) {
                return Ok(true);
            }
        }
    }

    fn request(&self) -> Vec<u8> {
        let mut packet = vec![if self.v6 { 128 } else { 8 }, 0, 0, 0];
        packet.extend(self.identifier.to_be_bytes());
        packet.extend(self.sequence.to_be_bytes());
        packet.extend(PAYLOAD);
        if !self.v6 {
            // For ICMPv6 the kernel computes it, since it covers addresses that only it knows.
            let sum = checksum(&packet).to_be_bytes();
            packet[2..4].copy_from_slice(&sum);
        }
        packet
    }

    fn is_reply(&self, packet: &[u8], sequence: Option<u16>) -> bool {
        // A raw IPv4 socket delivers the IP header too, a raw IPv6 socket does not.
        let skip = if self.v6 {
            0
        } else {
            usize::from(packet.first().map_or(0, |b| b & 15)) * 4
        };
        let Some(icmp) = packet.get(skip..) else {
            return false;
        };
        let Some((header, payload)) = icmp.split_at_checked(HEADER) else {
            return false;
        };
        header[0] == if self.v6 { 129 } else { 0 }
            && header[4..6] == self.identifier.to_be_bytes()
            && sequence.is_none_or(|sequence| header[6..8] == sequence.to_be_bytes())
            && payload == PAYLOAD
    }
}

/// One echo from `node` to `to`: the round-trip time, or `None` if it was not answered or could not
/// be sent.
///
/// # Errors
/// When the node's socket cannot be opened.
pub fn ping(node: &Node, to: impl Into<IpAddr>, timeout: Duration) -> Result<Option<Duration>> {
    let to = to.into();
    let mut pinger = Pinger::on(node, to)
        .with_context(|| format!("cannot open an ICMP socket on node {}", node.name()))?;
    Ok(pinger.ping(to, timeout).unwrap_or(None))
}

/// Sends an echo every `interval`, while `go_on` allows it, until one is answered. Returns when that
/// was.
///
/// A request that cannot be sent yet, because there is no interface or no peer, is sent again.
///
/// # Errors
/// When the socket cannot be opened, or nothing was answered.
pub fn first_reply(
    node: &Node,
    to: IpAddr,
    interval: Duration,
    go_on: impl Fn() -> bool,
) -> Result<Instant> {
    let mut pinger = Pinger::on(node, to)
        .with_context(|| format!("cannot open an ICMP socket on node {}", node.name()))?;
    let mut last_error = None;
    while go_on() {
        // A reply to an earlier request counts: a tunnel may hold the first packet back until its
        // handshake is done.
        match pinger
            .send(to)
            .and_then(|sent| pinger.reply(to, None, sent + interval))
        {
            Ok(true) => return Ok(Instant::now()),
            Ok(false) => {}
            Err(error) => {
                last_error = Some(error);
                std::thread::sleep(interval);
            }
        }
    }
    let why = last_error
        .map(|e| format!(" (last error: {e})"))
        .unwrap_or_default();
    anyhow::bail!("{to} does not answer node {}{why}", node.name())
}

/// Echoes between all pairs. `addresses[i]` belongs to `nodes[i]`; row `i` holds what `nodes[i]`
/// measured.
///
/// # Errors
/// When a node's socket cannot be opened.
pub fn matrix(
    nodes: &[&Node],
    addresses: &[IpAddr],
    timeout: Duration,
) -> Result<Vec<Vec<Option<Duration>>>> {
    nodes
        .iter()
        .map(|node| {
            addresses
                .iter()
                .map(|to| ping(node, *to, timeout))
                .collect()
        })
        .collect()
}

/// An address that no machine has.
#[must_use]
pub fn nobody() -> (Ipv4Addr, Ipv6Addr) {
    (
        Ipv4Addr::new(192, 0, 2, 254),
        Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 0xfffe),
    )
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted
    )
}

#[allow(unsafe_code)]
fn initialised(buffer: &[MaybeUninit<u8>], length: usize) -> Vec<u8> {
    // SAFETY: `recv_from` wrote the first `length` bytes.
    buffer
        .iter()
        .take(length)
        .map(|byte| unsafe { byte.assume_init() })
        .collect()
}

/// The Internet checksum (RFC 1071).
fn checksum(bytes: &[u8]) -> u16 {
    let mut sum: u32 = bytes
        .chunks(2)
        .map(|pair| {
            u32::from(u16::from_be_bytes([
                pair[0],
                pair.get(1).copied().unwrap_or_default(),
            ]))
        })
        .sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_that_of_rfc_1071() {
        // The worked example of RFC 1071, section 3: the sum is ddf2.
        assert_eq!(
            checksum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]),
            !0xddf2
        );
        // A packet with its checksum in place sums to zero; an odd one is padded with zero.
        assert_eq!(checksum(&[0x12]), !0x1200);
    }
}
