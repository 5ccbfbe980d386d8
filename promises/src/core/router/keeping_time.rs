//! What time it is, by this machine's clock and those of connected members.

use crate::core::clock::{Say, offset};
use crate::core::effect::Effect;
use crate::core::mesh::line::Line;
use crate::core::router::Router;
use crate::core::step::Step;
use crate::core::timers::{self, Timer};
use crate::core::voices::{self, Speaker};
use crate::limits::CLOCK_SKEW;
use crate::time::Timestamp;
use grid_keys::NodeId;

/// How many are asked for the time at once.
const ASKED: usize = 8;

impl Router {
    /// Another node says what its clock shows.
    pub(super) fn told_time(&mut self, peer: &NodeId, shown: Timestamp, step: &mut Step<'_>) {
        self.peers.hear_clock(peer, offset(shown, step.now));
        self.decide_the_time(step);
    }

    /// Asks members while the clock is in doubt; what they say may have changed meanwhile. A few at a time, in turn: a
    /// founder's is in doubt for a day, and many may be connected to it.
    fn ask_the_time(&mut self, step: &mut Step<'_>) {
        let up = self.peers.links().up();
        let counts = |node| self.networks.has_member(node) || self.networks.has_owner(node);
        let members = up.filter(|(node, _)| counts(node));
        let members: Vec<_> = members.map(|(node, remote)| (*node, remote)).collect();
        let first = members.partition_point(|(node, _)| Some(*node) <= self.asked_time);
        let count = members.len().min(ASKED);
        for (node, remote) in members.into_iter().cycle().skip(first).take(count) {
            self.say_hello(node, remote, step);
            self.asked_time = Some(node);
        }
    }

    /// Believes the clock, or what members say: those that this node dialled, if it hears any of them.
    pub(super) fn decide_the_time(&mut self, step: &mut Step<'_>) {
        let said = self.peers.links().clocks();
        let said = said.filter_map(|(node, offset, dialled)| {
            // An owner is one also while its promise, which is of the future to a clock that is behind, is not taken.
            let is_owner = self.networks.has_owner(node);
            let own = is_owner.then_some(Line::Node(*node));
            let line = self.networks.line_of(node).or(own)?;
            Some((is_owner, line, offset, dialled))
        });
        let said: Vec<_> = said.collect();
        let first = said.first().map(|(_, line, ..)| *line);
        // Where nothing is in doubt, nothing hangs on it. Nodes of one line are no two who could move a fresh clock.
        let is_young = step.clock.is_doubted()
            && !step.clock.is_fresh()
            && said.iter().all(|(_, line, ..)| Some(*line) == first)
            && self.networks.have_one_line(&self.local.id());
        let chosen = said.iter().any(|(.., dialled)| *dialled);
        let heard = said.iter().filter(|(.., dialled)| *dialled == chosen);
        let by_speaker = heard.map(|(is_owner, line, offset, _)| {
            let speaker = match (is_owner, is_young) {
                (true, _) => Speaker::Owner,
                (false, true) => Speaker::Alone,
                (false, false) => Speaker::Under(*line),
            };
            (speaker, *offset)
        });
        let voices = voices::of(by_speaker);
        let say = match self.networks.has_owner(&self.local.id()) {
            true => Say::Own,
            false => Say::Others,
        };
        let before = step.time();
        if step.clock.decide(&voices, say, step.now) {
            // Promises that were made at another time are made again, and what is in force is another.
            self.networks.resign_all(step);
            self.networks.touch_all();
            if step.time().since(before) > CLOCK_SKEW {
                self.compare_again(step);
            }
        }
    }

    /// Compares statements with all that are connected: some may have been refused because their time had not come.
    fn compare_again(&mut self, step: &mut Step<'_>) {
        let up: Vec<NodeId> = self.peers.links().up().map(|(node, _)| *node).collect();
        for peer in up {
            for mesh in self.networks.shared_with(&peer) {
                mesh.greet(peer, &self.local, &mut self.peers, step);
            }
        }
    }

    /// Looks at the time, and writes it down now and then.
    pub(super) fn keep_time(&mut self, step: &mut Step<'_>) {
        step.timers.set(Timer::Clock, step.now + timers::CLOCK);
        if step.clock.is_doubted() {
            self.ask_the_time(step);
        }
        self.decide_the_time(step);
        // Not while a key could not be written down: the one before would be back after the next start.
        if step.clock.spoils_keys(step.now) && self.local.remembers() {
            self.networks.renew_keys(&self.local, step);
            step.clock.renewed_keys(step.now);
        }
        let time = step.clock.take_due(step.now);
        step.effects.extend(time.map(Effect::WriteTime));
    }
}
