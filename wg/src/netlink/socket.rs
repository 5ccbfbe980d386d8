//! A blocking netlink socket: one request, its answers, its acknowledgement.
//!
//! Whatever passes through may hold keys, so buffers are wiped, and the kernel is asked not to
//! send requests back in its errors.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use netlink_sys::{Socket, SocketAddr};
use nix::sys::socket::{setsockopt, sockopt};
use nix::sys::time::TimeVal;
use zeroize::Zeroizing;

use crate::backend::Traffic;
use crate::routing::Family;

/// Length of `struct nlmsghdr`.
const HEADER: usize = 16;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
pub(crate) const NLM_F_REQUEST: u16 = 0x01;
const NLM_F_ACK: u16 = 0x04;
const NLM_F_DUMP: u16 = 0x300;
const NLM_F_DUMP_INTR: u16 = 0x10;
pub(crate) const NLM_F_EXCL: u16 = 0x200;
pub(crate) const NLM_F_CREATE: u16 = 0x400;

/// The kernel builds dump messages of up to 32 KiB.
const BUFFER: usize = 64 * 1024;
/// How often a dump that the kernel marks as interrupted by a change is repeated.
const ATTEMPTS: usize = 8;
/// The kernel answers within the call; a longer silence means that something is very wrong.
const TIMEOUT: Duration = Duration::from_secs(10);

/// One answer of the kernel.
pub(crate) struct Message {
    /// Message type.
    pub(crate) kind: u16,
    /// What follows the netlink header.
    pub(crate) payload: Zeroizing<Vec<u8>>,
}

/// A socket of one netlink protocol, in the network namespace in which it was opened.
pub(crate) struct Netlink {
    socket: Socket,
    sequence: u32,
    traffic: Traffic,
    buffer: Zeroizing<Vec<u8>>,
    /// Families for which the kernel is known to have policy rules.
    pub(super) with_rules: BTreeSet<Family>,
}

impl Netlink {
    /// rtnetlink: links, addresses, routes, rules.
    pub(crate) fn route() -> io::Result<Self> {
        Self::open(netlink_sys::protocols::NETLINK_ROUTE)
    }

    /// Generic netlink, of which WireGuard is a family.
    pub(crate) fn generic() -> io::Result<Self> {
        Self::open(netlink_sys::protocols::NETLINK_GENERIC)
    }

    fn open(protocol: isize) -> io::Result<Self> {
        let mut socket = Socket::new(protocol)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        // Older kernels know neither: then errors carry the request, into a buffer that is wiped,
        // and dumps are filtered here.
        let _ = socket.set_cap_ack(true);
        let _ = socket.set_netlink_get_strict_chk(true);
        let timeout = TimeVal::new(i64::try_from(TIMEOUT.as_secs()).unwrap_or(10), 0);
        setsockopt(&socket.as_fd(), sockopt::ReceiveTimeout, &timeout)?;
        Ok(Self {
            socket,
            sequence: 0,
            traffic: Traffic::default(),
            buffer: Zeroizing::new(vec![0; BUFFER]),
            with_rules: BTreeSet::new(),
        })
    }

    /// What was sent and received so far.
    pub(crate) const fn traffic(&self) -> Traffic {
        self.traffic
    }

    /// A change, acknowledged.
    pub(crate) fn change(&mut self, kind: u16, flags: u16, payload: &[u8]) -> io::Result<()> {
        self.send(kind, flags | NLM_F_REQUEST | NLM_F_ACK, payload)?;
        self.collect().map(drop)
    }

    /// A question about one thing.
    pub(crate) fn get(&mut self, kind: u16, payload: &[u8]) -> io::Result<Vec<Message>> {
        self.send(kind, NLM_F_REQUEST | NLM_F_ACK, payload)?;
        self.collect().map(|(messages, _)| messages)
    }

    /// A question about everything of a kind. The kernel may hand out a state that changed in
    /// between; then it is asked again.
    pub(crate) fn dump(&mut self, kind: u16, payload: &[u8]) -> io::Result<Vec<Message>> {
        for _ in 0..ATTEMPTS {
            self.send(kind, NLM_F_REQUEST | NLM_F_DUMP, payload)?;
            if let (messages, false) = self.collect()? {
                return Ok(messages);
            }
        }
        Err(io::Error::new(
            io::ErrorKind::Interrupted,
            "the state changed while it was read",
        ))
    }

