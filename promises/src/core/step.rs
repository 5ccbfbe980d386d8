//! One step of the core: when an input comes in, and where its consequences go.

use std::collections::VecDeque;

use rand_core::Rng;

use crate::core::clock::Clock;
use crate::core::effect::{Effect, Notice, Reply};
use crate::core::error::CommandError;
use crate::core::input::Ticket;
use crate::core::timers::{Timer, Timers};
use crate::time::{Millis, Timestamp};

/// Effects, in the order in which they are to be carried out.
#[derive(Debug, Default)]
pub(crate) struct Queue(VecDeque<Effect>);

impl Queue {
    pub(crate) fn push(&mut self, effect: Effect) {
        self.0.push_back(effect);
    }

    pub(crate) fn extend(&mut self, effects: impl IntoIterator<Item = Effect>) {
        self.0.extend(effects);
    }

    pub(crate) fn notice(&mut self, notice: Notice) {
        self.push(Effect::Notice(notice));
    }

    pub(crate) fn pop(&mut self) -> Option<Effect> {
        self.0.pop_front()
    }
}

/// The time and the entropy of one step, the timers that it may set, and the queue that it fills.
pub(crate) struct Step<'a> {
    /// What timers count; it never leaps.
    pub(crate) now: Millis,
    pub(crate) clock: &'a mut Clock,
    pub(crate) entropy: &'a mut dyn Rng,
    pub(crate) timers: &'a mut Timers,
    pub(crate) effects: &'a mut Queue,
}

impl Step<'_> {
    /// The believed time, for statements.
    pub(crate) fn time(&self) -> Timestamp {
        self.clock.time(self.now)
    }

    /// The time by which statements lapse.
    pub(crate) fn lapse_time(&self) -> Timestamp {
        self.clock.lapse_time(self.now)
    }

    /// Answers a command.
    pub(crate) fn done(&mut self, ticket: Ticket, outcome: Result<Reply, CommandError>) {
        self.timers.cancel(Timer::Deadline(ticket));
        self.effects.push(Effect::Done { ticket, outcome });
    }
}
