//! How servers and members come and go: killed, restarted, leaving, revoked, cut apart.

use std::os::unix::process::CommandExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use nix::fcntl::OFlag;
use nix::pty;
use nix::sys::signal::Signal;

use super::seen::{self, Identity, PATIENCE};
use crate::lab::Lab;
use crate::mesh::{Mesh, MeshOptions};
use crate::node::Node;
use crate::scenario::Scenario;
use crate::server;
use crate::wait::{wait_for, wait_until};

/// How long a withdrawn member promise may take to reach everybody's WireGuard.
const GONE: Duration = Duration::from_secs(5);
/// How long a killed server may take to be back in a complete mesh.
const BACK: Duration = Duration::from_secs(8);

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "a_killed_server_comes_back_as_itself",
        run: killed,
    },
    Scenario {
        name: "the_mesh_outlives_its_founder",
        run: without_founder,
    },
    Scenario {
        name: "all_servers_are_killed_at_once",
        run: all_at_once,
    },
    Scenario {
        name: "who_leaves_is_gone_and_can_come_back",
        run: leaves,
    },
    Scenario {
        name: "who_is_revoked_stays_out",
        run: revoked,
    },
    Scenario {
        name: "a_server_survives_its_terminal",
        run: hangup,
    },
    Scenario {
        name: "members_of_both_sides_meet_after_a_partition",
        run: partition,
    },
    Scenario {
        name: "changes_by_hand_in_user_space_are_put_right_at_once",
        run: |lab| super::foreign::run(lab, "userspace"),
    },
];

fn killed(lab: &Lab) -> Result<()> {
    let mesh = Mesh::of_size(lab, "foo", 3, MeshOptions::default())?;
    // The founder has no invite that names others: it knows only what it saved, moments after the
    // others joined.
    for victim in &mesh.members()[..2] {
        let before = seen::identity(victim, "foo")?;
        server::kill_9(victim)?;
        seen::start(victim)?;
        is_still(victim, &before)?;
        mesh.wait_whole(BACK)?;
    }
    Ok(())
}

fn without_founder(lab: &Lab) -> Result<()> {
    let mut mesh = Mesh::of_size(lab, "foo", 4, MeshOptions::default())?;
    let founder = mesh.members()[0].clone();
    let before = seen::identity(&founder, "foo")?;
    server::kill_9(&founder)?;
    // It is still a member: the others list it, and answer one another.
    let others = mesh.members()[1..].to_vec();
    for from in &others {
        for to in &others {
            for ip in seen::ips(to)? {
                seen::reaches(from, ip, PATIENCE)?;
            }
        }
    }
    // Nobody needs the founder to admit others, or to restart.
    let invite = mesh.invite_from(&others[0])?;
    let newcomer = lab.add_node("x")?;
    newcomer.grid_ok(&["join-wireguard-net", "foo", "-"], &invite)?;
    server::kill_9(&others[1])?;
    seen::start(&others[1])?;
    for other in &others {
        for ip in seen::ips(&newcomer)? {
            seen::reaches(other, ip, PATIENCE)?;
        }
    }
    seen::start(&founder)?;
    is_still(&founder, &before)?;
    for ip in seen::ips(&newcomer)? {
        seen::reaches(&founder, ip, PATIENCE)?;
    }
    mesh.leave(&others[2])?;
    Ok(())
}

fn all_at_once(lab: &Lab) -> Result<()> {
    let mesh = Mesh::of_size(lab, "foo", 4, MeshOptions::default())?;
    let before: Vec<Identity> = mesh
        .members()
        .iter()
        .map(|node| seen::identity(node, "foo"))
        .collect::<Result<_>>()?;
    for node in mesh.members() {
        server::kill_9(node)?;
    }
    for node in mesh.members() {
        seen::start(node)?;
    }
    for (node, before) in mesh.members().iter().zip(&before) {
        is_still(node, before)?;
    }
    mesh.wait_whole(PATIENCE)
}

