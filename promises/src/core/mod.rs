//! The node without its machine: what happens goes in as [`Input`], what it wants done comes out as
//! [`Effect`].
//!
//! The core reads no clock and no random source; both are arguments of [`Core::handle`]. With the
//! same inputs, times and entropy it does the same, so that a seed replays any simulated run. It
//! refuses to know how bytes travel, where files are and what WireGuard runs on.
//!
//! | file | concept |
//! |---|---|
//! | `input`, `effect`, `record`, `error`, `status` | what crosses the boundary |
//! | `timers` | the one table of timers |
//! | `node` | one network of this node: its own promise, its view, its tunnel |
//! | `own` | this node's own promise: claim, move, renewal, receipts |
//! | `commands` | what people ask for |
//! | `founding`, `joining`, `leaving` | the life of a membership |
//! | `protocol` | the bodies of messages between nodes |
//! | `gossip` | push and anti-entropy |
//! | `links` | whom to be connected to, and when to try again |
//! | `paths` | which endpoint of a member to send to |

pub mod effect;
pub mod error;
pub mod input;
pub mod record;
pub mod status;

pub use effect::{Effect, Notice, Parting, Reply, Tunnel, TunnelPeer};
pub use error::{CommandError, FailureKind};
pub use input::{Command, HostFacts, Input, JoinWith, PeerObservation, ReplyTo, RequestId, Ticket};
pub use record::{Change, NetworkRecord};
pub use status::{NetworkStatus, OwnStanding, PeerStatus};

use crate::network::name::Label;
use crate::node_key::{NodeId, NodeKey};
use crate::time::Millis;

/// What a node is from its start to its end.
#[derive(Clone, Debug)]
pub struct Config {
    /// Its key.
    pub key: NodeKey,
    /// What it calls itself.
    pub label: Label,
}

/// A node.
pub struct Core {
    config: Config,
    effects: std::collections::VecDeque<Effect>,
}

impl Core {
    /// A node that nothing has happened to.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self {
            config,
            effects: std::collections::VecDeque::new(),
        }
    }

    /// This node.
    #[must_use]
    pub fn id(&self) -> NodeId {
        self.config.key.id()
    }

    /// Takes one input in. What it wants done is in [`pop_effect`](Self::pop_effect) afterwards.
    ///
    /// `now` never runs backwards between calls.
    pub fn handle(&mut self, now: Millis, entropy: &mut dyn rand_core::Rng, input: Input) {
        let _ = (now, entropy, input);
    }

    /// The next thing to do, in order.
    pub fn pop_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// When [`Input::Tick`] is wanted next.
    #[must_use]
    pub fn next_timer(&self) -> Option<Millis> {
        None
    }

    /// What is known of every network, by name.
    #[must_use]
    pub fn status(&self, now: Millis) -> Vec<NetworkStatus> {
        let _ = now;
        Vec::new()
    }
}
