//! Modules on this node, as far as this build has them: who handles which message of a peer, and asking
//! judges.
//!
//! A build without modules ([`absent`]) keeps the mesh's own promises and takes part in no other; a judge
//! that a person named cannot be asked, as if it failed.

#[cfg(not(feature = "modules"))]
mod absent;
#[cfg(feature = "modules")]
mod present;

use grid_promises::ContentId;
use grid_promises::texts::{self, Promise};

#[cfg(not(feature = "modules"))]
pub(super) use absent::Modules;
#[cfg(feature = "modules")]
pub(super) use present::Modules;

/// The promises that the core keeps: what members of a network say to one another, and what peers do.
const CORE: [&Promise; 2] = [&texts::JOIN_WIREGUARD_NET, &texts::EXCHANGE_KEYS];

/// What is done with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Claim {
    /// The core handles it. `None`: it is no message, and the core says so.
    Core(Option<ContentId>),
    /// It is made under a promise that this node takes no part in.
    Reject(ContentId),
    /// Modules handle it: [`Modules::take`].
    #[cfg(feature = "modules")]
    Modules(ContentId),
}
