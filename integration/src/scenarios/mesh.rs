//! One invite, five nodes, a full mesh.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, ensure};
use ipnet::IpNet;

use super::seen;
use crate::Missing;
use crate::lab::Lab;
use crate::mesh::{Mesh, MeshOptions};
use crate::node::Node;
use crate::output::say;
use crate::scenario::Scenario;
use crate::wireguard;

pub(super) const SCENARIOS: &[Scenario] = &[Scenario {
    name: "five_nodes_with_one_invite_form_a_full_mesh",
    run: full_mesh,
}];

const RANGE: &str = "10.77.0.0/16";

fn full_mesh(lab: &Lab) -> Result<()> {
    let options = MeshOptions {
        ipv4: Some(RANGE.to_owned()),
        // As many as join: the fifth node must not need another invite; a sixth would.
        uses: 4,
        ..MeshOptions::default()
    };
    let mesh = Mesh::of_size(lab, "foo", 5, options)?;
    seen::all_answer(&mesh)?;
    addresses_are_in_range(&mesh)?;
    for node in mesh.members() {
        interface_is_as_promised(&mesh, node)
            .with_context(|| format!("WireGuard on {}", node.name()))?;
    }
    let sixth = lab.add_node("f")?;
    let said = seen::refused(
        &sixth,
        &["join-wireguard-net", "foo", "-"],
        mesh.invite(),
        &[4],
    )?;
    ensure!(said.contains("used up"), "{said}");
    Ok(())
}

fn addresses_are_in_range(mesh: &Mesh) -> Result<()> {
    let range: ipnet::Ipv4Net = RANGE.parse()?;
    let mut v4 = BTreeSet::new();
    let mut v6 = BTreeSet::new();
    let mut prefixes = BTreeSet::new();
    for node in mesh.members() {
        for address in mesh.status(node)?.addresses {
            let address: IpNet = address.parse()?;
            match address {
                IpNet::V4(own) => {
                    ensure!(range.contains(&own.addr()), "{own} is outside {range}");
                    ensure!(
                        own.addr() != own.network() && own.addr() != own.broadcast(),
                        "{own} is reserved"
                    );
                    v4.insert(own.addr());
                }
                IpNet::V6(own) => {
                    ensure!(own.prefix_len() == 64, "{own} is not in a /64");
                    ensure!(own.addr().octets()[0] == 0xfd, "{own} is no ULA");
                    prefixes.insert(own.trunc());
                    v6.insert(own.addr());
                }
            }
        }
    }
    ensure!(
        v4.len() == 5 && v6.len() == 5,
        "not distinct: {v4:?} {v6:?}"
    );
    ensure!(prefixes.len() == 1, "not in one prefix: {prefixes:?}");
    Ok(())
}

/// What WireGuard itself reports, not what the program says.
fn interface_is_as_promised(mesh: &Mesh, node: &Node) -> Result<()> {
    let status = mesh.status(node)?;
    let interface = wireguard::read(node, mesh.name())?;
    ensure!(
        interface.listen_port == Some(status.listen_port),
        "{interface:?}"
    );
    ensure!(
        interface.peers.len() == 4,
        "{} peers",
        interface.peers.len()
    );
    let others: BTreeSet<BTreeSet<IpNet>> = mesh
        .members()
        .iter()
        .zip(mesh.addresses()?)
        .filter(|(other, _)| other.name() != node.name())
        .map(|(_, ips)| ips.into_iter().map(IpNet::from).collect())
        .collect();
    let routed: BTreeSet<BTreeSet<IpNet>> = interface
        .peers
        .iter()
        .map(|peer| peer.allowed_ips.iter().copied().collect())
        .collect();
    // `IpNet::from` an address makes a /32 or a /128: nothing wider is equal to it.
    ensure!(
        routed == others,
        "{routed:?} is routed, {others:?} are the others' addresses"
    );
    for peer in &interface.peers {
        ensure!(
            peer.has_preshared_key,
            "{} has no pre-shared key",
            peer.public_key
        );
    }
    match wireguard::wg_show(node, mesh.name()) {
        Ok(shown) => shows_the_same(&shown),
        Err(error) if error.is::<Missing>() => {
            say("SKIPPED `wg show`: there is no wg on this machine; its socket was read instead");
            Ok(())
        }
        Err(error) => Err(error),
    }
}

/// What `wg show foo` shows to people.
fn shows_the_same(shown: &str) -> Result<()> {
    let fields = |name: &str| -> Vec<String> {
        shown
            .lines()
            .filter_map(|line| line.trim().strip_prefix(name)?.strip_prefix(": "))
            .map(str::to_owned)
            .collect()
    };
    ensure!(fields("peer").len() == 4, "{shown}");
    ensure!(fields("preshared key") == ["(hidden)"; 4], "{shown}");
    let allowed = fields("allowed ips");
    ensure!(allowed.len() == 4, "{shown}");
    for prefixes in allowed {
        let mut lengths: Vec<&str> = prefixes
            .split(", ")
            .filter_map(|prefix| Some(prefix.split_once('/')?.1))
            .collect();
        lengths.sort_unstable();
        ensure!(lengths == ["128", "32"], "{prefixes}");
    }
    Ok(())
}
