//! The script that makes a virtual machine a node, run on machines of the lab, without Vagrant or
//! systemd.

use std::net::IpAddr;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::Output;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::seen::{self, PATIENCE};
use crate::lab::Lab;
use crate::node::Node;
use crate::run::run_with_deadline;
use crate::scenario::Scenario;
use crate::server;
use crate::supervise::GRID;
use crate::wait::wait_until;

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "provision_makes_three_machines_a_network",
        run: three_machines,
    },
    Scenario {
        name: "provision_says_what_is_missing",
        run: missing,
    },
];

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../vagrant/provision.sh");
/// Where the script installs the program: a private folder of the node.
const PREFIX: &str = "/run/grid-lab/node/local";
const DEADLINE: Duration = Duration::from_secs(120);

/// The joining machines start first: they have to wait for the invite.
fn three_machines(lab: &Lab) -> Result<()> {
    let (a, b, c) = (lab.add_node("a")?, lab.add_node("b")?, lab.add_node("c")?);
    let nodes: [&Node; 3] = [&a, &b, &c];
    a.namespaces().in_net(crate::requirements::wireguard)??;
    let share = share()?;
    std::thread::scope(|scope| {
        let joining = [&b, &c].map(|node| scope.spawn(|| provision(node, "join", share.path())));
        wait_until("b to wait for the invite", PATIENCE, || {
            Ok(server::pid(&b).is_some())
        })?;
        provision(&a, "found", share.path())?;
        for join in joining {
            join.join()
                .map_err(|_| anyhow::anyhow!("a thread panicked"))??;
        }
        Ok::<_, anyhow::Error>(())
    })?;
    every_pair_answers(&nodes)?;
    let invite = share.path().join("foo.invite");
    let mode = std::fs::metadata(&invite)?.permissions().mode() & 0o7777;
    ensure!(mode == 0o600, "the invite has mode {mode:o}");
    for node in nodes {
        let installed = node.path(PREFIX).join("bin/grid");
        ensure!(installed.exists(), "{} is not there", installed.display());
    }

    // Once more: nothing changes, and no server is restarted.
    let before = facts(&nodes)?;
    provision(&a, "found", share.path())?;
    provision(&b, "join", share.path())?;
    ensure!(facts(&nodes)? == before, "a second run changed something");

    // A machine whose server is gone is repaired.
    server::kill_9(&c)?;
    provision(&c, "join", share.path())?;
    let (_, identity) = before.last().context("there are no facts")?;
    ensure!(
        seen::identity(&c, "foo")? == *identity,
        "c is another node after its server was killed"
    );
    every_pair_answers(&nodes)
}

/// Whatever is wrong is said in one sentence, and nothing is started.
fn missing(lab: &Lab) -> Result<()> {
    let node = lab.add_node("a")?;
    node.namespaces().in_net(crate::requirements::wireguard)??;
    let share = share()?;
    for (role, folder, code, says) in [
        ("lead", share.path(), 2, "usage:"),
        ("join", Path::new("/no-such-folder"), 2, "usage:"),
        ("join", share.path(), 1, "there is no invite"),
    ] {
        let output = run(&node, role, folder, "2")?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(
            output.status.code() == Some(code) && said.contains(says),
            "`provision.sh {role} {}` ended with {} and said: {said}",
            folder.display(),
            output.status
        );
    }
    ensure!(!seen::has_interface(&node, "foo")?, "there is a network");
    Ok(())
}

/// A folder that all nodes share, with the program in it.
fn share() -> Result<tempfile::TempDir> {
    let share = tempfile::tempdir()?;
    symlink(GRID, share.path().join("grid"))?;
    Ok(share)
}

fn provision(node: &Node, role: &str, share: &Path) -> Result<()> {
    let output = run(node, role, share, "60")?;
    ensure!(
        output.status.success(),
        "`provision.sh {role}` on {} ended with {}\n{}{}{}",
        node.name(),
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
        node.server_log_tail(20)
    );
    let printed = String::from_utf8_lossy(&output.stdout);
    ensure!(
        printed.contains("addresses"),
        "it does not end with the status: {printed}"
    );
    Ok(())
}

fn run(node: &Node, role: &str, share: &Path, patience: &str) -> Result<Output> {
    let mut command = node.command(SCRIPT);
    command
        .arg(role)
        .arg(share)
        .env("GRID_PREFIX", PREFIX)
        // Even if the lab's host runs systemd: that is not this machine's.
        .env("GRID_SERVICE", "background")
        .env("GRID_PATIENCE", patience)
        .env("GRID_ENDPOINT", format!("{}:51821", node.ipv4()?));
    run_with_deadline(command, b"", DEADLINE)
        .with_context(|| format!("`provision.sh {role}` on {}", node.name()))
}

/// Which server runs on each node, and its identity.
fn facts(nodes: &[&Node]) -> Result<Vec<(Option<u32>, seen::Identity)>> {
    nodes
        .iter()
        .map(|node| Ok((server::pid(node), seen::identity(node, "foo")?)))
        .collect()
}

fn every_pair_answers(nodes: &[&Node]) -> Result<()> {
    for to in nodes {
        let network = seen::network(to, "foo")?;
        let addresses: [IpAddr; 2] = [network.ipv4()?.into(), network.ipv6()?.into()];
        for from in nodes {
            for address in addresses {
                seen::reaches(from, address, PATIENCE)?;
            }
        }
    }
    Ok(())
}
