//! More than one network on a node, and ways into a network that need no invite.

use std::net::IpAddr;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use ipnet::IpNet;

use super::seen::{self, PATIENCE};
use crate::lab::Lab;
use crate::mesh::{Mesh, MeshOptions};
use crate::node::Node;
use crate::scenario::Scenario;
use crate::server;
use crate::status::Status;
use crate::wait::{wait_for, wait_until};
use crate::wireguard;

const QUIC_PORT: u16 = 51821;

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "two_networks_at_once",
        run: two_networks,
    },
    Scenario {
        name: "an_open_network_is_joined_by_name",
        run: open,
    },
    Scenario {
        name: "a_network_by_invite_is_not_joined_by_name",
        run: by_invite,
    },
    Scenario {
        name: "a_public_range_takes_a_word_on_both_sides",
        run: public_range,
    },
    Scenario {
        name: "an_owner_admits_who_asked",
        run: by_approval,
    },
    Scenario {
        name: "a_network_that_was_left_is_not_replaced_unasked",
        run: not_replaced,
    },
];

/// Whoever has such addresses on the internet cannot be reached any longer: the founder says that it wants that, and so does
/// everybody who joins.
fn public_range(lab: &Lab) -> Result<()> {
    const RANGE: &str = "8.8.0.0/16";
    let (a, b) = (lab.add_node("a")?, lab.add_node("b")?);
    let create = ["create-wireguard-net", "foo", "--ipv4", RANGE];
    let join = ["join-wireguard-net", "foo", "-"];
    let asks = |said: &str| said.contains(RANGE) && said.contains("--allow-public");
    let said = seen::refused(&a, &create, "", &[4])?;
    ensure!(asks(&said), "{said}");
    a.grid_ok(&[&create[..], &["--allow-public"]].concat(), "")?;
    let invite = a.grid_ok(&["invite", "foo"], "")?;
    let said = seen::refused(&b, &join, &invite, &[4])?;
    ensure!(asks(&said), "{said}");
    ensure!(!seen::has_interface(&b, "foo")?, "it joined all the same");
    let said = b.grid_ok(&[&join[..], &["--allow-public"]].concat(), &invite)?;
    ensure!(said.contains("8.8."), "{said}");
    for ip in seen::ips(&b)? {
        seen::reaches(&a, ip, PATIENCE)?;
    }
    Ok(())
}

/// What a node keeps of a network that it left is gone once it founds another of that name.
fn not_replaced(lab: &Lab) -> Result<()> {
    let a = lab.add_node("a")?;
    let create = ["create-wireguard-net", "foo"];
    a.grid_ok(&create, "")?;
    let before = a.grid_ok(&["status", "foo", "--json"], "")?;
    a.grid_ok(&["leave-wireguard-net", "foo"], "")?;
    for arguments in [&create[..], &[&create[..], &["--dry-run"]].concat()] {
        let said = seen::refused(&a, arguments, "", &[4])?;
        ensure!(
            said.contains("join-wireguard-net foo") && said.contains("--replace"),
            "{said}"
        );
    }
    let id = |status: &str| -> Result<String> {
        let status: serde_json::Value = serde_json::from_str(status)?;
        let id = status["networks"][0]["id"].as_str();
        Ok(id.context("no network")?.to_owned())
    };
    // It is there as it was.
    let alone = ["join-wireguard-net", "foo", "--wait", "1s"];
    let said = seen::refused(&a, &alone, "", &[5])?;
    ensure!(said.contains("keeps trying"), "{said}");
    let again = a.grid_ok(&["status", "foo", "--json"], "")?;
    ensure!(id(&before)? == id(&again)?, "{again}");
    a.grid_ok(&["leave-wireguard-net", "foo"], "")?;
    a.grid_ok(&[&create[..], &["--replace"]].concat(), "")?;
    let other = a.grid_ok(&["status", "foo", "--json"], "")?;
    ensure!(id(&before)? != id(&other)?, "{other}");
    Ok(())
}

