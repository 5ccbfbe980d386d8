//! What a command that fails may not change: the files of the home, the interfaces, their addresses,
//! and the routes.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use anyhow::{Result, ensure};
use grid_promises::ContentId;

use crate::node::Node;

/// Files that record what happened, and which process runs; failures are written there.
const ACCOUNTS: &[&str] = &["server.log", "server.lock", "grid.sock"];

/// The state of a machine.
#[derive(Debug, PartialEq)]
pub(super) struct State {
    /// Mode and content hash, by path inside the home.
    files: BTreeMap<String, String>,
    network: Vec<String>,
}

impl State {
    pub(super) fn of(node: &Node) -> Result<Self> {
        let mut files = BTreeMap::new();
        let home = node.home();
        list(&home, &home, &mut files)?;
        let network = node.namespaces().in_net(network)??;
        Ok(Self { files, network })
    }

    /// Fails with what differs.
    pub(super) fn same(&self, after: &Self) -> Result<()> {
        let files: Vec<_> = self
            .files
            .iter()
            .filter(|file| after.files.get(file.0) != Some(file.1))
            .map(|file| ("was", file))
            .chain(
                after
                    .files
                    .iter()
                    .filter(|file| self.files.get(file.0) != Some(file.1))
                    .map(|file| ("is", file)),
            )
            .collect();
        ensure!(files.is_empty(), "the home changed: {files:?}");
        ensure!(
            self.network == after.network,
            "the machine's network changed from {:?} to {:?}",
            self.network,
            after.network
        );
        Ok(())
    }
}

fn list(home: &Path, folder: &Path, files: &mut BTreeMap<String, String>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.strip_prefix(home)?.to_string_lossy().into_owned();
        if ACCOUNTS.contains(&name.as_str()) {
            continue;
        }
        let about = fs::symlink_metadata(&path)?;
        let content = if about.is_dir() {
            list(home, &path, files)?;
            "folder".to_owned()
        } else {
            ContentId::of(&fs::read(&path)?).to_string()
        };
        files.insert(name, format!("{:o} {content}", about.mode()));
    }
    Ok(())
}

/// The interfaces with their addresses, and the routes, of the calling thread's namespace.
fn network() -> Result<Vec<String>> {
    let mut all: Vec<String> = nix::ifaddrs::getifaddrs()?
        .map(|one| {
            let shown = |address: Option<nix::sys::socket::SockaddrStorage>| {
                address.map_or(String::new(), |address| address.to_string())
            };
            let (address, mask) = (shown(one.address), shown(one.netmask));
            format!("{} {address} {mask} {:?}", one.interface_name, one.flags)
        })
        .collect();
    for interface in &nix::net::if_::if_nameindex()? {
        all.push(interface.name().to_string_lossy().into_owned());
    }
    for line in fs::read_to_string("/proc/thread-self/net/route")?.lines() {
        all.push(line.trim().to_owned());
    }
    all.sort();
    Ok(all)
}
