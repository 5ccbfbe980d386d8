//! What is said about a network between its nodes: comparing statements, pushing what is new, asking to
//! be admitted, and answering those who do.

use std::collections::BTreeSet;

use minicbor::bytes::{ByteArray, ByteVec};

use crate::answer::{Response, answer, refusal};
use crate::core::batches::batches;
use crate::core::local::Local;
use crate::core::mesh::ingest::{Ingested, ingest};
use crate::core::mesh::phase::{Ending, Phase};
use crate::core::mesh::{Mesh, respond};
use crate::core::peers::{About, Peers};
use crate::core::protocol::{
    AdmitAnswer, AdmitRequest, Ask, NetworkAbout, NetworkAsk, NetworkReply, Pull, Push, PushAnswer,
    SyncAnswer, SyncRequest,
};
use crate::core::record::Change;
use crate::core::step::Step;
use crate::core::timers::{self, Timer};
use crate::network::admission::{Admission, AdmissionRequest, RawLink};
use crate::network::charter::AdmissionRule;
use crate::network::receipt::Receipt;
use crate::network::statement::Signed;
use crate::time::Millis;
use grid_keys::NodeId;

/// Ledgers up to this size send their whole index on connecting, which saves a round trip.
const SMALL_INDEX: usize = 512;

/// What this node asks.
impl Mesh {
    /// Says hello to a node: compares statements, or asks for an admission.
    pub(crate) fn greet(
        &self,
        peer: NodeId,
        local: &Local,
        peers: &mut Peers,
        step: &mut Step<'_>,
    ) {
        match self.phase {
            Phase::Member(_) | Phase::Joining { .. } => self.sync(peer, true, peers, step),
            Phase::Waiting => self.request_admission_of(peer, local, peers, step),
            Phase::Expelled { .. } => {}
        }
    }

    fn request(
        &self,
        peer: NodeId,
        ask: NetworkAsk,
        about: NetworkAbout,
        peers: &mut Peers,
        step: &mut Step<'_>,
    ) {
        let network = self.id();
        let ask = Ask::Network(network, ask);
        let about = About::Network(network, about);
        peers.request(peer, &ask, about, step.effects);
    }

    fn push(&self, peer: NodeId, statements: Vec<ByteVec>, peers: &mut Peers, step: &mut Step<'_>) {
        let ask = NetworkAsk::Push(Push { statements });
        self.request(peer, ask, NetworkAbout::Push, peers, step);
    }

    /// Compares statements with a node. With the index where it is small, if this node introduces itself.
    fn sync(&self, peer: NodeId, introduce: bool, peers: &mut Peers, step: &mut Step<'_>) {
        let ledger = self.roster.ledger();
        let index = ledger.index();
        let request = SyncRequest {
            root: ledger.root(),
            index: (introduce && index.len() <= SMALL_INDEX).then_some(index),
            admission: self
                .phase
                .admission()
                .filter(|_| introduce)
                .map(Admission::raw),
        };
        let about = NetworkAbout::Sync {
            introduced: introduce,
        };
        self.request(peer, NetworkAsk::Sync(request), about, peers, step);
    }

    /// Compares with one connected member, picked at random.
    pub(crate) fn sync_with_one(&self, local: &Local, peers: &mut Peers, step: &mut Step<'_>) {
        if matches!(self.phase, Phase::Waiting | Phase::Expelled { .. }) {
            return;
        }
        let mut connected: Vec<NodeId> = self
            .roster
            .others(&local.id())
            .filter(|node| peers.is_up(node))
            .copied()
            .collect();
        if connected.is_empty() {
            // Nobody was heard yet, or everybody known is gone: those to begin with may know more.
            connected = self.connected_bootstrap(peers);
        }
        if connected.is_empty() {
            return;
        }
        let pick = step.entropy.next_u64() % connected.len() as u64;
        let peer = usize::try_from(pick)
            .ok()
            .and_then(|pick| connected.get(pick));
        if let Some(peer) = peer {
            self.sync(*peer, !self.heard, peers, step);
        }
    }

    /// Compares sooner than the timer would.
    fn sync_by(&self, at: Millis, step: &mut Step<'_>) {
        step.timers.set_by(Timer::AntiEntropy(self.id()), at);
    }

    /// Nobody waits a minute because one message was lost, and a joiner not even seconds.
    fn retry_sync(&self, step: &mut Step<'_>) {
        let pause = if self.heard {
            timers::AFTER_LOSS
        } else {
            timers::FIRST_SYNC
        };
        self.sync_by(step.now + pause, step);
    }

    /// Asks all connected nodes to begin with for an admission by an owner.
    pub(crate) fn request_admission(&self, local: &Local, peers: &mut Peers, step: &mut Step<'_>) {
        if !matches!(self.phase, Phase::Waiting) {
            return;
        }
        for peer in self.connected_bootstrap(peers) {
            self.request_admission_of(peer, local, peers, step);
        }
        step.timers
            .set(Timer::AskAgain(self.id()), step.now + timers::ASK_AGAIN);
    }