fn two_networks(lab: &Lab) -> Result<()> {
    let (a, b) = (lab.add_node("a")?, lab.add_node("b")?);
    let mut meshes = Vec::new();
    for name in ["foo", "bar"] {
        let mut mesh = Mesh::found(&a, name, MeshOptions::default())?;
        mesh.join(&b)?;
        mesh.wait_whole(PATIENCE)?;
        meshes.push(mesh);
    }
    for node in [&a, &b] {
        let (one, other) = (seen::network(node, "foo")?, seen::network(node, "bar")?);
        ensure!(one.interface == "foo" && other.interface == "bar");
        ensure!(
            seen::has_interface(node, "foo")? && seen::has_interface(node, "bar")?,
            "not both interfaces are there"
        );
        ensure!(one.id != other.id && one.listen_port != other.listen_port);
        for net in [&one, &other] {
            let interface = wireguard::read(node, &net.name)?;
            ensure!(
                interface.listen_port == Some(net.listen_port),
                "{interface:?}"
            );
        }
        let (first, second) = (seen::identity(node, "foo")?, seen::identity(node, "bar")?);
        ensure!(first.node == second.node, "two node keys");
        ensure!(
            first.public_key != second.public_key,
            "one WireGuard key for both networks"
        );
    }
    // Each key is known only in its own network.
    for net in ["foo", "bar"] {
        let key = seen::identity(&b, net)?.public_key;
        ensure!(seen::wireguard_peers(&a, net)? == [key].into());
    }
    // Leaving one does not affect the other: not even its session with b is renewed.
    let before = seen::identity(&b, "foo")?;
    let handshake = last_handshake(&a, "foo")?;
    meshes[1].leave(&b)?;
    ensure!(
        server::pid(&b).is_some(),
        "the server ended with a network left"
    );
    ensure!(!seen::has_interface(&b, "bar")? && seen::has_interface(&b, "foo")?);
    seen::cut_off(
        &[a.as_ref()],
        "bar",
        &before.public_key,
        Duration::from_secs(5),
    )?;
    wait_until("a to forget b in bar", Duration::from_secs(5), || {
        Ok(seen::wireguard_peers(&a, "bar")?.is_empty())
    })?;
    ensure!(seen::identity(&b, "foo")? == before);
    meshes[0].wait_whole(PATIENCE)?;
    ensure!(
        last_handshake(&a, "foo")? == handshake,
        "the session in foo was not left alone"
    );
    Ok(())
}

fn last_handshake(node: &Node, net: &str) -> Result<Duration> {
    let interface = wireguard::read(node, net)?;
    let peer = interface.peers.first().context("no peer")?;
    peer.last_handshake.context("no handshake")
}

fn open(lab: &Lab) -> Result<()> {
    let (a, b) = founded(lab, "open")?;
    let peer = exchange(&b, &a)?;
    ensure!(
        peer == seen::identity(&a, "foo")?.node,
        "keys were exchanged with {peer}"
    );
    b.grid_ok(&["join-wireguard-net", "foo"], "")?;
    answers(&a, &b)?;
    // A third node pins the key; one that has the wrong key accepts none.
    let c = lab.add_node("c")?;
    let place = place(&a)?;
    let wrong = seen::identity(&b, "foo")?.node;
    seen::refused(
        &c,
        &["exchange-keys", &format!("{place}#{wrong}")],
        "",
        &[4],
    )?;
    seen::refused(&c, &["join-wireguard-net", "foo"], "", &[1, 4, 5])?;
    c.grid_ok(&["exchange-keys", &format!("{place}#{peer}")], "")?;
    c.grid_ok(&["join-wireguard-net", "foo"], "")?;
    answers(&a, &c)?;
    answers(&b, &c)
}

