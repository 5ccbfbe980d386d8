//! What a build without modules does with what is about them: it says so, and is a mesh.

use std::fs::{self, OpenOptions};
use std::io::Write as _;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::seen::{self, PATIENCE};
use crate::lab::Lab;
use crate::node::Node;
use crate::scenario::Scenario;
use crate::wait::wait_for;

/// A prefix that a rule accepts, and one of which no rule says anything.
const BY_RULE: &str = "192.168.77.0/24";
const NO_RULE: &str = "192.168.78.0/24";

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "what_is_about_modules_is_refused_by_name",
        run: commands,
    },
    Scenario {
        name: "a_judge_that_cannot_be_asked_lets_nobody_in",
        run: judge,
    },
];

fn commands(lab: &Lab) -> Result<()> {
    let a = lab.add_node("a")?;
    for words in [
        &["publish", "x", "y"][..],
        &["symbols"],
        &["adopt-symbols", "x"],
        &["allow"],
        &["cas", "ls"],
        &["routes"],
        &["appoint-judge", "foo", "x"],
        &["hello", "world"],
        &["--show", "hello"],
    ] {
        let error = seen::refused(&a, words, "", &[2])?;
        ensure!(error.contains("this build of grid has no"), "{error}");
    }
    let help = a.grid_ok(&["--help"], "")?;
    ensure!(
        help.contains("join-wireguard-net") && !help.contains("publish"),
        "{help}"
    );
    let names = a.grid_ok(&["--list"], "")?;
    ensure!(names.contains("join-wireguard-net"), "{names}");
    let text = a.grid_ok(&["--show", "status"], "")?;
    ensure!(!text.is_empty());
    a.grid_ok(&["contract", "--remove", "fetch"], "")?;
    let contract = a.grid_ok(&["contract"], "")?;
    ensure!(
        contract.contains("join-wireguard-net") && !contract.contains("fetch"),
        "{contract}"
    );
    Ok(())
}

/// As with a judge that fails from the start: nothing is accepted without it, status says why, and the judge
/// can be dismissed.
fn judge(lab: &Lab) -> Result<()> {
    let (a, b) = (lab.add_node("a")?, lab.add_node("b")?);
    a.grid_ok(&["create-wireguard-net", "foo"], "")?;
    let invite = a.grid_ok(&["invite", "foo"], "")?;
    b.grid_ok(&["join-wireguard-net", "foo", "-"], &invite)?;
    let b_id = seen::identity(&b, "foo")?.node;
    a.grid_ok(&["accept", "foo", BY_RULE, "--from", &b_id], "")?;
    for prefix in [BY_RULE, NO_RULE] {
        b.grid_ok(&["promise", "foo", prefix], "")?;
    }
    wait_for("the prefix with a rule", PATIENCE, || {
        let network = seen::network(&a, "foo")?;
        let accepted = network.peers.first().map(|peer| peer.accepted.clone());
        Ok(accepted.filter(|all| all.iter().any(|prefix| prefix == BY_RULE)))
    })?;

    // As a build with modules wrote it.
    a.grid_ok(&["stop-server"], "")?;
    let rules = a.home().join("nets/foo/rules");
    ensure!(fs::read_to_string(&rules)?.contains(BY_RULE));
    // The content id of the text of the promise `judge`: an id like any other.
    let id = a.grid_ok(&["--list"], "")?;
    let id = id.lines().find_map(|line| line.strip_prefix("status"));
    let id = id.context("no id of a promise")?.trim().to_owned();
    let mut file = OpenOptions::new().append(true).open(&rules)?;
    writeln!(file, "judge {id}")?;
    seen::start(&a)?;
    let status = wait_for("the judge to fail", PATIENCE, || {
        let status = seen::status(&a, "foo")?;
        let why = status["networks"][0]["judge_failure"].as_str();
        Ok(why.is_some().then_some(status))
    })?;
    let network = &status["networks"][0];
    ensure!(network["judge"] == id.as_str(), "{network}");
    let why = network["judge_failure"].as_str().unwrap_or_default();
    ensure!(why.contains("no modules"), "{why}");
    let peer = wait_for("the promises of both prefixes", PATIENCE, || {
        let network = seen::network(&a, "foo")?;
        let peer = network.peers.first().cloned();
        Ok(peer.filter(|peer| peer.promised.iter().any(|prefix| prefix == NO_RULE)))
    })?;
    ensure!(peer.accepted.is_empty(), "{:?}", peer.accepted);
    // What was decided before stands until the judge has failed at the latest records.
    let error = wait_for("a decision without the judge", PATIENCE, || {
        let replayed = a.grid(&["replay", "foo"])?;
        let failed = replayed.status.code() == Some(1);
        Ok(failed.then(|| String::from_utf8_lossy(&replayed.stderr).into_owned()))
    })?;
    ensure!(error.contains("no modules"), "{error}");
    replayed_with_rules(&b)?;

    a.grid_ok(&["appoint-judge", "foo", "none"], "")?;
    wait_for("the prefix with a rule", PATIENCE, || {
        let network = seen::network(&a, "foo")?;
        let accepted = network.peers.first().map(|peer| peer.accepted.clone());
        Ok(accepted.filter(|all| all.iter().any(|prefix| prefix == BY_RULE)))
    })?;
    replayed_with_rules(&a)
}

/// A decision without a judge can be made again.
fn replayed_with_rules(node: &Node) -> Result<()> {
    let replayed: Value = serde_json::from_str(&node.grid_ok(&["replay", "foo", "--json"], "")?)?;
    ensure!(replayed["same"] == true, "{replayed}");
    Ok(())
}
