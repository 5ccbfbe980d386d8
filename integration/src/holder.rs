//! The process that holds a node's namespaces open: `lab hold NAME`.
//!
//! It makes the network, mount and UTS namespace, gives the node private folders, says `ready`, and
//! then does nothing until it is killed. It is a process rather than an open file because the
//! namespaces have to outlive the lab's own process when the lab is kept.

use std::fs;
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

use anyhow::{Context as _, Result};
use grid_netlink::Netlink;
use nix::sched::{CloneFlags, unshare};

use crate::link;
use crate::mounts;
use crate::supervise::detach_from_terminal;

/// A node's private folder, inside its mount namespace.
pub const NODE_DIR: &str = "/run/grid-lab/node";
/// A node's `GRID_HOME`, inside its mount namespace.
pub const HOME: &str = "/run/grid-lab/node/home";
/// A node's folder for temporary files, inside its mount namespace.
pub const TEMPORARY: &str = "/run/grid-lab/node/tmp";

/// What the holder prints once the node's namespaces can be entered.
pub const READY: &str = "ready\n";

/// Becomes the holder of the namespaces of node `name`. Returns only on failure.
///
/// # Errors
/// What the kernel refused, in words.
pub fn hold(name: &str) -> Result<std::convert::Infallible> {
    unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWUTS)
        .context("cannot make the node's namespaces")?;
    mounts::make_private()?;
    private_folders()?;
    nix::unistd::sethostname(name).context("cannot set the node's host name")?;
    loopback_up().context("cannot set up the node's loopback interface")?;
    std::io::stdout().write_all(READY.as_bytes())?;
    detach_from_terminal()?;
    loop {
        nix::unistd::pause();
    }
}

fn private_folders() -> Result<()> {
    for dir in ["/run/wireguard", NODE_DIR] {
        mounts::empty(dir, "0700")?;
    }
    for dir in [HOME, TEMPORARY] {
        fs::DirBuilder::new().mode(0o700).create(dir)?;
    }
    if fs::canonicalize("/var/run").is_ok_and(|path| path != Path::new("/run")) {
        mounts::bind("/run/wireguard", "/var/run/wireguard")?;
    }
    // /sys/class/net shows the interfaces of the namespace in which sysfs was mounted. Where the
    // kernel does not allow a new mount (a container that hides parts of /sys), only people who
    // look there are misled: neither the lab nor the program reads it.
    let _ = mounts::kernel_view("sysfs", "/sys");
    Ok(())
}

fn loopback_up() -> Result<()> {
    let mut netlink = Netlink::route()?;
    let lo = link::index_of("lo")?;
    link::set_up(&mut netlink, lo, true)?;
    // The kernel adds 127.0.0.1 by itself when the interface comes up; make sure of it.
    let local = IpAddr::V4(Ipv4Addr::LOCALHOST);
    match link::add_address(&mut netlink, lo, local, 8) {
        Err(error) if error.raw_os_error() != Some(libc::EEXIST) => Err(error.into()),
        _ => Ok(()),
    }
}
