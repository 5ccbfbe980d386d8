//! Commands to the kernel's WireGuard: the steps of a plan become set-device messages.
//!
//! The numbers are those of `linux/wireguard.h`. A message ends before it grows past [`LIMIT`]; a
//! peer whose allowed IPs do not fit continues in the next one. The kernel handles peers in the
//! order in which they arrive, so the order of a plan is kept.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use grid_keys::WgPublicKey;
use ipnet::IpNet;

use super::attributes::{Nest, Writer, space};
use crate::step::{AllowedIpsChange, DeviceChange, PeerChange, PskChange, Step};

pub(super) const WG_CMD_GET_DEVICE: u8 = 0;
const WG_CMD_SET_DEVICE: u8 = 1;
const VERSION: u8 = 1;

pub(super) const WGDEVICE_A_IFINDEX: u16 = 1;
pub(super) const WGDEVICE_A_PUBLIC_KEY: u16 = 4;
const WGDEVICE_A_PRIVATE_KEY: u16 = 3;
pub(super) const WGDEVICE_A_LISTEN_PORT: u16 = 6;
pub(super) const WGDEVICE_A_FWMARK: u16 = 7;
pub(super) const WGDEVICE_A_PEERS: u16 = 8;

pub(super) const WGPEER_A_PUBLIC_KEY: u16 = 1;
pub(super) const WGPEER_A_PRESHARED_KEY: u16 = 2;
pub(super) const WGPEER_A_FLAGS: u16 = 3;
pub(super) const WGPEER_A_ENDPOINT: u16 = 4;
pub(super) const WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL: u16 = 5;
pub(super) const WGPEER_A_LAST_HANDSHAKE_TIME: u16 = 6;
pub(super) const WGPEER_A_RX_BYTES: u16 = 7;
pub(super) const WGPEER_A_TX_BYTES: u16 = 8;
pub(super) const WGPEER_A_ALLOWEDIPS: u16 = 9;

pub(super) const WGALLOWEDIP_A_FAMILY: u16 = 1;
pub(super) const WGALLOWEDIP_A_IPADDR: u16 = 2;
pub(super) const WGALLOWEDIP_A_CIDR_MASK: u16 = 3;

const WGPEER_F_REMOVE_ME: u32 = 1;
const WGPEER_F_REPLACE_ALLOWEDIPS: u32 = 2;
const WGPEER_F_UPDATE_ONLY: u32 = 4;

pub(super) const AF_INET: u16 = 2;
pub(super) const AF_INET6: u16 = 10;

/// The largest message in bytes. A nest cannot hold 64 KiB; 16 KiB fit any socket buffer and hold
/// about a hundred peers.
pub(super) const LIMIT: usize = 16 * 1024;
/// The largest peer without allowed IPs: key, pre-shared key, flags, endpoint, keepalive, nests.
const PEER: usize =
    space(32) + space(32) + space(4) + space(28) + space(2) + 2 * space(0) + space(0);
/// The largest allowed IP.
const ALLOWED_IP: usize = space(0) + space(2) + space(16) + space(1);

/// The generic netlink header.
const fn header(command: u8) -> [u8; 4] {
    [command, VERSION, 0, 0]
}

/// The request to describe a device.
pub(super) fn get_device(index: u32) -> Writer {
    let mut writer = Writer::new(64);
    writer.raw(&header(WG_CMD_GET_DEVICE));
    writer.put(WGDEVICE_A_IFINDEX, &index.to_ne_bytes());
    writer
}

/// The messages for a run of steps. Steps that do not concern WireGuard are skipped.
pub(super) fn set_device(index: u32, steps: &[Step]) -> Vec<Writer> {
    let mut messages = Messages {
        index,
        finished: Vec::new(),
        open: None,
    };
    for step in steps {
        match step {
            Step::Configure(change) => messages.device(change),
            Step::RemovePeer(key) => messages.remove_peer(key),
            Step::SetPeer(change) => messages.set_peer(change),
            _ => {}
        }
    }
    messages.flush();
    messages.finished
}

