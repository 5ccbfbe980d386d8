//! What this node thinks of the promises of the others: by its rules, or with a judge besides.
//!
//! A judge is code, so its word comes as an input ([`Input::Judged`](crate::core::Input::Judged)) some
//! time after it was asked. It is asked once about the same records, and one question is under way at a
//! time. Until it has spoken, what it said before stands for promises that are still made, and nothing
//! else is accepted; so a judge that fails takes nothing away from those that it had let in, and lets
//! nobody in.
//!
//! What was decided, about what, is written down whenever it changes.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use ipnet::IpNet;

use crate::content_id::ContentId;
use crate::core::effect::{Effect, Notice, Reply};
use crate::core::error::{CommandError, Unacceptable};
use crate::core::local::Local;
use crate::core::mesh::roster::Roster;
use crate::core::record::Change;
use crate::core::step::{Queue, Step};
use crate::core::timers::{self, NetworkTimer};
use crate::network::accept::{self, Objection, Verdict, Verdicts, overlaps};
use crate::network::history::{self, Decision};
use crate::network::judgement::{self, Opinions, Reason};
use crate::network::records::Records;
use crate::network::rules::{Action, Rule};
use crate::time::Timestamp;
use grid_keys::NodeId;

/// What decides about promises in a network, and what was decided.
#[derive(Debug)]
pub(crate) struct Acceptance {
    rules: Vec<Rule>,
    judge: Option<Judge>,
    verdicts: Verdicts,
    /// The promises whose refusal was reported.
    objected: BTreeSet<(NodeId, IpNet)>,
    written: history::Writer,
}

/// The judge of a network.
#[derive(Debug)]
struct Judge {
    /// The content id of its code.
    code: ContentId,
    asked: Asked,
    opinions: Opinions,
    failure: Option<Reason>,
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

impl Judge {
    const fn new(code: ContentId) -> Self {
        Self {
            code,
            asked: Asked::Nothing,
            opinions: BTreeMap::new(),
            failure: None,
        }
    }

    fn ask(&mut self, records: &Records, roster: &Roster, effects: &mut Queue) {
        match &self.asked {
            Asked::Waiting(_) => return,
            Asked::Heard(heard) if **heard == *records => return,
            Asked::Nothing | Asked::Heard(_) => {}
        }
        self.asked = Asked::Waiting(Box::new(records.clone()));
        effects.push(Effect::Judge {
            network: roster.id(),
            judge: self.code,
            records: records.encode(),
        });
    }

    /// Takes an answer in. Returns whether one was expected.
    fn hear(&mut self, answer: Result<Vec<u8>, String>) -> bool {
        let Asked::Waiting(records) = std::mem::take(&mut self.asked) else {
            return false;
        };
        let heard = answer.and_then(|answer| {
            judgement::read(&answer, &records).map_err(|error| error.to_string())
        });
        match heard {
            Ok(opinions) => {
                self.opinions = opinions;
                self.failure = None;
            }
            Err(why) => self.failure = Some(Reason::new(&why)),
        }
        self.asked = Asked::Heard(records);
        true
    }
}

impl Acceptance {
    pub(crate) fn new(rules: Vec<Rule>, judge: Option<ContentId>) -> Self {
        Self {
            rules,
            judge: judge.map(Judge::new),
            verdicts: Verdicts::new(),
            objected: BTreeSet::new(),
            written: history::Writer::default(),
        }
    }

    pub(crate) fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// The judge: the content id of its code.
    pub(crate) fn judge(&self) -> Option<ContentId> {
        self.judge.as_ref().map(|judge| judge.code)
    }

    /// Why the judge did not speak when it was asked last.
    pub(crate) fn failure(&self) -> Option<&Reason> {
        self.judge.as_ref().and_then(|judge| judge.failure.as_ref())
    }

    pub(crate) fn verdicts_of(&self, node: &NodeId) -> &[Verdict] {
        self.verdicts.get(node).map_or(&[], Vec::as_slice)
    }

    /// What a member is believed to answer for.
    pub(crate) fn accepted_of(&self, node: &NodeId) -> impl Iterator<Item = IpNet> + '_ {
        self.verdicts_of(node)
            .iter()
            .filter(|verdict| verdict.verdict.is_ok())
            .map(|verdict| verdict.prefix)
    }

    /// Decides about all promises, and asks the judge about those that are new to it. As a member, this node
    /// keeps a history of what it decided.
    pub(crate) fn decide(
        &mut self,
        roster: &Roster,
        local: &Local,
        is_member: bool,
        now: Timestamp,
        effects: &mut Queue,
    ) {
        let records = Records::of(
            roster.ledger(),
            roster.view(),
            &local.id(),
            &self.rules,
            local.facts(),
        );
        if let Some(judge) = &mut self.judge {
            judge.ask(&records, roster, effects);
        }
        let opinions = self.judge.as_ref().map(|judge| &judge.opinions);
        self.verdicts = accept::decide(&records, opinions);
        let is_settled = self
            .judge
            .as_ref()
            .is_none_or(|judge| matches!(judge.asked, Asked::Heard(_)));
        if is_settled && is_member {
            let decision = Decision {
                at: now,
                judge: self.judge(),
                failure: self.failure().cloned(),
                records,
                lines: history::lines(&self.verdicts),
            };
            if let Some(entry) = self.written.write(decision) {
                roster.store(Change::History(entry), effects);
            }
        }
        self.report_objections(roster, effects);
    }

