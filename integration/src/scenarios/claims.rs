//! Two nodes with the same candidate address.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::Write as _;
use std::net::Ipv4Addr;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use grid_keys::{NodeKey, Secret};
use grid_promises::network::NetworkId;
use grid_promises::network::address::candidate;

use ipnet::{IpNet, Ipv4Net};

use super::seen::{self, Identity};
use crate::lab::Lab;
use crate::mesh::{Mesh, MeshOptions};
use crate::node::Node;
use crate::scenario::Scenario;
use crate::server;
use crate::wait::wait_for;

pub(super) const SCENARIOS: &[Scenario] = &[Scenario {
    name: "two_claims_of_one_address_settle_on_two",
    run: collision,
}];

/// Fourteen addresses: two node keys with the same candidate are quickly found.
const RANGE: &str = "10.77.0.16/28";
/// Connections across the cut are retried with growing pauses.
const HEALED: Duration = Duration::from_secs(60);

fn collision(lab: &Lab) -> Result<()> {
    let options = MeshOptions {
        ipv4: Some(RANGE.to_owned()),
        ..MeshOptions::default()
    };
    let mesh = Mesh::of_size(lab, "foo", 2, options)?;
    let [a, b] = mesh.members() else {
        bail!("not two members");
    };
    let (c, d) = (lab.add_node("c")?, lab.add_node("d")?);
    let contested = force_the_same_candidate(&mesh, [&c, &d])?;
    let invites = [mesh.invite_from(a)?, mesh.invite_from(b)?];
    lab.partition(&[&[a, &c], &[b, &d]])?;
    for (node, invite) in [&c, &d].into_iter().zip(&invites) {
        node.grid_ok(&["join-wireguard-net", "foo", "-"], invite)?;
        let own = seen::network(node, "foo")?.ipv4()?;
        ensure!(
            own == contested,
            "{} took {own} and not {contested}",
            node.name()
        );
    }
    lab.heal_all()?;

    let all: [&Node; 4] = [a, b, &c, &d];
    let settled = wait_for("everybody to see two addresses", HEALED, || agreed(&all))
        .with_context(|| format!("{}\n{}", c.server_log_tail(20), d.server_log_tail(20)))?;
    let (winner, loser) = if v4(&settled["c"])? == contested {
        (&c, &d)
    } else {
        (&d, &c)
    };
    let (won, lost) = (&settled[winner.name()], &settled[loser.name()]);
    ensure!(
        v4(won)? == contested && v4(lost)? != contested,
        "{settled:?}"
    );
    move_is_said(loser, contested, lost, won)?;
    let moves = &seen::status(winner, "foo")?["networks"][0]["moves"];
    ensure!(
        moves.as_array().is_some_and(Vec::is_empty),
        "the winner moved too: {moves}"
    );
    everybody_answers(&all)?;

    for node in [winner, loser] {
        server::kill_9(node)?;
    }
    for node in [winner, loser] {
        seen::start(node)?;
        let again = seen::identity(node, "foo")?;
        ensure!(again == settled[node.name()], "after a restart {again:?}");
    }
    let again = wait_for("everybody to agree after the restart", HEALED, || {
        agreed(&all)
    })?;
    ensure!(again == settled, "{settled:?} became {again:?}");
    everybody_answers(&all)
}

/// Installs two node keys whose first candidate is the same free address.
fn force_the_same_candidate(mesh: &Mesh, nodes: [&Node; 2]) -> Result<Ipv4Addr> {
    let range: Ipv4Net = RANGE.parse()?;
    let network = NetworkId(mesh.status(&mesh.members()[0])?.id.parse()?);
    let held: BTreeSet<_> = mesh.addresses()?.into_iter().flatten().collect();
    let mut first: BTreeMap<Ipv4Addr, NodeKey> = BTreeMap::new();
    for number in 0_u64.. {
        let mut seed = [0x5a; 32];
        seed[..8].copy_from_slice(&number.to_be_bytes());
        let key = NodeKey::from_seed(&Secret::new(seed));
        let address = candidate(&network, range, &key.id(), 0);
        if held.contains(&address.into()) {
            continue;
        }
        if let Some(other) = first.get(&address) {
            write_key(nodes[0], other)?;
            write_key(nodes[1], &key)?;
            return Ok(address);
        }
        first.insert(address, key);
    }
    bail!("no two keys collide")
}