fn leaves(lab: &Lab) -> Result<()> {
    let mut mesh = Mesh::of_size(lab, "foo", 4, MeshOptions::default())?;
    let leaver = mesh.members()[2].clone();
    let before = seen::identity(&leaver, "foo")?;
    mesh.leave(&leaver)?;
    let others: Vec<&Node> = mesh.members().iter().map(AsRef::as_ref).collect();
    seen::cut_off(&others, "foo", &before.public_key, GONE)?;
    ensure!(
        !seen::has_interface(&leaver, "foo")?,
        "its interface is there"
    );
    seen::stopped(&leaver)?;
    let again = leaver.grid(&["leave-wireguard-net", "foo"])?;
    let said = String::from_utf8_lossy(&again.stderr);
    ensure!(
        again.status.code() == Some(1) && said.contains("has left \"foo\" already"),
        "it did not say that it has left: {again:?}"
    );
    for other in &others {
        for ip in seen::ips_of(&before)? {
            seen::does_not_reach(other, ip)?;
        }
    }
    mesh.wait_whole(PATIENCE)?;
    leaver.grid_ok(&["join-wireguard-net", "foo"], "")?;
    ensure!(seen::identity(&leaver, "foo")?.node == before.node);
    for other in &others {
        for ip in seen::ips(&leaver)? {
            seen::reaches(other, ip, PATIENCE)?;
        }
    }
    Ok(())
}

fn revoked(lab: &Lab) -> Result<()> {
    let mut mesh = Mesh::of_size(lab, "foo", 4, MeshOptions::default())?;
    let owner = mesh.members()[0].clone();
    let bad = mesh.members()[2].clone();
    let before = seen::identity(&bad, "foo")?;
    owner.grid_ok(&["revoke", "foo", &before.node], "")?;
    mesh.forget(&bad);
    let others: Vec<&Node> = mesh.members().iter().map(AsRef::as_ref).collect();
    seen::cut_off(&others, "foo", &before.public_key, GONE)?;
    wait_until("the revoked node's interface to go", GONE, || {
        Ok(!seen::has_interface(&bad, "foo")?)
    })
    .with_context(|| bad.server_log_tail(20))?;
    let status = seen::status(&bad, "foo")?;
    ensure!(
        status["networks"][0]["standing"] == "expelled",
        "it says of itself: {status}"
    );
    // Not by a restart.
    server::kill_9(&bad)?;
    seen::start(&bad)?;
    stays_out(&bad, &others, &before)?;
    // Not with the old invite, whether it still considers itself a member or has left.
    let join = ["join-wireguard-net", "foo", "-"];
    seen::refused(&bad, &join, mesh.invite(), &[1, 4])?;
    bad.grid_ok(&["leave-wireguard-net", "foo"], "")?;
    seen::refused(&bad, &join, mesh.invite(), &[4])?;
    seen::refused(&bad, &["join-wireguard-net", "foo"], "", &[1, 4, 5])?;
    stays_out(&bad, &others, &before)?;
    mesh.wait_whole(PATIENCE)
}

/// Watches for as long as anti-entropy on connect needs, and then some.
fn stays_out(bad: &Node, others: &[&Node], before: &Identity) -> Result<()> {
    for _ in 0..10 {
        seen::cut_off(others, "foo", &before.public_key, Duration::ZERO)?;
        ensure!(
            !seen::has_interface(bad, "foo")?,
            "the revoked node made its interface again"
        );
        std::thread::sleep(Duration::from_millis(300));
    }
    Ok(())
}

