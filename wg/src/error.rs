//! What can go wrong, and what to do next.
//!
//! No error carries a key. Unless [`Error::Apply`] says otherwise, nothing was changed.

use std::io;

use crate::name::IfName;
use crate::place::Netns;

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

    /// Kernel WireGuard was demanded and the kernel has none.
    #[error(
        "this kernel has no WireGuard: load or install the module (modprobe wireguard), or choose \
         the userspace back end"
    )]
    KernelLacksWireGuard,

    /// An interface of that name exists and is not ours.
    #[error(
        "the interface {name} exists and is not ours (kind {kind}): choose another name, or remove \
         it first; it was left alone"
    )]
    ForeignInterface {
        /// The name both want.
        name: IfName,
        /// What it is, in the kernel's word: `wireguard`, `tun`, `veth`, `device` for hardware.
        kind: String,
    },

    /// The interface vanished between observing and applying, or its engine stopped.
    #[error("the interface {name} is gone: observe again and apply the new plan")]
    InterfaceGone {
        /// The interface.
        name: IfName,
    },

    /// Somebody else has the UDP port.
    #[error(
        "the UDP port {port} of {name} is in use: choose another one, or stop what holds it; if that is no \
         program (`ss -lunp`), it is an interface, maybe in another network namespace"
    )]
    PortInUse {
        /// The interface that wanted it.
        name: IfName,
        /// The port; 0 when the kernel did not say which.
        port: u16,
    },

    /// There is no network namespace of that name.
    #[error(
        "there is no network namespace {netns}: make it (ip netns add NAME), or name another one"
    )]
    NoNetns {
        /// What was named.
        netns: Netns,
    },

    /// What was named is a file, and no network namespace.
    #[error(
        "{netns} is no network namespace: name one that `ip netns list` shows, or a path such as \
         /proc/PID/ns/net; a name whose namespace did not outlive a reboot has to be made again \
         (ip netns delete, ip netns add)"
    )]
    NotANetns {
        /// What was named.
        netns: Netns,
    },

    /// The process may not enter the network namespace.
    #[error(
        "entering the network namespace {netns} needs CAP_SYS_ADMIN here and in it, which this \
         process lacks ({source}): run it as root, or give it the capability (systemd: \
         AmbientCapabilities=CAP_NET_ADMIN CAP_SYS_ADMIN)"
    )]
    NetnsDenied {
        /// What was named.
        netns: Netns,
        /// What the system said.
        #[source]
        source: io::Error,
    },

    /// The operating system refused.
    #[error("{what}: {source}")]
    Os {
        /// What was attempted.
        what: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },

    /// An answer that does not follow the protocol.
    #[error(
        "{what} sent an answer that cannot be read: {why}; the kernel and this program disagree, report it"
    )]
    Malformed {
        /// Who answered.
        what: &'static str,
        /// What is wrong with the answer.
        why: String,
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
        /// Which step failed, from 1.
        step: usize,
        /// How many steps the plan has.
        of: usize,
        /// The step as the plan prints it.
        what: String,
        /// Whether the interface was created by this very plan and has been removed again.
        rolled_back: bool,
        /// Why.
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