/// Writes a key file as `grid generate-keys` does.
fn write_key(node: &Node, key: &NodeKey) -> Result<()> {
    let folder = node.home().join("keys");
    if !fs::exists(&folder)? {
        DirBuilder::new()
            .mode(0o700)
            .recursive(true)
            .create(&folder)?;
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(folder.join("node.key"))?;
    writeln!(
        file,
        "{}",
        data_encoding::BASE64.encode(key.seed().expose())
    )?;
    // The program uses this key.
    let printed = node.grid_ok(&["generate-keys"], "")?;
    ensure!(
        printed.contains(&key.id().to_string()),
        "it has another key: {printed}"
    );
    Ok(())
}

/// Every node's identity, once all have distinct addresses and every node's WireGuard routes to
/// each other node exactly the addresses that it says it has.
fn agreed(all: &[&Node]) -> Result<Option<BTreeMap<String, Identity>>> {
    let mut found = BTreeMap::new();
    let mut addresses = BTreeSet::new();
    for node in all {
        let identity = seen::identity(node, "foo")?;
        ensure!(
            addresses.insert(v4(&identity)?),
            "{} has an address twice: {identity:?}",
            node.name()
        );
        found.insert(node.name().to_owned(), identity);
    }
    for node in all {
        for (name, other) in found.iter().filter(|(name, _)| *name != node.name()) {
            let routed = seen::allowed_ips(node, "foo", &other.public_key)?;
            let wanted = hosts(other)?;
            ensure!(
                routed == wanted,
                "{} routes {routed:?} to {name}, which has {wanted:?}",
                node.name()
            );
        }
    }
    Ok(Some(found))
}

/// The log and the status of the loser say so.
fn move_is_said(loser: &Node, from: Ipv4Addr, lost: &Identity, won: &Identity) -> Result<()> {
    let to = v4(lost)?;
    let status = seen::status(loser, "foo")?;
    let moves = status["networks"][0]["moves"]
        .as_array()
        .context("no moves")?;
    let last = moves.last().context("the move is not in the status")?;
    ensure!(
        last["from"] == from.to_string()
            && last["to"] == to.to_string()
            && last["holder"] == won.node.as_str(),
        "{last}"
    );
    let said = format!("this node moves to {to}");
    let log = loser.server_log()?;
    ensure!(
        log.lines()
            .any(|line| line.contains(&from.to_string()) && line.contains(&said)),
        "{}",
        loser.server_log_tail(30)
    );
    let shown = loser.grid_ok(&["status", "foo"], "")?;
    ensure!(
        shown.contains(&from.to_string()),
        "people are not told: {shown}"
    );
    Ok(())
}

fn everybody_answers(all: &[&Node]) -> Result<()> {
    for from in all {
        for to in all {
            for host in hosts(&seen::identity(to, "foo")?)? {
                seen::reaches(from, host.addr(), HEALED)?;
            }
        }
    }
    Ok(())
}

fn hosts(identity: &Identity) -> Result<BTreeSet<IpNet>> {
    let host = |text: &String| Ok(IpNet::from(text.parse::<IpNet>()?.addr()));
    identity.addresses.iter().map(host).collect()
}

fn v4(identity: &Identity) -> Result<Ipv4Addr> {
    for host in hosts(identity)? {
        if let IpNet::V4(v4) = host {
            return Ok(v4.addr());
        }
    }
    bail!("no IPv4 address: {identity:?}")
}
