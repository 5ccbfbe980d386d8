//! The seam between the plan and what carries it out.
//!
//! Whose interface is it? Userspace: ours when this process holds its TUN device, so that a killed
//! process leaves nothing to adopt or to clean up but a socket file. Kernel: ours when its private
//! key is ours. Only who holds the key could have set it, the proof survives a restart of the
//! server, and two servers on one host cannot take each other's interface. An interface that was
//! killed between its creation and its key is recognised by the interface group that is set in the
//! same message as it is created ([`GROUP`]), and by having no key.

use std::fmt;

use grid_keys::WgPublicKey;

use crate::error::Error;
use crate::name::IfName;
use crate::observed::Observed;
use crate::plan::{Plan, Step};

/// The interface group (`IFLA_GROUP`) of what we create: "grid" in ASCII.
pub const GROUP: u32 = 0x6772_6964;

/// The protocol number (`rtm_protocol`, `FRA_PROTOCOL`) of the routes and policy rules that we make,
/// by which we know our own: "g" in ASCII, which iproute2's list of numbers gives to nobody.
pub const PROTOCOL: u8 = 0x67;

/// Who runs WireGuard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BackendKind {
    /// The Linux kernel.
    Kernel,
    /// This process, by boringtun.
    Userspace,
}

/// What the person asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BackendChoice {
    /// The kernel's WireGuard where there is one, else userspace.
    #[default]
    Auto,
    /// The kernel's WireGuard or an error.
    Kernel,
    /// Userspace, whatever the kernel has.
    Userspace,
}

impl fmt::Display for BackendKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kernel => "kernel",
            Self::Userspace => "userspace",
        })
    }
}

/// What [`Backend::apply`] did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Steps carried out.
    pub steps: usize,
    /// Whether the interface was created.
    pub created: bool,
    /// Peers added or changed.
    pub peers_set: usize,
    /// Peers removed.
    pub peers_removed: usize,
    /// Steps that this host does not allow. The others were carried out; the next plan tries
    /// these again.
    pub skipped: Vec<Skipped>,
}

/// Netlink messages between a back end and the kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Requests sent, one system call each.
    pub requests: u64,
    /// Messages received, acknowledgements among them.
    pub answers: u64,
}

impl std::ops::Add for Traffic {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            requests: self.requests.saturating_add(other.requests),
            answers: self.answers.saturating_add(other.answers),
        }
    }
}

impl std::ops::Sub for Traffic {
    type Output = Self;

    fn sub(self, earlier: Self) -> Self {
        Self {
            requests: self.requests.saturating_sub(earlier.requests),
            answers: self.answers.saturating_sub(earlier.answers),
        }
    }
}

/// A step that was left out, because failing over it would cost more than doing without.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// The step.
    pub step: Step,
    /// Why.
    pub why: SkipReason,
}

/// Why a step was left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SkipReason {
    /// Another interface has a route of the same prefix, and keeps it.
    RouteTaken,
    /// IPv6 is switched off on this host.
    NoIpv6,
    /// The kernel was built without policy routing: every table is the main one.
    NoTables,
}

impl fmt::Display for Skipped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let why = match self.why {
            SkipReason::RouteTaken => "another interface has this route and keeps it",
            SkipReason::NoIpv6 => "IPv6 is switched off on this host",
            SkipReason::NoTables => "this kernel has no policy routing (CONFIG_IP_MULTIPLE_TABLES)",
        };
        write!(f, "left out: {}: {why}", self.step)
    }
}

impl Report {
    pub(crate) fn count(&mut self, step: &Step) {
        self.steps += 1;
        match step {
            Step::SetPeer(_) => self.peers_set += 1,
            Step::RemovePeer(_) => self.peers_removed += 1,
            _ => {}
        }
    }
}

/// One way to run WireGuard interfaces.
///
/// `own` is the public half of the interface's private key; see the module's page for how it
/// decides whose an interface is. Calls block for as long as the kernel takes (microseconds to a
/// few milliseconds); call them from a thread that may block.
pub trait Backend: Send {
    /// Who runs WireGuard.
    fn kind(&self) -> BackendKind;

    /// Why this back end and no other: one sentence for the log and for `status`.
    fn reason(&self) -> &str;

    /// What went over netlink since the back end was opened.
    fn traffic(&self) -> Traffic;

    /// The state of the interface.
    ///
    /// # Errors
    /// [`Error::ForeignInterface`], or what the operating system says.
    fn observe(&mut self, name: &IfName, own: &WgPublicKey) -> Result<Observed, Error>;

    /// Carries out a plan. Safe to repeat: what is already as the step wants it is no error. If
    /// the plan itself created the interface and then fails, the interface is removed again.
    ///
    /// # Errors
    /// [`Error::ForeignInterface`] and [`Error::InterfaceGone`] before anything was changed;
    /// [`Error::Apply`] with the step that failed.
    fn apply(&mut self, plan: &Plan) -> Result<Report, Error>;

    /// Removes the interface with all that hangs on it, and its policy rules, which outlive it.
    /// `false`: there was no interface; rules that were left of one are gone all the same.
    ///
    /// # Errors
    /// [`Error::ForeignInterface`], or what the operating system says.
    fn remove(&mut self, name: &IfName, own: &WgPublicKey) -> Result<bool, Error>;

    /// Takes over an interface that somebody else made, because the person said so. The next plan
    /// turns it into ours. Its UDP sockets stay in the network namespace in which it was made.
    ///
    /// # Errors
    /// [`Error::ForeignInterface`] when it is no WireGuard interface of this back end's kind;
    /// [`Error::InterfaceGone`] when there is none.
    fn adopt(&mut self, name: &IfName) -> Result<(), Error>;
}
