//! A module as the judge of a network: what it decides, what it cannot, and how every decision can
//! be examined and replayed later.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::modules::guest;
use super::seen::{self, PATIENCE};
use crate::lab::Lab;
use crate::node::Node;
use crate::scenario::Scenario;
use crate::server;
use crate::wait::wait_for;

const SUBNET: &str = "192.168.77.0/24";
/// A prefix that the judge refuses to everybody: TEST-NET-2 of RFC 5737.
const PUBLIC: &str = "198.51.100.0/24";
/// A history distinguishes decisions by the second.
const NEXT: Duration = Duration::from_secs(2);

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "a_judge_decides_and_its_decisions_replay",
        run: decides,
    },
    Scenario {
        name: "what_is_no_judge_is_not_appointed",
        run: no_judge,
    },
];

fn founded(lab: &Lab) -> Result<(Arc<Node>, Arc<Node>)> {
    let (a, b) = (lab.add_node("a")?, lab.add_node("gateway-b")?);
    a.grid_ok(&["create-wireguard-net", "foo"], "")?;
    let invite = a.grid_ok(&["invite", "foo"], "")?;
    b.grid_ok(&["join-wireguard-net", "foo", "-"], &invite)?;
    Ok((a, b))
}

fn decides(lab: &Lab) -> Result<()> {
    let (a, b) = founded(lab)?;
    for prefix in [SUBNET, PUBLIC] {
        b.grid_ok(&["promise", "foo", prefix], "")?;
    }
    let by_rule = wait_verdict(&a, SUBNET, false, "no local rule")?;
    sleep(NEXT);

    a.grid_ok(&["publish", "gateways", &guest("judge-rust.wasm")?], "")?;
    let text = a.grid_ok(&["--show", "gateways"], "")?;
    ensure!(text == a.grid_ok(&["--show", "judge"], "")?, "{text}");
    let would = a.grid_ok(&["appoint-judge", "foo", "gateways", "--dry-run"], "")?;
    let line = would.lines().find(|line| line.contains(SUBNET));
    let line = line.with_context(|| format!("no {SUBNET} in {would}"))?;
    ensure!(
        line.contains("accepted") && line.contains("now it is refused"),
        "{line}"
    );
    wait_verdict(&a, SUBNET, false, "no local rule")?;
    let said = a.grid_ok(&["appoint-judge", "foo", "gateways"], "")?;
    ensure!(said.contains("grid replay foo"), "{said}");
    let by_judge = wait_verdict(&a, SUBNET, true, "behind gateway-b")?;
    let public = verdict(&replayed(&a, None)?, PUBLIC)?;
    ensure!(
        public["accepted"] == false
            && public["why"]
                .as_str()
                .is_some_and(|why| why.contains("not a private")),
        "{public}"
    );
    let status = seen::status(&a, "foo")?;
    ensure!(status["networks"][0]["judge"].is_string(), "{status}");
    let accepted = status["networks"][0]["peers"][0]["accepted"].to_string();
    ensure!(
        accepted.contains(SUBNET) && !accepted.contains(PUBLIC),
        "{accepted}"
    );
    sleep(NEXT);
    // A person's rule overrides it.
    a.grid_ok(&["reject", "foo", SUBNET], "")?;
    wait_verdict(&a, SUBNET, false, "local rule rejects")?;

    // The judge is local to the node, and survives a restart; so does its history.
    server::kill_9(&a)?;
    seen::start(&a)?;
    reaches(&a, &b)?;
    sleep(NEXT);
    a.grid_ok(&["appoint-judge", "foo", "none"], "")?;
    wait_verdict(&a, SUBNET, false, "local rule rejects")?;
    for (at, before) in [(&by_rule, false), (&by_judge, true)] {
        let then = replayed(&a, at["decided"].as_u64())?;
        let verdict = verdict(&then, SUBNET)?;
        ensure!(
            then["same"] == true && verdict["accepted"] == before,
            "{then}"
        );
        ensure!(then["judge"].is_string() == before, "{then}");
    }
    let at = format!("@{}", by_judge["decided"]);
    let shown = a.grid_ok(&["replay", "foo", "--at", &at], "")?;
    for part in [
        "judge",
        SUBNET,
        "accepted",
        "behind gateway-b",
        "decided again",
        "the same",
    ] {
        ensure!(shown.contains(part), "no {part:?} in {shown}");
    }
    let early = seen::refused(
        &a,
        &["replay", "foo", "--at", "2020-01-01T00:00:00Z"],
        "",
        &[1],
    )?;
    ensure!(early.contains("begins at"), "{early}");
    a.grid_ok(&["leave-wireguard-net", "foo", "--force"], "")?;
    let left = seen::refused(&a, &["replay", "foo"], "", &[1])?;
    ensure!(left.contains("nothing was decided"), "{left}");
    Ok(())
}

