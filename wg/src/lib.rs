//! WireGuard on this host: observe it, plan the change, apply the plan.
//!
//! ```text
//! Desired ──┐
//!           ├─ plan() ─> Plan ─ Backend::apply() ─> Report
//! Observed ─┘   pure      printed for --dry-run
//! ```
//!
//! [`plan()`] is a pure function that returns the smallest list of changes in a safe order, or
//! nothing. A [`Backend`] observes one interface and applies plans: [`open()`] returns the kernel's
//! WireGuard (netlink) or, where the kernel has none, boringtun's implementation of the protocol in
//! this process; [`Fake`] keeps everything in memory for tests.
//!
//! What this crate refuses to do: it never touches an interface that is not its own
//! ([`Error::ForeignInterface`]), starts no other program, drops no privileges, and writes no key
//! to a log, an error or a file. It knows nothing of promises between nodes, nor of QUIC.
//!
//! Everything happens in the network namespace of the thread that called [`open()`], except for
//! interfaces that are to live in another one ([`Place`]).

mod apply;
pub mod backend;
pub mod backend_kind;
#[cfg(test)]
mod corpus;
pub mod desired;
pub mod error;
pub mod fake;
pub mod host;
pub mod if_name;
pub mod kernel;
pub mod mtu;
pub mod netns;
pub mod observed;
mod open;
pub mod ownership;
pub mod place;
pub mod plan;
pub mod routing;
mod rtnetlink;
pub mod step;
pub mod uapi;
mod userspace;
pub mod watch;

pub use backend::{Backend, Report, SkipReason, Skipped};
pub use backend_kind::{BackendChoice, BackendKind};
pub use desired::{Aside, Desired, DesiredPeer};
pub use error::Error;
pub use fake::Fake;
pub use grid_netlink::Traffic;
pub use if_name::IfName;
pub use mtu::Mtu;
pub use netns::Netns;
pub use observed::{Observed, ObservedInterface, ObservedPeer, RouteOrigin};
pub use open::{open, preflight};
pub use place::Place;
pub use plan::{Plan, plan};
pub use routing::{Family, PolicyRule, Route, Routing, RuleAction, Table};
pub use step::{AllowedIpsChange, DeviceChange, PeerChange, PskChange, Step};
pub use watch::{Changes, Watch};