fn by_invite(lab: &Lab) -> Result<()> {
    let (a, b) = founded(lab, "invite")?;
    exchange(&b, &a)?;
    let said = seen::refused(&b, &["join-wireguard-net", "foo"], "", &[1, 4, 5])?;
    ensure!(said.contains("invite"), "no way out is named: {said}");
    let after = Status::parse(&b.grid_ok(&["status", "--json"], "")?)?;
    ensure!(after.networks.is_empty(), "it is half in: {after:?}");
    ensure!(
        !seen::has_interface(&b, "foo")?,
        "an interface was left behind"
    );
    ensure!(
        seen::wireguard_peers(&a, "foo")?.is_empty(),
        "a has let b in"
    );
    Ok(())
}

fn by_approval(lab: &Lab) -> Result<()> {
    let (a, b) = founded(lab, "approve")?;
    let node = exchange_json(&b, &a)?["own"]
        .as_str()
        .context("no node id")?
        .to_owned();
    thread::scope(|scope| {
        let join = scope.spawn(|| b.grid(&["join-wireguard-net", "foo", "--wait", "40s"]));
        let asked = wait_for("b to ask", PATIENCE, || {
            let status = seen::status(&a, "foo")?;
            Ok(status["networks"][0]["asking"][0]["node"]
                .as_str()
                .map(str::to_owned))
        });
        let admitted = asked.and_then(|asked| {
            ensure!(asked == node, "{asked} asks");
            ensure!(
                seen::wireguard_peers(&a, "foo")?.is_empty(),
                "b is in before it is admitted"
            );
            a.grid_ok(&["accept", "foo", &node], "")
        });
        let joined = join
            .join()
            .map_err(|_| anyhow::anyhow!("the join panicked"))??;
        admitted?;
        ensure!(
            joined.status.success(),
            "joining ended with {}: {}",
            joined.status,
            String::from_utf8_lossy(&joined.stderr)
        );
        Ok(())
    })?;
    answers(&a, &b)?;
    let asking = &seen::status(&a, "foo")?["networks"][0]["asking"];
    ensure!(
        asking.as_array().is_some_and(Vec::is_empty),
        "still asking: {asking}"
    );
    // Nobody has admitted it: it is told who can.
    let c = lab.add_node("c")?;
    exchange(&c, &a)?;
    let join = ["join-wireguard-net", "foo", "--wait", "2s"];
    let said = seen::refused(&c, &join, "", &[4, 5])?;
    ensure!(said.contains("owner"), "{said}");
    // Only an owner can admit it.
    let node = seen::identity_of(&c)?;
    seen::refused(&b, &["accept", "foo", &node], "", &[1, 4])?;
    Ok(())
}

/// Founds a network on a new node, and adds a second node.
fn founded(lab: &Lab, admission: &str) -> Result<(std::sync::Arc<Node>, std::sync::Arc<Node>)> {
    let (a, b) = (lab.add_node("a")?, lab.add_node("b")?);
    a.namespaces().in_net(crate::requirements::wireguard)??;
    a.grid_ok(
        &["create-wireguard-net", "foo", "--admission", admission],
        "",
    )?;
    Ok((a, b))
}

fn place(node: &Node) -> Result<String> {
    Ok(format!("{}:{QUIC_PORT}", node.ipv4()?))
}

/// Has `from` exchange keys with `to`; returns the node id that it was shown.
fn exchange(from: &Node, to: &Node) -> Result<String> {
    let peer = &exchange_json(from, to)?["peer"];
    Ok(peer.as_str().context("no peer")?.to_owned())
}

fn exchange_json(from: &Node, to: &Node) -> Result<serde_json::Value> {
    let printed = from.grid_ok(&["exchange-keys", &place(to)?, "--json"], "")?;
    Ok(serde_json::from_str(&printed)?)
}

/// Waits until two nodes answer one another in foo, over both families.
fn answers(a: &Node, b: &Node) -> Result<()> {
    for (from, to) in [(a, b), (b, a)] {
        for address in seen::identity(to, "foo")?.addresses {
            let ip: IpAddr = address.parse::<IpNet>()?.addr();
            seen::reaches(from, ip, PATIENCE)?;
        }
    }
    Ok(())
}
