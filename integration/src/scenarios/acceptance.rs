//! Prefixes wider than a member's own address: promised by one node, accepted by another, or not.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use grid_netlink::Netlink;
use ipnet::{IpNet, Ipv4Net};
use serde_json::Value;

use super::seen::{self, PATIENCE};
use crate::lab::Lab;
use crate::link;
use crate::mesh::{Mesh, MeshOptions};
use crate::node::Node;
use crate::scenario::Scenario;
use crate::server;
use crate::wait::wait_until;

/// TEST-NET-2 of RFC 5737: unused in the lab.
const PREFIX: &str = "198.51.100.0/24";
const BEHIND: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "a_subnet_is_routed_only_where_it_is_accepted",
        run: subnet,
    },
    Scenario {
        name: "what_is_connected_here_is_not_accepted_by_default",
        run: connected,
    },
    Scenario {
        name: "a_default_route_is_not_accepted_by_default",
        run: default_route,
    },
];

fn subnet(lab: &Lab) -> Result<()> {
    let mesh = Mesh::of_size(lab, "foo", 3, MeshOptions::default())?;
    let [a, b, c] = [0, 1, 2].map(|number| mesh.members()[number].clone());
    b.namespaces().in_net(|| -> Result<()> {
        let mut netlink = Netlink::route()?;
        Ok(link::add_address(
            &mut netlink,
            link::index_of("lo")?,
            BEHIND.into(),
            32,
        )?)
    })??;
    b.grid_ok(&["promise", "foo", PREFIX], "")?;
    for node in [&a, &c] {
        let why = wait_refused(node, "b", PREFIX)?;
        ensure!(why.contains("rule"), "{why}");
        let shown = node.grid_ok(&["status", "foo"], "")?;
        ensure!(
            shown.contains(PREFIX) && shown.contains(&why),
            "people are not told: {shown}"
        );
        is_routed(node, &b, false)?;
        seen::does_not_reach(node, BEHIND.into())?;
    }

    a.grid_ok(&["accept", "foo", PREFIX, "--from", "b"], "")?;
    is_routed(&a, &b, true)?;
    seen::reaches(&a, BEHIND.into(), PATIENCE)?;
    // What a decided does not bind the others.
    is_routed(&c, &b, false)?;
    // It outlives the process.
    server::kill_9(&a)?;
    seen::start(&a)?;
    is_routed(&a, &b, true)?;
    seen::reaches(&a, BEHIND.into(), PATIENCE)?;

    b.grid_ok(&["withdraw", "foo", PREFIX], "")?;
    is_routed(&a, &b, false)?;
    seen::does_not_reach(&a, BEHIND.into())?;
    b.grid_ok(&["promise", "foo", PREFIX], "")?;
    is_routed(&a, &b, true)?;
    seen::reaches(&a, BEHIND.into(), PATIENCE)?;

    a.grid_ok(&["reject", "foo", PREFIX, "--from", "b"], "")?;
    is_routed(&a, &b, false)?;
    seen::does_not_reach(&a, BEHIND.into())?;
    let why = wait_refused(&a, "b", PREFIX)?;
    ensure!(why.contains("reject"), "{why}");
    mesh.wait_whole(PATIENCE)
}

fn connected(lab: &Lab) -> Result<()> {
    let mesh = Mesh::of_size(lab, "foo", 2, MeshOptions::default())?;
    let (a, b) = (&mesh.members()[0], &mesh.members()[1]);
    // The network that both are plugged into: accepting it would cut a off.
    let prefix = Ipv4Net::new(a.ipv4()?, 24)?.trunc().to_string();
    b.grid_ok(&["promise", "foo", &prefix], "")?;
    let why = wait_refused(a, "b", &prefix)?;
    ensure!(why.contains("connected"), "{why}");
    let key = seen::identity(b, "foo")?.public_key;
    let wide: IpNet = prefix.parse()?;
    ensure!(!seen::allowed_ips(a, "foo", &key)?.contains(&wide));
    mesh.wait_whole(PATIENCE)
}

