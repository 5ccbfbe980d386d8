//! The node without its machine: what happens goes in as [`Input`], what it wants done comes out as
//! [`Effect`].
//!
//! The core reads no clock and no random source; both are arguments of [`Core::handle`]. With the
//! same inputs, times and entropy it does the same, so that a seed replays any simulated run. It
//! refuses to know how bytes travel, where files are and what WireGuard runs on.
//!
//! `input`, `effect`, `record`, `error` and `status` are what crosses the boundary. Inside, a router hands
//! each input to the parts that own the state: the `peers` (whom this node is connected to, and what it
//! asked them), the `searches` for networks by their names, and the `networks`, each of which is a `mesh`
//! that is made of parts in turn. A part takes what it needs as arguments and pushes what it wants to the
//! queue of the step.

mod batches;
mod budget;
mod clock;
pub mod effect;
mod endpoints;
pub mod error;
mod expulsion;
pub mod input;
mod links;
mod local;
mod mesh;
mod neighbours;
mod networks;
mod observed;
mod peers;
pub mod protocol;
pub mod record;
mod router;
mod searches;
pub mod status;
mod step;
mod timers;
mod voices;
mod watermark;

pub use effect::{Affected, Departure, Effect, Notice, Parting, Reply, Tunnel, TunnelPeer, Undone};
pub use error::{CommandError, FailureKind};
pub use expulsion::Expulsion;
pub use input::{
    Command, Cut, Dismissal, HostFacts, Input, JoinWith, Keep, PeerObservation, Ranges, ReplyTo,
    RequestId, Ticket,
};
pub use record::{Change, Expected, Issued, NetworkRecord, WrittenTime};
pub use status::{
    ClockStatus, Elsewhere, InviteStatus, NetworkStatus, OfficeStatus, OwnStanding, Owners,
    PeerStatus, VoidInvite,
};

use rand_core::Rng;

use crate::core::clock::Clock;
use crate::core::local::Local;
use crate::core::router::Router;
use crate::core::step::{Queue, Step};
use crate::core::timers::Timers;
use crate::network::name::{Label, NetworkName};
use crate::time::Millis;
use grid_keys::{NodeId, NodeKey};

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
    router: Router,
    clock: Clock,
    /// When the last input came in.
    latest: Millis,
    timers: Timers,
    effects: Queue,
}

impl Core {
    /// A node that nothing has happened to.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self {
            router: Router::new(Local::new(config.key, config.label)),
            clock: Clock::default(),
            latest: Millis::default(),
            timers: Timers::default(),
            effects: Queue::default(),
        }
    }

    /// This node.
    #[must_use]
    pub const fn id(&self) -> NodeId {
        self.router.id()
    }

    /// Takes one input in. What it wants done is in [`pop_effect`](Self::pop_effect) afterwards.
    ///
    /// `now` never runs backwards between calls.
    pub fn handle(&mut self, now: Millis, entropy: &mut dyn Rng, input: Input) {
        self.latest = now;
        let mut step = Step {
            now,
            clock: &mut self.clock,
            entropy,
            timers: &mut self.timers,
            effects: &mut self.effects,
        };
        self.router.handle(input, &mut step);
    }

    /// The next thing to do, in order.
    pub fn pop_effect(&mut self) -> Option<Effect> {
        self.effects.pop()
    }

    /// When [`Input::Tick`] is wanted next.
    #[must_use]
    pub fn next_timer(&self) -> Option<Millis> {
        self.timers.next()
    }

    /// What is known of every network, by name.
    #[must_use]
    pub fn status(&self) -> Vec<NetworkStatus> {
        self.router.status(self.clock.time(self.latest))
    }

    /// What this machine's clock shows at a moment, and what is believed.
    #[must_use]
    pub fn clock(&self, now: Millis) -> ClockStatus {
        self.clock.status(now)
    }

    /// The networks in which both this node and that one are members now.
    #[must_use]
    pub fn shared_with(&self, node: &NodeId) -> Vec<NetworkName> {
        self.router.shared_with(node)
    }
}
