//! Translates what the core wants into what `grid-wg` should make.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use grid_promises::core::Tunnel;
use grid_promises::network::name::NetworkName;
use grid_wg::{Desired, DesiredPeer, IfName, Mtu, Observed, Routing};
use ipnet::IpNet;

use crate::exit::Failure;

/// The greatest age at which a handshake still shows that the endpoint works (WireGuard paper, section
/// 6.1: a session ends after 180 seconds).
const FRESH: Duration = Duration::from_secs(180);

/// The name of a network's interface.
///
/// # Errors
/// The kernel does not accept the name.
pub fn name_of(name: &NetworkName) -> Result<IfName, Failure> {
    IfName::try_from(name.as_str()).map_err(|error| Failure::failed(error.to_string()))
}

/// The wanted state of the interface.
///
/// A peer that currently answers keeps the endpoint at which it does, whatever endpoint the core would
/// try first: the core may not know of the handshake yet. The tunnel's own packets get the mark, unless
/// it is 0.
#[must_use]
pub fn desired(
    name: IfName,
    tunnel: &Tunnel,
    routing: Routing,
    mark: u32,
    observed: &Observed,
) -> Desired {
    let answers = |key| {
        observed
            .interface
            .as_ref()
            .and_then(|interface| interface.peers.get(key)?.latest_handshake)
            .is_some_and(|at| {
                SystemTime::now()
                    .duration_since(at)
                    .is_ok_and(|age| age < FRESH)
            })
    };
    Desired {
        name,
        private_key: tunnel.private_key.clone(),
        listen_port: tunnel.listen_port,
        mtu: Mtu::DEFAULT,
        fwmark: (mark != 0).then_some(mark),
        addresses: tunnel.addresses.clone(),
        peers: tunnel
            .peers
            .iter()
            .map(|(key, peer)| {
                let desired = DesiredPeer {
                    preshared_key: Some(peer.preshared_key.clone()),
                    endpoint: peer.endpoint.filter(|_| !answers(key)),
                    allowed_ips: peer.allowed_ips.clone(),
                    keepalive: Some(peer.keepalive),
                };
                (*key, desired)
            })
            .collect(),
        routes: routes(tunnel),
        routing,
    }
}

/// The kernel makes the routes for the network's own prefixes together with the addresses. They are
/// listed all the same, so that they come back when somebody removes them.
fn routes(tunnel: &Tunnel) -> BTreeSet<IpNet> {
    let is_prefix = |net: &&IpNet| net.prefix_len() < net.max_prefix_len();
    let connected = tunnel.addresses.iter().filter(is_prefix);
    let connected = connected.map(IpNet::trunc);
    connected.chain(tunnel.routes.iter().copied()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    use grid_keys::{Secret, WgSecretKey};
    use grid_promises::core::TunnelPeer;
    use grid_wg::{BackendKind, ObservedInterface, ObservedPeer};

    fn observed(key: grid_keys::WgPublicKey, handshake: Option<SystemTime>) -> Observed {
        let peer = ObservedPeer {
            latest_handshake: handshake,
            ..ObservedPeer::default()
        };
        Observed {
            rules: BTreeSet::new(),
            connected: BTreeSet::new(),
            interface: Some(ObservedInterface {
                index: 1,
                kind: BackendKind::Kernel,
                up: true,
                mtu: 1420,
                public_key: None,
                listen_port: 1,
                fwmark: None,
                addresses: BTreeSet::new(),
                routes: BTreeMap::new(),
                peers: BTreeMap::from([(key, peer)]),
            }),
        }
    }

    #[test]
    fn a_peer_that_answers_is_left_where_it_answers() {
        let key = |byte| WgSecretKey::from_bytes(&Secret::new([byte; 32]));
        let peer = key(2).public();
        let endpoint = Some("192.0.2.1:51820".parse().unwrap());
        let tunnel = Tunnel {
            private_key: key(1),
            listen_port: 51820,
            addresses: BTreeSet::new(),
            routes: BTreeSet::new(),
            peers: BTreeMap::from([(
                peer,
                TunnelPeer {
                    preshared_key: Secret::new([3; 32]),
                    endpoint,
                    allowed_ips: BTreeSet::new(),
                    keepalive: 25,
                },
            )]),
        };
        let now = SystemTime::now();
        let old = now - Duration::from_secs(181);
        for (handshake, expected) in [(None, endpoint), (Some(now), None), (Some(old), endpoint)] {
            let name = "foo".parse().unwrap();
            let observed = observed(peer, handshake);
            let desired = desired(name, &tunnel, Routing::default(), 7, &observed);
            assert_eq!(desired.fwmark, Some(7));
            assert_eq!(desired.peers[&peer].endpoint, expected, "{handshake:?}");
        }
    }
}