    fn request_admission_of(
        &self,
        peer: NodeId,
        local: &Local,
        peers: &mut Peers,
        step: &mut Step<'_>,
    ) {
        let body = AdmissionRequest {
            network: self.id(),
            node: local.id(),
            label: local.label().clone(),
            issued: step.now.timestamp(),
        };
        if let Ok(request) = Signed::sign(body, local.key()) {
            let ask = NetworkAsk::Admit(AdmitRequest::new(&request));
            self.request(peer, ask, NetworkAbout::Admit, peers, step);
        }
    }
}

/// What comes back.
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
                // Whether it arrived is not known: a comparison will tell.
                self.sync_by(step.now + timers::AFTER_LOSS, step);
                self.leave_told(false)
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
        match reply {
            NetworkReply::Sync {
                response: Response::Answer(answer),
                ..
            } => self.take_sync(peer, answer, local, peers, step),
            // The peer does not know this node as a member (yet): its promise got lost on the way.
            NetworkReply::Sync {
                introduced: false,
                response: Response::Refusal(_),
            } => {
                self.sync(peer, true, peers, step);
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
                }
                None
            }
            NetworkReply::Push(Response::Answer(answer)) => {
                self.take_receipt(answer, local, step);
                self.leave_told(true)
            }
            NetworkReply::Push(Response::Refusal(_)) => self.leave_told(false),
            NetworkReply::Admit(response) => {
                if let Response::Answer(answer) = response {
                    self.take_admission(&answer.admission, local, peers, step);
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
            SyncAnswer::Equal => {}
            SyncAnswer::Index(index) => {
                let difference = self.roster.ledger().compare(&index);
                let wanted: Vec<ByteArray<8>> = difference
                    .i_lack
                    .iter()
                    .map(|id| ByteArray::from(*id))
                    .collect();
                for statements in batches(difference.they_lack.iter().copied()) {
                    self.push(peer, statements, peers, step);
                }
                if !wanted.is_empty() {
                    let ask = NetworkAsk::Pull(Pull { wanted });
                    self.request(peer, ask, NetworkAbout::Pull, peers, step);
                }
            }
            SyncAnswer::Difference(statements, wanted, more) => {
                self.take_statements(peer, &statements, local, peers, step);
                let ids: BTreeSet<[u8; 8]> = wanted.iter().map(|id| **id).collect();
                for statements in batches(self.roster.ledger().statements_of(&ids)) {
                    self.push(peer, statements, peers, step);
                }
                // What did not fit comes with the next comparison; without progress there is none.
                if more && !statements.is_empty() {
                    self.sync(peer, true, peers, step);
                    return None;
                }
            }
        }
        // A joiner knows now whose addresses are taken.
        self.heard = true;
        self.claim(local, step)
    }

    /// Pushes the own promise to a peer that has not given the receipt that it could give: it may have
    /// heard of the promise from others, and only who is told by the node itself signs one.
    fn show_promise(&self, peer: NodeId, peers: &mut Peers, step: &mut Step<'_>) {
        if let Phase::Member(own) = &self.phase
            && own.lacks_receipt_of(&peer, &self.roster)
        {
            let statements = vec![ByteVec::from(own.standing().promise().bytes().to_vec())];
            self.push(peer, statements, peers, step);
        }
    }

    fn take_receipt(&mut self, answer: PushAnswer, local: &Local, step: &mut Step<'_>) {
        let receipt = answer
            .receipt
            .and_then(|bytes| Signed::<Receipt>::decode(&bytes).ok());
        let public_key = self.device.public_key();
        let now = step.now.timestamp();
        if let Some(receipt) = receipt
            && self.may_speak()
            && let Some(own) = self.phase.own_mut()
            && own.keep_receipt(receipt, &self.roster, &local.id(), &public_key, now)
        {
            step.timers
                .set_by(Timer::Resign(self.id()), step.now + timers::RESIGN);
        }
    }

    /// An admission came in: for this node, or for one that asked through it.
    fn take_admission(
        &mut self,
        raw: &[RawLink],
        local: &Local,
        peers: &mut Peers,
        step: &mut Step<'_>,
    ) {
        if !matches!(self.phase, Phase::Waiting) {
            self.applicants.hand_on(raw, &self.roster);
            return;
        }
        let Ok(admission) = Admission::decode(raw, self.roster.charter(), &local.id()) else {
            return;
        };
        self.roster
            .store(Change::Admission(admission.raw()), step.effects);
        self.phase = Phase::new(Some(admission));
        step.timers.cancel(Timer::AskAgain(self.id()));
        self.set_timers(step);
        for peer in self.connected_bootstrap(peers) {
            self.greet(peer, local, peers, step);
        }
    }

    fn take_statements(
        &mut self,
        peer: NodeId,
        statements: &[ByteVec],
        local: &Local,
        peers: &mut Peers,
        step: &mut Step<'_>,
    ) {
        let result = self.ingest(peer, statements, local, step);
        if let Some(why) = result.hostile {
            peers.misbehaved(peer, why, step);
        }
    }

    /// Merges statements that a node sent, and has what is urgent written down.
    fn ingest(
        &mut self,
        source: NodeId,
        statements: &[ByteVec],
        local: &Local,
        step: &mut Step<'_>,
    ) -> Ingested {
        let own = local.id();
        let now = step.now.timestamp();
        let statements = statements.iter().map(|bytes| bytes.as_slice());
        let result = ingest(
            statements,
            source,
            &own,
            &mut self.roster,
            &mut self.outbox,
            now,
        );
        self.dirty |= result.news;
        if let Some(sequence) = result.own_sequence {
            self.own_promise_seen(sequence, step);
        }
        if result.revoked {
            // Nobody who was told comes back as if it had not been, however soon it is killed.
            self.save(local, step.effects);
        }
        if result.newcomers {
            self.save_newcomers(local, step);
        }
        result
    }

    /// The network knows a promise of this node: after a loss of the disk it may be a later one than
    /// this node remembers, and has to be overtaken.
    fn own_promise_seen(&mut self, sequence: u64, step: &mut Step<'_>) {
        let standing = self.phase.own();
        let standing = standing.map_or(0, |own| own.standing().promise().sequence);
        if sequence > standing.max(self.overtake) {
            self.overtake = sequence;
            step.timers
                .set_by(Timer::Resign(self.id()), step.now + timers::RESIGN);
        }
    }

    /// Writes newcomers down: at once, unless that was done a moment ago. Who is killed right after a
    /// join must still know whom to call.
    fn save_newcomers(&mut self, local: &Local, step: &mut Step<'_>) {
        let due = self
            .saved_at
            .map_or(step.now, |last| last + timers::SAVE_NEWCOMERS);
        if due > step.now {
            step.timers.set_by(Timer::Save(self.id()), due);
            return;
        }
        self.saved_at = Some(step.now);
        self.save(local, step.effects);
    }
}

