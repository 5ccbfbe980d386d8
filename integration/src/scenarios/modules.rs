//! Modules that travel: published on one node, adopted, fetched, verified and run on another.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::seen;
use crate::lab::Lab;
use crate::node::Node;
use crate::scenario::Scenario;
use crate::tap::Tap;
use crate::wait::wait_until;

const QUIC_PORT: u16 = 51821;
const PATIENCE: Duration = Duration::from_secs(20);

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "a_module_of_a_peer_is_adopted_and_run",
        run: adopted_and_run,
    },
    Scenario {
        name: "an_executable_of_a_peer_runs_once_it_is_allowed",
        run: executable,
    },
    Scenario {
        name: "a_name_that_is_here_stays_what_it_is",
        run: clash,
    },
    Scenario {
        name: "who_takes_no_part_in_fetching_says_so",
        run: no_part,
    },
];

pub(super) fn guest(name: &str) -> Result<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../examples/guests")
        .join(name);
    let path: PathBuf = path
        .canonicalize()
        .with_context(|| format!("no {}", path.display()))?;
    Ok(path.to_str().context("a path that is no text")?.to_owned())
}

/// Two nodes, each with a server; the second has made the first a peer. Also returns the first
/// one's address.
fn peers(lab: &Lab) -> Result<(Arc<Node>, Arc<Node>, String)> {
    let (a, b) = (lab.add_node("a")?, lab.add_node("b")?);
    a.grid_ok(&["start-server", "--background"], "")?;
    let place = format!("{}:{QUIC_PORT}", a.ipv4()?);
    b.grid_ok(&["exchange-keys", &place], "")?;
    Ok((a, b, place))
}

fn adopted_and_run(lab: &Lab) -> Result<()> {
    let (a, b, place) = peers(lab)?;
    let promise = fs::read_to_string(guest("hello.md")?)?;
    for (name, file) in [("hello", "hello-rust.wasm"), ("greet", "hello-c.wasm")] {
        a.grid_ok(&["publish", name, &guest(file)?], "")?;
        // A peer's having it is no reason to run it; its promise can be read without adopting it.
        let said = seen::refused(&b, &[name, "world"], "", &[2])?;
        ensure!(
            said.contains("grid adopt-symbols") && said.contains(name),
            "the error does not say how to get it: {said}"
        );
        ensure!(b.grid_ok(&["--show", name], "")? == promise);
        b.grid_ok(&["adopt-symbols", &place, name], "")?;
        ensure!(b.grid_ok(&["--show", name], "")? == promise);
        ensure!(b.grid_ok(&[name, "world"], "")? == "hello, world");
    }
    // A module that is here runs without asking anybody, for known results and for new ones.
    let tap = Tap::count(&[&b])?;
    for word in ["world", "again"] {
        ensure!(b.grid_ok(&["hello", word], "")? == format!("hello, {word}"));
    }
    let sent = tap.sent("b");
    // A keepalive of the connection may be among it, but no request.
    ensure!(sent.quic < 250, "it sent {} bytes to peers", sent.quic);
    drop(tap);
    // With the first node gone, everything is here.
    a.grid_ok(&["stop-server"], "")?;
    b.grid_ok(&["stop-server"], "")?;
    for name in ["hello", "greet"] {
        ensure!(b.grid_ok(&[name, "nobody"], "")? == "hello, nobody");
    }
    ensure!(
        crate::server::pid(&b).is_none(),
        "a server was started for what is here"
    );
    Ok(())
}

fn executable(lab: &Lab) -> Result<()> {
    let (a, b, place) = peers(lab)?;
    let script = a.home().join("shout");
    fs::write(&script, "#!/bin/sh\necho \"$*!\"\nexit 3\n")?;
    let script = script
        .to_str()
        .context("a path that is no text")?
        .to_owned();
    let promise = "I will shout what you say. I expect that you say something.";
    a.grid_ok(&["publish", "shout", &script, "--promise", promise], "")?;
    b.grid_ok(&["adopt-symbols", &place, "shout"], "")?;
    let said = seen::refused(&b, &["shout", "hey"], "", &[4])?;
    ensure!(said.contains("grid allow shout"), "{said}");
    b.grid_ok(&["allow", "shout"], "")?;
    let ran = b.grid(&["shout", "hey", "you"])?;
    let out = String::from_utf8_lossy(&ran.stdout);
    ensure!(
        ran.status.code() == Some(3) && out == "hey you!\n",
        "{:?}: {out}",
        ran.status
    );
    Ok(())
}

fn clash(lab: &Lab) -> Result<()> {
    let (a, b, place) = peers(lab)?;
    a.grid_ok(&["publish", "hello", &guest("hello-rust.wasm")?], "")?;
    a.grid_ok(&["publish", "greet", &guest("hello-rust.wasm")?], "")?;
    let mine = b.grid_ok(&["publish", "hello", &guest("hello-c.wasm")?], "")?;
    let of_b = || -> Result<Value> {
        let json = b.grid_ok(&["symbols", "--json"], "")?;
        let symbols: Value = serde_json::from_str(&json)?;
        let names = symbols["names"].as_array().context("no names")?;
        let hello = names.iter().find(|row| row["name"] == "hello");
        Ok(hello.context("no hello")?["module"]["id"].clone())
    };
    // All new names; existing ones stay, and the clash is shown.
    let shown = b.grid_ok(&["adopt-symbols", &place], "")?;
    ensure!(
        shown.contains("+ greet") && shown.contains("! hello"),
        "{shown}"
    );
    ensure!(of_b()? == mine.trim());
    seen::refused(&b, &["adopt-symbols", &place, "hello"], "", &[4])?;
    ensure!(of_b()? == mine.trim());
    b.grid_ok(&["adopt-symbols", &place, "hello", "--replace"], "")?;
    ensure!(of_b()? != mine.trim());
    // And back.
    let history = b.grid_ok(&["symbols", "--history", "--json"], "")?;
    let history: Value = serde_json::from_str(&history)?;
    let before = history["history"][1]["table"]
        .as_str()
        .context("no history")?;
    b.grid_ok(&["symbols", "--back", before], "")?;
    ensure!(of_b()? == mine.trim());
    seen::refused(&b, &["adopt-symbols", &place, "nonsense"], "", &[1])?;
    Ok(())
}

fn no_part(lab: &Lab) -> Result<()> {
    let (a, b, place) = peers(lab)?;
    a.grid_ok(&["publish", "hello", &guest("hello-c.wasm")?], "")?;
    a.grid_ok(&["contract", "--remove", "fetch"], "")?;
    // This takes effect without a restart, as publishing does.
    wait_until("a to reject what it takes no part in", PATIENCE, || {
        let ran = b.grid(&["adopt-symbols", &place, "hello"])?;
        let said = String::from_utf8_lossy(&ran.stderr).into_owned();
        Ok(ran.status.code() == Some(4) && said.contains("no part"))
    })?;
    a.grid_ok(&["contract", "--add", "fetch"], "")?;
    wait_until("a to take part again", PATIENCE, || {
        Ok(b.grid(&["adopt-symbols", &place, "hello"])?
            .status
            .success())
    })?;
    ensure!(b.grid_ok(&["hello", "world"], "")? == "hello, world");
    Ok(())
}
