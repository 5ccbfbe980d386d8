//! A WireGuard interface that somebody else made is adopted only if a person says so.

use anyhow::{Result, ensure};
use grid_netlink::Netlink;

use super::super::seen;
use super::members::{observed, require_kernel};
use crate::lab::Lab;
use crate::link;
use crate::snapshot;

pub(super) fn run(lab: &Lab) -> Result<()> {
    require_kernel()?;
    let node = lab.add_node("a")?;
    node.namespaces()
        .in_net(|| link::create_wireguard(&mut Netlink::route()?, "foo"))??;
    let (before, index) = (snapshot::at_rest(&node)?, snapshot::index(&node, "foo")?);
    let create = ["create-wireguard-net", "foo", "--backend", "auto"];
    let said = seen::refused(&node, &create, "", &[1, 4])?;
    ensure!(said.contains("--adopt"), "{said}");
    ensure!(snapshot::of(&node)? == before, "something was changed");
    let adopting = [&create[..], &["--adopt"]].concat();
    let planned = node.grid_ok(&[&adopting[..], &["--dry-run"]].concat(), "")?;
    ensure!(
        planned.contains("private key") && !planned.contains("create the interface"),
        "{planned}"
    );
    ensure!(
        snapshot::of(&node)? == before,
        "a dry run changed something"
    );
    node.grid_ok(&adopting, "")?;
    let now = observed(&node, "foo")?;
    ensure!(
        now.index == index && now.up,
        "it is not the one that was there: {now:?}"
    );
    // From now on it belongs to the network, and goes with it.
    node.grid_ok(&["leave-wireguard-net", "foo"], "")?;
    ensure!(!seen::has_interface(&node, "foo")?, "it is still there");
    Ok(())
}
