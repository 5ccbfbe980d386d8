//! Who handles a message of a peer, as far as this node keeps its promise.

use grid_promises::ContentId;
use grid_promises::texts::{self, Promise};

/// The promises that the core keeps: what members of a network say to one another, and what peers do.
pub(super) const CORE: [&Promise; 2] = [&texts::JOIN_WIREGUARD_NET, &texts::EXCHANGE_KEYS];

/// What to do with a message of a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::server) enum Claim {
    /// The core handles it. `None`: it is no message, and the core says so.
    Core(Option<ContentId>),
    /// It is made under a promise that this node takes no part in.
    Reject(ContentId),
    /// Modules handle it: `Modules::take`.
    #[cfg(feature = "modules")]
    Modules(ContentId),
}
