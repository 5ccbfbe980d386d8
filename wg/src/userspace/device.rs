//! One WireGuard device in this process: its configuration, and the path of a packet.
//!
//! The protocol itself (handshakes, sessions, replay windows, timers) is boringtun's [`Tunn`], one
//! per peer. This file connects the tunnels to sockets, with the kernel's semantics: a peer can be
//! changed in place, an endpoint follows the peer's last authenticated packet, an inner source
//! address must belong to the peer that sent it. boringtun's own device loop is not used: it cannot
//! change a peer without dropping it, shares its port with others, and changes the signal mask of
//! its caller.
//!
//! One difference from the kernel remains: a new pre-shared key starts a new session at once,
//! because a tunnel gets its key when it is created.
//!
//! Single-threaded by design: only [`engine`](super::engine) has access to the device.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use defguard_boringtun::noise::handshake::parse_handshake_anon;
use defguard_boringtun::noise::rate_limiter::RateLimiter;
use defguard_boringtun::noise::{Packet, Tunn, TunnResult};
use defguard_boringtun::x25519::{PublicKey, StaticSecret};
use grid_keys::{WgPublicKey, WgSecretKey};

use super::peers::{Peer, PeerId, Peers};
use super::udp::Sockets;
use crate::observed::ObservedDevice;
use crate::step::{AllowedIpsChange, DeviceChange, PeerChange, PskChange};

/// Handshake messages per second above which senders must prove their address with a cookie. Each
/// message passes the limiter twice, once for the device and once for its tunnel.
const HANDSHAKES_PER_SECOND: u64 = 200;
/// The longest packet, from either side.
const MAX_PACKET: usize = 65_535;
/// What a data message needs beyond its content: header (16), tag (16), and padding.
const OVERHEAD: usize = 64;
/// Packets handled before it is another source's turn.
const BURST: usize = 64;
/// Type of a cookie reply, the first byte of the message.
const COOKIE_REPLY: u8 = 3;

/// The device's keys, and the limiter, which depends on them.
struct Identity {
    key: WgSecretKey,
    secret: StaticSecret,
    public: PublicKey,
    limiter: Arc<RateLimiter>,
}

/// Why a change of the device failed. The device is as it was before.
#[derive(Debug)]
pub(super) enum ConfigureError {
    /// The UDP port cannot be bound.
    Port(u16, io::Error),
    /// The mark cannot be set.
    Mark(io::Error),
    /// There are no random numbers for a new peer.
    Random,
}

pub(super) struct Device {
    tun: File,
    udp: Option<Sockets>,
    identity: Option<Identity>,
    fwmark: u32,
    mtu: usize,
    pub(super) peers: Peers,
    incoming: Vec<u8>,
    outgoing: Vec<u8>,
}

impl Device {
    pub(super) fn new(tun: File) -> Self {
        Self {
            tun,
            udp: None,
            identity: None,
            fwmark: 0,
            mtu: 1500,
            peers: Peers::default(),
            incoming: vec![0; MAX_PACKET],
            outgoing: vec![0; MAX_PACKET + OVERHEAD],
        }
    }

    pub(super) const fn tun(&self) -> &File {
        &self.tun
    }

    pub(super) const fn udp(&self) -> Option<&Sockets> {
        self.udp.as_ref()
    }

    pub(super) fn private_key(&self) -> Option<&WgSecretKey> {
        self.identity.as_ref().map(|identity| &identity.key)
    }

    /// The MTU limits the padding of packets; the kernel enforces it for their content.
    pub(super) fn set_mtu(&mut self, mtu: u16) {
        self.mtu = mtu.into();
    }

    pub(super) fn observe(&self) -> ObservedDevice {
        ObservedDevice {
            public_key: self.private_key().map(WgSecretKey::public),
            listen_port: self.udp.as_ref().map_or(0, |udp| udp.port),
            fwmark: (self.fwmark != 0).then_some(self.fwmark),
            peers: self
                .peers
                .iter()
                .map(|(p, ips)| (p.public_key, p.observe(ips)))
                .collect(),
        }
    }

