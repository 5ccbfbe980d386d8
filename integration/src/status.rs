//! The answer of `grid status --json`, as far as the lab reads it. Unknown fields are ignored; a
//! missing stable field is an error.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::{Context as _, Result};
use serde::Deserialize;

#[derive(Debug, Clone, Deserialize)]
pub struct Status {
    pub networks: Vec<Network>,
}

#[derive(Debug, Clone, Deserialize)]
pub struct Network {
    /// The name that this node gave it.
    pub name: String,
    /// The content id of its charter.
    pub id: String,
    pub interface: String,
    /// `kernel` or `userspace`.
    pub backend: String,
    pub listen_port: u16,
    /// This node's addresses, with or without a prefix length.
    pub addresses: Vec<String>,
    pub peers: Vec<Peer>,
}

#[derive(Debug, Clone, Deserialize)]
pub struct Peer {
    pub node: String,
    /// Its label.
    pub name: Option<String>,
    /// Its WireGuard key, in base64.
    pub public_key: String,
    /// Where packets for it go.
    pub endpoint: Option<String>,
    /// What WireGuard routes to it.
    pub allowed_ips: Vec<String>,
    /// Unix time in seconds.
    pub latest_handshake: Option<u64>,
    pub rx_bytes: u64,
    pub tx_bytes: u64,
    /// The prefixes that it promised.
    pub promised: Vec<String>,
    /// The prefixes that this node accepted.
    pub accepted: Vec<String>,
}

impl Status {
    /// Reads what `grid status --json` printed.
    ///
    /// # Errors
    /// Names the field that is missing or has the wrong type.
    pub fn parse(json: &str) -> Result<Self> {
        serde_json::from_str(json).with_context(|| format!("`grid status --json` printed {json:?}"))
    }

    /// The network called `name`.
    ///
    /// # Errors
    /// When the node is in no such network.
    pub fn network(&self, name: &str) -> Result<&Network> {
        self.networks
            .iter()
            .find(|network| network.name == name)
            .with_context(|| format!("`grid status` knows no network {name}"))
    }
}

impl Network {
    /// This node's IPv4 address in the network.
    ///
    /// # Errors
    /// When it has none (yet).
    pub fn ipv4(&self) -> Result<Ipv4Addr> {
        self.ips()
            .find_map(|ip| match ip {
                IpAddr::V4(v4) => Some(v4),
                IpAddr::V6(_) => None,
            })
            .with_context(|| format!("no IPv4 address among {:?}", self.addresses))
    }

    /// This node's IPv6 address in the network.
    ///
    /// # Errors
    /// When it has none (yet).
    pub fn ipv6(&self) -> Result<Ipv6Addr> {
        self.ips()
            .find_map(|ip| match ip {
                IpAddr::V6(v6) => Some(v6),
                IpAddr::V4(_) => None,
            })
            .with_context(|| format!("no IPv6 address among {:?}", self.addresses))
    }

    fn ips(&self) -> impl Iterator<Item = IpAddr> {
        self.addresses
            .iter()
            .filter_map(|text| text.split('/').next()?.parse().ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stable_shape_is_read() {
        let status = Status::parse(
            r#"{"networks":[{"name":"foo","id":"b","interface":"foo","backend":"userspace",
                "listen_port":51820,"addresses":["10.1.2.3/16","fd00::1"],"peers":[{"node":"n",
                "name":"b","public_key":"k","endpoint":"192.0.2.12:51820","path":"direct",
                "allowed_ips":["10.1.2.4/32"],"latest_handshake":null,"rx_bytes":1,"tx_bytes":2,
                "promised":[],"accepted":[],"kept":{}}]}]}"#,
        )
        .unwrap();
        let network = status.network("foo").unwrap();
        assert_eq!(network.ipv4().unwrap(), Ipv4Addr::new(10, 1, 2, 3));
        assert_eq!(
            network.ipv6().unwrap(),
            "fd00::1".parse::<Ipv6Addr>().unwrap()
        );
        assert!(status.network("bar").is_err());
        let error = Status::parse(r#"{"networks":[{"name":"foo"}]}"#).unwrap_err();
        assert!(format!("{error:#}").contains("missing field"), "{error:#}");
    }
}