/// The messages under construction.
struct Messages {
    index: u32,
    finished: Vec<Writer>,
    /// The message that still takes peers, and its list of peers.
    open: Option<(Writer, Nest)>,
}

impl Messages {
    fn start(&self) -> Writer {
        let mut writer = Writer::new(LIMIT);
        writer.raw(&header(WG_CMD_SET_DEVICE));
        writer.put(WGDEVICE_A_IFINDEX, &self.index.to_ne_bytes());
        writer
    }

    fn flush(&mut self) {
        if let Some((mut writer, peers)) = self.open.take() {
            writer.close(peers);
            self.finished.push(writer);
        }
    }

    /// Device attributes get a message of their own, because the kernel handles them before the
    /// peers in the same message.
    fn device(&mut self, change: &DeviceChange) {
        self.flush();
        let mut writer = self.start();
        if let Some(key) = &change.private_key {
            writer.put(WGDEVICE_A_PRIVATE_KEY, key.expose());
        }
        if let Some(port) = change.listen_port {
            writer.put(WGDEVICE_A_LISTEN_PORT, &port.to_ne_bytes());
        }
        if let Some(fwmark) = change.fwmark {
            writer.put(WGDEVICE_A_FWMARK, &fwmark.to_ne_bytes());
        }
        self.finished.push(writer);
    }

    /// A message with room for this many bytes.
    fn room(&mut self, bytes: usize) -> &mut Writer {
        if self
            .open
            .as_ref()
            .is_some_and(|(writer, _)| writer.len() + bytes > LIMIT)
        {
            self.flush();
        }
        let (writer, _) = match self.open.take() {
            Some(open) => self.open.insert(open),
            None => {
                let mut writer = self.start();
                let peers = writer.open(WGDEVICE_A_PEERS);
                self.open.insert((writer, peers))
            }
        };
        writer
    }

    fn remove_peer(&mut self, key: &WgPublicKey) {
        let writer = self.room(PEER);
        let peer = open_peer(writer, key, WGPEER_F_REMOVE_ME);
        writer.close(peer);
    }

    fn set_peer(&mut self, change: &PeerChange) {
        let nothing = BTreeSet::new();
        let (replace, nets) = match &change.allowed_ips {
            AllowedIpsChange::Keep => (0, &nothing),
            AllowedIpsChange::Add(nets) => (0, nets),
            AllowedIpsChange::Replace(nets) => (WGPEER_F_REPLACE_ALLOWEDIPS, nets),
        };
        let update = if change.create {
            0
        } else {
            WGPEER_F_UPDATE_ONLY
        };
        let mut nets = nets.iter().peekable();
        let writer = self.room(PEER + ALLOWED_IP);
        let peer = open_peer(writer, &change.public_key, replace | update);
        put_fields(writer, change);
        put_allowed_ips(writer, &mut nets);
        writer.close(peer);
        while nets.peek().is_some() {
            self.flush();
            let writer = self.room(PEER + ALLOWED_IP);
            let peer = open_peer(writer, &change.public_key, WGPEER_F_UPDATE_ONLY);
            put_allowed_ips(writer, &mut nets);
            writer.close(peer);
        }
    }
}

/// Opens a member of the list of peers. Members of a list have type 0.
fn open_peer(writer: &mut Writer, key: &WgPublicKey, flags: u32) -> Nest {
    let peer = writer.open(0);
    writer.put(WGPEER_A_PUBLIC_KEY, &key.0);
    if flags != 0 {
        writer.put(WGPEER_A_FLAGS, &flags.to_ne_bytes());
    }
    peer
}

