//! Whole networks in virtual time.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::time::Duration;

use grid_promises::core::{Change, Command, CommandError, JoinWith, NetworkStatus, Notice, Reply};
use grid_promises::network::invite::Invite;
use grid_promises::network::{AdmissionRule, NetworkId, NetworkName};
use grid_promises::sim::{Faults, NodeIndex, World};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

type Sim = World<ChaCha8Rng>;

fn world(seed: u64, faults: Faults) -> Sim {
    World::new(ChaCha8Rng::seed_from_u64(seed), faults)
}

fn foo() -> NetworkName {
    "foo".parse().unwrap()
}

fn found(world: &mut Sim, node: NodeIndex, range: &str, admission: AdmissionRule) -> NetworkId {
    let command = Command::Create {
        name: foo(),
        ipv4: Some(range.parse().unwrap()),
        admission,
        listen_port: 51820,
    };
    match world.run_command(node, command) {
        Ok(Reply::Joined { network, .. }) => network,
        other => panic!("founding failed: {other:?}"),
    }
}

fn invite(world: &mut Sim, node: NodeIndex, uses: u32) -> Invite {
    let command = Command::Invite {
        name: foo(),
        life: Duration::from_secs(24 * 3600),
        uses,
        endpoints: vec![],
    };
    match world.run_command(node, command) {
        Ok(Reply::Invite(text)) => Invite::from_text(&text).unwrap(),
        other => panic!("no invite: {other:?}"),
    }
}

fn join_command(with: JoinWith) -> Command {
    Command::Join {
        name: foo(),
        with,
        listen_port: 51820,
        wait: Duration::from_secs(120),
    }
}

fn join(world: &mut Sim, node: NodeIndex, invite: &Invite) -> Result<Reply, CommandError> {
    world.run_command(
        node,
        join_command(JoinWith::Invite(Box::new(invite.clone()))),
    )
}

fn status(world: &Sim, node: NodeIndex) -> Option<NetworkStatus> {
    world.nodes[node]
        .core
        .as_ref()?
        .status(world.now)
        .into_iter()
        .next()
}

/// Whether the machines hold one state: everybody has everybody else as a peer, with addresses that
/// all agree on.
fn agree(world: &Sim, network: &NetworkId, nodes: &[NodeIndex]) -> bool {
    let mut addresses: BTreeMap<NodeIndex, Ipv4Addr> = BTreeMap::new();
    for node in nodes {
        match status(world, *node).and_then(|status| status.ipv4) {
            Some(address) => addresses.insert(*node, address),
            None => return false,
        };
    }
    if addresses.values().collect::<BTreeSet<_>>().len() != nodes.len() {
        return false;
    }
    nodes.iter().all(|node| {
        let Some(tunnel) = world.nodes[*node].tunnels.get(network) else {
            return false;
        };
        let seen: BTreeSet<Ipv4Addr> = tunnel
            .peers
            .values()
            .flat_map(|peer| &peer.allowed_ips)
            .filter_map(|net| match net {
                ipnet::IpNet::V4(v4) => Some(v4.addr()),
                ipnet::IpNet::V6(_) => None,
            })
            .collect();
        let others: BTreeSet<Ipv4Addr> = addresses
            .iter()
            .filter(|(other, _)| *other != node)
            .map(|(_, a)| *a)
            .collect();
        tunnel.peers.len() + 1 == nodes.len() && seen == others
    })
}

fn mesh(seed: u64, faults: Faults, count: usize, range: &str) -> (Sim, NetworkId, Invite) {
    let mut world = world(seed, faults);
    let founder = world.add();
    let network = found(&mut world, founder, range, AdmissionRule::Invite);
    let uses = u32::try_from(count).unwrap();
    let invite = invite(&mut world, founder, uses);
    for _ in 1..count {
        let node = world.add();
        join(&mut world, node, &invite).unwrap();
    }
    (world, network, invite)
}

#[test]
fn five_nodes_agree_within_seconds() {
    let (mut world, network, _) = mesh(1, Faults::NONE, 5, "10.7.0.0/16");
    let nodes: Vec<_> = (0..5).collect();
    assert!(world.run_until(Duration::from_secs(2), |w| agree(w, &network, &nodes)));
    for node in &nodes {
        let tunnel = &world.nodes[*node].tunnels[&network];
        for peer in tunnel.peers.values() {
            assert_eq!(peer.allowed_ips.len(), 2);
            assert!(
                peer.allowed_ips
                    .iter()
                    .all(|net| net.prefix_len() == net.max_prefix_len())
            );
        }
    }
}
