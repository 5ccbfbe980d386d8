//! Leaving a network restores the machine's configuration, and keeps what others have changed
//! since.

use std::net::IpAddr;

use anyhow::{Result, ensure};
use grid_netlink::Netlink;

use super::super::seen::{self, PATIENCE};
use super::members::mesh;
use crate::lab::Lab;
use crate::link;
use crate::snapshot::{self, Snapshot};
use crate::wait::wait_until;

/// TEST-NET-2 of RFC 5737: unused in the lab.
const SUBNET: &str = "198.51.100.0/24";

pub(super) fn run(lab: &Lab) -> Result<()> {
    let mut mesh = mesh(lab, 2)?;
    let b = mesh.members()[1].clone();
    let c = lab.add_node("c")?;
    // A WireGuard interface that somebody made by hand, and an address on the loopback interface.
    c.namespaces().in_net(by_hand)??;
    let before = snapshot::at_rest(&c)?;
    mesh.join(&c)?;
    b.grid_ok(&["promise", "foo", SUBNET], "")?;
    c.grid_ok(&["accept", "foo", SUBNET, "--from", "b"], "")?;
    let made = |now: &Snapshot| -> Vec<String> { now.difference(&before).cloned().collect() };
    let has = |made: &[String], start: &str, part: &str| {
        made.iter()
            .any(|line| line.starts_with(start) && line.contains(part))
    };
    wait_until("the subnet to be routed", PATIENCE, || {
        Ok(has(&made(&snapshot::of(&c)?), "route", "198.51.100.0"))
    })?;
    let with_it = snapshot::of(&c)?;
    let made = made(&with_it);
    ensure!(
        has(&made, "link foo", "wireguard") && has(&made, "address", ""),
        "{made:#?}"
    );
    ensure!(
        before.is_subset(&with_it),
        "joining changed what was there: {before:#?}"
    );
    mesh.leave(&c)?;
    seen::stopped(&c)?;
    let after = snapshot::of(&c)?;
    let differing: Vec<&String> = after.symmetric_difference(&before).collect();
    ensure!(
        differing.is_empty(),
        "what it left is not what was there: {differing:#?}"
    );
    mesh.wait_whole(PATIENCE)
}

fn by_hand() -> Result<()> {
    let mut netlink = Netlink::route()?;
    let lo = link::index_of("lo")?;
    link::add_address(&mut netlink, lo, IpAddr::from([203, 0, 113, 9]), 32)?;
    let theirs = link::create_wireguard(&mut netlink, "theirs")?;
    link::add_address(&mut netlink, theirs, IpAddr::from([203, 0, 113, 129]), 25)?;
    link::set_up(&mut netlink, theirs, true)?;
    Ok(())
}
