//! Reading from the kernel's WireGuard: the messages about one device become one state.
//!
//! The kernel splits a large device into several messages, even in the middle of a peer's allowed
//! IPs: then the next message begins with the same peer again. The reader trusts no length, skips
//! attributes that it does not know (a newer kernel may send them), and keeps no more than the
//! kernel can hold.

use std::collections::btree_map::Entry;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use grid_keys::{Secret, WgPublicKey};
use ipnet::IpNet;

use super::attributes::{Malformed, Reader};
use super::commands::{
    AF_INET, AF_INET6, WGALLOWEDIP_A_CIDR_MASK, WGALLOWEDIP_A_FAMILY, WGALLOWEDIP_A_IPADDR,
    WGDEVICE_A_FWMARK, WGDEVICE_A_LISTEN_PORT, WGDEVICE_A_PEERS, WGDEVICE_A_PUBLIC_KEY,
    WGPEER_A_ALLOWEDIPS, WGPEER_A_ENDPOINT, WGPEER_A_LAST_HANDSHAKE_TIME,
    WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL, WGPEER_A_PRESHARED_KEY, WGPEER_A_PUBLIC_KEY,
    WGPEER_A_RX_BYTES, WGPEER_A_TX_BYTES,
};
use crate::observed::{ObservedDevice, ObservedPeer};

/// The kernel's limit on the peers of a device (`MAX_PEERS_PER_DEVICE`).
const MAX_PEERS: usize = 1 << 20;
/// Our limit on the allowed IPs of a device. The kernel has none.
const MAX_ALLOWED_IPS: usize = 1 << 22;

/// Why a message cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DumpError {
    /// Lengths or fields contradict each other.
    #[error("a WireGuard message from the kernel is malformed")]
    Malformed,
    /// There are more peers or allowed IPs than possible.
    #[error("the kernel reports more peers or allowed IPs than a device can have")]
    TooMany,
}

impl From<Malformed> for DumpError {
    fn from(_: Malformed) -> Self {
        Self::Malformed
    }
}

/// The messages about one device that have been read so far.
#[derive(Clone, Debug, Default)]
pub struct Dump {
    device: ObservedDevice,
    last: Option<WgPublicKey>,
    allowed_ips: usize,
}

impl Dump {
    /// Reads the next message: a generic netlink header and attributes.
    ///
    /// # Errors
    /// See [`DumpError`]; what was read before is lost.
    pub fn push(mut self, message: &[u8]) -> Result<Self, DumpError> {
        let (_, attributes) = message
            .split_first_chunk::<4>()
            .ok_or(DumpError::Malformed)?;
        for attribute in Reader(attributes) {
            match attribute? {
                (WGDEVICE_A_PUBLIC_KEY, value) => {
                    self.device.public_key = non_zero_key(value)?.map(WgPublicKey);
                }
                (WGDEVICE_A_LISTEN_PORT, value) => {
                    self.device.listen_port = u16::from_ne_bytes(fixed(value)?);
                }
                (WGDEVICE_A_FWMARK, value) => {
                    let fwmark = u32::from_ne_bytes(fixed(value)?);
                    self.device.fwmark = (fwmark != 0).then_some(fwmark);
                }
                (WGDEVICE_A_PEERS, value) => self.peers(value)?,
                _ => {}
            }
        }
        Ok(self)
    }

    /// The device that the messages describe.
    #[must_use]
    pub fn finish(self) -> ObservedDevice {
        self.device
    }

    fn peers(&mut self, list: &[u8]) -> Result<(), DumpError> {
        for peer in Reader(list) {
            let (key, peer) = read_peer(peer?.1)?;
            self.allowed_ips += peer.allowed_ips.len();
            if self.device.peers.len() >= MAX_PEERS || self.allowed_ips > MAX_ALLOWED_IPS {
                return Err(DumpError::TooMany);
            }
            match self.device.peers.entry(key) {
                Entry::Vacant(entry) => {
                    entry.insert(peer);
                }
                // A continuation repeats the key and adds nothing but allowed IPs.
                Entry::Occupied(mut entry) if self.last == Some(key) => {
                    entry.get_mut().allowed_ips.extend(peer.allowed_ips);
                }
                Entry::Occupied(_) => return Err(DumpError::Malformed),
            }
            self.last = Some(key);
        }
        Ok(())
    }
}