fn default_route(lab: &Lab) -> Result<()> {
    let mesh = Mesh::of_size(lab, "foo", 2, MeshOptions::default())?;
    let (a, b) = (&mesh.members()[0], &mesh.members()[1]);
    let key = seen::identity(b, "foo")?.public_key;
    let before = seen::allowed_ips(a, "foo", &key)?;
    for prefix in ["0.0.0.0/0", "::/0"] {
        b.grid_ok(&["promise", "foo", prefix], "")?;
        let why = wait_refused(a, "b", prefix)?;
        ensure!(why.contains("default route"), "{why}");
    }
    // Nor can a rule be made without a node, for the members' own addresses, or for half of
    // everything.
    for prefix in ["0.0.0.0/0", PREFIX] {
        seen::refused(a, &["accept", "foo", prefix], "", &[2, 4])?;
    }
    let range = mesh.status(a)?.addresses[0]
        .parse::<IpNet>()?
        .trunc()
        .to_string();
    for prefix in [range.as_str(), "0.0.0.0/1"] {
        seen::refused(a, &["accept", "foo", prefix, "--from", "b"], "", &[2, 4])?;
    }
    let rules = &seen::status(a, "foo")?["networks"][0]["rules"];
    ensure!(
        rules.as_array().is_some_and(Vec::is_empty),
        "a rule was made: {rules}"
    );
    ensure!(seen::allowed_ips(a, "foo", &key)? == before);
    mesh.wait_whole(PATIENCE)
}

/// Waits until `node` lists `prefix` as promised by `from` and not accepted; returns why.
fn wait_refused(node: &Node, from: &str, prefix: &str) -> Result<String> {
    let what = format!("{} to refuse {prefix} from {from}", node.name());
    crate::wait::wait_for(&what, PATIENCE, || {
        let status = seen::status(node, "foo")?;
        let peer = peer_named(&status, from)?;
        let lists = |field: &str| {
            let list = peer[field]
                .as_array()
                .map(Vec::as_slice)
                .unwrap_or_default();
            list.iter().any(|entry| *entry == prefix)
        };
        ensure!(lists("promised"), "it does not know of the promise");
        ensure!(!lists("accepted"), "it accepts it");
        let refused = peer["refused"].as_array().context("no field `refused`")?;
        let entry = refused.iter().find(|entry| entry["prefix"] == prefix);
        Ok(entry
            .and_then(|entry| entry["why"].as_str())
            .map(str::to_owned))
    })
}

fn peer_named<'a>(status: &'a Value, name: &str) -> Result<&'a Value> {
    status["networks"][0]["peers"]
        .as_array()
        .and_then(|peers| peers.iter().find(|peer| peer["name"] == name))
        .with_context(|| format!("no peer {name}"))
}

/// Waits until `PREFIX` is, or is not, among the allowed IPs of `from` in WireGuard on `node`, and
/// in the node's routing table.
fn is_routed(node: &Node, from: &Node, wanted: bool) -> Result<()> {
    let key = seen::identity(from, "foo")?.public_key;
    let prefix: IpNet = PREFIX.parse()?;
    let what = format!("{} to have {PREFIX} routed: {wanted}", node.name());
    // Longer than it takes, to be sure that what is not routed stays so.
    if !wanted {
        std::thread::sleep(Duration::from_millis(500));
    }
    wait_until(&what, PATIENCE, || {
        let allowed = seen::allowed_ips(node, "foo", &key)?.contains(&prefix);
        let route = has_route(node, prefix.network())?;
        ensure!(
            allowed == wanted && route == wanted,
            "allowed IP: {allowed}, route: {route}"
        );
        Ok(true)
    })
    .with_context(|| node.server_log_tail(20))
}

/// Whether the node's main table routes the network `to` into foo.
fn has_route(node: &Node, to: IpAddr) -> Result<bool> {
    let table = node
        .namespaces()
        .in_net(|| std::fs::read_to_string("/proc/thread-self/net/route"))??;
    let IpAddr::V4(to) = to else {
        return Ok(false);
    };
    // The kernel prints the address as it lies in memory.
    let wanted = format!("{:08X}", u32::from_ne_bytes(to.octets()));
    Ok(table.lines().any(|line| {
        let mut fields = line.split_whitespace();
        fields.next() == Some("foo") && fields.next() == Some(wanted.as_str())
    }))
}