    /// Reports each promise that is not accepted, once.
    fn report_objections(&mut self, roster: &Roster, effects: &mut Queue) {
        let mut current = BTreeSet::new();
        for (node, verdicts) in &self.verdicts {
            for verdict in verdicts {
                let Err(objection) = &verdict.verdict else {
                    continue;
                };
                // The judge is being asked, or its failure was told.
                if *objection == Objection::NotJudged {
                    continue;
                }
                current.insert((*node, verdict.prefix));
                let is_known = self.objected.contains(&(*node, verdict.prefix));
                if !is_known && *objection != Objection::Rule {
                    effects.notice(Notice::PromiseRefused {
                        name: roster.name().clone(),
                        node: *node,
                        prefix: verdict.prefix,
                        objection: objection.clone(),
                    });
                }
            }
        }
        self.objected = current;
    }

    /// Takes in what a judge said. Returns whether promises have to be decided again.
    pub(crate) fn judged(
        &mut self,
        code: ContentId,
        answer: Result<Vec<u8>, String>,
        roster: &Roster,
        step: &mut Step<'_>,
    ) -> bool {
        let Some(judge) = &mut self.judge else {
            return false;
        };
        let before = judge.failure.clone();
        // The answer of a judge that was dismissed meanwhile does not count.
        let heard = judge.code == code && judge.hear(answer);
        if let Some(why) = judge.failure.clone() {
            let again = step.now + timers::ASK_JUDGE;
            step.timers.set(NetworkTimer::Judge.of(roster.id()), again);
            if before.as_ref() != Some(&why) {
                let name = roster.name().clone();
                step.effects.notice(Notice::JudgeFailed { name, why });
            }
        }
        heard
    }

    /// Asks a judge that failed again, at the next decision. Returns whether it had failed.
    pub(crate) fn retry_judge(&mut self) -> bool {
        match &mut self.judge {
            Some(judge) if judge.failure.is_some() && matches!(judge.asked, Asked::Heard(_)) => {
                judge.asked = Asked::Nothing;
                true
            }
            _ => false,
        }
    }

    /// Appoints another judge, or none. What the one before said is forgotten.
    pub(crate) fn appoint(
        &mut self,
        code: Option<ContentId>,
        roster: &Roster,
        effects: &mut Queue,
    ) -> Reply {
        if self.judge() == code {
            return Reply::Unchanged;
        }
        self.judge = code.map(Judge::new);
        self.store(roster, effects);
        Reply::Changed
    }

    /// Adds a rule; it replaces the earlier ones about the same prefix and node.
    pub(crate) fn set_rule(
        &mut self,
        rule: Rule,
        roster: &Roster,
        effects: &mut Queue,
    ) -> Result<Reply, CommandError> {
        if rule.action == Action::Accept {
            check_accepting(&rule, roster)?;
        }
        if self.rules.last() == Some(&rule) {
            return Ok(Reply::Unchanged);
        }
        self.rules.retain(|old| {
            old.prefix != rule.prefix || (rule.from.is_some() && old.from != rule.from)
        });
        self.rules.push(rule);
        self.store(roster, effects);
        Ok(Reply::Changed)
    }

    fn store(&self, roster: &Roster, effects: &mut Queue) {
        let change = Change::Rules {
            rules: self.rules.clone(),
            judge: self.judge(),
        };
        roster.store(change, effects);
    }
}

/// Whether a rule could ever accept something.
fn check_accepting(rule: &Rule, roster: &Roster) -> Result<(), CommandError> {
    let prefix = rule.prefix;
    let cannot = |why| Err(CommandError::CannotAccept { prefix, why });
    if rule.from.is_none() {
        return cannot(Unacceptable::FromEverybody);
    }
    let (v4, v6) = roster.ranges();
    // A default route covers the range and takes nothing from it: longer prefixes win.
    let own = prefix.prefix_len() != 0
        && (overlaps(&prefix, &v4.into()) || overlaps(&prefix, &v6.into()));
    if own && !(v4.contains(&v4_addr(&prefix)) && prefix.prefix_len() == 32) {
        return cannot(Unacceptable::MemberAddresses);
    }
    Ok(())
}

const fn v4_addr(prefix: &IpNet) -> Ipv4Addr {
    match prefix {
        IpNet::V4(v4) => v4.addr(),
        IpNet::V6(_) => Ipv4Addr::UNSPECIFIED,
    }
}
