//! The peers of a device, and cryptokey routing: which prefix belongs to which peer.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::time::{Instant, SystemTime};

use defguard_boringtun::noise::Tunn;
use grid_keys::{PresharedKey, WgPublicKey};
use ipnet::IpNet;

use crate::observed::ObservedPeer;

/// A peer's number: 24 random bits, the upper part of the session indices on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct PeerId(u32);

impl PeerId {
    /// The peer to which the session index in a received packet belongs.
    pub(super) const fn of_session(index: u32) -> Self {
        Self(index >> 8)
    }

    /// The index that the protocol gets for the peer.
    pub(super) const fn get(self) -> u32 {
        self.0
    }
}

/// One peer.
pub(super) struct Peer {
    pub(super) public_key: WgPublicKey,
    /// The protocol's state. None until the device has a private key.
    pub(super) tunnel: Option<Tunn>,
    pub(super) preshared_key: Option<PresharedKey>,
    pub(super) endpoint: Option<SocketAddr>,
    /// Persistent keepalive in seconds, 0 for off.
    pub(super) keepalive: u16,
    /// When an authenticated packet last went either way.
    pub(super) last_traversal: Instant,
    pub(super) latest_handshake: Option<SystemTime>,
    /// Whether we have answered a handshake that the peer's first data packet will confirm.
    pub(super) unconfirmed: bool,
    /// Bytes of authenticated packets received; like the kernel's count.
    pub(super) rx_bytes: u64,
    /// Bytes of all packets sent; like the kernel's count.
    pub(super) tx_bytes: u64,
}

impl Peer {
    fn new(public_key: WgPublicKey) -> Self {
        Self {
            public_key,
            tunnel: None,
            preshared_key: None,
            endpoint: None,
            keepalive: 0,
            last_traversal: Instant::now(),
            latest_handshake: None,
            unconfirmed: false,
            rx_bytes: 0,
            tx_bytes: 0,
        }
    }

    pub(super) fn observe(&self, allowed_ips: BTreeSet<IpNet>) -> ObservedPeer {
        ObservedPeer {
            preshared_key: self.preshared_key.clone(),
            endpoint: self.endpoint,
            allowed_ips,
            keepalive: (self.keepalive != 0).then_some(self.keepalive),
            latest_handshake: self.latest_handshake,
            rx_bytes: self.rx_bytes,
            tx_bytes: self.tx_bytes,
        }
    }
}

/// All peers of a device.
#[derive(Default)]
pub(super) struct Peers {
    by_key: BTreeMap<WgPublicKey, PeerId>,
    by_id: HashMap<PeerId, Peer>,
    pub(super) allowed_ips: AllowedIps,
}

impl Peers {
    pub(super) fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    pub(super) fn id(&self, key: &WgPublicKey) -> Option<PeerId> {
        self.by_key.get(key).copied()
    }

    pub(super) fn get_mut(&mut self, id: PeerId) -> Option<&mut Peer> {
        self.by_id.get_mut(&id)
    }

    pub(super) fn values_mut(&mut self) -> impl Iterator<Item = (PeerId, &mut Peer)> {
        self.by_id.iter_mut().map(|(id, peer)| (*id, peer))
    }

