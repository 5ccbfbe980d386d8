//! Choosing a back end, and finding out beforehand whether it can work.

use std::io;

use crate::backend::{Backend, BackendChoice, BackendKind};
use crate::error::Error;
use crate::kernel::{self, Kernel};
use crate::netlink::{Address, Netlink};
use crate::userspace::{self, Userspace};

/// Opens the back end of this choice, in the network namespace of the calling thread. Interfaces
/// of a userspace back end live as long as it does.
///
/// # Errors
/// As [`preflight`].
pub fn open(choice: BackendChoice) -> Result<Box<dyn Backend>, Error> {
    let Found {
        route,
        generic,
        kind,
        reason,
    } = find(choice)?;
    Ok(match kind {
        Kind::Kernel(family) => Box::new(Kernel::new(route, generic, family, reason)),
        Kind::Userspace => Box::new(Userspace::new(route, reason)),
    })
}

/// Which back end [`open`] would open, without changing anything.
///
/// # Errors
/// [`Error::NoNetAdmin`], [`Error::NoTun`], [`Error::KernelLacksWireGuard`], or what the operating
/// system says.
pub fn preflight(choice: BackendChoice) -> Result<BackendKind, Error> {
    Ok(match find(choice)?.kind {
        Kind::Kernel(_) => BackendKind::Kernel,
        Kind::Userspace => BackendKind::Userspace,
    })
}

enum Kind {
    /// With the number of the netlink family.
    Kernel(u16),
    Userspace,
}

struct Found {
    route: Netlink,
    generic: Netlink,
    kind: Kind,
    reason: String,
}

fn find(choice: BackendChoice) -> Result<Found, Error> {
    let failed = |source: io::Error| Error::os("asking the kernel what it can do", source);
    let mut route = Netlink::route().map_err(failed)?;
    let mut generic = Netlink::generic().map_err(failed)?;
    if !Address::may_configure(&mut route).map_err(failed)? {
        return Err(Error::NoNetAdmin);
    }
    let (kind, reason) = match choice {
        BackendChoice::Userspace => (Kind::Userspace, "userspace was asked for"),
        BackendChoice::Kernel => match kernel::family(&mut generic).map_err(failed)? {
            Some(family) => (Kind::Kernel(family), "the kernel was asked for"),
            None => return Err(Error::KernelLacksWireGuard),
        },
        BackendChoice::Auto => match kernel::family(&mut generic).map_err(failed)? {
            Some(family) => (Kind::Kernel(family), "the kernel has WireGuard"),
            None => (
                Kind::Userspace,
                "the kernel has no WireGuard, so this process runs it in userspace",
            ),
        },
    };
    if matches!(kind, Kind::Userspace) {
        userspace::check()?;
    }
    Ok(Found {
        route,
        generic,
        kind,
        reason: reason.to_owned(),
    })
}
