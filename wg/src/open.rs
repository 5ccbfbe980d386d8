//! Choosing a back end, after checking that it can work.

use std::io;

use grid_netlink::Netlink;

use crate::backend::Backend;
use crate::backend_kind::{BackendChoice, BackendKind};
use crate::error::Error;
use crate::kernel::{self, Kernel};
use crate::place::{Inside, Place};
use crate::rtnetlink::{Address, Rtnetlink};
use crate::userspace::{self, Userspace};

/// Opens a back end for interfaces at a place, with their UDP sockets in the network namespace of the
/// calling thread. Interfaces of a userspace back end live as long as it does.
///
/// The place is looked up once, here: if its name is given to another namespace later, the back end
/// stays with the first one, and keeps it alive.
///
/// # Errors
/// As [`preflight`].
pub fn open(choice: BackendChoice, place: &Place) -> Result<Box<dyn Backend>, Error> {
    let Found {
        inside,
        route,
        generic,
        kind,
        reason,
    } = find(choice, place)?;
    Ok(match kind {
        Kind::Kernel(family) => {
            let kernel = Kernel::new(inside, route, generic, family, reason);
            Box::new(kernel.map_err(failed)?)
        }
        Kind::Userspace => Box::new(Userspace::new(inside, route, reason)),
    })
}

/// Says which back end [`open`] would open, and changes nothing.
///
/// # Errors
/// [`Error::NoNetns`], [`Error::NotANetns`], [`Error::NetnsDenied`], [`Error::NoNetAdmin`],
/// [`Error::NoTun`], [`Error::KernelLacksWireGuard`], or what the operating system says.
pub fn preflight(choice: BackendChoice, place: &Place) -> Result<BackendKind, Error> {
    Ok(match find(choice, place)?.kind {
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
    inside: Inside,
    route: Rtnetlink,
    generic: Netlink,
    kind: Kind,
    reason: String,
}

fn failed(source: io::Error) -> Error {
    Error::os("asking the kernel what it can do", source)
}

fn find(choice: BackendChoice, place: &Place) -> Result<Found, Error> {
    let inside = place.open()?;
    let (mut route, mut generic) = inside.run(|| {
        let route = Rtnetlink::open().map_err(failed)?;
        Ok((route, Netlink::generic().map_err(failed)?))
    })?;
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
        inside,
        route,
        generic,
        kind,
        reason: reason.to_owned(),
    })
}
