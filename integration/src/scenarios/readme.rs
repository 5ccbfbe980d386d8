//! What README.md tells people to type, typed by the lab.
//!
//! The commands are read from README.md itself by `.ci/readme`, so that the two cannot drift apart.

use std::net::IpAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};

use crate::Missing;
use crate::lab::Lab;
use crate::node::Node;
use crate::output::say;
use crate::ping::ping;
use crate::scenario::Scenario;
use crate::server;
use crate::status::{Network, Status};
use crate::wait::wait_until;

pub(super) const SCENARIOS: &[Scenario] = &[Scenario {
    name: "readme_quick_start",
    run: quick_start,
}];

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
const PATIENCE: Duration = Duration::from_secs(20);

/// A command of README.md.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Who runs it: `.ci/run`, or `scenario NAME on NODE`.
    pub by: String,
    /// What is added to it there.
    pub with: String,
    /// The line.
    pub line: String,
}

/// README.md as it is now.
///
/// # Errors
/// When it cannot be read.
pub fn text() -> Result<String> {
    let path = Path::new(ROOT).join("README.md");
    std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
}

/// The commands of README.md, in its order.
///
/// # Errors
/// When a block does not say who runs it; [`Missing`] when this machine has no awk.
pub fn commands() -> Result<Vec<Listed>> {
    let output = Command::new("awk")
        .args(["-f", ".ci/readme", "README.md"])
        .current_dir(ROOT)
        .output()
        .map_err(|error| Missing(format!("awk, which reads README.md, cannot run: {error}")))?;
    ensure!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    String::from_utf8(output.stdout)?
        .lines()
        .map(|line| match line.split('\t').collect::<Vec<_>>()[..] {
            [by, with, line] => Ok(Listed {
                by: by.to_owned(),
                with: with.to_owned(),
                line: line.to_owned(),
            }),
            _ => bail!("not three columns: {line:?}"),
        })
        .collect()
}

/// Types the quick start's commands on two machines and looks whether each came true.
fn quick_start(lab: &Lab) -> Result<()> {
    if cfg!(not(feature = "modules")) {
        bail!(Missing(
            "this build has no modules, which README.md goes on to use".into()
        ));
    }
    let (a, b) = (lab.add_node("a")?, lab.add_node("b")?);
    let readme = text()?;
    for node in [&a, &b] {
        let address = node.ipv4()?.to_string();
        ensure!(
            readme.contains(&address),
            "README.md does not name {address}, the address of {}",
            node.name()
        );
    }
    a.namespaces().in_net(crate::requirements::wireguard)??;
    let mut invite = String::new();
    let mut typed = 0;
    for command in commands()? {
        let Some(name) = command.by.strip_prefix("scenario readme_quick_start on ") else {
            continue;
        };
        let node = match name {
            "a" => &a,
            "b" => &b,
            _ => bail!("README.md types on {name}, but there are a and b"),
        };
        let pasted = if command.line.starts_with("grid join-wireguard-net") {
            format!("{invite}\n")
        } else {
            String::new()
        };
        let Some(printed) = type_on(node, &command.line, &pasted)? else {
            continue;
        };
        typed += 1;
        if command.line.starts_with("grid invite") {
            printed.trim().clone_into(&mut invite);
        }
        if command.line == "grid hello world" {
            ensure!(
                printed == "hello, world",
                "`grid hello world` printed {printed:?}"
            );
        }
        came_true(&command.line, &a, &b).with_context(|| format!("after `{}`", command.line))?;
    }
    // Were the blocks to lose their comments, nothing would be left to fail.
    ensure!(typed >= 5, "only {typed} commands were typed");
    Ok(())
}

/// Runs a line in a shell on a node. `None` when it needs a `wg` that this machine does not have.
fn type_on(node: &Node, line: &str, pasted: &str) -> Result<Option<String>> {
    // In a clone of the project, as README.md says where it matters.
    let typed = format!("cd \"$0\"; {line}");
    let output = node.tool(&["sh", "-c", &typed, ROOT], pasted, Duration::from_secs(60))?;
    if output.status.code() == Some(127) && line.starts_with("wg ") {
        say(&format!("SKIPPED `{line}`: there is no wg on this machine"));
        return Ok(None);
    }
    ensure!(
        output.status.success(),
        "`{line}` on {} ended with {}\n{}{}",
        node.name(),
        output.status,
        String::from_utf8_lossy(&output.stderr),
        node.server_log_tail(20)
    );
    Ok(Some(String::from_utf8(output.stdout)?))
}

/// What README.md says happens after a command.
fn came_true(line: &str, a: &Node, b: &Node) -> Result<()> {
    let words: Vec<&str> = line.split_whitespace().collect();
    match words[..] {
        ["grid", "create-wireguard-net", ..] => foo(a)?.ipv4().map(|_| ()),
        ["grid", "join-wireguard-net", ..] => {
            let (from_a, from_b) = (foo(a)?, foo(b)?);
            reaches(a, from_b.ipv4()?.into())?;
            reaches(a, from_b.ipv6()?.into())?;
            reaches(b, from_a.ipv4()?.into())?;
            reaches(b, from_a.ipv6()?.into())
        }
        ["grid", "accept", _, prefix, ..] => wait_until("b to accept it", PATIENCE, || {
            let peers = foo(b)?.peers;
            Ok(peers.iter().any(|peer| {
                peer.accepted.iter().any(|accepted| accepted == prefix)
                    && peer.allowed_ips.iter().any(|routed| routed == prefix)
            }))
        }),
        ["grid", "leave-wireguard-net", ..] => {
            wait_until("a to forget b", PATIENCE, || Ok(foo(a)?.peers.is_empty()))?;
            wait_until("the server on b to stop", PATIENCE, || {
                Ok(server::pid(b).is_none())
            })
        }
        _ => Ok(()),
    }
}

fn foo(node: &Node) -> Result<Network> {
    let json = node.grid_ok(&["status", "foo", "--json"], "")?;
    Ok(Status::parse(&json)?.network("foo")?.clone())
}

fn reaches(node: &Node, address: IpAddr) -> Result<()> {
    let what = format!("{address} to answer {}", node.name());
    wait_until(&what, PATIENCE, || {
        Ok(ping(node, address, Duration::from_millis(500))?.is_some())
    })
}