    fn send(&mut self, kind: u16, flags: u16, payload: &[u8]) -> io::Result<()> {
        self.sequence = self.sequence.wrapping_add(1);
        let length = HEADER + payload.len();
        let length_field = u32::try_from(length)
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "message too long"))?;
        let mut bytes = Zeroizing::new(Vec::with_capacity(length));
        bytes.extend_from_slice(&length_field.to_ne_bytes());
        bytes.extend_from_slice(&kind.to_ne_bytes());
        bytes.extend_from_slice(&flags.to_ne_bytes());
        bytes.extend_from_slice(&self.sequence.to_ne_bytes());
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(payload);
        self.traffic.requests += 1;
        self.socket.send(&bytes, 0).map(drop)
    }

    /// Reads until the kernel has acknowledged or finished. True: the dump was interrupted.
    fn collect(&mut self) -> io::Result<(Vec<Message>, bool)> {
        let mut messages = Vec::new();
        let mut interrupted = false;
        loop {
            let mut slice: &mut [u8] = &mut self.buffer;
            let length = match self.socket.recv(&mut slice, libc::MSG_TRUNC) {
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            let datagram = self
                .buffer
                .get(..length)
                .ok_or_else(|| io::Error::other("the kernel's message was cut off"))?;
            for part in Parts(datagram) {
                let Part {
                    kind,
                    flags,
                    sequence,
                    payload,
                } = part?;
                if sequence != self.sequence {
                    // Belongs to a request that was given up on.
                    continue;
                }
                self.traffic.answers += 1;
                interrupted |= flags & NLM_F_DUMP_INTR != 0;
                match kind {
                    NLMSG_ERROR | NLMSG_DONE => {
                        return result_code(payload).map(|()| (messages, interrupted));
                    }
                    _ => messages.push(Message {
                        kind,
                        payload: Zeroizing::new(payload.to_vec()),
                    }),
                }
            }
        }
    }
}

/// The code that ends an exchange: 0, or a negated errno. An empty end is a good one.
fn result_code(payload: &[u8]) -> io::Result<()> {
    let Some(code) = payload.first_chunk::<4>() else {
        return Ok(());
    };
    match i32::from_ne_bytes(*code) {
        0 => Ok(()),
        code => Err(io::Error::from_raw_os_error(code.wrapping_neg())),
    }
}

/// One message inside a datagram.
pub(crate) struct Part<'a> {
    pub(crate) kind: u16,
    flags: u16,
    sequence: u32,
    pub(crate) payload: &'a [u8],
}

/// The messages of a datagram. Ends after the first malformed one.
pub(crate) struct Parts<'a>(pub(crate) &'a [u8]);

impl<'a> Iterator for Parts<'a> {
    type Item = io::Result<Part<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let part = split_message(self.0);
        self.0 = part.as_ref().map_or(&[], |(_, rest)| rest);
        Some(part.map(|(part, _)| part))
    }
}

fn split_message(bytes: &[u8]) -> io::Result<(Part<'_>, &[u8])> {
    let short = || super::malformed("netlink message", "shorter than its length says");
    let (header, _) = bytes.split_first_chunk::<HEADER>().ok_or_else(short)?;
    let [l0, l1, l2, l3, k0, k1, f0, f1, s0, s1, s2, s3, ..] = *header;
    let length = usize::try_from(u32::from_ne_bytes([l0, l1, l2, l3])).map_err(|_| short())?;
    let payload = bytes.get(HEADER..length).ok_or_else(short)?;
    let rest = bytes.get(length.next_multiple_of(4)..).unwrap_or(&[]);
    let part = Part {
        kind: u16::from_ne_bytes([k0, k1]),
        flags: u16::from_ne_bytes([f0, f1]),
        sequence: u32::from_ne_bytes([s0, s1, s2, s3]),
        payload,
    };
    Ok((part, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u16, payload: &[u8]) -> Vec<u8> {
        let mut bytes = u32::try_from(HEADER + payload.len())
            .unwrap()
            .to_ne_bytes()
            .to_vec();
        bytes.extend_from_slice(&kind.to_ne_bytes());
        bytes.extend_from_slice(&[0; 10]);
        bytes.extend_from_slice(payload);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    #[test]
    fn a_datagram_falls_into_its_messages() {
        let datagram = [message(7, b"abcde"), message(8, b"")].concat();
        let parts: Vec<_> = Parts(&datagram).map(|part| part.unwrap()).collect();
        assert_eq!(parts.len(), 2);
        assert_eq!((parts[0].kind, parts[0].payload), (7, &b"abcde"[..]));
        assert_eq!((parts[1].kind, parts[1].payload), (8, &b""[..]));
    }

    #[test]
    fn lying_lengths_end_the_datagram() {
        for length in [0u32, 15, 22, u32::MAX] {
            let mut bytes = message(7, b"abcd");
            bytes[..4].copy_from_slice(&length.to_ne_bytes());
            let parts: Vec<_> = Parts(&bytes).collect();
            assert_eq!(parts.len(), 1, "{length}");
            assert!(parts[0].is_err(), "{length}");
        }
        assert!(Parts(&[1, 2, 3]).next().unwrap().is_err());
    }

    #[test]
    fn result_codes_are_errnos() {
        assert!(result_code(&[]).is_ok());
        assert!(result_code(&0i32.to_ne_bytes()).is_ok());
        let denied = result_code(&(-libc::EPERM).to_ne_bytes()).unwrap_err();
        assert_eq!(denied.raw_os_error(), Some(libc::EPERM));
        assert!(result_code(&i32::MIN.to_ne_bytes()).is_err());
    }

    #[test]
    fn the_kernel_knows_the_loopback_interface() {
        let mut netlink = Netlink::route().unwrap();
        let lo = super::super::Link::find(&mut netlink, "lo")
            .unwrap()
            .unwrap();
        assert!(lo.loopback);
        assert!(
            super::super::Link::find(&mut netlink, "no-such-if")
                .unwrap()
                .is_none()
        );
    }
}
