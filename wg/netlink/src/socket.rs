//! The socket: a request goes out, and its answers are read until the kernel acknowledges it.

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NLMSG_DONE, NLMSG_ERROR,
    NetlinkDeserializable, NetlinkHeader, NetlinkSerializable,
};
use netlink_sys::{Socket, SocketAddr};
use nix::sys::socket::{setsockopt, sockopt};
use nix::sys::time::TimeVal;
use zeroize::Zeroizing;

use crate::message::{HEADER, Message, Part, Parts};
use crate::traffic::Traffic;

/// The kernel builds dump messages of up to 32 KiB.
const BUFFER: usize = 64 * 1024;
/// How often a dump is repeated that the kernel marks as interrupted by a change.
const ATTEMPTS: usize = 8;
/// The kernel answers within the call; a longer silence means that something is very wrong.
const TIMEOUT: Duration = Duration::from_secs(10);

/// A socket of one netlink protocol. It belongs for ever to the network namespace in which it was
/// opened, whichever thread uses it later.
pub struct Netlink {
    socket: Socket,
    sequence: u32,
    traffic: Traffic,
    buffer: Zeroizing<Vec<u8>>,
}

impl Netlink {
    /// rtnetlink: links, addresses, routes, rules.
    ///
    /// # Errors
    /// What the kernel says to `socket`, `bind`, `connect` or `setsockopt`.
    pub fn route() -> io::Result<Self> {
        Self::open(netlink_sys::protocols::NETLINK_ROUTE)
    }

    /// Generic netlink, of which WireGuard is a family.
    ///
    /// # Errors
    /// As [`route`](Self::route).
    pub fn generic() -> io::Result<Self> {
        Self::open(netlink_sys::protocols::NETLINK_GENERIC)
    }

    fn open(protocol: isize) -> io::Result<Self> {
        let mut socket = Socket::new(protocol)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        // Older kernels know neither: then errors echo the request, into a buffer that is wiped,
        // and callers have to filter dumps themselves.
        let _ = socket.set_cap_ack(true);
        let _ = socket.set_netlink_get_strict_chk(true);
        let timeout = TimeVal::new(i64::try_from(TIMEOUT.as_secs()).unwrap_or(10), 0);
        setsockopt(&socket.as_fd(), sockopt::ReceiveTimeout, &timeout)?;
        Ok(Self {
            socket,
            sequence: 0,
            traffic: Traffic::default(),
            buffer: Zeroizing::new(vec![0; BUFFER]),
        })
    }

    /// What this socket has sent and received so far.
    #[must_use]
    pub const fn traffic(&self) -> Traffic {
        self.traffic
    }

    /// Makes a change, and waits for the acknowledgement. The kernel makes it wholly or not at all.
    ///
    /// # Errors
    /// The kernel's error number, or `InvalidData` if its answer is malformed.
    pub fn change(&mut self, kind: u16, flags: u16, payload: &[u8]) -> io::Result<()> {
        self.send(kind, flags | NLM_F_REQUEST | NLM_F_ACK, payload)?;
        self.collect().map(drop)
    }

    /// Asks about one thing.
    ///
    /// # Errors
    /// As [`change`](Self::change).
    pub fn get(&mut self, kind: u16, payload: &[u8]) -> io::Result<Vec<Message>> {
        self.send(kind, NLM_F_REQUEST | NLM_F_ACK, payload)?;
        self.collect().map(|(messages, _)| messages)
    }

    /// Asks about everything of a kind, and asks again if the state changed while the kernel
    /// listed it.
    ///
    /// # Errors
    /// As [`change`](Self::change); `Interrupted` if the state keeps changing.
    pub fn dump(&mut self, kind: u16, payload: &[u8]) -> io::Result<Vec<Message>> {
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

    /// Sends a message of a netlink-packet crate, such as
    /// `netlink_packet_route::RouteNetlinkMessage`, and returns the answers. With `NLM_F_DUMP`
    /// among the flags it asks as [`dump`](Self::dump) does, otherwise it makes a change or asks
    /// about one thing.
    ///
    /// # Errors
    /// As [`change`](Self::change) and [`dump`](Self::dump); `InvalidData` also for an answer that
    /// the other crate cannot decode.
    pub fn request<M>(&mut self, message: M, flags: u16) -> io::Result<Vec<M>>
    where
        M: NetlinkSerializable + NetlinkDeserializable,
    {
        let mut payload = Zeroizing::new(vec![0; message.buffer_len()]);
        message.serialize(&mut payload);
        let kind = message.message_type();
        let answers = if flags & NLM_F_DUMP == NLM_F_DUMP {
            self.dump(kind, &payload)?
        } else {
            self.send(kind, flags | NLM_F_REQUEST | NLM_F_ACK, &payload)?;
            self.collect()?.0
        };
        answers.iter().map(decode).collect()
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

    /// Reads until the kernel has acknowledged or finished. True: a dump was interrupted by a
    /// change.
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
                    payload,
                    flags,
                    sequence,
                } = part?;
                if sequence != self.sequence {
                    // An answer to a request that was given up.
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

fn decode<M: NetlinkDeserializable>(message: &Message) -> io::Result<M> {
    let mut header = NetlinkHeader::default();
    header.message_type = message.kind;
    M::deserialize(&header, &message.payload)
        .map_err(|why| io::Error::new(io::ErrorKind::InvalidData, why.to_string()))
}

/// The code that ends an exchange: 0, or a negated errno. No code means success.
fn result_code(payload: &[u8]) -> io::Result<()> {
    let Some(code) = payload.first_chunk::<4>() else {
        return Ok(());
    };
    match i32::from_ne_bytes(*code) {
        0 => Ok(()),
        code => Err(io::Error::from_raw_os_error(code.wrapping_neg())),
    }
}

#[cfg(test)]
mod tests {
    use netlink_packet_route::RouteNetlinkMessage;
    use netlink_packet_route::link::{LinkAttribute, LinkMessage};

    use super::*;

    #[test]
    fn result_codes_are_errnos() {
        assert!(result_code(&[]).is_ok());
        assert!(result_code(&0i32.to_ne_bytes()).is_ok());
        let denied = result_code(&(-libc::EPERM).to_ne_bytes()).unwrap_err();
        assert_eq!(denied.raw_os_error(), Some(libc::EPERM));
        assert!(result_code(&i32::MIN.to_ne_bytes()).is_err());
    }

    #[test]
    fn typed_requests_find_the_loopback_interface() {
        let mut netlink = Netlink::route().unwrap();
        let is_loopback = |answer: &RouteNetlinkMessage| {
            let lo = LinkAttribute::IfName("lo".to_owned());
            matches!(answer, RouteNetlinkMessage::NewLink(link) if link.attributes.contains(&lo))
        };
        let all = RouteNetlinkMessage::GetLink(LinkMessage::default());
        let links = netlink.request(all, NLM_F_DUMP).unwrap();
        assert!(links.iter().any(is_loopback));
        let mut one = LinkMessage::default();
        one.header.index = 1;
        let lo = netlink
            .request(RouteNetlinkMessage::GetLink(one), 0)
            .unwrap();
        assert_eq!(lo.len(), 1);
        assert_eq!(netlink.traffic().requests, 2);
        let mut none = LinkMessage::default();
        none.header.index = u32::MAX >> 1;
        let gone = netlink.request(RouteNetlinkMessage::GetLink(none), 0);
        assert_eq!(gone.unwrap_err().raw_os_error(), Some(libc::ENODEV));
    }
}