    /// Sets key, port and mark. The port is bound before anything else changes.
    pub(super) fn configure(&mut self, change: &DeviceChange) -> Result<(), ConfigureError> {
        let mark = change.fwmark.unwrap_or(self.fwmark);
        let port = match change.listen_port {
            Some(port) => Some(port),
            None if self.udp.is_none() && change.private_key.is_some() => Some(0),
            None => None,
        };
        let held = self.udp.as_ref().map(|udp| udp.port);
        if let Some(port) = port.filter(|port| Some(*port) != held) {
            let bound = Sockets::bind(port, mark);
            self.udp = Some(bound.map_err(|error| ConfigureError::Port(port, error))?);
        } else if let Some(udp) = self.udp.as_ref().filter(|_| mark != self.fwmark) {
            udp.set_mark(mark).map_err(ConfigureError::Mark)?;
        }
        self.fwmark = mark;
        if let Some(key) = &change.private_key {
            self.set_key(key);
        }
        Ok(())
    }

    fn set_key(&mut self, key: &WgSecretKey) {
        if self.private_key() == Some(key) {
            return;
        }
        let secret = StaticSecret::from(*key.expose());
        let public = PublicKey::from(&secret);
        let limiter = Arc::new(RateLimiter::new(&public, HANDSHAKES_PER_SECOND));
        // A device is never its own peer.
        self.peers.remove(&key.public());
        let identity = Identity {
            key: key.clone(),
            secret,
            public,
            limiter,
        };
        for (id, peer) in self.peers.values_mut() {
            renew_tunnel(peer, id, &identity);
        }
        self.identity = Some(identity);
    }

    /// Adds or changes a peer.
    pub(super) fn set_peer(&mut self, change: &PeerChange) -> Result<(), ConfigureError> {
        let key = change.public_key;
        if self
            .identity
            .as_ref()
            .is_some_and(|identity| identity.public.to_bytes() == key.0)
        {
            return Ok(());
        }
        let known = self.peers.id(&key);
        let id = match known {
            Some(id) => id,
            None if change.create => self.peers.insert(key).ok_or(ConfigureError::Random)?,
            None => return Ok(()),
        };
        match &change.allowed_ips {
            AllowedIpsChange::Keep => {}
            AllowedIpsChange::Add(nets) => {
                nets.iter()
                    .for_each(|net| self.peers.allowed_ips.insert(*net, id));
            }
            AllowedIpsChange::Replace(nets) => {
                self.peers.allowed_ips.clear(id);
                nets.iter()
                    .for_each(|net| self.peers.allowed_ips.insert(*net, id));
            }
        }
        let Some(peer) = self.peers.get_mut(id) else {
            return Ok(());
        };
        let had_session = peer.latest_handshake.is_some();
        let rekeyed = set_preshared_key(peer, change.preshared_key.as_ref());
        if let Some(identity) = self
            .identity
            .as_ref()
            .filter(|_| rekeyed || known.is_none())
        {
            renew_tunnel(peer, id, identity);
        }
        if change.endpoint.is_some() {
            peer.endpoint = change.endpoint;
        }
        let starts = peer.keepalive == 0 && change.keepalive.is_some_and(|seconds| seconds != 0);
        peer.keepalive = change.keepalive.unwrap_or(peer.keepalive);
        // Like the kernel, send a new keepalive at once, which establishes the session. A session
        // that a new pre-shared key has ended is established again for the same reason.
        if let Some(udp) = self
            .udp
            .as_ref()
            .filter(|_| starts || (rekeyed && had_session))
        {
            send_keepalive(peer, udp, &mut self.outgoing);
        }
        Ok(())
    }

    /// Does what is due every second: retransmissions, rekeying, expiry, keepalives.
    pub(super) fn tick(&mut self, now: Instant) {
        if let Some(identity) = &self.identity {
            identity.limiter.reset_count();
        }
        let Some(udp) = &self.udp else { return };
        for (_, peer) in self.peers.values_mut() {
            let Some(tunnel) = &mut peer.tunnel else {
                continue;
            };
            // An expired handshake rests until the next traffic or keepalive.
            if !tunnel.is_expired()
                && let TunnResult::WriteToNetwork(packet) = tunnel.update_timers(&mut self.outgoing)
                && let Some(endpoint) = peer.endpoint
            {
                udp.send(packet, endpoint);
                peer.count_sent(packet);
            }
            let interval = Duration::from_secs(peer.keepalive.into());
            if !interval.is_zero() && now.duration_since(peer.last_traversal) >= interval {
                send_keepalive(peer, udp, &mut self.outgoing);
            }
        }
    }