fn hangup(lab: &Lab) -> Result<()> {
    let (a, b) = (lab.add_node("a")?, lab.add_node("b")?);
    a.namespaces().in_net(crate::requirements::wireguard)??;
    let terminal = pty::posix_openpt(OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC)?;
    pty::grantpt(&terminal)?;
    pty::unlockpt(&terminal)?;
    let other_end = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(pty::ptsname_r(&terminal)?)?;
    let mut command = a.command("sh");
    command
        .args([
            "-c",
            "grid create-wireguard-net foo && touch $GRID_HOME/done; exec sleep 1000",
        ])
        .stdin(other_end.try_clone()?)
        .stdout(other_end.try_clone()?)
        .stderr(other_end);
    lead_session(&mut command);
    let mut shell = command.spawn()?;
    drop(command);
    let done = a.home().join("done");
    wait_until("the network to be founded", PATIENCE, || Ok(done.exists()))?;
    let server = server::pid(&a).context("no server is running")?;
    // As when a terminal window is closed: the kernel hangs up on the session.
    drop(terminal);
    let ended = wait_for(
        "the shell to be hung up",
        PATIENCE,
        || Ok(shell.try_wait()?),
    )?;
    ensure!(
        ended.signal() == Some(Signal::SIGHUP as i32),
        "the shell {ended}, so nothing was hung up"
    );
    let mut mesh = vec![a.clone()];
    let invite = a.grid_ok(&["invite", "foo"], "")?;
    b.grid_ok(&["join-wireguard-net", "foo", "-"], &invite)?;
    mesh.push(b.clone());
    ensure!(
        server::pid(&a) == Some(server),
        "another server runs than before"
    );
    meet(&mesh)?;
    stop_and_go(&a)?;
    meet(&mesh)
}

/// `stop-server` ends the process, and with it an interface in user space, and keeps everything on
/// disk.
fn stop_and_go(node: &Node) -> Result<()> {
    let before = seen::identity(node, "foo")?;
    let backend = seen::network(node, "foo")?.backend;
    node.grid_ok(&["stop-server"], "")?;
    seen::stopped(node)?;
    if backend == "userspace" {
        ensure!(!seen::has_interface(node, "foo")?, "the interface stayed");
    }
    seen::refused(node, &["status"], "", &[3])?;
    // There is nothing left to stop, so the request is met.
    node.grid_ok(&["stop-server"], "")?;
    seen::start(node)?;
    is_still(node, &before)
}

/// Makes the process lead a session whose controlling terminal is its standard input.
#[allow(unsafe_code)]
fn lead_session(command: &mut std::process::Command) {
    let lead = || {
        // Whoever runs this may ignore it (`nohup`), and a shell cannot undo that. SAFETY: sets
        // what the signal does, to a value that is no function.
        nix::errno::Errno::result(unsafe { libc::signal(libc::SIGHUP, libc::SIG_DFL) as isize })?;
        nix::unistd::setsid()?;
        // SAFETY: an ioctl on an open file that takes an integer and touches no memory of ours.
        nix::errno::Errno::result(unsafe { libc::ioctl(0, libc::TIOCSCTTY, 0) })?;
        Ok(())
    };
    // SAFETY: three bare system calls, safe between fork and exec.
    unsafe { command.pre_exec(lead) };
}

fn partition(lab: &Lab) -> Result<()> {
    let mesh = Mesh::of_size(lab, "foo", 4, MeshOptions::default())?;
    let mut nodes = mesh.members().to_vec();
    let (a, b, c, d) = (&nodes[0], &nodes[1], &nodes[2], &nodes[3]);
    let invites = [mesh.invite_from(a)?, mesh.invite_from(c)?];
    let newcomers = [lab.add_node("x")?, lab.add_node("y")?];
    lab.partition(&[&[a, b, &newcomers[0]], &[c, d, &newcomers[1]]])?;
    for (newcomer, invite) in newcomers.iter().zip(&invites) {
        newcomer.grid_ok(&["join-wireguard-net", "foo", "-"], invite)?;
    }
    for ip in seen::ips(&newcomers[1])? {
        seen::does_not_reach(&newcomers[0], ip)?;
    }
    lab.heal_all()?;
    nodes.extend(newcomers);
    // Connections to the other side are retried with growing pauses.
    meet_within(&nodes, Duration::from_secs(60))
}

fn meet(nodes: &[Arc<Node>]) -> Result<()> {
    meet_within(nodes, PATIENCE)
}

/// Waits until every node answers every other, over both families.
fn meet_within(nodes: &[Arc<Node>], within: Duration) -> Result<()> {
    for from in nodes {
        for to in nodes {
            for ip in seen::ips(to)? {
                seen::reaches(from, ip, within)?;
            }
        }
    }
    Ok(())
}

fn is_still(node: &Node, before: &Identity) -> Result<()> {
    let after = seen::identity(node, "foo")?;
    ensure!(after == *before, "{before:?} came back as {after:?}");
    Ok(())
}
