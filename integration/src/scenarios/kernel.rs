//! The program on a kernel that has WireGuard: what `--backend auto` chooses there, and what the
//! kernel keeps while servers come and go.
//!
//! Where this machine's kernel has no WireGuard, these run on a kernel of the lab.

mod adopting;
mod handshakes;
mod leaving;
mod lossy;
mod members;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use grid_keys::WgPublicKey;
use grid_wg::ownership::GROUP as LINK_GROUP;
use grid_wg::{BackendChoice, IfName, ObservedInterface, Place, Plan, Step};

use self::members::{mesh, observed, require_kernel};
use super::seen::{self, LOOKED_AT, PATIENCE};
use crate::Missing;
use crate::lab::Lab;
use crate::mesh::{Mesh, MeshOptions, node_name};
use crate::node::Node;
use crate::output::say;
use crate::ping::Pinger;
use crate::scenario::Scenario;
use crate::server;
use crate::snapshot;
use crate::wait::{wait_for, wait_until};
use crate::wireguard::{self, PublicKey};

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "four_nodes_choose_the_kernel",
        run: four_nodes,
    },
    Scenario {
        name: "a_peer_removed_by_hand_comes_back",
        run: removed_by_hand,
    },
    Scenario {
        name: "changes_by_hand_are_put_right_at_once",
        run: changed_by_hand,
    },
    Scenario {
        name: "traffic_goes_on_while_the_server_is_dead",
        run: dead_server,
    },
    Scenario {
        name: "leaving_takes_away_what_was_made_and_nothing_else",
        run: leaving::run,
    },
    Scenario {
        name: "kernel_and_userspace_form_one_mesh",
        run: mixed,
    },
    Scenario {
        name: "everything_goes_through_an_exit_in_the_kernel",
        run: |lab| {
            require_kernel()?;
            super::exits::exit(lab, "auto")
        },
    },
    Scenario {
        name: "the_kernel_runs_an_interface_in_another_namespace",
        run: |lab| {
            require_kernel()?;
            super::exits::namespace(lab, "auto")
        },
    },
    Scenario {
        name: "an_interface_of_the_kernel_is_adopted_by_word",
        run: adopting::run,
    },
    Scenario {
        name: "a_handshake_that_hangs_is_begun_again",
        run: handshakes::run,
    },
    Scenario {
        name: "nodes_join_and_stay_with_loss_and_delay",
        run: lossy::run,
    },
];

fn four_nodes(lab: &Lab) -> Result<()> {
    let mesh = mesh(lab, 4)?;
    seen::all_answer(&mesh)?;
    for node in mesh.members() {
        everybody_says_the_same(&mesh, node)
            .with_context(|| format!("WireGuard on {}", node.name()))?;
    }
    Ok(())
}

/// `grid status`, the program's own reading of the kernel's WireGuard, `wg show dump`, and the link
/// itself agree.
fn everybody_says_the_same(mesh: &Mesh, node: &Node) -> Result<()> {
    let net = mesh.name();
    let status = mesh.status(node)?;
    let ours = observed(node, net)?;
    let link = snapshot::link(node, net)?;
    ensure!(
        (link.kind.as_str(), link.group, link.up) == ("wireguard", LINK_GROUP, true),
        "{link:?}"
    );
    ensure!(
        (link.mtu, link.up) == (ours.mtu, ours.up),
        "{link:?}, {ours:?}"
    );
    ensure!(ours.listen_port == status.listen_port, "{ours:?}");
    let from_status: BTreeMap<String, usize> = status
        .peers
        .iter()
        .map(|peer| (peer.public_key.clone(), peer.allowed_ips.len()))
        .collect();
    let from_kernel: BTreeMap<String, usize> = ours
        .peers
        .iter()
        .map(|(key, peer)| (PublicKey(key.0).to_string(), peer.allowed_ips.len()))
        .collect();
    ensure!(
        from_status == from_kernel,
        "{from_status:?}, {from_kernel:?}"
    );
    match wireguard::read(node, net) {
        Ok(theirs) => same_as_wg(&ours, &theirs)?,
        Err(error) if error.is::<Missing>() => say("SKIPPED `wg show`: there is no wg here"),
        Err(error) => return Err(error),
    }
    match node.tool(&["ip", "-d", "link", "show", net], "", PATIENCE) {
        Ok(output) => {
            let shown = String::from_utf8_lossy(&output.stdout).into_owned();
            let mtu = format!("mtu {} ", link.mtu);
            ensure!(
                shown.contains(&mtu) && shown.contains("wireguard"),
                "{shown}"
            );
            ensure!(shown.contains(&format!("group {LINK_GROUP} ")), "{shown}");
        }
        Err(error) if error.is::<Missing>() => say("SKIPPED `ip -d link`: there is no ip here"),
        Err(error) => return Err(error),
    }
    Ok(())
}

