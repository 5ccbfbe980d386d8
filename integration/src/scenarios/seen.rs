//! What scenarios of the real program observe, and how they wait for it. Apart from starting a
//! server, nothing here changes a node.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use ipnet::IpNet;
use serde_json::Value;

use crate::mesh::Mesh;
use crate::node::Node;
use crate::ping::{matrix, ping};
use crate::server;
use crate::status::{Network, Status};
use crate::wait::wait_until;
use crate::wireguard;

/// How long things may take that have no bound of their own.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);
/// How often a server checks WireGuard when all peers have answered (10 s), and as much again for
/// slow machines. Less than the guard's slow timer.
pub(super) const LOOKED_AT: Duration = Duration::from_secs(20);

/// What a node keeps across restarts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Identity {
    /// Its node id.
    pub(super) node: String,
    /// Its WireGuard public key, in base64.
    pub(super) public_key: String,
    /// Its addresses in the network.
    pub(super) addresses: Vec<String>,
}

/// What `node` reports about network `net`.
pub(super) fn network(node: &Node, net: &str) -> Result<Network> {
    let json = node.grid_ok(&["status", net, "--json"], "")?;
    Ok(Status::parse(&json)?.network(net)?.clone())
}

/// Everything that `grid status NET --json` prints, including what the lab's types leave out.
pub(super) fn status(node: &Node, net: &str) -> Result<Value> {
    let json = node.grid_ok(&["status", net, "--json"], "")?;
    serde_json::from_str(&json).context("`grid status --json` did not print JSON")
}

/// The identity of `node` in network `net`.
pub(super) fn identity(node: &Node, net: &str) -> Result<Identity> {
    let status = status(node, net)?;
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let found = &status["networks"][0];
    let addresses = found["addresses"].as_array().map(Vec::as_slice);
    Ok(Identity {
        node: text(&status["node"]).context("no node id")?,
        public_key: text(&found["public_key"]).context("no WireGuard key")?,
        addresses: addresses
            .unwrap_or_default()
            .iter()
            .filter_map(text)
            .collect(),
    })
}

/// The keys, in base64, of the peers that WireGuard itself has on interface `net`.
pub(super) fn wireguard_peers(node: &Node, net: &str) -> Result<BTreeSet<String>> {
    let interface = wireguard::read(node, net)?;
    Ok(interface
        .peers
        .iter()
        .map(|peer| peer.public_key.to_string())
        .collect())
}

/// What WireGuard itself routes to the peer with `key` on interface `net`; nothing if there is no
/// such peer.
pub(super) fn allowed_ips(node: &Node, net: &str, key: &str) -> Result<BTreeSet<IpNet>> {
    let interface = wireguard::read(node, net)?;
    let peer = interface
        .peers
        .into_iter()
        .find(|peer| peer.public_key.to_string() == key);
    Ok(peer
        .map(|peer| peer.allowed_ips.into_iter().collect())
        .unwrap_or_default())
}

/// Whether `node` has an interface called `name`.
pub(super) fn has_interface(node: &Node, name: &str) -> Result<bool> {
    Ok(node
        .namespaces()
        .in_net(|| nix::net::if_::if_nametoindex(name).is_ok())?)
}

/// Fails unless none of `nodes` has the peer `key` in WireGuard after `within`.
pub(super) fn cut_off(nodes: &[&Node], net: &str, key: &str, within: Duration) -> Result<()> {
    wait_until("a peer to be gone from all others", within, || {
        for node in nodes {
            if wireguard_peers(node, net)?.contains(key) {
                bail!("{} still has it", node.name());
            }
        }
        Ok(true)
    })
}

/// Waits until `to` answers `from`.
pub(super) fn reaches(from: &Node, to: IpAddr, within: Duration) -> Result<()> {
    let what = format!("{to} to answer {}", from.name());
    wait_until(&what, within, || {
        Ok(ping(from, to, Duration::from_millis(500))?.is_some())
    })
    .with_context(|| from.server_log_tail(20))
}

/// Waits until every member answers every other at once, over both families: the two ends of each pair
/// have then derived the same pre-shared key.
pub(super) fn all_answer(mesh: &Mesh) -> Result<()> {
    let nodes: Vec<&Node> = mesh.members().iter().map(AsRef::as_ref).collect();
    for family in 0..2 {
        let to: Vec<IpAddr> = mesh.addresses()?.iter().map(|pair| pair[family]).collect();
        wait_until("every pair to answer at once", PATIENCE, || {
            let times = matrix(&nodes, &to, Duration::from_secs(1))?;
            ensure!(times.iter().flatten().all(Option::is_some), "{times:?}");
            Ok(true)
        })?;
    }
    Ok(())
}

/// Fails if `to` answers any of three echoes of `from`.
pub(super) fn does_not_reach(from: &Node, to: IpAddr) -> Result<()> {
    for _ in 0..3 {
        let answered = ping(from, to, Duration::from_millis(300))?;
        ensure!(answered.is_none(), "{to} answers {}", from.name());
    }
    Ok(())
}

/// Waits until no server runs on `node`.
pub(super) fn stopped(node: &Node) -> Result<()> {
    let what = format!("the server of {} to end", node.name());
    wait_until(&what, PATIENCE, || Ok(server::pid(node).is_none()))
}

/// Starts a server in the background.
pub(super) fn start(node: &Node) -> Result<()> {
    node.grid_ok(&["start-server", "--background"], "")
        .map(drop)
}

/// Runs `grid`, which must fail with one of `codes` and a sentence; returns the sentence.
pub(super) fn refused(
    node: &Node,
    arguments: &[&str],
    input: &str,
    codes: &[i32],
) -> Result<String> {
    let output = node.grid_with_input(arguments, input)?;
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    let code = output.status.code();
    let command = arguments.join(" ");
    ensure!(
        code.is_some_and(|code| codes.contains(&code)),
        "`grid {command}` on {} ended with {code:?} and not with one of {codes:?}; it said: {said}",
        node.name()
    );
    ensure!(
        said.split_whitespace().count() >= 4,
        "`grid {command}` explained itself with {said:?}"
    );
    Ok(said)
}

/// What `replay` says of a prefix now: whether it was accepted, if somebody promises it. It has to come to the same again.
pub(super) fn replayed(node: &Node, net: &str, prefix: &str) -> Result<Option<bool>> {
    let replayed: Value = serde_json::from_str(&node.grid_ok(&["replay", net, "--json"], "")?)?;
    ensure!(replayed["same"] == true, "{replayed}");
    let verdicts = replayed["verdicts"].as_array().context("no verdicts")?;
    let found = verdicts.iter().find(|verdict| verdict["prefix"] == prefix);
    Ok(found.and_then(|verdict| verdict["accepted"].as_bool()))
}

/// The node id of `node`, whatever networks it is in.
pub(super) fn identity_of(node: &Node) -> Result<String> {
    let json = node.grid_ok(&["status", "--json"], "")?;
    let status: Value = serde_json::from_str(&json)?;
    let id = status["node"].as_str().context("no node id")?;
    Ok(id.to_owned())
}

/// A node's addresses in the network "foo".
pub(super) fn ips(node: &Node) -> Result<Vec<IpAddr>> {
    ips_of(&identity(node, "foo")?)
}

/// The addresses of an identity, without their prefixes.
pub(super) fn ips_of(identity: &Identity) -> Result<Vec<IpAddr>> {
    let parse = |text: &String| Ok(text.parse::<IpNet>()?.addr());
    identity.addresses.iter().map(parse).collect()
}
