//! What this node thinks of the promises of the others: by its rules, or with a judge besides.
//!
//! A judge is code, so its word comes as an input ([`Input::Judged`](crate::core::Input::Judged)) some
//! time after it was asked. It is asked once about the same records, and one question is under way at a
//! time. Until it has spoken, what it said before stands for promises that are still made, and nothing
//! else is accepted; so a judge that fails takes nothing away from those that it had let in, and lets
//! nobody in.
//!
//! What was decided, about what, is written down whenever it changes.

use std::collections::VecDeque;

use crate::content_id::ContentId;
use crate::core::Core;
use crate::core::effect::{Effect, Notice, Reply};
use crate::core::network::{Network, Phase, Surroundings};
use crate::core::record::Change;
use crate::core::timers::{self, Timer};
use crate::network::accept;
use crate::network::charter::NetworkId;
use crate::network::history::{self, Decision};
use crate::network::judgement::{self, Opinions, Reason};
use crate::network::records::Records;
use crate::time::Millis;

/// What is known from the judge of a network.
#[derive(Debug, Default)]
pub(crate) struct Judging {
    asked: Asked,
    opinions: Opinions,
    failure: Option<Reason>,
    written: history::Writer,
}

#[derive(Debug, Default)]
enum Asked {
    #[default]
    Nothing,
    /// It is being asked.
    Waiting(Box<Records>),
    /// It has spoken about these, or failed to.
    Heard(Box<Records>),
}

impl Judging {
    /// Why the judge did not speak when it was asked last.
    pub(crate) const fn failure(&self) -> Option<&Reason> {
        self.failure.as_ref()
    }
}

impl Network {
    /// Decides about all promises, and has the judge asked if it has not spoken about them.
    pub(crate) fn judge(&mut self, around: &Surroundings<'_>, out: &mut VecDeque<Effect>) {
        let records = Records::of(
            &self.ledger,
            &self.view,
            &around.id,
            &self.rules,
            around.facts,
        );
        if let Some(judge) = self.judge {
            self.ask_judge(judge, &records, out);
        }
        let opinions = self.judge.map(|_| &self.judging.opinions);
        self.verdicts = accept::decide(&records, opinions);
        let is_settled = self.judge.is_none() || matches!(self.judging.asked, Asked::Heard(_));
        if is_settled && self.phase == Phase::Member {
            self.write_history(records, around, out);
        }
    }

    fn ask_judge(&mut self, judge: ContentId, records: &Records, out: &mut VecDeque<Effect>) {
        match &self.judging.asked {
            Asked::Waiting(_) => return,
            Asked::Heard(heard) if **heard == *records => return,
            Asked::Nothing | Asked::Heard(_) => {}
        }
        self.judging.asked = Asked::Waiting(Box::new(records.clone()));
        out.push_back(Effect::Judge {
            network: self.id(),
            judge,
            records: records.encode(),
        });
    }

    fn write_history(
        &mut self,
        records: Records,
        around: &Surroundings<'_>,
        out: &mut VecDeque<Effect>,
    ) {
        let decision = Decision {
            at: around.now.timestamp(),
            judge: self.judge,
            failure: self.judging.failure.clone(),
            records,
            lines: history::lines(&self.verdicts),
        };
        if let Some(entry) = self.judging.written.write(decision) {
            self.store(Change::History(entry), out);
        }
    }

    /// Takes in what the judge said.
    fn hear_judge(&mut self, judge: ContentId, answer: Result<Vec<u8>, String>) {
        // Of a judge that was dismissed meanwhile.
        if self.judge != Some(judge) {
            return;
        }
        let Asked::Waiting(records) = std::mem::take(&mut self.judging.asked) else {
            return;
        };
        let heard = answer.and_then(|answer| {
            judgement::read(&answer, &records).map_err(|error| error.to_string())
        });
        match heard {
            Ok(opinions) => {
                self.judging.opinions = opinions;
                self.judging.failure = None;
            }
            Err(why) => self.judging.failure = Some(Reason::new(&why)),
        }
        self.judging.asked = Asked::Heard(records);
        self.dirty = true;
    }

    /// Has what decides about promises written down.
    pub(crate) fn store_rules(&self, out: &mut VecDeque<Effect>) {
        let change = Change::Rules {
            rules: self.rules.clone(),
            judge: self.judge,
        };
        self.store(change, out);
    }

    /// Appoints another judge, or none. What the one before said is forgotten.
    fn appoint(&mut self, judge: Option<ContentId>) {
        self.judge = judge;
        self.judging.asked = Asked::Nothing;
        self.judging.opinions.clear();
        self.judging.failure = None;
        self.dirty = true;
    }

    /// Has the judge asked again, if it failed.
    fn ask_judge_again(&mut self) {
        if self.judging.failure.is_some() && matches!(self.judging.asked, Asked::Heard(_)) {
            self.judging.asked = Asked::Nothing;
            self.dirty = true;
        }
    }
}

impl Core {
    /// A judge was asked, and spoke or did not.
    pub(crate) fn judged(
        &mut self,
        network: NetworkId,
        judge: ContentId,
        answer: Result<Vec<u8>, String>,
        now: Millis,
    ) {
        let Some(net) = self.networks.get_mut(&network) else {
            return;
        };
        let before = net.judging.failure.clone();
        net.hear_judge(judge, answer);
        let Some(why) = net.judging.failure.clone() else {
            return;
        };
        let name = net.name().clone();
        self.timers
            .set(Timer::Judge(network), now + timers::ASK_JUDGE);
        if before.as_ref() != Some(&why) {
            self.notice(Notice::JudgeFailed { name, why });
        }
    }

    pub(crate) fn set_judge(&mut self, network: &NetworkId, judge: Option<ContentId>) -> Reply {
        match self.networks.get_mut(network) {
            Some(net) if net.judge != judge => {
                net.appoint(judge);
                net.store_rules(&mut self.effects);
                Reply::Changed
            }
            _ => Reply::Unchanged,
        }
    }

    pub(crate) fn ask_judge_again(&mut self, network: NetworkId) {
        if let Some(net) = self.networks.get_mut(&network) {
            net.ask_judge_again();
        }
    }
}