    /// Sends packets from the host into the tunnel. Fails if the interface is gone.
    pub(super) fn serve_tun(&mut self) -> io::Result<()> {
        for _ in 0..BURST {
            let length = match self.tun.read(&mut self.incoming) {
                Ok(length) => length,
                Err(error) if is_transient(&error) => return Ok(()),
                Err(error) => return Err(error),
            };
            self.encapsulate(length);
        }
        Ok(())
    }

    fn encapsulate(&mut self, length: usize) {
        let Some(udp) = &self.udp else { return };
        let padded = padded_length(length, self.mtu);
        let Some(padding) = self.incoming.get_mut(length..padded) else {
            return;
        };
        padding.fill(0);
        let Some(packet) = self.incoming.get(..padded) else {
            return;
        };
        let peer = Tunn::dst_address(packet)
            .and_then(|ip| self.peers.allowed_ips.find(ip))
            .and_then(|id| self.peers.get_mut(id));
        let Some(peer) = peer else {
            return;
        };
        // Without an endpoint nothing can be sent, and a queue would only hide that.
        let Some(endpoint) = peer.endpoint else {
            return;
        };
        let Some(tunnel) = &mut peer.tunnel else {
            return;
        };
        if let TunnResult::WriteToNetwork(packet) = tunnel.encapsulate(packet, &mut self.outgoing) {
            udp.send(packet, endpoint);
            peer.count_sent(packet);
        }
    }

    /// Receives packets from the network.
    pub(super) fn serve_udp(&mut self, ipv4: bool) {
        for _ in 0..BURST {
            let socket = self
                .udp
                .as_ref()
                .and_then(|u| if ipv4 { u.v4.as_ref() } else { u.v6.as_ref() });
            let Some(socket) = socket else { return };
            // An error means that nothing is left, or reports what became of an earlier packet.
            let Ok((length, from)) = socket.recv_from(&mut self.incoming) else {
                return;
            };
            self.decapsulate(length, from);
        }
    }

    fn decapsulate(&mut self, length: usize, from: SocketAddr) {
        let Self {
            udp,
            identity,
            peers,
            incoming,
            outgoing,
            tun,
            ..
        } = self;
        let (Some(udp), Some(identity)) = (udp, identity) else {
            return;
        };
        let Some(datagram) = incoming.get(..length) else {
            return;
        };
        let packet = match identity
            .limiter
            .verify_packet(Some(from.ip()), datagram, outgoing)
        {
            Ok(packet) => packet,
            Err(TunnResult::WriteToNetwork(cookie)) => return udp.send(cookie, from),
            Err(_) => return,
        };
        let Some(id) = peer_of(&packet, identity, peers) else {
            return;
        };
        let Some(peer) = peers.get_mut(id) else {
            return;
        };
        let Some(tunnel) = &mut peer.tunnel else {
            return;
        };
        let mut inner = None;
        match tunnel.decapsulate(Some(from.ip()), datagram, outgoing) {
            TunnResult::Err(_) => return,
            TunnResult::WriteToNetwork(reply) => {
                udp.send(reply, from);
                if reply.first() == Some(&COOKIE_REPLY) {
                    // The sender has not proved anything yet.
                    return;
                }
                peer.count_sent(reply);
            }
            TunnResult::WriteToTunnelV4(packet, source) => {
                inner = Some((&*packet, IpAddr::V4(source)));
            }
            TunnResult::WriteToTunnelV6(packet, source) => {
                inner = Some((&*packet, IpAddr::V6(source)));
            }
            TunnResult::Done => {}
        }
        if let Packet::PacketCookieReply(_) = packet {
            return;
        }
        let established = peer.authenticated(&packet, from, datagram);
        if let Some((packet, source)) = inner
            && peers.allowed_ips.find(source) == Some(id)
        {
            // If the queue is full or the link down, the packet is lost, as on any network.
            let _ = tun.write(packet);
        }
        if established && let Some(peer) = peers.get_mut(id) {
            flush(peer, udp, outgoing);
        }
    }
}

impl Peer {
    /// Notes an authenticated packet. True: it completed a handshake.
    fn authenticated(&mut self, packet: &Packet<'_>, from: SocketAddr, datagram: &[u8]) -> bool {
        self.endpoint = Some(from);
        self.last_traversal = Instant::now();
        self.rx_bytes = self.rx_bytes.saturating_add(length_of(datagram));
        let established = match packet {
            Packet::HandshakeInit(_) => {
                self.unconfirmed = true;
                false
            }
            Packet::HandshakeResponse(_) => true,
            Packet::PacketData(_) => self.unconfirmed,
            Packet::PacketCookieReply(_) => false,
        };
        if established {
            self.unconfirmed = false;
            self.latest_handshake = Some(SystemTime::now());
        }
        established
    }