fn read_peer(attributes: &[u8]) -> Result<(WgPublicKey, ObservedPeer), DumpError> {
    let mut key = None;
    let mut peer = ObservedPeer::default();
    for attribute in Reader(attributes) {
        match attribute? {
            (WGPEER_A_PUBLIC_KEY, value) => key = Some(WgPublicKey(fixed(value)?)),
            (WGPEER_A_PRESHARED_KEY, value) => {
                peer.preshared_key = non_zero_key(value)?.map(Secret::new);
            }
            (WGPEER_A_ENDPOINT, value) => peer.endpoint = read_endpoint(value)?,
            (WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL, value) => {
                let seconds = u16::from_ne_bytes(fixed(value)?);
                peer.keepalive = (seconds != 0).then_some(seconds);
            }
            (WGPEER_A_LAST_HANDSHAKE_TIME, value) => peer.latest_handshake = read_time(value)?,
            (WGPEER_A_RX_BYTES, value) => peer.rx_bytes = u64::from_ne_bytes(fixed(value)?),
            (WGPEER_A_TX_BYTES, value) => peer.tx_bytes = u64::from_ne_bytes(fixed(value)?),
            (WGPEER_A_ALLOWEDIPS, list) => {
                for entry in Reader(list) {
                    peer.allowed_ips.insert(read_allowed_ip(entry?.1)?);
                }
            }
            _ => {}
        }
    }
    Ok((key.ok_or(DumpError::Malformed)?, peer))
}

fn read_allowed_ip(attributes: &[u8]) -> Result<IpNet, DumpError> {
    let (mut family, mut ip, mut length) = (None, None, None);
    for attribute in Reader(attributes) {
        match attribute? {
            (WGALLOWEDIP_A_FAMILY, value) => family = Some(u16::from_ne_bytes(fixed(value)?)),
            (WGALLOWEDIP_A_IPADDR, value) => ip = Some(value),
            (WGALLOWEDIP_A_CIDR_MASK, value) => length = Some(u8::from_ne_bytes(fixed(value)?)),
            _ => {}
        }
    }
    let ip = ip.ok_or(DumpError::Malformed)?;
    let ip = match family {
        Some(AF_INET) => IpAddr::V4(Ipv4Addr::from(fixed::<4>(ip)?)),
        Some(AF_INET6) => IpAddr::V6(Ipv6Addr::from(fixed::<16>(ip)?)),
        _ => return Err(DumpError::Malformed),
    };
    let net = IpNet::new(ip, length.ok_or(DumpError::Malformed)?);
    net.map(|net| net.trunc()).map_err(|_| DumpError::Malformed)
}

/// `None` for an unknown address family.
fn read_endpoint(value: &[u8]) -> Result<Option<SocketAddr>, DumpError> {
    let (family, rest) = value.split_first_chunk::<2>().ok_or(DumpError::Malformed)?;
    match u16::from_ne_bytes(*family) {
        AF_INET => {
            let [p0, p1, a, b, c, d, ..] = fixed::<14>(rest)?;
            Ok(Some(SocketAddr::from((
                [a, b, c, d],
                u16::from_be_bytes([p0, p1]),
            ))))
        }
        AF_INET6 => read_sockaddr_in6(&fixed::<26>(rest)?).map(Some),
        _ => Ok(None),
    }
}

/// `struct sockaddr_in6` after the family: port, flow label, address, scope.
fn read_sockaddr_in6(rest: &[u8; 26]) -> Result<SocketAddr, DumpError> {
    let part = |from: usize, to: usize| rest.get(from..to).ok_or(DumpError::Malformed);
    let port = u16::from_be_bytes(fixed(part(0, 2)?)?);
    let flow = u32::from_be_bytes(fixed(part(2, 6)?)?);
    let ip = Ipv6Addr::from(fixed::<16>(part(6, 22)?)?);
    let scope = u32::from_ne_bytes(fixed(part(22, 26)?)?);
    Ok(SocketAddr::V6(SocketAddrV6::new(ip, port, flow, scope)))
}

/// `struct __kernel_timespec`; zero means never.
fn read_time(value: &[u8]) -> Result<Option<SystemTime>, DumpError> {
    let bytes = fixed::<16>(value)?;
    let (seconds, nanoseconds) = bytes.split_at(8);
    let seconds = u64::try_from(i64::from_ne_bytes(fixed(seconds)?));
    let nanoseconds = u32::try_from(i64::from_ne_bytes(fixed(nanoseconds)?));
    let (Ok(seconds), Ok(nanoseconds)) = (seconds, nanoseconds) else {
        return Err(DumpError::Malformed);
    };
    if (seconds, nanoseconds) == (0, 0) {
        return Ok(None);
    }
    let since = Duration::from_secs(seconds).checked_add(Duration::from_nanos(nanoseconds.into()));
    let time = since.and_then(|since| UNIX_EPOCH.checked_add(since));
    time.map(Some).ok_or(DumpError::Malformed)
}

fn non_zero_key(value: &[u8]) -> Result<Option<[u8; 32]>, DumpError> {
    let key = fixed::<32>(value)?;
    Ok((key != [0; 32]).then_some(key))
}

