//! What somebody else changes on a node's interface is repaired: at once where the kernel reports
//! it, else when WireGuard is next checked.
//!
//! Nothing here asks the server while it waits, so that no question makes it check.

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use grid_netlink::Netlink;
use ipnet::IpNet;

use super::seen::{self, LOOKED_AT, PATIENCE};
use crate::lab::Lab;
use crate::link::{self, LinkIndex};
use crate::mesh::{Mesh, MeshOptions};
use crate::node::Node;
use crate::output::say;
use crate::snapshot::{self, Snapshot};
use crate::wait::wait_until;
use crate::wireguard;

/// Repairs are a second apart; the rest is for slow machines.
const AT_ONCE: Duration = Duration::from_secs(4);
const RIGHT: &str = "repairing it";

type Change = Box<dyn Fn(&mut Netlink, LinkIndex) -> io::Result<()> + Send + Sync>;

pub(super) fn run(lab: &Lab, backend: &str) -> Result<()> {
    let options = MeshOptions {
        backend: Some(backend.to_owned()),
        ..MeshOptions::default()
    };
    let mesh = Mesh::of_size(lab, "foo", 2, options)?;
    let a = mesh.members()[0].clone();
    let nets = addresses(&a)?;
    // A second after its own changes, the server checks anyway.
    thread::sleep(Duration::from_secs(3));
    let whole = snapshot::of(&a)?;
    for (what, change) in changes(&nets) {
        put_right(
            &a,
            what,
            AT_ONCE,
            &change,
            || Ok(snapshot::of(&a)? == whole),
        )?;
    }
    let v4 = *nets
        .iter()
        .find(|net| net.addr().is_ipv4())
        .context("no IPv4 address")?;
    let no_route: Change = Box::new(move |netlink, link| link::remove_route(netlink, link, v4));
    put_right(&a, "the route is removed", AT_ONCE, &no_route, || {
        Ok(has_route(&snapshot::of(&a)?, v4))
    })?;
    peer(&mesh, &a)?;
    interface(&mesh, &a)?;
    alone(lab, backend)
}

/// On a node that has just started, with nothing else going on.
fn alone(lab: &Lab, backend: &str) -> Result<()> {
    let node = lab.add_node("alone")?;
    let create = ["create-wireguard-net", "foo", "--backend", backend];
    node.grid_ok(&create, "")?;
    node.grid_ok(&["stop-server"], "")?;
    node.grid_ok(&["start-server", "--background"], "")?;
    thread::sleep(Duration::from_secs(3));
    let down: Change = Box::new(|netlink, link| link::set_up(netlink, link, false));
    put_right(&node, "the link is set down", AT_ONCE, &down, || {
        Ok(snapshot::link(&node, "foo")?.up)
    })
}

/// The addresses of a node, with their prefix lengths.
fn addresses(node: &Node) -> Result<Vec<IpNet>> {
    let told = seen::identity(node, "foo")?.addresses;
    let nets: Vec<IpNet> = told
        .iter()
        .map(|text| text.parse())
        .collect::<Result<_, _>>()?;
    ensure!(nets.len() == 2, "{nets:?}");
    Ok(nets)
}

fn changes(nets: &[IpNet]) -> Vec<(&'static str, Change)> {
    let another = IpAddr::from([203, 0, 113, 9]);
    let mut all: Vec<(&'static str, Change)> = vec![
        (
            "the link is set down",
            Box::new(|netlink, link| link::set_up(netlink, link, false)),
        ),
        (
            "the MTU is changed",
            Box::new(|netlink, link| link::set_mtu(netlink, link, 1300)),
        ),
        (
            "an address is added",
            Box::new(move |netlink, link| link::add_address(netlink, link, another, 32)),
        ),
    ];
    for net in nets {
        let (ip, length) = (net.addr(), net.prefix_len());
        all.push((
            "an address is removed",
            Box::new(move |netlink, link| link::remove_address(netlink, link, ip, length)),
        ));
    }
    all
}

/// Changes something, and waits until the server has logged the repair and made it.
fn put_right(
    node: &Node,
    what: &str,
    within: Duration,
    change: &Change,
    is_right: impl Fn() -> Result<bool>,
) -> Result<()> {
    let before = count(node, RIGHT)?;
    node.namespaces()
        .in_net(|| change(&mut Netlink::route()?, link::index_of("foo")?))?
        .with_context(|| what.to_owned())?;
    repaired(node, what, within, || {
        Ok(count(node, RIGHT)? > before && is_right()?)
    })
}

fn repaired(
    node: &Node,
    what: &str,
    within: Duration,
    is_right: impl Fn() -> Result<bool>,
) -> Result<()> {
    let started = Instant::now();
    let wanted = format!("it to be put right that {what}");
    wait_until(&wanted, within, is_right).with_context(|| node.server_log_tail(20))?;
    let took = started.elapsed().as_secs_f32();
    say(&format!("{what}: right again after {took:.2} s"));
    Ok(())
}

fn count(node: &Node, text: &str) -> Result<usize> {
    Ok(node.server_log()?.matches(text).count())
}

fn has_route(snapshot: &Snapshot, net: IpNet) -> bool {
    let network = format!("({})", net.network());
    snapshot.iter().any(|line| {
        line.starts_with("route") && line.contains("kind: Unicast") && line.contains(&network)
    })
}

/// The kernel does not report changes of an interface's peers.
fn peer(mesh: &Mesh, node: &Node) -> Result<()> {
    let before = wireguard::read(node, "foo")?;
    let gone = before.peers.first().context("it has no peer")?.public_key;
    let said = count(node, RIGHT)?;
    wireguard::remove_peer(node, "foo", &gone)?;
    let what = "a peer is removed";
    repaired(node, what, LOOKED_AT, || {
        let now = wireguard::read(node, "foo")?;
        let is_there = now.peers.iter().any(|peer| peer.public_key == gone);
        Ok(is_there && count(node, RIGHT)? > said)
    })?;
    mesh.wait_whole(PATIENCE)
}

fn interface(mesh: &Mesh, node: &Node) -> Result<()> {
    let all = || -> Result<BTreeSet<IpAddr>> {
        Ok(snapshot::addresses(node, "foo")?.into_iter().collect())
    };
    let (before, index) = (all()?, snapshot::index(node, "foo")?);
    node.namespaces()
        .in_net(|| link::delete(&mut Netlink::route()?, LinkIndex(index)))??;
    repaired(node, "the interface is removed", AT_ONCE, || {
        Ok(snapshot::link(node, "foo")?.up && all()? == before)
    })?;
    ensure!(
        count(node, "the interface was gone")? > 0,
        "it did not say so"
    );
    mesh.wait_whole(PATIENCE)
}