    /// Notes a packet that was sent to the peer.
    fn count_sent(&mut self, packet: &[u8]) {
        self.last_traversal = Instant::now();
        self.tx_bytes = self.tx_bytes.saturating_add(length_of(packet));
    }
}

fn length_of(packet: &[u8]) -> u64 {
    u64::try_from(packet.len()).unwrap_or(u64::MAX)
}

/// The peer that a packet claims to come from. The tunnel checks the claim.
fn peer_of(packet: &Packet<'_>, identity: &Identity, peers: &Peers) -> Option<PeerId> {
    match packet {
        Packet::HandshakeInit(init) => {
            let half = parse_handshake_anon(&identity.secret, &identity.public, init).ok()?;
            peers.id(&WgPublicKey(half.peer_static_public))
        }
        Packet::HandshakeResponse(p) => Some(PeerId::of_session(p.receiver_idx)),
        Packet::PacketCookieReply(p) => Some(PeerId::of_session(p.receiver_idx)),
        Packet::PacketData(p) => Some(PeerId::of_session(p.receiver_idx)),
    }
}

/// True: the key has changed.
fn set_preshared_key(peer: &mut Peer, change: Option<&PskChange>) -> bool {
    let wanted = match change {
        None => return false,
        Some(PskChange::Clear) => None,
        Some(PskChange::Set(psk)) => Some(psk.clone()).filter(|psk| psk.expose() != &[0; 32]),
    };
    let differs = peer.preshared_key != wanted;
    peer.preshared_key = wanted;
    differs
}

fn renew_tunnel(peer: &mut Peer, id: PeerId, identity: &Identity) {
    peer.unconfirmed = false;
    peer.tunnel = Some(Tunn::new(
        identity.secret.clone(),
        PublicKey::from(peer.public_key.0),
        peer.preshared_key.as_ref().map(|psk| *psk.expose()),
        // `tick` sends keepalives, so that they can change without a new tunnel.
        None,
        id.get(),
        Some(Arc::clone(&identity.limiter)),
    ));
}

/// Sends a keepalive if there is a session, otherwise the handshake that establishes one.
fn send_keepalive(peer: &mut Peer, udp: &Sockets, buffer: &mut [u8]) {
    let (Some(endpoint), Some(tunnel)) = (peer.endpoint, &mut peer.tunnel) else {
        return;
    };
    let result = if tunnel.time_since_last_handshake().is_some() {
        tunnel.encapsulate(&[], buffer)
    } else {
        tunnel.format_handshake_initiation(buffer, false)
    };
    if let TunnResult::WriteToNetwork(packet) = result {
        udp.send(packet, endpoint);
        peer.count_sent(packet);
    } else {
        // A handshake is in progress, and is retransmitted by itself.
        peer.last_traversal = Instant::now();
    }
}

/// Sends what was waiting for the session.
fn flush(peer: &mut Peer, udp: &Sockets, buffer: &mut [u8]) {
    /// More than a tunnel can queue.
    const LIMIT: usize = 512;
    for _ in 0..LIMIT {
        let (Some(endpoint), Some(tunnel)) = (peer.endpoint, &mut peer.tunnel) else {
            return;
        };
        let TunnResult::WriteToNetwork(packet) = tunnel.decapsulate(None, &[], buffer) else {
            return;
        };
        udp.send(packet, endpoint);
        peer.count_sent(packet);
    }
}

/// Packets are padded to multiples of 16 bytes, within the MTU (WireGuard paper, section 5.4.6).
fn padded_length(length: usize, mtu: usize) -> usize {
    length
        .next_multiple_of(16)
        .min(mtu)
        .max(length)
        .min(MAX_PACKET)
}

fn is_transient(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_stays_inside_the_mtu() {
        assert_eq!(padded_length(0, 1420), 0);
        assert_eq!(padded_length(1, 1420), 16);
        assert_eq!(padded_length(1409, 1420), 1420);
        assert_eq!(padded_length(1420, 1420), 1420);
        assert_eq!(padded_length(1500, 1420), 1500);
        assert_eq!(padded_length(MAX_PACKET, 65_535), MAX_PACKET);
    }
}
