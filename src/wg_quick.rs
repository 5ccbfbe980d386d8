//! The configuration of a network in the form that wg-quick(8) reads. Holds the private key.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;

use data_encoding::BASE64;
use grid_keys::WgPublicKey;
use grid_promises::core::Tunnel;
use grid_wg::{Mtu, Table};
use zeroize::Zeroizing;

use crate::store::table_word;

/// The file. `seen` are endpoints that WireGuard learned.
#[must_use]
pub fn render(
    name: &str,
    tunnel: &Tunnel,
    table: Table,
    seen: &BTreeMap<WgPublicKey, SocketAddr>,
) -> Zeroizing<String> {
    // All the room at once: a growing text would leave copies of the keys behind.
    let mut text = Zeroizing::new(String::with_capacity(1024 + tunnel.peers.len() * 2048));
    let key = Zeroizing::new(BASE64.encode(tunnel.private_key.expose()));
    let addresses: Vec<String> = tunnel.addresses.iter().map(ToString::to_string).collect();
    // Writing to a string cannot fail.
    let _ = write!(
        text,
        "# The network \"{name}\" as it was when this file was written; it learns nothing of later\n\
         # members. Not to be used while grid runs the network, nor on two machines.\n\
         [Interface]\nPrivateKey = {}\nListenPort = {}\nAddress = {}\nMTU = {}\n",
        key.as_str(),
        tunnel.listen_port,
        addresses.join(", "),
        Mtu::DEFAULT.get(),
    );
    if table != Table::Auto {
        let _ = writeln!(text, "Table = {}", table_word(table));
    }
    for (key, peer) in &tunnel.peers {
        let shared = Zeroizing::new(BASE64.encode(peer.preshared_key.expose()));
        let allowed: Vec<String> = peer.allowed_ips.iter().map(ToString::to_string).collect();
        let _ = write!(
            text,
            "\n[Peer]\nPublicKey = {key}\nPresharedKey = {}\nAllowedIPs = {}\n",
            shared.as_str(),
            allowed.join(", ")
        );
        if let Some(endpoint) = seen.get(key).copied().or(peer.endpoint) {
            let _ = writeln!(text, "Endpoint = {endpoint}");
        }
        if peer.keepalive != 0 {
            let _ = writeln!(text, "PersistentKeepalive = {}", peer.keepalive);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use grid_keys::{Secret, WgSecretKey};
    use grid_promises::core::TunnelPeer;

    #[test]
    fn it_is_what_wg_quick_reads() {
        let key = |byte| WgSecretKey::from_bytes(&Secret::new([byte; 32]));
        let peer = TunnelPeer {
            preshared_key: Secret::new([3; 32]),
            endpoint: Some("[2001:db8::1]:51820".parse().unwrap()),
            allowed_ips: [
                "10.9.0.2/32".parse().unwrap(),
                "fd00::2/128".parse().unwrap(),
            ]
            .into(),
            keepalive: 25,
        };
        let tunnel = Tunnel {
            private_key: key(1),
            listen_port: 51820,
            addresses: ["10.9.0.1/16".parse().unwrap()].into(),
            routes: [].into(),
            peers: [(key(2).public(), peer)].into(),
        };
        let text = render("foo", &tunnel, Table::Off, &BTreeMap::new());
        let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        let public = format!("PublicKey = {}", key(2).public());
        assert_eq!(
            lines,
            [
                "[Interface]",
                "PrivateKey = AAEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAUE=",
                "ListenPort = 51820",
                "Address = 10.9.0.1/16",
                "MTU = 1420",
                "Table = off",
                "",
                "[Peer]",
                &public,
                "PresharedKey = AwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwM=",
                "AllowedIPs = 10.9.0.2/32, fd00::2/128",
                "Endpoint = [2001:db8::1]:51820",
                "PersistentKeepalive = 25",
            ]
        );
        let seen = [(key(2).public(), "192.0.2.7:9".parse().unwrap())].into();
        assert!(render("foo", &tunnel, Table::Auto, &seen).contains("Endpoint = 192.0.2.7:9\n"));
    }
}