    /// The peers in the order of their keys, with their allowed IPs.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&Peer, BTreeSet<IpNet>)> {
        self.by_key
            .values()
            .filter_map(|id| Some((self.by_id.get(id)?, self.allowed_ips.of(*id))))
    }

    /// Adds a peer without configuration. None: the system has no random numbers.
    pub(super) fn insert(&mut self, key: WgPublicKey) -> Option<PeerId> {
        let id = loop {
            let id = PeerId(getrandom::u32().ok()? >> 8);
            if !self.by_id.contains_key(&id) {
                break id;
            }
        };
        self.by_key.insert(key, id);
        self.by_id.insert(id, Peer::new(key));
        Some(id)
    }

    pub(super) fn remove(&mut self, key: &WgPublicKey) {
        if let Some(id) = self.by_key.remove(key) {
            self.by_id.remove(&id);
            self.allowed_ips.clear(id);
        }
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

/// Cryptokey routing (WireGuard paper, section 2): every prefix belongs to one peer, and the longest
/// match decides both where to send and what to accept.
#[derive(Default)]
pub(super) struct AllowedIps {
    owner: HashMap<IpNet, PeerId>,
    of: HashMap<PeerId, BTreeSet<IpNet>>,
    /// The prefix lengths in use and how often each is used, longest first. A mesh has one or two,
    /// so a lookup takes one or two steps.
    v4_lengths: BTreeMap<Reverse<u8>, usize>,
    v6_lengths: BTreeMap<Reverse<u8>, usize>,
}

impl AllowedIps {
    /// Gives a prefix to a peer, and takes it from whichever peer has it.
    pub(super) fn insert(&mut self, net: IpNet, id: PeerId) {
        let net = net.trunc();
        match self.owner.insert(net, id) {
            Some(previous) => {
                if let Some(nets) = self.of.get_mut(&previous) {
                    nets.remove(&net);
                }
            }
            None => {
                *self
                    .lengths(&net)
                    .entry(Reverse(net.prefix_len()))
                    .or_default() += 1
            }
        }
        self.of.entry(id).or_default().insert(net);
    }

    /// Takes all its prefixes from a peer.
    pub(super) fn clear(&mut self, id: PeerId) {
        for net in self.of.remove(&id).unwrap_or_default() {
            self.owner.remove(&net);
            let length = Reverse(net.prefix_len());
            let lengths = self.lengths(&net);
            if let Some(count) = lengths.get_mut(&length) {
                *count -= 1;
                if *count == 0 {
                    lengths.remove(&length);
                }
            }
        }
    }

    /// The prefixes of a peer.
    pub(super) fn of(&self, id: PeerId) -> BTreeSet<IpNet> {
        self.of.get(&id).cloned().unwrap_or_default()
    }

    /// The peer to which an address belongs.
    pub(super) fn find(&self, ip: IpAddr) -> Option<PeerId> {
        let lengths = if ip.is_ipv4() {
            &self.v4_lengths
        } else {
            &self.v6_lengths
        };
        lengths.keys().find_map(|Reverse(length)| {
            let net = IpNet::new(ip, *length).ok()?.trunc();
            self.owner.get(&net).copied()
        })
    }

    fn lengths(&mut self, net: &IpNet) -> &mut BTreeMap<Reverse<u8>, usize> {
        if net.addr().is_ipv4() {
            &mut self.v4_lengths
        } else {
            &mut self.v6_lengths
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn net(text: &str) -> IpNet {
        text.parse().unwrap()
    }

    #[test]
    fn the_longest_prefix_counts_and_families_do_not_mix() {
        let mut table = AllowedIps::default();
        let [a, b, c] = [1, 2, 3].map(PeerId);
        table.insert(net("0.0.0.0/0"), a);
        table.insert(net("10.0.0.0/8"), b);
        table.insert(net("10.1.2.3/32"), c);
        let find = |table: &AllowedIps, ip: &str| table.find(ip.parse().unwrap());
        assert_eq!(find(&table, "10.1.2.3"), Some(c));
        assert_eq!(find(&table, "10.1.2.4"), Some(b));
        assert_eq!(find(&table, "192.0.2.1"), Some(a));
        assert_eq!(find(&table, "::1"), None);
        table.insert(net("10.1.2.3/32"), a);
        assert_eq!(find(&table, "10.1.2.3"), Some(a));
        assert!(table.of(c).is_empty());
        table.clear(a);
        assert_eq!(find(&table, "10.1.2.3"), Some(b));
        assert_eq!(find(&table, "192.0.2.1"), None);
        assert_eq!(table.v4_lengths.len(), 1);
    }

    proptest! {
        /// The definition as the model: of all prefixes that contain the address, the longest.
        #[test]
        fn lookup_agrees_with_a_scan(
            edits in proptest::collection::vec((0u32..4, any::<[u8; 4]>(), 0u8..33, any::<bool>()), 0..60),
            asked in any::<[u8; 4]>(),
        ) {
            let mut table = AllowedIps::default();
            let mut model: BTreeMap<IpNet, PeerId> = BTreeMap::new();
            for (id, octets, length, clear) in edits {
                // Few distinct high bytes, so that prefixes overlap.
                let ip = IpAddr::from([octets[0] & 3, octets[1] & 1, octets[2], octets[3]]);
                let net = IpNet::new(ip, length).unwrap().trunc();
                if clear {
                    table.clear(PeerId(id));
                    model.retain(|_, owner| *owner != PeerId(id));
                } else {
                    table.insert(net, PeerId(id));
                    model.insert(net, PeerId(id));
                }
            }
            let ip = IpAddr::from([asked[0] & 3, asked[1] & 1, asked[2], asked[3]]);
            let expected = model
                .iter()
                .filter(|(net, _)| net.contains(&ip))
                .max_by_key(|(net, _)| net.prefix_len())
                .map(|(_, id)| *id);
            prop_assert_eq!(table.find(ip), expected);
            for id in 0..4 {
                let mine = model.iter().filter(|(_, owner)| owner.0 == id).map(|(net, _)| *net);
                prop_assert_eq!(table.of(PeerId(id)), mine.collect());
            }
        }
    }
}
