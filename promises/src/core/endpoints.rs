//! Where nodes can be reached: which endpoints this node promises, and in which order it tries those of
//! others.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

use crate::core::local::Local;
use crate::limits::MAX_ENDPOINTS;
use crate::network::endpoint::{Endpoint, EndpointKind, is_reachable};

/// Where this node's QUIC can be reached.
pub(crate) fn quic(local: &Local) -> Vec<Endpoint> {
    let host = local.host();
    let fixed = host
        .fixed_quic
        .iter()
        .map(|addr| (EndpointKind::Static, *addr));
    let own = host.local_quic().map(|addr| (EndpointKind::Local, addr));
    let seen = local
        .seen_at()
        .iter()
        .map(|addr| (EndpointKind::Observed, *addr));
    promised(fixed.chain(own).chain(seen), local)
}

/// Where this node's WireGuard can be reached on a port.
pub(crate) fn wireguard(local: &Local, port: u16) -> Vec<Endpoint> {
    let host = local.host();
    let fixed = host
        .fixed_quic
        .iter()
        .map(|addr| (EndpointKind::Static, addr.ip()));
    let own = host.addresses.iter().map(|ip| (EndpointKind::Local, *ip));
    let seen = local
        .seen_at()
        .iter()
        .map(|addr| (EndpointKind::Observed, addr.ip()));
    promised(
        fixed
            .chain(own)
            .chain(seen)
            .map(|(kind, ip)| (kind, SocketAddr::new(ip, port))),
        local,
    )
}

/// Each address once, by its best reason; nothing inside the tunnels themselves.
fn promised(all: impl Iterator<Item = (EndpointKind, SocketAddr)>, local: &Local) -> Vec<Endpoint> {
    let mut seen = BTreeSet::new();
    // Where others see this node is only news if it is not one of its own addresses.
    let own = |kind, ip| kind == EndpointKind::Observed && local.host().addresses.contains(&ip);
    all.filter(|(kind, addr)| {
        is_reachable(addr)
            && !local.is_in_tunnel(&addr.ip())
            && !own(*kind, addr.ip())
            && seen.insert(*addr)
    })
    .map(|(kind, addr)| Endpoint { kind, addr })
    .take(MAX_ENDPOINTS)
    .collect()
}

/// Another node's endpoints in the order in which this one tries them.
pub(crate) fn ranked_here(endpoints: &[Endpoint], local: &Local) -> Vec<Endpoint> {
    let host = local.host();
    ranked(endpoints, &host.addresses, &host.connected, |ip| {
        local.is_in_tunnel(ip)
    })
}

/// A member's endpoints, best first: those in a prefix that is directly connected here, then
/// configured ones, then where it was seen, then its own addresses elsewhere. Families that this
/// node has no address of come last; addresses inside `inside` (tunnels) are left out.
fn ranked(
    endpoints: &[Endpoint],
    addresses: &BTreeSet<IpAddr>,
    connected: &BTreeSet<IpNet>,
    inside: impl Fn(&IpAddr) -> bool,
) -> Vec<Endpoint> {
    let has_v4 = addresses.iter().any(IpAddr::is_ipv4);
    let has_v6 = addresses.iter().any(IpAddr::is_ipv6);
    let mut ranked: Vec<(u8, usize, Endpoint)> = endpoints
        .iter()
        .enumerate()
        .filter(|(_, endpoint)| !inside(&endpoint.addr.ip()))
        .map(|(position, endpoint)| {
            let ip = endpoint.addr.ip();
            let near = connected.iter().any(|net| net.contains(&ip));
            let family = if ip.is_ipv4() { has_v4 } else { has_v6 };
            let class = match endpoint.kind {
                _ if !family && !ip.is_loopback() => 4,
                _ if near => 0,
                EndpointKind::Static => 1,
                EndpointKind::Observed => 2,
                EndpointKind::Local => 3,
            };
            (class, position, *endpoint)
        })
        .collect();
    ranked.sort_by_key(|(class, position, _)| (*class, *position));
    let mut seen = BTreeSet::new();
    ranked
        .into_iter()
        .map(|(_, _, endpoint)| endpoint)
        .filter(|endpoint| seen.insert(endpoint.addr))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(kind: EndpointKind, addr: &str) -> Endpoint {
        Endpoint {
            kind,
            addr: addr.parse().unwrap(),
        }
    }

    #[test]
    fn near_endpoints_come_first_and_tunnels_never() {
        let endpoints = [
            endpoint(EndpointKind::Local, "10.9.0.1:1"),
            endpoint(EndpointKind::Observed, "198.51.100.1:1"),
            endpoint(EndpointKind::Local, "192.0.2.1:1"),
            endpoint(EndpointKind::Local, "[2001:db8::1]:1"),
            endpoint(EndpointKind::Static, "203.0.113.1:1"),
            endpoint(EndpointKind::Local, "10.77.0.1:1"),
        ];
        let addresses = BTreeSet::from(["192.0.2.9".parse().unwrap()]);
        let connected = BTreeSet::from(["192.0.2.0/24".parse().unwrap()]);
        let tunnel: IpNet = "10.77.0.0/16".parse().unwrap();
        let order: Vec<String> =
            ranked(&endpoints, &addresses, &connected, |ip| tunnel.contains(ip))
                .iter()
                .map(|e| e.addr.to_string())
                .collect();
        assert_eq!(
            order,
            [
                "192.0.2.1:1",
                "203.0.113.1:1",
                "198.51.100.1:1",
                "10.9.0.1:1",
                "[2001:db8::1]:1"
            ]
        );
    }
}
