//! What the core needs to know of this machine.

use std::collections::BTreeSet;
use std::net::IpAddr;

use grid_promises::network::name::{Label, NetworkName};
use grid_wg::{Error, IfName};
use ipnet::IpNet;

/// Addresses that others may reach, and prefixes that are connected, without those of the networks
/// `own`.
///
/// # Errors
/// What the kernel says when it is asked.
pub fn facts<'a>(
    own: impl Iterator<Item = &'a NetworkName>,
) -> Result<(BTreeSet<IpAddr>, BTreeSet<IpNet>), Error> {
    let own: Vec<IfName> = own
        .filter_map(|name| IfName::try_from(name.as_str()).ok())
        .collect();
    Ok((
        grid_wg::host::endpoints(&own)?,
        grid_wg::host::connected(&own)?,
    ))
}

/// What this node calls itself unless it is told: the host name.
#[must_use]
pub fn label() -> Label {
    let name = nix::unistd::gethostname().unwrap_or_default();
    Label::from_host_name(&name.to_string_lossy())
}
