//! What the core needs to know of this machine.

use std::collections::BTreeSet;
use std::net::IpAddr;

use grid_promises::network::name::{Label, NetworkName};
use grid_wg::host::Forwarding;
use grid_wg::{Error, IfName, Place};
use ipnet::IpNet;
use tracing::debug;

use crate::store::InterfaceOptions;

/// The addresses at which others may reach this machine, and the prefixes connected to it, without
/// those of its `own` networks. An interface in another namespace routes there, so that the prefixes
/// connected to that namespace count too.
///
/// # Errors
/// The kernel refuses to list them.
pub fn facts<'a>(
    own: impl Iterator<Item = (&'a NetworkName, &'a InterfaceOptions)>,
) -> Result<(BTreeSet<IpAddr>, BTreeSet<IpNet>), Error> {
    let mut names = Vec::new();
    let mut places = BTreeSet::from([Place::default()]);
    for (name, options) in own {
        names.extend(IfName::try_from(name.as_str()));
        places.insert(options.place());
    }
    let mut connected = BTreeSet::new();
    for place in &places {
        match grid_wg::host::connected(place, &names) {
            Ok(prefixes) => connected.extend(prefixes),
            // A namespace that is gone has no routes.
            Err(error) if *place != Place::default() => debug!("{error}"),
            Err(error) => return Err(error),
        }
    }
    Ok((grid_wg::host::endpoints(&names)?, connected))
}

/// Why `place` cannot route `prefix` for others, as the end of a sentence. `None` if it can, or if the
/// kernel does not say.
#[must_use]
pub fn cannot_keep(prefix: &IpNet, place: &Place) -> Option<String> {
    let Forwarding { ipv4, ipv6 } = grid_wg::host::forwards(place).ok()?;
    let (forwards, setting) = match prefix {
        IpNet::V4(_) => (ipv4, "net.ipv4.ip_forward"),
        IpNet::V6(_) => (ipv6, "net.ipv6.conf.all.forwarding"),
    };
    let (who, enter) = match place.netns() {
        None => ("this machine".to_owned(), String::new()),
        Some(netns) => (
            format!("the network namespace {netns}"),
            format!("nsenter --net={} ", netns.path().display()),
        ),
    };
    (!forwards).then(|| {
        format!("; but {who} does not forward packets: `{enter}sysctl -w {setting}=1` enables that")
    })
}

/// This node's label by default: the host name.
#[must_use]
pub fn label() -> Label {
    let name = nix::unistd::gethostname().unwrap_or_default();
    Label::from_host_name(&name.to_string_lossy())
}