/// Everything that does not change from one moment to the next.
fn same_as_wg(ours: &ObservedInterface, theirs: &wireguard::Interface) -> Result<()> {
    ensure!(theirs.listen_port == Some(ours.listen_port), "{theirs:?}");
    ensure!(theirs.peers.len() == ours.peers.len(), "{theirs:?}");
    for peer in &theirs.peers {
        let ours = ours.peers.get(&WgPublicKey(peer.public_key.0));
        let ours = ours.with_context(|| format!("we do not see {}", peer.public_key))?;
        let seconds = |at: std::time::SystemTime| {
            at.duration_since(std::time::UNIX_EPOCH)
                .unwrap_or_default()
                .as_secs()
        };
        ensure!(
            peer.has_preshared_key && ours.preshared_key.is_some(),
            "{} has no pre-shared key",
            peer.public_key
        );
        ensure!(
            peer.allowed_ips
                .iter()
                .copied()
                .collect::<std::collections::BTreeSet<_>>()
                == ours.allowed_ips
                && peer.endpoint == ours.endpoint
                && peer.persistent_keepalive.map(|every| every.as_secs())
                    == ours.keepalive.map(u64::from)
                && peer.last_handshake.map(|at| at.as_secs()) == ours.latest_handshake.map(seconds),
            "{peer:?} is not {ours:?}"
        );
    }
    Ok(())
}

fn removed_by_hand(lab: &Lab) -> Result<()> {
    let mesh = mesh(lab, 3)?;
    let [a, b, c] = [0, 1, 2].map(|number| mesh.members()[number].clone());
    let key = |node: &Node| -> Result<WgPublicKey> {
        Ok(seen::identity(node, "foo")?.public_key.parse()?)
    };
    let (own, gone, other) = (key(&a)?, key(&b)?, key(&c)?);
    seen::all_answer(&mesh)?;
    settled(&mesh)?;
    let before = observed(&a, "foo")?;
    let plan = Plan {
        name: "foo".parse()?,
        own,
        steps: vec![Step::RemovePeer(gone)],
    };
    a.namespaces()
        .in_net(|| grid_wg::open(BackendChoice::Kernel, &Place::default())?.apply(&plan))??;
    // The server may repair it before the test has seen it gone: its log tells.
    let started = Instant::now();
    wait_until("the peer to come back", LOOKED_AT, || {
        let is_there = observed(&a, "foo")?.peers.contains_key(&gone);
        Ok(is_there && additions(&a, &gone)?.len() > 1)
    })
    .with_context(|| a.server_log_tail(20))?;
    say(&format!(
        "it came back after {:.1} s",
        started.elapsed().as_secs_f32()
    ));
    seen::all_answer(&mesh)?;
    let after = observed(&a, "foo")?;
    let (was, is) = (&before.peers[&gone], &after.peers[&gone]);
    ensure!(
        was.allowed_ips == is.allowed_ips,
        "{was:?} came back as {is:?}"
    );
    ensure!(
        before.peers[&other].latest_handshake == after.peers[&other].latest_handshake,
        "the session with another peer was touched"
    );
    let said = additions(&a, &gone)?;
    ensure!(said.len() == 2, "the log tells of it as {said:#?}");
    Ok(())
}

/// The lines of a node's log that add a peer: when it joined, and when it was repaired, by the
/// guard, which calls it a foreign change, or with the next planned change. Retrying a handshake
/// that hangs also removes and adds the peer, and is not counted.
fn additions(node: &Node, peer: &WgPublicKey) -> Result<Vec<String>> {
    let added = format!("add peer {}", PublicKey(peer.0));
    let log = node.server_log()?;
    let lines = log.lines().filter(|line| line.contains(&added));
    Ok(lines
        .filter(|line| !line.contains("handshakes that have stalled"))
        .map(str::to_owned)
        .collect())
}

fn changed_by_hand(lab: &Lab) -> Result<()> {
    require_kernel()?;
    super::foreign::run(lab, "auto")
}

fn dead_server(lab: &Lab) -> Result<()> {
    let mesh = mesh(lab, 3)?;
    seen::all_answer(&mesh)?;
    settled(&mesh)?;
    let victim = mesh.members()[1].clone();
    let before = observed(&victim, "foo")?;
    server::kill_9(&victim)?;
    // The kernel has everything that it needs.
    let dead = Instant::now();
    without_a_loss(&mesh, &victim, || {
        thread::sleep(Duration::from_secs(3).saturating_sub(dead.elapsed()));
        Ok(())
    })
    .context("while the server was dead")?;
    let meanwhile = counted(&victim, &before)?;
    without_a_loss(&mesh, &victim, || {
        seen::start(&victim)?;
        mesh.wait_whole(PATIENCE)?;
        // The guard checks a second after the first plan.
        thread::sleep(Duration::from_secs(3));
        Ok(())
    })
    .context("while the server came back")?;
    counted(&victim, &meanwhile)?;
    let said = victim.server_log()?;
    let last = said.rsplit("listens on").next().unwrap_or_default();
    ensure!(
        !last.contains("create the interface") && !last.contains("add peer"),
        "it did not adopt what was there: {last}"
    );
    Ok(())
}

