//! Listening on the cables: counting, and on request keeping, the frames that nodes send.
//!
//! A tap sits on the lab's side of a node's plug and hears what the node sends; a frame between two
//! tapped nodes is heard once. It hears what crosses the wire, which is encrypted.

use std::collections::HashMap;
use std::io::{self, Read as _};
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use anyhow::{Context as _, Result};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use socket2::{Domain, Socket, Type};

use crate::link::LinkIndex;
use crate::node::Node;

/// Where WireGuard of a node's first network listens.
pub const WIREGUARD_PORT: u16 = 51820;
/// Where a node speaks QUIC.
pub const QUIC_PORT: u16 = 51821;

/// What a node sent, in bytes of IP packets (without the Ethernet header).
///
/// The headers of a batch that the kernel delivers as one large segment (UDP GSO) count once.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sent {
    /// UDP from or to the QUIC port.
    pub quic: u64,
    /// UDP from or to the first WireGuard port.
    pub wireguard: u64,
    /// The rest: neighbour discovery, ARP, everything else.
    pub other: u64,
    /// The number of QUIC packets.
    pub quic_packets: u64,
}

/// Listens until it is dropped.
pub struct Tap {
    shared: Arc<Shared>,
    listener: Option<JoinHandle<()>>,
}

struct Shared {
    stop: AtomicBool,
    heard: Mutex<Heard>,
}

#[derive(Default)]
struct Heard {
    sent: HashMap<String, Sent>,
    frames: Vec<Vec<u8>>,
    room: usize,
    lost: u64,
}

impl Tap {
    /// Counts what `nodes` send on all their plugs.
    ///
    /// # Errors
    /// `EPERM` without `CAP_NET_RAW` in the lab's namespace.
    pub fn count(nodes: &[&Node]) -> Result<Self> {
        Self::start(nodes, 0)
    }

    /// As [`Tap::count`], and keeps the frames until they fill `room` bytes.
    ///
    /// # Errors
    /// As [`Tap::count`].
    pub fn keep(nodes: &[&Node], room: usize) -> Result<Self> {
        Self::start(nodes, room)
    }

    fn start(nodes: &[&Node], room: usize) -> Result<Self> {
        let mut plugs = Vec::new();
        for node in nodes {
            for port in node.ports() {
                let socket = packet_socket(port.lab_side)
                    .with_context(|| format!("cannot listen to node {}", node.name()))?;
                plugs.push((node.name().to_owned(), socket));
            }
        }
        let heard = Heard {
            room,
            ..Heard::default()
        };
        let shared = Arc::new(Shared {
            stop: AtomicBool::new(false),
            heard: Mutex::new(heard),
        });
        let listener = thread::Builder::new().name("tap".into()).spawn({
            let shared = shared.clone();
            move || listen(&plugs, &shared)
        })?;
        Ok(Self {
            shared,
            listener: Some(listener),
        })
    }

    /// What node `name` has sent since the tap was started.
    #[must_use]
    pub fn sent(&self, name: &str) -> Sent {
        self.heard(|heard| heard.sent.get(name).copied().unwrap_or_default())
    }

    /// Takes the Ethernet frames kept so far; also how many there was no room for.
    #[must_use]
    pub fn take_frames(&self) -> (Vec<Vec<u8>>, u64) {
        self.heard(|heard| {
            let taken: usize = heard.frames.iter().map(Vec::len).sum();
            heard.room += taken;
            (
                std::mem::take(&mut heard.frames),
                std::mem::take(&mut heard.lost),
            )
        })
    }

    fn heard<T>(&self, look: impl FnOnce(&mut Heard) -> T) -> T {
        look(
            &mut self
                .shared
                .heard
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        )
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        if let Some(listener) = self.listener.take() {
            let _ = listener.join();
        }
    }
}

fn listen(plugs: &[(String, Socket)], shared: &Shared) {
    let mut buffer = vec![0; 1 << 17];
    while !shared.stop.load(Ordering::Relaxed) {
        let mut fds: Vec<PollFd<'_>> = plugs
            .iter()
            .map(|(_, socket)| PollFd::new(socket.as_fd(), PollFlags::POLLIN))
            .collect();
        if poll(&mut fds, PollTimeout::from(50_u8)).is_err() {
            continue;
        }
        for ((name, socket), fd) in plugs.iter().zip(&fds) {
            if !fd.any().unwrap_or(false) {
                continue;
            }
            let mut socket: &Socket = socket;
            while let Ok(length) = socket.read(&mut buffer) {
                let frame = buffer.get(..length).unwrap_or_default();
                let mut heard = shared.heard.lock().unwrap_or_else(PoisonError::into_inner);
                heard.sent.entry(name.clone()).or_default().add(frame);
                if heard.room >= frame.len() {
                    heard.room -= frame.len();
                    heard.frames.push(frame.to_vec());
                } else {
                    heard.lost += 1;
                }
            }
        }
    }
}

