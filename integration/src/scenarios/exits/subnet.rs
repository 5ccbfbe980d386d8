//! A subnet that the members themselves are in is accepted elsewhere: the tunnel to them stays outside of
//! itself. Whoever comes into the subnet is there without the tunnel.

use std::net::IpAddr;

use anyhow::{Context as _, Result, ensure};
use grid_netlink::Netlink;

use super::super::seen::{self, PATIENCE};
use super::scene::{Scene, is_our_rule, met_outside, same, set};
use crate::lab::Lab;
use crate::link;
use crate::node::Node;
use crate::server;
use crate::snapshot;
use crate::wait::wait_until;
use crate::wireguard;

/// More than the tunnel needs in this scenario, and much less than packets that go in circles make.
const MUCH: u64 = 4 << 20;

pub(super) fn run(lab: &Lab) -> Result<()> {
    let mut scene = Scene::new(lab, "userspace")?;
    let traveller = scene.traveller.clone();
    set(&traveller, "net/ipv4/conf/all/rp_filter", "2")?;
    scene.seen_directly()?;
    scene.make_forwarding()?;
    // The only addresses of the exit are in it, and those of members that come later.
    let subnet = lab.internet().ipv4().to_string();
    scene.exit.grid_ok(&["promise", "foo", &subnet], "")?;
    scene.mesh.wait_whole(PATIENCE)?;
    let before = snapshot::of(&traveller)?;
    let decide = |verb: &str| traveller.grid_ok(&[verb, "foo", &subnet, "--from", "exit"], "");
    decide("accept")?;
    goes_on(&scene)?;
    decide("reject")?;
    scene.seen_directly()?;
    same(&traveller, &before)?;
    decide("accept")?;
    goes_on(&scene)?;
    server::kill_9(&traveller)?;
    seen::start(&traveller)?;
    goes_on(&scene)?;
    let newcomer = lab.add_node("newcomer")?;
    scene.mesh.join(&newcomer)?;
    goes_on(&scene)?;
    met_outside(&scene, &[&newcomer, &scene.exit])?;
    scene.mesh.leave(&newcomer)?;
    comes_near_and_leaves(lab, &scene, &subnet)?;
    decide("reject")?;
    scene.seen_directly()?;
    ensure!(!has_our_rules(&traveller)?, "rules are left");
    scene.mesh.wait_whole(PATIENCE)
}

/// The subnet is reached through the exit; all members answer, over WireGuard and QUIC; and nothing goes
/// in circles.
fn goes_on(scene: &Scene) -> Result<()> {
    let traveller = &scene.traveller;
    seen_through_exit(scene)?;
    scene.mesh.wait_whole(PATIENCE)?;
    wait_until(
        "QUIC to connect the traveller and the exit",
        PATIENCE,
        || {
            let status = seen::status(traveller, "foo")?;
            let peers = status["networks"][0]["peers"].as_array();
            let mut peers = peers.context("no peers")?.iter();
            let exit = peers.find(|peer| peer["name"] == "exit");
            Ok(exit.context("no exit")?["kept"]["connected"] == true)
        },
    )
    .with_context(|| traveller.server_log_tail(20))?;
    let sent: Vec<u64> = wireguard::read(traveller, "foo")?
        .peers
        .iter()
        .map(|peer| peer.tx_bytes)
        .collect();
    ensure!(
        sent.iter().all(|sent| *sent < MUCH),
        "packets go in circles: {sent:?} bytes were sent"
    );
    ensure!(
        has_our_rules(traveller)?,
        "no rule spares the tunnel's own packets"
    );
    Ok(())
}

fn has_our_rules(node: &Node) -> Result<bool> {
    Ok(snapshot::of(node)?.iter().any(|line| is_our_rule(line)))
}

fn seen_through_exit(scene: &Scene) -> Result<()> {
    scene.wait_seen(scene.exit.ipv4()?.into(), None)
}

/// While the traveller is in the subnet itself, the tunnel has nothing of it, and `status` says so.
fn comes_near_and_leaves(lab: &Lab, scene: &Scene, subnet: &str) -> Result<()> {
    let traveller = &scene.traveller;
    lab.plug(traveller, lab.internet(), "near0", None)?;
    let ports = traveller.ports();
    let near = ports.last().context("it was not plugged in")?;
    let ipv6 = near.ipv6.map(IpAddr::from);
    scene.wait_seen(near.ipv4.into(), ipv6)?;
    wait_until(
        "`status` to say what goes past the tunnel",
        PATIENCE,
        || {
            let status = seen::status(traveller, "foo")?;
            let hint = status["networks"][0]["hint"].as_str().unwrap_or_default();
            Ok(hint.contains(&format!("{subnet} does not go through the tunnel")))
        },
    )
    .with_context(|| traveller.server_log_tail(20))?;
    scene.mesh.wait_whole(PATIENCE)?;
    unplug(traveller, "near0")?;
    seen_through_exit(scene)?;
    scene.mesh.wait_whole(PATIENCE)
}

fn unplug(node: &Node, interface: &str) -> Result<()> {
    node.namespaces().in_net(|| {
        let mut netlink = Netlink::route()?;
        let index = link::index_of(interface)?;
        link::delete(&mut netlink, index)
    })??;
    Ok(())
}
