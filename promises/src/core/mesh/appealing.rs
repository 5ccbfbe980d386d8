//! Asking whether this node is still out, now and then.

use std::collections::BTreeSet;

use rand_core::Rng;

use crate::core::links::jitter;
use crate::core::local::Local;
use crate::core::mesh::Mesh;
use crate::core::mesh::appeal::Appeal;
use crate::core::peers::Peers;
use crate::core::step::Step;
use crate::core::timers::{self, NetworkTimer};
use grid_keys::NodeId;

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
        if self.appeal.give_up() {
            self.pause_appeal(step);
            return;
        }
        self.appeal.ask(self.some_known(local, step.entropy));
        let timer = NetworkTimer::Appeal.of(self.id());
        step.timers.set(timer, step.now + timers::LINGER);
        for peer in self.appeal.asked().clone() {
            if peers.is_up(&peer) {
                self.sync(peer, true, local, peers, step);
            }
        }
    }

    fn pause_appeal(&self, step: &mut Step<'_>) {
        let pause = self.appeal.pause();
        let pause = pause * 3 / 4 + jitter(pause / 2, step.entropy);
        let timer = NetworkTimer::Appeal.of(self.id());
        step.timers.set(timer, step.now + pause);
    }

    /// An owner, one of those that this node began with, and one of those that promised something: many of these may be
    /// of one person's making. Any of them may be gone for good.
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
