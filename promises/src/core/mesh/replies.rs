//! The replies to what this node asked in a network.

use std::collections::BTreeSet;

use minicbor::bytes::{ByteArray, ByteVec};

use crate::answer::Response;
use crate::core::batches::batches;
use crate::core::effect::Notice;
use crate::core::local::Local;
use crate::core::mesh::Mesh;
use crate::core::mesh::ingest::{Ingested, Intake};
use crate::core::mesh::own_promise::OwnPromise;
use crate::core::mesh::phase::{Ending, Phase};
use crate::core::peers::Peers;
use crate::core::protocol::{
    AdmitAnswer, NetworkAbout, NetworkAsk, NetworkReply, Pull, PushAnswer, SyncAnswer,
};
use crate::core::record::Change;
use crate::core::step::Step;
use crate::core::timers::{self, NetworkTimer};
use crate::network::index::{self, ShortId};
use crate::network::member::MemberPromise;
use crate::network::receipt::Receipt;
use crate::network::statement::Signed;
use grid_keys::NodeId;

impl Mesh {
    /// A request was not answered.
    pub(crate) fn unanswered(
        &mut self,
        about: NetworkAbout,
        step: &mut Step<'_>,
    ) -> Option<Ending> {
        match about {
            NetworkAbout::Sync { .. } => {
                self.retry_sync(step);
                None
            }
            NetworkAbout::Push => {
                // It may have arrived all the same: a comparison will show.
                self.sync_by(step.now + timers::AFTER_LOSS, step);
                self.leave_told(None)
            }
            NetworkAbout::Pull | NetworkAbout::Admit => None,
        }
    }

    /// Takes an answer in.
    pub(crate) fn answered(
        &mut self,
        peer: NodeId,
        reply: NetworkReply,
        local: &Local,
        peers: &mut Peers,
        step: &mut Step<'_>,
    ) -> Option<Ending> {
        self.appeal.answered(&peer);
        match reply {
            // The peer takes this node for out, and does not know (yet) what undid that.
            NetworkReply::Sync {
                introduced: false,
                response: Response::Answer(SyncAnswer::Difference(..)),
            } => {
                self.sync(peer, true, local, peers, step);
                None
            }
            NetworkReply::Sync {
                response: Response::Answer(answer),
                ..
            } => self.take_sync(peer, answer, local, peers, step),
            // The peer does not know this node as a member (yet): the promise was lost on the way.
            NetworkReply::Sync {
                introduced: false,
                response: Response::Refusal(_),
            } => {
                self.sync(peer, true, local, peers, step);
                None
            }
            NetworkReply::Sync {
                introduced: true,
                response: Response::Refusal(_),
            } => {
                if matches!(self.phase, Phase::Joining { .. }) {
                    self.retry_sync(step);
                }
                None
            }
            NetworkReply::Pull(response) => {
                if let Response::Answer(push) = response {
                    self.take_statements(peer, &push.statements, local, peers, step);
                    self.knows_own_acts = true;
                }
                None
            }
            NetworkReply::Push(Response::Answer(answer)) => {
                // Where there is room for this node, it is told again what else there is.
                if self.lacks_room() && answer.refused == 0 && self.repeats.take(step.now) {
                    self.sync(peer, true, local, peers, step);
                }
                if let Some(why) = answer.why.clone() {
                    step.effects.notice(Notice::Refused { peer, why });
                }
                self.take_receipt(answer, local, step);
                self.leave_told(Some(peer))
            }
            NetworkReply::Push(Response::Refusal(_)) => self.leave_told(None),
            NetworkReply::Admit(response) => {
                if let Response::Answer(answer) = response {
                    self.take_admission(peer, answer, local, peers, step);
                }
                None
            }
        }
    }

    fn take_sync(
        &mut self,
        peer: NodeId,
        answer: SyncAnswer,
        local: &Local,
        peers: &mut Peers,
        step: &mut Step<'_>,
    ) -> Option<Ending> {
        self.show_promise(peer, peers, step);
        match answer {
            SyncAnswer::Equal => {
                self.comparisons.equal();
                self.knows_own_acts = true;
            }
            SyncAnswer::Index(index) => {
                let difference = self.roster.ledger().compare(&index);
                let wanted = difference.i_lack.iter();
                let wanted: Vec<_> = wanted.map(|id| ByteArray::from(*id)).collect();
                let own = self.roster.ledger().root();
                self.comparisons.differ(own, index::root(&index));
                for statements in batches(difference.they_lack.iter().copied()) {
                    self.push(peer, statements, peers, step);
                }
                if wanted.is_empty() {
                    self.knows_own_acts = true;
                } else {
                    let ask = NetworkAsk::Pull(Pull { wanted });
                    self.request(peer, ask, NetworkAbout::Pull, peers, step);
                }
            }
            SyncAnswer::Difference(statements, wanted, more) => {
                let news = self.take_statements(peer, &statements, local, peers, step);
                // The rest comes with the next comparison, and what the peer lacks is in the last one as well.
                if more && news && self.repeats.take(step.now) {
                    self.sync(peer, true, local, peers, step);
                    return None;
                }
                let ids: BTreeSet<ShortId> = wanted.iter().map(|id| **id).collect();
                for statements in batches(self.roster.ledger().statements_of(&ids)) {
                    self.push(peer, statements, peers, step);
                }
                self.knows_own_acts |= !more;
                // Others may be sending a joiner the same.
                if more && !self.heard {
                    self.retry_sync(step);
                    return None;
                }
            }
        }
        // A joiner now knows which addresses are taken.
        self.heard = true;
        self.claim(local, step)
    }

