//! Who handles a message of a peer, as far as this node keeps its promise.

#[cfg(feature = "modules")]
use grid_modules::Caller;
use grid_promises::ContentId;
use grid_promises::texts::{self, Promise};

/// The promises that the core keeps: what members of a network say to one another, and what peers do.
pub(super) const CORE: [&Promise; 2] = [&texts::JOIN_WIREGUARD_NET, &texts::EXCHANGE_KEYS];

/// What to do with a message of a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::server) enum Claim {
    /// The core handles it. `None`: it is no message, and the core says so.
    Core(Option<ContentId>),
    /// It is made under a promise that this node takes no part in.
    Reject(ContentId),
    /// This node takes part in the promise, but not with that peer.
    #[cfg(feature = "modules")]
    Refuse,
    /// Modules handle it: `Modules::take`.
    #[cfg(feature = "modules")]
    Modules(ContentId, Caller),
}
