//! The seam between a plan and what applies it: the back ends, and their reports.

use std::fmt;

use grid_keys::WgPublicKey;
use grid_netlink::Traffic;

use crate::backend_kind::BackendKind;
use crate::error::Error;
use crate::if_name::IfName;
use crate::observed::Observed;
use crate::plan::Plan;
use crate::step::Step;

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
    /// Steps that this host does not allow. The next plan tries them again.
    pub skipped: Vec<Skipped>,
}

/// A step that was left out because failing would cost more than doing without it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// What was left out.
    pub step: Step,
    /// Why.
    pub why: SkipReason,
}

/// Why a step was left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SkipReason {
    /// Another interface has a route for the same prefix, and keeps it.
    RouteTaken,
    /// IPv6 is switched off on this host.
    NoIpv6,
    /// The kernel was built without policy routing: it has only the main table.
    NoTables,
}

impl fmt::Display for SkipReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::RouteTaken => "another interface has this route and keeps it",
            Self::NoIpv6 => "IPv6 is switched off on this host",
            Self::NoTables => "this kernel has no policy routing (CONFIG_IP_MULTIPLE_TABLES)",
        })
    }
}

impl fmt::Display for Skipped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "left out: {}: {}", self.step, self.why)
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
/// `own` is the public half of the interface's private key; [`crate::ownership`] says how it decides
/// whose an interface is. Calls block for as long as the kernel takes (microseconds to a few
/// milliseconds), so call them from a thread that may block.
pub trait Backend: Send {
    /// Who runs WireGuard.
    fn kind(&self) -> BackendKind;

    /// Why this back end was chosen: one clause for the log and for `status`.
    fn reason(&self) -> &str;

    /// What has gone over netlink since the back end was opened.
    fn traffic(&self) -> Traffic;

    /// Reads the state of the interface.
    ///
    /// # Errors
    /// [`Error::ForeignInterface`], or what the operating system says.
    fn observe(&mut self, name: &IfName, own: &WgPublicKey) -> Result<Observed, Error>;

    /// Carries out a plan. Safe to repeat: a step that finds nothing to change succeeds. If the
    /// plan created the interface and then fails, the interface is removed again.
    ///
    /// # Errors
    /// [`Error::ForeignInterface`] and [`Error::InterfaceGone`], before anything is changed;
    /// [`Error::Apply`] with the step that failed.
    fn apply(&mut self, plan: &Plan) -> Result<Report, Error>;

    /// Removes the interface with everything that depends on it, and its policy rules, which would
    /// outlive it. `false`: there was no interface; rules that one had left behind are removed all
    /// the same.
    ///
    /// # Errors
    /// [`Error::ForeignInterface`], or what the operating system says.
    fn remove(&mut self, name: &IfName, own: &WgPublicKey) -> Result<bool, Error>;

    /// Takes over an interface that somebody else made, on a person's request. The next plan turns
    /// it into ours. Its UDP sockets stay in the network namespace in which it was made.
    ///
    /// # Errors
    /// [`Error::ForeignInterface`] if it is not a WireGuard interface that this back end can run;
    /// [`Error::InterfaceGone`] if there is none.
    fn adopt(&mut self, name: &IfName) -> Result<(), Error>;
}