fn fixed<const N: usize>(value: &[u8]) -> Result<[u8; N], DumpError> {
    value.try_into().map_err(|_| DumpError::Malformed)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::attributes::Writer;
    use super::*;

    /// A message as the kernel writes it: header, then one peer with these allowed IPs.
    fn message(key: u8, nets: &[&str], first: bool) -> Writer {
        let mut w = Writer::new(0);
        w.raw(&[0, 1, 0, 0]);
        if first {
            w.put(3, &[1; 32]);
            w.put(WGDEVICE_A_PUBLIC_KEY, &[2; 32]);
            w.put(WGDEVICE_A_LISTEN_PORT, &51820u16.to_ne_bytes());
            w.put(WGDEVICE_A_FWMARK, &0u32.to_ne_bytes());
        }
        let peers = w.open(WGDEVICE_A_PEERS);
        let peer = w.open(0);
        w.put(WGPEER_A_PUBLIC_KEY, &[key; 32]);
        if first {
            w.put(WGPEER_A_PRESHARED_KEY, &[0; 32]);
            w.put(WGPEER_A_RX_BYTES, &7u64.to_ne_bytes());
            let time = [1_700_000_000i64.to_ne_bytes(), 9i64.to_ne_bytes()].concat();
            w.put(WGPEER_A_LAST_HANDSHAKE_TIME, &time);
            w.put(99, b"from the future");
        }
        let list = w.open(WGPEER_A_ALLOWEDIPS);
        for net in nets {
            let net: IpNet = net.parse().unwrap();
            let entry = w.open(0);
            let IpAddr::V4(ip) = net.network() else {
                panic!()
            };
            w.put(WGALLOWEDIP_A_FAMILY, &AF_INET.to_ne_bytes());
            w.put(WGALLOWEDIP_A_IPADDR, &ip.octets());
            w.put(WGALLOWEDIP_A_CIDR_MASK, &[net.prefix_len()]);
            w.close(entry);
        }
        w.close(list);
        w.close(peer);
        w.close(peers);
        w
    }

    #[test]
    fn a_peer_that_was_cut_is_whole_again() {
        let device = Dump::default()
            .push(message(5, &["10.0.0.1/32", "10.0.0.2/32"], true).bytes())
            .and_then(|d| d.push(message(5, &["10.0.0.3/32"], false).bytes()))
            .and_then(|d| d.push(message(6, &["10.0.0.4/32"], false).bytes()))
            .unwrap()
            .finish();
        assert_eq!(device.public_key, Some(WgPublicKey([2; 32])));
        assert_eq!((device.listen_port, device.fwmark), (51820, None));
        let first = &device.peers[&WgPublicKey([5; 32])];
        assert_eq!(first.allowed_ips.len(), 3);
        assert_eq!((first.rx_bytes, &first.preshared_key), (7, &None));
        let since = first
            .latest_handshake
            .unwrap()
            .duration_since(UNIX_EPOCH)
            .unwrap();
        assert_eq!(since, Duration::new(1_700_000_000, 9));
        assert_eq!(device.peers[&WgPublicKey([6; 32])].allowed_ips.len(), 1);
    }

    #[test]
    fn a_peer_that_comes_back_later_is_refused() {
        let result = Dump::default()
            .push(message(5, &[], true).bytes())
            .and_then(|d| d.push(message(6, &[], false).bytes()))
            .and_then(|d| d.push(message(5, &[], false).bytes()));
        assert_eq!(result.map(Dump::finish), Err(DumpError::Malformed));
    }

    #[test]
    fn endpoints_of_both_families() {
        let v4 = [&AF_INET.to_ne_bytes()[..], &[0, 80, 192, 0, 2, 1], &[0; 8]].concat();
        assert_eq!(
            read_endpoint(&v4),
            Ok(Some("192.0.2.1:80".parse().unwrap()))
        );
        let mut v6 = [&AF_INET6.to_ne_bytes()[..], &[0, 80], &[0; 4]].concat();
        v6.extend("2001:db8::1".parse::<Ipv6Addr>().unwrap().octets());
        v6.extend(0u32.to_ne_bytes());
        assert_eq!(
            read_endpoint(&v6),
            Ok(Some("[2001:db8::1]:80".parse().unwrap()))
        );
        assert_eq!(read_endpoint(&99u16.to_ne_bytes()), Ok(None));
        for bad in [&v4[..15], &v6[..27], &[][..]] {
            assert_eq!(read_endpoint(bad), Err(DumpError::Malformed));
        }
    }

    /// The corpus is little-endian.
    #[cfg(target_endian = "little")]
    #[test]
    fn the_corpus_is_an_ordinary_event() {
        crate::corpus::replay("wg_dump", |bytes| Dump::default().push(bytes));
    }

    proptest! {
        #[test]
        fn any_bytes_are_an_ordinary_event(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = Dump::default().push(&bytes);
        }

        /// A good message with a few bytes changed: most of its structure survives, so that every
        /// part of the reader is reached.
        #[test]
        fn any_damage_is_an_ordinary_event(edits in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6), cut in any::<prop::sample::Index>()) {
            let mut bytes = message(5, &["10.0.0.1/32", "10.0.0.2/31"], true).bytes().to_vec();
            for (at, byte) in edits {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            bytes.truncate(cut.index(bytes.len()) + 1);
            let _ = Dump::default().push(&bytes);
        }
    }
}