/// Waits until every server has chosen its peers' endpoints, and changes nothing more.
fn settled(mesh: &Mesh) -> Result<()> {
    for node in mesh.members() {
        wait_until("no keepalive to be needed any more", PATIENCE, || {
            let peers = observed(node, mesh.name())?.peers;
            let still = peers
                .values()
                .filter(|peer| peer.keepalive.is_some())
                .count();
            ensure!(still == 0, "{still} of {} has some", node.name());
            Ok(true)
        })?;
    }
    Ok(())
}

/// The state of `node` now. Fails unless all sessions of `before` are still the same and their
/// counters have grown.
fn counted(node: &Node, before: &ObservedInterface) -> Result<ObservedInterface> {
    let own: Vec<WgPublicKey> = before.public_key.into_iter().collect();
    let own = own.first().context("the interface has no key")?;
    let name: IfName = "foo".parse()?;
    let now = node.namespaces().in_net(|| {
        grid_wg::open(BackendChoice::Kernel, &Place::default())
            .and_then(|mut backend| backend.observe(&name, own))
    })??;
    let now = now.interface.context("the interface is gone")?;
    ensure!(now.index == before.index, "it is another interface");
    for (key, was) in &before.peers {
        let is = now.peers.get(key).context("a peer is gone")?;
        ensure!(
            is.latest_handshake == was.latest_handshake,
            "a session was dropped: {was:?} became {is:?}"
        );
        ensure!(
            is.rx_bytes > was.rx_bytes && is.tx_bytes > was.tx_bytes,
            "no traffic was counted: {was:?} became {is:?}"
        );
    }
    Ok(now)
}

/// Sends echoes from every other member to `node`, 20 a second over each family, while `work` runs.
/// Fails if one is lost.
fn without_a_loss(mesh: &Mesh, node: &Node, work: impl FnOnce() -> Result<()>) -> Result<()> {
    let index = mesh
        .members()
        .iter()
        .position(|member| member.name() == node.name());
    let to = seen_addresses(mesh, index.context("not a member")?)?;
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let mut echoes = Vec::new();
        for member in mesh
            .members()
            .iter()
            .filter(|member| member.name() != node.name())
        {
            for ip in to {
                let mut pinger = Pinger::on(member, ip)?;
                let done = &done;
                echoes.push(scope.spawn(move || -> Result<(u32, u32)> {
                    let (mut sent, mut lost) = (0, 0);
                    while !done.load(Ordering::Relaxed) {
                        sent += 1;
                        lost += u32::from(pinger.ping(ip, Duration::from_secs(2))?.is_none());
                        thread::sleep(Duration::from_millis(50));
                    }
                    Ok((sent, lost))
                }));
            }
        }
        let worked = work();
        done.store(true, Ordering::Relaxed);
        for echo in echoes {
            let Ok(counted) = echo.join() else {
                bail!("a thread panicked")
            };
            let (sent, lost) = counted?;
            ensure!(sent > 10 && lost == 0, "{lost} of {sent} echoes were lost");
        }
        worked
    })
}

/// The addresses of a member, from what its interface has: its server may be dead.
fn seen_addresses(mesh: &Mesh, index: usize) -> Result<[IpAddr; 2]> {
    let node = &mesh.members()[index];
    let lines = snapshot::addresses(node, mesh.name())?;
    let v4 = lines.iter().copied().find(IpAddr::is_ipv4);
    let v6 = lines.iter().copied().find(IpAddr::is_ipv6);
    Ok([
        v4.context("no IPv4 address")?,
        v6.context("no IPv6 address")?,
    ])
}

fn mixed(lab: &Lab) -> Result<()> {
    require_kernel()?;
    let founder = lab.add_node(&node_name(0))?;
    founder
        .namespaces()
        .in_net(|| crate::requirements::tun(crate::requirements::TUN.as_ref()))??;
    let options = MeshOptions {
        backend: Some("kernel".to_owned()),
        ..MeshOptions::default()
    };
    let mut mesh = Mesh::found(&founder, "foo", options)?;
    let backends = ["kernel", "userspace", "kernel", "userspace"];
    for (number, backend) in backends.iter().enumerate().skip(1) {
        let node: Arc<Node> = lab.add_node(&node_name(number))?;
        mesh.join_with(&node, backend)?;
    }
    mesh.wait_whole(PATIENCE * 2)?;
    for (node, backend) in mesh.members().iter().zip(backends) {
        let chosen = mesh.status(node)?.backend;
        ensure!(chosen == backend, "{} runs {chosen}", node.name());
    }
    seen::all_answer(&mesh)?;
    // One member of each kind goes; a userspace interface ends with its server.
    for number in [0, 1] {
        let node = mesh.members()[number].clone();
        server::kill_9(&node)?;
        seen::start(&node)?;
    }
    mesh.wait_whole(PATIENCE * 2)?;
    let victim = wait_for("a look at the restarted ones", PATIENCE, || {
        Ok(Some(mesh.status(&mesh.members()[1])?.peers.len()))
    })?;
    ensure!(victim == 3, "{victim} peers");
    seen::all_answer(&mesh)
}