fn put_fields(writer: &mut Writer, change: &PeerChange) {
    match &change.preshared_key {
        Some(PskChange::Set(psk)) => writer.put(WGPEER_A_PRESHARED_KEY, psk.expose()),
        Some(PskChange::Clear) => writer.put(WGPEER_A_PRESHARED_KEY, &[0; 32]),
        None => {}
    }
    if let Some(endpoint) = change.endpoint {
        put_endpoint(writer, endpoint);
    }
    if let Some(seconds) = change.keepalive {
        writer.put(
            WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL,
            &seconds.to_ne_bytes(),
        );
    }
}

/// `struct sockaddr_in` or `struct sockaddr_in6`.
fn put_endpoint(writer: &mut Writer, endpoint: SocketAddr) {
    let port = endpoint.port().to_be_bytes();
    match endpoint {
        SocketAddr::V4(v4) => {
            let [family, ip] = [&AF_INET.to_ne_bytes()[..], &v4.ip().octets()];
            writer.put(WGPEER_A_ENDPOINT, &[family, &port, ip, &[0; 8]].concat());
        }
        SocketAddr::V6(v6) => {
            let [family, ip] = [&AF_INET6.to_ne_bytes()[..], &v6.ip().octets()];
            let (flow, scope) = (v6.flowinfo().to_be_bytes(), v6.scope_id().to_ne_bytes());
            writer.put(
                WGPEER_A_ENDPOINT,
                &[family, &port, &flow, ip, &scope].concat(),
            );
        }
    }
}

/// Writes allowed IPs until the message is full.
fn put_allowed_ips<'a>(
    writer: &mut Writer,
    nets: &mut std::iter::Peekable<impl Iterator<Item = &'a IpNet>>,
) {
    if nets.peek().is_none() {
        return;
    }
    let list = writer.open(WGPEER_A_ALLOWEDIPS);
    while writer.len() + ALLOWED_IP <= LIMIT
        && let Some(net) = nets.next()
    {
        let entry = writer.open(0);
        match net.network() {
            IpAddr::V4(ip) => {
                writer.put(WGALLOWEDIP_A_FAMILY, &AF_INET.to_ne_bytes());
                writer.put(WGALLOWEDIP_A_IPADDR, &ip.octets());
            }
            IpAddr::V6(ip) => {
                writer.put(WGALLOWEDIP_A_FAMILY, &AF_INET6.to_ne_bytes());
                writer.put(WGALLOWEDIP_A_IPADDR, &ip.octets());
            }
        }
        writer.put(WGALLOWEDIP_A_CIDR_MASK, &[net.prefix_len()]);
        writer.close(entry);
    }
    writer.close(list);
}

#[cfg(test)]
mod tests {
    use grid_keys::Secret;

    use super::super::attributes::Reader;
    use super::super::dump::Dump;
    use super::*;

    fn peer(n: u16, nets: usize) -> PeerChange {
        let mut key = [9; 32];
        key[..2].copy_from_slice(&n.to_be_bytes());
        let [high, low] = n.to_be_bytes();
        let nets = (0..nets).map(|i| {
            let [_, a, b, c] = u32::try_from(i).unwrap().to_be_bytes();
            IpNet::from(IpAddr::from([
                0xfd00,
                high.into(),
                low.into(),
                0,
                0,
                a.into(),
                b.into(),
                c.into(),
            ]))
        });
        PeerChange {
            public_key: WgPublicKey(key),
            create: true,
            preshared_key: Some(PskChange::Set(Secret::new([8; 32]))),
            endpoint: Some("[2001:db8::1]:7".parse().unwrap()),
            keepalive: Some(25),
            allowed_ips: AllowedIpsChange::Replace(nets.collect()),
        }
    }

    fn merged(messages: &[Writer]) -> Dump {
        // The kernel describes a device in the form in which it is configured.
        messages
            .iter()
            .fold(Dump::default(), |dump, m| dump.push(m.bytes()).unwrap())
    }

