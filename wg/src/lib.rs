//! WireGuard on this host: observe it, plan the change, apply the plan.
//!
//! ```text
//! Desired ──┐
//!           ├─ plan() ─> Plan ─ Backend::apply() ─> Report
//! Observed ─┘   pure      printed for --dry-run
//! ```
//!
//! [`plan()`] is a pure function that yields the smallest list of changes in a safe order, or
//! nothing. A [`Backend`] observes one interface and carries out plans: [`open()`] gives the
//! kernel's WireGuard (netlink) or, where the kernel has none, the WireGuard protocol of boringtun
//! in this process; [`Fake`] keeps everything in memory for tests.
//!
//! What this crate refuses to do: it never touches an interface that is not its own
//! ([`Error::ForeignInterface`]), starts no other program, drops no privileges, and writes no key
//! to a log, an error or a file. It knows nothing of promises between nodes, nor of QUIC.
//!
//! Everything happens in the network namespace of the thread that called [`open()`], but for
//! interfaces that shall live in another one ([`Place`]).

pub mod backend;
mod carry_out;
pub mod desired;
pub mod error;
pub mod fake;
pub mod host;
pub mod kernel;
pub mod name;
mod netlink;
pub mod observed;
mod open;
pub mod place;
pub mod plan;
pub mod routing;
pub mod uapi;
mod userspace;
pub mod watch;

pub use backend::{Backend, BackendChoice, BackendKind, Report, SkipReason, Skipped, Traffic};
pub use desired::{Desired, DesiredPeer, Mtu};
pub use error::Error;
pub use fake::Fake;
pub use name::IfName;
pub use observed::{Observed, ObservedInterface, ObservedPeer, RouteOrigin};
pub use open::{open, preflight};
pub use place::{Netns, Place};
pub use plan::{AllowedIpsChange, DeviceChange, PeerChange, Plan, PskChange, Step, plan};
pub use routing::{Family, PolicyRule, Route, Routing, RuleAction, Table};
pub use watch::{Changes, Watch};
