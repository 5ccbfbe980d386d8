//! What can go wrong, and what an administrator can do about it.
//!
//! No error carries a key. Unless [`Error::Apply`] says otherwise, nothing was changed.

use std::io;

use crate::if_name::IfName;
use crate::netns::Netns;

/// An error of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The process may not configure the network.
    #[error(
        "configuring a network interface needs CAP_NET_ADMIN, which this process lacks: run it as \
         root, or give it the capability (systemd: AmbientCapabilities=CAP_NET_ADMIN)"
    )]
    NoNetAdmin,

    /// Userspace WireGuard cannot open the TUN driver.
    #[error(
        "userspace WireGuard needs /dev/net/tun: {0}; load the module (modprobe tun), or pass the \
         device and CAP_NET_ADMIN into the container"
    )]
    NoTun(#[source] io::Error),

    /// [`BackendChoice::Kernel`](crate::BackendChoice::Kernel) was chosen, and the kernel has no
    /// WireGuard.
    #[error(
        "this kernel has no WireGuard: load or install the module (modprobe wireguard), or choose \
         the userspace back end"
    )]
    KernelLacksWireGuard,

    /// An interface of that name exists and is not ours ([`crate::ownership`]).
    #[error(
        "the interface {name} exists and is not ours (kind {kind}): choose another name, or remove \
         it first; it was left unchanged"
    )]
    ForeignInterface {
        /// Its name.
        name: IfName,
        /// What it is in the kernel's terms, `wireguard`, `tun` or `veth`; `device` for hardware.
        kind: String,
    },

    /// The interface vanished between observing and applying, or its device thread ended.
    #[error("the interface {name} is gone: observe again and apply the new plan")]
    InterfaceGone {
        /// Its name.
        name: IfName,
    },

    /// The UDP port is taken.
    #[error(
        "the UDP port {port} of {name} is in use: choose another one, or stop the program that holds it; if \
         there is none (`ss -lunp`), an interface holds it, maybe one in another network namespace"
    )]
    PortInUse {
        /// The interface that wanted it.
        name: IfName,
        /// The port; 0 if the kernel did not say which.
        port: u16,
    },

    /// There is no network namespace of that name.
    #[error(
        "there is no network namespace {netns}: create it (ip netns add NAME), or name another one"
    )]
    NoNetns {
        /// As it was named.
        netns: Netns,
    },

    /// The file exists, but does not refer to a network namespace.
    #[error(
        "{netns} is not a network namespace: give a name that `ip netns list` shows, or a path such as \
         /proc/PID/ns/net; if a reboot has ended the namespace, create it again (ip netns delete, \
         ip netns add)"
    )]
    NotANetns {
        /// As it was named.
        netns: Netns,
    },

    /// The process may not enter the network namespace.
    #[error(
        "entering the network namespace {netns} needs CAP_SYS_ADMIN here and in it, which this \
         process lacks ({source}): run it as root, or give it the capability (systemd: \
         AmbientCapabilities=CAP_NET_ADMIN CAP_SYS_ADMIN)"
    )]
    NetnsDenied {
        /// As it was named.
        netns: Netns,
        /// What the system said.
        #[source]
        source: io::Error,
    },

    /// The operating system refused.
    #[error("{what}: {source}")]
    Os {
        /// The attempt, such as "creating wg0".
        what: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },

    /// A step of a plan failed.
    #[error(
        "{source} (in step {step} of {of}: {what}); {}",
        if *.rolled_back {
            "the new interface was removed again, nothing changed"
        } else {
            "earlier steps remain; it is safe to observe, plan and apply again"
        }
    )]
    Apply {
        /// The number of the step that failed, from 1.
        step: usize,
        /// The number of steps in the plan.
        of: usize,
        /// The step as the plan prints it.
        what: String,
        /// Whether this plan had created the interface, which has been removed again.
        rolled_back: bool,
        /// Why it failed.
        #[source]
        source: Box<Error>,
    },
}

impl Error {
    /// The error without the account of how far a plan got.
    #[must_use]
    pub fn root(&self) -> &Self {
        match self {
            Self::Apply { source, .. } => source.root(),
            other => other,
        }
    }

    pub(crate) fn os(what: impl Into<String>, source: io::Error) -> Self {
        Self::Os {
            what: what.into(),
            source,
        }
    }
}
