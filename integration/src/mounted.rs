//! Mounts that a test makes on a node, in that node's mount namespace.

use std::ffi::CStr;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::time::Duration;

use anyhow::{Result, ensure};
use nix::mount::{MsFlags, mount};

use crate::node::Node;
use crate::run::run_with_deadline;

/// Mounts in the mount namespace of `node`: an empty tmpfs if `what` is `tmpfs`, else what lies at that path.
///
/// # Errors
/// What `mount` answers.
#[allow(unsafe_code)]
pub(crate) fn on(
    node: &Node,
    what: &'static CStr,
    at: &'static CStr,
    flags: MsFlags,
    options: &'static CStr,
) -> Result<()> {
    let mut command = node.command("true");
    let kind = (what == c"tmpfs").then_some(what);
    let mount = move || mount(Some(what), at, kind, flags, Some(options)).map_err(io::Error::from);
    // SAFETY: the closure neither allocates nor locks, as all its strings end with a zero byte already. It runs behind
    // the one that enters the node.
    unsafe { command.pre_exec(mount) };
    let output = run_with_deadline(command, b"", Duration::from_secs(5))?;
    ensure!(output.status.success(), "{output:?}");
    Ok(())
}
