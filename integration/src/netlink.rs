//! A blocking rtnetlink socket: one request, its acknowledgement, nothing else.
//!
//! The lab builds its links with this, so it needs no `ip` binary. It refuses to cache: every
//! question goes to the kernel. A socket belongs for ever to the network namespace in which it was
//! opened, whichever thread uses it later.

use std::io;

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};

/// An rtnetlink socket in the network namespace of the thread that opened it.
pub struct Netlink {
    socket: Socket,
    sequence: u32,
}

impl Netlink {
    /// Opens a socket in the network namespace of the calling thread.
    ///
    /// # Errors
    /// What the kernel answers to `socket`, `bind` or `connect`.
    pub fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        Ok(Self {
            socket,
            sequence: 0,
        })
    }

    /// Sends `message` with `flags` besides `NLM_F_REQUEST | NLM_F_ACK`, waits for the kernel's
    /// acknowledgement, and returns what it answered before that.
    ///
    /// # Errors
    /// The kernel's error number, or `InvalidData` when its answer cannot be read. The kernel
    /// applies a request wholly or not at all.
    pub fn request(
        &mut self,
        message: RouteNetlinkMessage,
        flags: u16,
    ) -> io::Result<Vec<RouteNetlinkMessage>> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | NLM_F_ACK | flags;
        header.sequence_number = self.sequence;
        let mut packet = NetlinkMessage::new(header, NetlinkPayload::from(message));
        packet.finalize();
        let mut bytes = vec![0; packet.buffer_len()];
        packet.serialize(&mut bytes);
        self.socket.send(&bytes, 0)?;
        self.acknowledgement()
    }

    fn acknowledgement(&self) -> io::Result<Vec<RouteNetlinkMessage>> {
        let mut answers = Vec::new();
        loop {
            let (datagram, _) = self.socket.recv_from_full()?;
            let mut rest = datagram.as_slice();
            while !rest.is_empty() {
                let message = NetlinkMessage::<RouteNetlinkMessage>::deserialize(rest)
                    .map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e.to_string()))?;
                if message.header.sequence_number == self.sequence {
                    match message.payload {
                        NetlinkPayload::Error(e) if e.code.is_none() => return Ok(answers),
                        NetlinkPayload::Error(e) => return Err(e.to_io()),
                        NetlinkPayload::Done(_) => return Ok(answers),
                        NetlinkPayload::InnerMessage(answer) => answers.push(answer),
                        _ => {}
                    }
                }
                let length = usize::try_from(message.header.length).unwrap_or(usize::MAX);
                // Messages are padded to four bytes; the last one's padding may be missing.
                let step = length.saturating_add(3) & !3;
                rest = rest.get(step.max(4)..).unwrap_or_default();
            }
        }
    }
}