    #[test]
    fn five_thousand_peers_fit_into_messages() {
        let steps: Vec<Step> = (0..5000).map(|n| Step::SetPeer(peer(n, 2))).collect();
        let messages = set_device(3, &steps);
        assert!(
            messages.iter().all(|m| m.len() <= LIMIT),
            "{:?}",
            messages[0].len()
        );
        assert!(messages.len() < 100, "{} messages", messages.len());
        let device = merged(&messages).finish();
        assert_eq!(device.peers.len(), 5000);
        assert!(
            device
                .peers
                .values()
                .all(|peer| peer.allowed_ips.len() == 2)
        );
        assert!(
            device
                .peers
                .values()
                .all(|peer| peer.preshared_key.is_some())
        );
    }

    #[test]
    fn one_peer_with_many_allowed_ips_goes_on_in_the_next_message() {
        let steps = [Step::SetPeer(peer(1, 3000)), Step::SetPeer(peer(2, 1))];
        let messages = set_device(3, &steps);
        assert!(messages.len() > 5 && messages.iter().all(|m| m.len() <= LIMIT));
        let flags: Vec<u32> = messages.iter().map(|m| first_flags(m.bytes())).collect();
        assert_eq!(flags[0], WGPEER_F_REPLACE_ALLOWEDIPS);
        assert!(
            flags[1..]
                .iter()
                .all(|flags| *flags == WGPEER_F_UPDATE_ONLY),
            "{flags:?}"
        );
        let device = merged(&messages).finish();
        let lengths: Vec<usize> = device.peers.values().map(|p| p.allowed_ips.len()).collect();
        assert_eq!(lengths, [3000, 1]);
    }

    fn first_flags(message: &[u8]) -> u32 {
        let find = |bytes, wanted| {
            Reader(bytes)
                .map(|a| a.unwrap())
                .find(|(kind, _)| *kind == wanted)
                .map(|(_, v)| v)
        };
        let peers: &[u8] = find(&message[4..], WGDEVICE_A_PEERS).unwrap();
        let first = find(peers, 0).unwrap();
        let flags: &[u8] = find(first, WGPEER_A_FLAGS).unwrap();
        u32::from_ne_bytes(flags.try_into().unwrap())
    }

    #[test]
    fn the_order_of_steps_is_kept() {
        let change = DeviceChange {
            listen_port: Some(5),
            ..DeviceChange::default()
        };
        let steps = [
            Step::RemovePeer(WgPublicKey([1; 32])),
            Step::Configure(change),
            Step::SetPeer(peer(2, 1)),
        ];
        let messages = set_device(3, &steps);
        let has = |m: &Writer, kind| Reader(&m.bytes()[4..]).any(|a| a.unwrap().0 == kind);
        assert_eq!(messages.len(), 3);
        assert!(has(&messages[0], WGDEVICE_A_PEERS));
        assert!(has(&messages[1], WGDEVICE_A_LISTEN_PORT) && !has(&messages[1], WGDEVICE_A_PEERS));
        assert!(has(&messages[2], WGDEVICE_A_PEERS));
        assert!(set_device(3, &[Step::LinkUp]).is_empty());
    }

    #[test]
    fn a_plain_message_byte_for_byte() {
        let message = set_device(258, &[Step::RemovePeer(WgPublicKey([0xaa; 32]))]);
        let mut expected = vec![1, 1, 0, 0]; // WG_CMD_SET_DEVICE, version 1
        expected.extend([8, 0, 1, 0, 2, 1, 0, 0]); // interface 258
        expected.extend([52, 0, 8, 0x80]); // peers
        expected.extend([48, 0, 0, 0x80]); // a peer
        expected.extend([36, 0, 1, 0]); // its key
        expected.extend([0xaa; 32]);
        expected.extend([8, 0, 3, 0, 1, 0, 0, 0]); // remove
        if cfg!(target_endian = "little") {
            assert_eq!(message[0].bytes(), expected);
        }
    }
}
