//! The WireGuard interface of a network: its keys, and its wanted state.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;

use crate::core::effect::{Effect, Tunnel, TunnelPeer};
use crate::core::local::Local;
use crate::core::mesh::acceptance::Acceptance;
use crate::core::mesh::paths::{Path, Paths};
use crate::core::mesh::roster::Roster;
use crate::core::step::Queue;
use crate::network::address::on_interface;
use crate::network::ids::NetworkId;
use crate::network::member::{MemberPromise, possession};
use grid_keys::{NodeId, PresharedKey, Secret, SignatureBytes, WgPublicKey, WgSecretKey};

/// Seconds between keepalives, where they are needed. WireGuard's documentation recommends 25: shorter
/// than the time for which NATs remember a flow.
const KEEPALIVE: u16 = 25;

/// The interface of one network.
pub(crate) struct Device {
    private_key: WgSecretKey,
    public_key: WgPublicKey,
    /// That this node has the key, in the network of the interface.
    possession: SignatureBytes,
    listen_port: u16,
    /// Of each peer, because deriving them is slow.
    preshared: BTreeMap<WgPublicKey, PresharedKey>,
    /// What was asked for last; `None` while there is no interface.
    configured: Option<Box<Tunnel>>,
}

impl Device {
    /// The interface of `node` in a network.
    pub(crate) fn new(
        private_key: WgSecretKey,
        listen_port: u16,
        network: &NetworkId,
        node: &NodeId,
    ) -> Self {
        Self {
            public_key: private_key.public(),
            possession: private_key.sign(&possession(network, node)),
            private_key,
            listen_port,
            preshared: BTreeMap::new(),
            configured: None,
        }
    }

    /// Takes another key. What was derived from the one before goes with it.
    pub(crate) fn renew(&mut self, private_key: WgSecretKey, network: &NetworkId, node: &NodeId) {
        *self = Self {
            configured: self.configured.take(),
            ..Self::new(private_key, self.listen_port, network, node)
        };
    }

    pub(crate) const fn public_key(&self) -> WgPublicKey {
        self.public_key
    }

    /// What shows that this node has the key.
    pub(crate) const fn possession(&self) -> SignatureBytes {
        self.possession
    }

    pub(crate) const fn listen_port(&self) -> u16 {
        self.listen_port
    }

    /// Forgets what was derived for keys that are no longer in use.
    pub(crate) fn prune(&mut self, used: &BTreeSet<WgPublicKey>) {
        self.preshared.retain(|key, _| used.contains(key));
    }

    /// Asks for the wanted state, if it differs from what was asked for last.
    pub(crate) fn configure(
        &mut self,
        wanted: Option<Tunnel>,
        roster: &Roster,
        effects: &mut Queue,
    ) {
        let wanted = wanted.map(Box::new);
        if wanted != self.configured {
            self.configured.clone_from(&wanted);
            effects.push(Effect::Configure {
                network: roster.id(),
                name: roster.name().clone(),
                tunnel: wanted,
            });
        }
    }

    /// The state that follows from this node's promise and from what it accepts of others.
    pub(crate) fn wanted(
        &mut self,
        own: &MemberPromise,
        secret: Option<&Secret<32>>,
        roster: &Roster,
        acceptance: &Acceptance,
        paths: &Paths,
        local: &Local,
    ) -> Tunnel {
        let (ipv4, ipv6) = roster.ranges();
        let mut addresses = BTreeSet::new();
        let holder = roster.view().ipv6.get(&own.ipv6.address);
        if holder.is_none_or(|holder| *holder == own.node) {
            addresses.insert(on_interface(own.ipv6.address.into(), ipv6));
        }
        if roster.view().addresses.get(&own.ipv4.address) == Some(&own.node) {
            addresses.insert(on_interface(own.ipv4.address.into(), ipv4));
        }
        let natted = local.is_natted();
        let mut peers = BTreeMap::new();
        let mut routes = BTreeSet::new();
        let others = roster.others(&own.node);
        let others = others.filter_map(|node| Some((*node, roster.promise_of(node)?.public_key)));
        for (node, key) in others {
            // Whoever shares its key, and shows that it has it, shares its tunnel: the first of them has it. None is
            // with oneself.
            if key == self.public_key || peers.contains_key(&key) {
                continue;
            }
            let allowed_ips: BTreeSet<IpNet> = acceptance.accepted_of(&node).collect();
            let host_route = |prefix: &&IpNet| prefix.prefix_len() < prefix.max_prefix_len();
            routes.extend(allowed_ips.iter().filter(host_route).copied());
            let path = paths.get(&node);
            // Keepalives open the way through a NAT; without one they only prove, once, that the
            // path works, and then cost nothing.
            let keepalive = if natted || !path.is_some_and(Path::is_verified) {
                KEEPALIVE
            } else {
                0
            };
            let endpoint = path.and_then(Path::endpoint);
            let preshared_key = self.preshared_key(&key, secret, roster);
            peers.insert(
                key,
                TunnelPeer {
                    preshared_key,
                    endpoint,
                    allowed_ips,
                    keepalive,
                },
            );
        }
        Tunnel {
            private_key: self.private_key.clone(),
            listen_port: self.listen_port,
            addresses,
            routes,
            peers,
        }
    }

    fn preshared_key(
        &mut self,
        peer: &WgPublicKey,
        secret: Option<&Secret<32>>,
        roster: &Roster,
    ) -> PresharedKey {
        if let Some(key) = self.preshared.get(peer) {
            return key.clone();
        }
        let network = roster.id().0.to_bytes();
        let secret = secret.map_or(&[][..], |secret| secret.expose());
        let key = self.private_key.preshared_key(peer, &network, secret);
        self.preshared.insert(*peer, key.clone());
        key
    }
}