fn no_judge(lab: &Lab) -> Result<()> {
    let (a, b) = founded(lab)?;
    a.grid_ok(&["publish", "hello", &guest("hello-rust.wasm")?], "")?;
    let script = a.home().join("script");
    fs::write(&script, "#!/bin/sh\n")?;
    let script = script.to_str().context("a path that is no text")?;
    a.grid_ok(&["publish", "script", script, "--promise", "I will."], "")?;
    let id = a.grid_ok(&["cas", "put", script], "")?;
    for (module, codes, why) in [
        ("hello", &[1][..], "another promise"),
        ("script", &[1], "WebAssembly"),
        (id.trim(), &[1], "WebAssembly"),
        ("missing", &[2], "no module is called"),
    ] {
        let said = seen::refused(&a, &["appoint-judge", "foo", module], "", codes)?;
        ensure!(said.contains(why), "{said}");
    }
    ensure!(seen::status(&a, "foo")?["networks"][0]["judge"].is_null());
    // After a restart, a judge whose module is lost lets nobody in, and says so.
    a.grid_ok(&["publish", "gateways", &guest("judge-rust.wasm")?], "")?;
    a.grid_ok(&["appoint-judge", "foo", "gateways"], "")?;
    wait_accepts_addresses(&a, 2)?;
    a.grid_ok(&["stop-server"], "")?;
    let code = fs::read(guest("judge-rust.wasm")?)?;
    let path = remove_object(&a, &code)?;
    seen::start(&a)?;
    let why = wait_for("the judge to be missed", PATIENCE, || {
        let status = seen::status(&a, "foo")?;
        Ok(status["networks"][0]["judge_failure"]
            .as_str()
            .map(str::to_owned))
    })?;
    ensure!(why.contains("not here"), "{why}");
    wait_accepts_addresses(&a, 0)?;
    let shown = a.grid_ok(&["status", "foo"], "")?;
    ensure!(shown.contains("its earlier verdicts stand"), "{shown}");
    // It is consulted again automatically once the module is back.
    fs::write(&path, code)?;
    wait_accepts_addresses(&a, 2)?;
    reaches(&a, &b)
}

fn reaches(from: &Node, to: &Node) -> Result<()> {
    let addresses = seen::identity(to, "foo")?.addresses;
    let address = addresses
        .first()
        .and_then(|address| address.split('/').next());
    let address = address.context("no address")?.parse()?;
    seen::reaches(from, address, PATIENCE)
}

/// Moves away the file of the object with these bytes, and what was compiled from it. Returns its
/// path.
fn remove_object(node: &Node, bytes: &[u8]) -> Result<PathBuf> {
    let cache = node.home().join("cache");
    if cache.join("compiled").exists() {
        fs::remove_dir_all(cache.join("compiled"))?;
    }
    let mut folders = vec![cache];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if fs::read(&path)? == bytes {
                fs::remove_file(&path)?;
                return Ok(path);
            }
        }
    }
    anyhow::bail!("the object is not in the store")
}

fn wait_accepts_addresses(node: &Node, count: usize) -> Result<()> {
    wait_for(
        &format!("{count} addresses to be accepted"),
        PATIENCE,
        || {
            let status = seen::status(node, "foo")?;
            let accepted = status["networks"][0]["peers"][0]["accepted"].as_array();
            Ok((accepted.map(Vec::len) == Some(count)).then_some(()))
        },
    )
}

/// What was decided at a moment in Unix time, by default now.
fn replayed(node: &Node, at: Option<u64>) -> Result<Value> {
    let at = at.map(|at| format!("@{at}"));
    let mut words = vec!["replay", "foo", "--json"];
    if let Some(at) = &at {
        words.extend(["--at", at]);
    }
    Ok(serde_json::from_str(&node.grid_ok(&words, "")?)?)
}

fn verdict(replayed: &Value, prefix: &str) -> Result<Value> {
    let verdicts = replayed["verdicts"].as_array().context("no verdicts")?;
    let found = verdicts.iter().find(|verdict| verdict["prefix"] == prefix);
    found
        .cloned()
        .with_context(|| format!("no {prefix} in {replayed}"))
}

/// Waits until a prefix is accepted, or refused for a reason. Returns what `replay` says of it.
fn wait_verdict(node: &Node, prefix: &str, accepted: bool, why: &str) -> Result<Value> {
    wait_for(&format!("{prefix}: {accepted}, {why}"), PATIENCE, || {
        let replayed = replayed(node, None)?;
        let found = verdict(&replayed, prefix)?;
        let says = found["why"].as_str().is_some_and(|says| says.contains(why));
        Ok((says && found["accepted"] == accepted).then_some(replayed))
    })
}