/// What this node answers.
impl Mesh {
    /// Answers a request. An admission request comes as it was verified.
    pub(crate) fn answer(
        &mut self,
        peer: NodeId,
        ask: &NetworkAsk,
        local: &Local,
        peers: &mut Peers,
        step: &mut Step<'_>,
    ) -> Vec<u8> {
        match ask {
            NetworkAsk::Sync(request) => respond::sync(&peer, request, &self.roster, &self.witness),
            NetworkAsk::Pull(pull) => respond::pull(&peer, pull, &self.roster, &self.witness),
            NetworkAsk::Push(push) => self.answer_push(peer, push, local, peers, step),
            NetworkAsk::Admit(request) => self.answer_admit(peer, request, local, peers, step),
        }
    }

    fn answer_push(
        &mut self,
        peer: NodeId,
        push: &Push,
        local: &Local,
        peers: &mut Peers,
        step: &mut Step<'_>,
    ) -> Vec<u8> {
        let result = self.ingest(peer, &push.statements, local, step);
        if let Some(why) = result.hostile {
            let refused = refusal(&why);
            peers.misbehaved(peer, why, step);
            return refused;
        }
        let receipt = if result.of_sender {
            self.sign_receipt(&peer, local, step)
        } else {
            None
        };
        answer(&PushAnswer {
            refused: result.refused,
            why: result.why,
            receipt,
        })
    }

    fn sign_receipt(
        &mut self,
        peer: &NodeId,
        local: &Local,
        step: &mut Step<'_>,
    ) -> Option<ByteVec> {
        // The receipt speaks of the view with the promise in it.
        if self.dirty {
            self.refresh(local, step);
        }
        if !self.phase.is_member() {
            return None;
        }
        let receipt = self
            .witness
            .sign(peer, &self.roster, local, step.now.timestamp())?;
        Some(ByteVec::from(receipt.bytes().to_vec()))
    }

    /// A node asks to be admitted, directly or through a member.
    fn answer_admit(
        &mut self,
        peer: NodeId,
        request: &AdmitRequest,
        local: &Local,
        peers: &mut Peers,
        step: &mut Step<'_>,
    ) -> Vec<u8> {
        let Some(signed) = request.open() else {
            let why = "an admission request that does not hold".to_owned();
            peers.misbehaved(peer, why, step);
            return refusal("the request does not hold");
        };
        let charter = self.roster.charter();
        if signed.network != self.id()
            || !self.phase.is_member()
            || charter.admission != AdmissionRule::Approve
        {
            return refusal("this network does not admit in that way");
        }
        if self.roster.is_revoked(&signed.node) {
            return refusal("the node's admission was revoked");
        }
        if let Some(admission) = self.applicants.approved(&signed.node) {
            return answer(&AdmitAnswer {
                admission: admission.raw(),
            });
        }
        let is_owner = charter.is_owner(&local.id());
        if !self
            .applicants
            .add(&signed, is_owner, &self.roster, step.effects)
        {
            return refusal("too many nodes wait already");
        }
        // A member that is no owner passes the request on to the owners that it is connected to.
        let owners = charter
            .owners
            .iter()
            .filter(|owner| !is_owner && **owner != peer && peers.is_up(owner));
        for owner in owners.copied().collect::<Vec<_>>() {
            let ask = NetworkAsk::Admit(request.clone());
            self.request(owner, ask, NetworkAbout::Admit, peers, step);
        }
        refusal("an owner has to decide")
    }
}
