//! Homes that take no changes, because their disk is full or read-only: tunnels stay up, what would have to be
//! written down is refused, and all goes on by itself when there is room.

use std::fs::{self, File};
use std::io::Write as _;
use std::net::IpAddr;
use std::process::Stdio;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use grid_netlink::Netlink;
use nix::mount::MsFlags;

use crate::lab::Lab;
use crate::link;
use crate::mesh::{Mesh, MeshOptions};
use crate::mounted;
use crate::node::Node;
use crate::ping::ping;
use crate::scenario::Scenario;
use crate::server;
use crate::wait::wait_until;

/// How long the server may take to notice that there is room again, or that there is none.
const NOTICED: Duration = Duration::from_secs(90);
const HOME: &std::ffi::CStr = c"/run/grid-lab/node/home";

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "a_full_disk_keeps_tunnels_up_and_heals",
        run: full,
    },
    Scenario {
        name: "a_read_only_home_runs_on_what_is_there",
        run: read_only,
    },
];

/// A mesh of two in user space; the home of the second is a file system of its own.
fn pair(lab: &Lab, options: &'static std::ffi::CStr) -> Result<(Mesh, Arc<Node>, Arc<Node>)> {
    let (a, b) = (lab.add_node("a")?, lab.add_node("b")?);
    a.namespaces().in_net(crate::requirements::wireguard)??;
    fs::create_dir_all(b.home())?;
    mounted::on(&b, c"tmpfs", HOME, MsFlags::empty(), options)?;
    let options = MeshOptions {
        backend: Some("userspace".to_owned()),
        ..MeshOptions::default()
    };
    let mut mesh = Mesh::found(&a, "foo", options)?;
    mesh.join(&b)?;
    mesh.wait_whole(Duration::from_secs(30))?;
    Ok((mesh, a, b))
}

fn full(lab: &Lab) -> Result<()> {
    let (mesh, a, b) = pair(lab, c"mode=0700,size=4m")?;
    let running = server::pid(&b);
    // What was gathered to be saved is saved: the first change that fails is that of the node's own promise.
    thread::sleep(Duration::from_secs(6));
    let filler = b.home().join("filler");
    fill(&filler)?;
    // The node is at another address now, and says so.
    let address = IpAddr::from([203, 0, 113, 77]);
    b.namespaces().in_net(|| -> Result<()> {
        let (mut netlink, eth0) = (Netlink::route()?, link::index_of("eth0")?);
        Ok(link::add_address(&mut netlink, eth0, address, 32)?)
    })??;
    wait_until("the full disk to be named", NOTICED, || {
        Ok(unwritable(&b)?.is_some_and(|why| why.contains("No space left")))
    })?;
    ensure!(server::pid(&b) == running, "the server has ended");
    reach_each_other(&mesh)?;
    refuses(&b, "No space left")?;
    b.grid_ok(&["invite", "foo"], "")?;
    let shown = b.grid_ok(&["status"], "")?;
    ensure!(shown.contains("takes no changes"), "{shown}");

    // Nor does a full disk keep a server from starting.
    b.grid_ok(&["stop-server"], "")?;
    b.grid_ok(&["start-server", "--background"], "")?;
    wait_until("the tunnel to be up", Duration::from_secs(30), || {
        Ok(reach_each_other(&mesh).is_ok())
    })?;
    refuses(&b, "No space left")?;

    let restarted = server::pid(&b);
    fs::remove_file(&filler)?;
    wait_until("the server to go on by itself", NOTICED, || {
        Ok(unwritable(&b)?.is_none())
    })?;
    ensure!(server::pid(&b) == restarted, "another server runs");
    b.grid_ok(&["promise", "foo", "192.168.77.0/24"], "")?;
    let promised = || {
        Ok(a.grid_ok(&["status", "foo"], "")?
            .contains("192.168.77.0/24"))
    };
    wait_until("others to hear of it", Duration::from_secs(10), promised)
}

fn read_only(lab: &Lab) -> Result<()> {
    let (mesh, _, b) = pair(lab, c"mode=0700,size=16m")?;
    b.grid_ok(&["stop-server"], "")?;
    // As in an image in which no server ever ran.
    for file in ["server.lock", "server.log"] {
        fs::remove_file(b.home().join(file))?;
    }
    let read_only = MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
    mounted::on(&b, c"tmpfs", HOME, read_only, c"")?;
    let mut command = b.command("grid");
    command.arg("start-server").stdin(Stdio::null());
    let mut server = command.spawn()?;
    wait_until("the tunnel to be up", Duration::from_secs(30), || {
        Ok(reach_each_other(&mesh).is_ok())
    })?;
    let why = unwritable(&b)?.context("the home is not said to be read-only")?;
    ensure!(why.contains("Read-only file system"), "{why}");
    refuses(&b, "Read-only file system")?;
    // There is one server for a home, whether it can be written to or not.
    let second = b.grid(&["start-server"])?;
    ensure!(!second.status.success(), "{second:?}");
    mounted::on(&b, c"tmpfs", HOME, MsFlags::MS_REMOUNT, c"")?;
    wait_until("the server to go on by itself", NOTICED, || {
        Ok(b.grid(&["status"])?.status.success() && unwritable(&b)?.is_none())
    })?;
    b.grid_ok(&["promise", "foo", "192.168.77.0/24"], "")?;
    reach_each_other(&mesh)?;
    b.grid_ok(&["stop-server"], "")?;
    ensure!(server.wait()?.success(), "it ended with an error");
    Ok(())
}

/// Writes until there is no room for another byte.
fn fill(path: &std::path::Path) -> Result<()> {
    let mut file = File::create(path)?;
    for chunk in [4096, 1] {
        while file.write_all(&vec![0; chunk]).is_ok() {}
    }
    Ok(())
}

fn unwritable(node: &Node) -> Result<Option<String>> {
    let shown = node.grid_ok(&["status", "--json"], "")?;
    let status: serde_json::Value = serde_json::from_str(&shown)?;
    Ok(status["unwritable"].as_str().map(str::to_owned))
}

fn refuses(node: &Node, why: &str) -> Result<()> {
    let output = node.grid(&["promise", "foo", "192.168.77.0/24"])?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(
        output.status.code() == Some(1)
            && said.contains(why)
            && said.contains("nothing was changed"),
        "{output:?}"
    );
    // What is only read needs no room.
    node.grid_ok(&["owners", "foo", "--acts"], "")?;
    node.grid_ok(&["invites", "foo"], "").map(drop)
}

fn reach_each_other(mesh: &Mesh) -> Result<()> {
    let addresses = mesh.addresses()?;
    for (from, to) in [(0, 1), (1, 0)] {
        for address in addresses[to] {
            let answer = ping(&mesh.members()[from], address, Duration::from_secs(2))?;
            ensure!(answer.is_some(), "{address} does not answer");
        }
    }
    Ok(())
}