    /// Pushes the own promise to a peer that could give a receipt and has not: it may have the promise from
    /// others, and a node signs receipts only for what it was told directly. And to one that may have room for it again.
    fn show_promise(&self, peer: NodeId, peers: &mut Peers, step: &mut Step<'_>) {
        let now = step.time();
        let lacks_room = self.lacks_room();
        let may_help = |own: &&OwnPromise| {
            lacks_room || (self.phase.is_member() && own.lacks_receipt_of(&peer, &self.roster, now))
        };
        if let Some(own) = self.phase.own().filter(may_help) {
            let statements = vec![ByteVec::from(own.standing().promise().bytes().to_vec())];
            self.push(peer, statements, peers, step);
        }
    }

    fn take_receipt(&mut self, answer: PushAnswer, local: &Local, step: &mut Step<'_>) {
        let receipt = answer
            .receipt
            .and_then(|bytes| Signed::<Receipt>::decode(&bytes).ok());
        let now = step.time();
        if let Some(receipt) = receipt
            && self.may_speak()
            && let Some(own) = self.phase.own_mut()
            && own.keep_receipt(receipt, &self.roster, &local.id(), now)
        {
            step.timers.set_by(
                NetworkTimer::Resign.of(self.id()),
                step.now + timers::RESIGN,
            );
        }
    }

    /// An admission by an owner came in: for this node, or for one that asked through it.
    fn take_admission(
        &mut self,
        peer: NodeId,
        answer: AdmitAnswer,
        local: &Local,
        peers: &mut Peers,
        step: &mut Step<'_>,
    ) {
        let recovery = answer.recovery.and_then(|act| Signed::decode(&act).ok());
        if let Some(act) = recovery {
            self.roster.go_on_from(act);
        }
        self.take_statements(peer, &answer.acts, local, peers, step);
        self.knows_own_acts = true;
        self.join_by_name(local, peers, step);
    }

    /// Returns whether anything was new.
    fn take_statements(
        &mut self,
        peer: NodeId,
        statements: &[ByteVec],
        local: &Local,
        peers: &mut Peers,
        step: &mut Step<'_>,
    ) -> bool {
        let result = self.ingest(peer, statements, local, peers, step);
        if let Some(why) = result.hostile {
            peers.misbehaved(peer, why, step);
        }
        result.news
    }

    /// Merges statements that a node sent, and stores what must not wait.
    pub(super) fn ingest(
        &mut self,
        source: NodeId,
        statements: &[ByteVec],
        local: &Local,
        peers: &Peers,
        step: &mut Step<'_>,
    ) -> Ingested {
        let side = self.side_of(&source, peers);
        let intake = Intake {
            source,
            own: local.id(),
            roster: &mut self.roster,
            outbox: &mut self.outbox,
            is_first: !self.heard,
            budget: self.work.of(&source, side, statements.len(), step.now),
            now: step.now,
            time: step.time(),
            lapse_time: step.lapse_time(),
        };
        let result = intake.ingest(statements.iter().map(|bytes| bytes.as_slice()));
        if result.acted {
            self.await_fewer(step);
        }
        self.dirty |= result.news;
        if let Some(promise) = &result.own {
            self.own_promise_seen(promise, step);
        }
        if result.acted {
            // A node that is killed right after it was told must not forget a revocation.
            self.save(local, step.effects);
        }
        if result.came_or_went {
            self.save_soon(local, step);
        }
        result
    }

    /// Takes note of the awaited acts that are here.
    fn await_fewer(&mut self, step: &mut Step<'_>) {
        let left = self.roster.lacks(self.awaited.iter().copied());
        if left != self.awaited {
            let change = Change::Awaited(left.iter().copied().collect());
            self.awaited = left;
            self.roster.store(change, step.effects);
        }
    }

    /// Others hold a promise of this node that it does not know. The next one has to overtake it.
    fn own_promise_seen(&mut self, promise: &MemberPromise, step: &mut Step<'_>) {
        let own = self.phase.own().map(|own| &**own.standing().promise());
        let before = self.rival.elsewhere().map(|known| known.endpoints.clone());
        let Some(due) = self.rival.see(promise, own, step.now, step.time()) else {
            return;
        };
        step.timers.set_by(NetworkTimer::Resign.of(self.id()), due);
        if let Some(elsewhere) = self.rival.elsewhere()
            && before.as_ref() != Some(&elsewhere.endpoints)
        {
            step.effects.notice(Notice::KeyElsewhere {
                name: self.name().clone(),
                elsewhere: elsewhere.clone(),
            });
        }
    }

    /// Stores who came or went: at once, unless that was done a moment ago. A node that is killed right after a
    /// join must still know whom to call, and a node that left was told so.
    fn save_soon(&mut self, local: &Local, step: &mut Step<'_>) {
        let due = self
            .saved_at
            .map_or(step.now, |last| last + timers::SAVE_SOON);
        if due > step.now {
            step.timers.set_by(NetworkTimer::Save.of(self.id()), due);
            return;
        }
        self.saved_at = Some(step.now);
        self.save(local, step.effects);
    }
}
