//! A node that is out asks those that it knew, now and then, whether it was admitted again.
//!
//! Nobody calls it: to the members it is a stranger until they hear of it. They keep no connection to it either, and once
//! its promise has lapsed they do not look for it.

use std::collections::BTreeSet;
use std::time::Duration;

use rand_core::Rng;

use crate::core::links::jitter;
use crate::core::local::Local;
use crate::core::mesh::Mesh;
use crate::core::peers::Peers;
use crate::core::step::Step;
use crate::core::timers::{self, NetworkTimer};
use grid_keys::NodeId;

/// Whom an expelled node asks.
#[derive(Debug)]
pub(crate) struct Appeal {
    /// Those that are dialled now, and have not answered.
    asked: BTreeSet<NodeId>,
    is_asking: bool,
    /// How long it waits after them.
    pause: Duration,
}

impl Default for Appeal {
    fn default() -> Self {
        Self {
            asked: BTreeSet::new(),
            is_asking: false,
            pause: timers::APPEAL,
        }
    }
}

impl Appeal {
    pub(crate) const fn asked(&self) -> &BTreeSet<NodeId> {
        &self.asked
    }

    /// One of them answered: it is not dialled again when it hangs up on a node that is out.
    pub(crate) fn answered(&mut self, peer: &NodeId) {
        self.asked.remove(peer);
    }
}

impl Mesh {
    /// Begins to ask: owners have just put this node out.
    pub(super) fn begin_appeal(&mut self, step: &mut Step<'_>) {
        self.appeal = Appeal::default();
        self.pause_appeal(step);
    }

    /// Asks some of those that this node knew, or gives up on those that it asked.
    pub(super) fn appeal(&mut self, local: &Local, peers: &mut Peers, step: &mut Step<'_>) {
        if !self.phase.is_expelled() {
            self.appeal = Appeal::default();
            return;
        }
        if std::mem::take(&mut self.appeal.is_asking) {
            self.appeal.asked.clear();
            self.appeal.pause = (self.appeal.pause * 2).min(timers::MAX_APPEAL);
            self.pause_appeal(step);
            return;
        }
        self.appeal.is_asking = true;
        self.appeal.asked = self.some_known(local, step.entropy);
        let timer = NetworkTimer::Appeal.of(self.id());
        step.timers.set(timer, step.now + timers::LINGER);
        for peer in self.appeal.asked.clone() {
            if peers.is_up(&peer) {
                self.sync(peer, true, local, peers, step);
            }
        }
    }

    fn pause_appeal(&self, step: &mut Step<'_>) {
        let pause = self.appeal.pause;
        let pause = pause * 3 / 4 + jitter(pause / 2, step.entropy);
        let timer = NetworkTimer::Appeal.of(self.id());
        step.timers.set(timer, step.now + pause);
    }

    /// An owner, one of those that this node began with, and one of those that promised something: many of these may be
    /// of one person's making.
    fn some_known(&self, local: &Local, entropy: &mut dyn Rng) -> BTreeSet<NodeId> {
        let owners = self.roster.ledger().authority().owners();
        let began_with = self.bootstrap.iter().map(|bootstrap| bootstrap.node);
        let promised = self.roster.labels().map(|(node, _)| node);
        let kinds: [Vec<NodeId>; 3] = [
            owners.copied().collect(),
            began_with.collect(),
            promised.collect(),
        ];
        let mut asked = BTreeSet::new();
        for kind in kinds {
            let others = kind.into_iter();
            let others = others.filter(|node| *node != local.id() && !asked.contains(node));
            let drawn = others.map(|node| (entropy.next_u64(), node)).min();
            asked.extend(drawn.map(|(_, node)| node));
        }
        asked
    }
}
