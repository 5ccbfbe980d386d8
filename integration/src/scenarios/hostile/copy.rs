//! One home on two machines that cannot be told apart, as two containers.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use grid_promises::network::member::MemberPromise;
use grid_promises::network::statement::Signed;

use super::five::Five;
use crate::lab::Lab;
use crate::node::Node;
use crate::output::say;
use crate::scenarios::seen;
use crate::wait::wait_until;

const PATIENCE: Duration = Duration::from_secs(40);
/// How long the two go on after both know of each other.
const LONG: Duration = Duration::from_secs(5);
/// Promises that the two may sign against each other in the first minute.
const MOST: u64 = 20;

pub(super) fn run(lab: &Lab) -> Result<()> {
    let mut five = Five::meet(lab)?;
    let copied = five.victims.remove(2).node;
    let copy = lab.add_node("copy")?;
    copied.grid_ok(&["stop-server"], "")?;
    copy_folder(&copied.home(), &copy.home())?;
    let before = sequence(&copied)?;
    five.endure(&copy, || async {
        seen::start(&copied)?;
        seen::start(&copy)?;
        for (one, other) in [(&copied, &copy), (&copy, &copied)] {
            names(one, other)?;
        }
        thread::sleep(LONG);
        Ok(())
    })?;
    let signed = sequence(&copied)?.max(sequence(&copy)?) - before;
    say(&format!("{signed} promises of two machines with one key"));
    ensure!((2..=MOST).contains(&signed), "{signed} promises");
    Ok(())
}

/// The status of a node says that another machine has its key, and where that is.
fn names(node: &Node, other: &Node) -> Result<()> {
    let (what, there) = (format!("{} to name the other", node.name()), other.ipv4()?);
    wait_until(&what, PATIENCE, || {
        let status = seen::status(node, "foo")?;
        let elsewhere = &status["networks"][0]["elsewhere"]["endpoints"];
        let named = elsewhere.as_array().context("nothing")?.iter();
        let named = named.filter_map(|place| place.as_str());
        let there = format!("{there}:");
        Ok(named.into_iter().any(|place| place.starts_with(&there)))
    })
    .with_context(|| node.server_log_tail(20))
}

fn sequence(node: &Node) -> Result<u64> {
    let bytes = fs::read(node.home().join("nets/foo/promise"))?;
    let promise: Signed<MemberPromise> = Signed::decode(&bytes)?;
    Ok(promise.sequence)
}

/// Copies files and folders into a folder that is there, and nothing else: no socket.
fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (kind, to) = (entry.file_type()?, to.join(entry.file_name()));
        if kind.is_dir() {
            let mode = entry.metadata()?.permissions().mode();
            DirBuilder::new().mode(mode & 0o777).create(&to)?;
            copy_folder(&entry.path(), &to)?;
        } else if kind.is_file() {
            fs::copy(entry.path(), &to)?;
        }
    }
    Ok(())
}