impl Sent {
    fn add(&mut self, frame: &[u8]) {
        let length = frame.len().saturating_sub(ETHERNET_HEADER) as u64;
        match udp_ports(frame) {
            Some(ports) if ports.contains(&QUIC_PORT) => {
                self.quic += length;
                self.quic_packets += 1;
            }
            Some(ports) if ports.contains(&WIREGUARD_PORT) => self.wireguard += length,
            _ => self.other += length,
        }
    }
}

const ETHERNET_HEADER: usize = 14;

/// The UDP ports of a frame, source first; `None` for anything else, fragments and IPv6 extension
/// headers included.
fn udp_ports(frame: &[u8]) -> Option<[u16; 2]> {
    let word = |at: usize| Some(u16::from_be_bytes(frame.get(at..at + 2)?.try_into().ok()?));
    let udp = match word(12)? {
        0x0800 => {
            let header = usize::from(frame.get(ETHERNET_HEADER)? & 15) * 4;
            let fragment = word(ETHERNET_HEADER + 6)? & 0x1fff;
            (frame.get(ETHERNET_HEADER + 9) == Some(&17) && fragment == 0)
                .then_some(ETHERNET_HEADER + header)?
        }
        0x86dd => (frame.get(ETHERNET_HEADER + 6) == Some(&17)).then_some(ETHERNET_HEADER + 40)?,
        _ => return None,
    };
    Some([word(udp)?, word(udp + 2)?])
}

/// A non-blocking packet socket that hears what arrives at `link`.
// The constants that are cast are small.
#[allow(unsafe_code, clippy::cast_possible_truncation)]
fn packet_socket(link: LinkIndex) -> io::Result<Socket> {
    // Protocol 0 hears nothing until the socket is bound to its link.
    let socket = Socket::new(Domain::PACKET, Type::RAW, None)?;
    socket.set_nonblocking(true)?;
    socket.set_recv_buffer_size(4 << 20)?;
    let one: libc::c_int = 1;
    // SAFETY: the option takes an int, and gets a pointer to one and its size.
    let set = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_PACKET,
            libc::PACKET_IGNORE_OUTGOING,
            (&raw const one).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if set != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the storage is large and aligned enough for any address, and all fields of a
    // `sockaddr_ll` that `bind` reads are written.
    let ((), address) = unsafe {
        socket2::SockAddr::try_init(|storage, length| {
            let address = storage.cast::<libc::sockaddr_ll>();
            (*address).sll_family = libc::AF_PACKET as libc::sa_family_t;
            (*address).sll_protocol = (libc::ETH_P_ALL as u16).to_be();
            (*address).sll_ifindex = i32::try_from(link.0).unwrap_or_default();
            *length = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
            Ok(())
        })?
    };
    socket.bind(&address)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(ethertype: u16, header: &[u8], from: u16, to: u16) -> Vec<u8> {
        let mut frame = vec![0; 12];
        frame.extend(ethertype.to_be_bytes());
        frame.extend(header);
        frame.extend(from.to_be_bytes());
        frame.extend(to.to_be_bytes());
        frame.extend([0; 4]);
        frame
    }

    #[test]
    fn frames_are_told_apart_by_their_ports() {
        let mut v4 = [0; 20];
        v4[0] = 0x45;
        v4[9] = 17;
        let mut v6 = [0; 40];
        v6[6] = 17;
        let mut sent = Sent::default();
        sent.add(&frame(0x0800, &v4, QUIC_PORT, 40000));
        sent.add(&frame(0x86dd, &v6, 40000, WIREGUARD_PORT));
        sent.add(&frame(0x0800, &v4, 53, 53));
        sent.add(&frame(0x0806, &[0; 28], 0, 0));
        sent.add(&[]);
        assert_eq!(
            sent,
            Sent {
                quic: 28,
                wireguard: 48,
                other: 28 + 36,
                quic_packets: 1
            }
        );
    }

    #[test]
    fn a_later_fragment_has_no_ports() {
        let mut v4 = [0; 20];
        v4[0] = 0x45;
        v4[9] = 17;
        v4[7] = 1;
        assert_eq!(udp_ports(&frame(0x0800, &v4, QUIC_PORT, QUIC_PORT)), None);
    }
}
