//! What this node asks of others in a network: to compare statements, to take new ones, to admit it.

use minicbor::bytes::ByteVec;
use rand_core::Rng;

use crate::core::expulsion::Expulsion;
use crate::core::links::jitter;
use crate::core::local::Local;
use crate::core::mesh::Mesh;
use crate::core::mesh::phase::Phase;
use crate::core::peers::{About, Peers};
use crate::core::protocol::{AdmitRequest, Ask, NetworkAbout, NetworkAsk, Push, SyncRequest};
use crate::core::step::Step;
use crate::core::timers::{self, NetworkTimer};
use crate::network::admission::{Admission, AdmissionRequest};
use crate::network::statement::Signed;
use crate::time::Millis;
use grid_keys::NodeId;

/// Ledgers up to this size send their whole index on connecting, which saves a round trip.
const SMALL_INDEX: usize = 512;

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
            Phase::Member(_)
            | Phase::Joining { .. }
            | Phase::Expelled {
                why: Expulsion::NotAdmitted,
                ..
            } => self.sync(peer, true, local, peers, step),
            Phase::Waiting => self.request_admission_of(peer, local, peers, step),
            Phase::Expelled { .. } if self.appeal.asked().contains(&peer) => {
                self.sync(peer, true, local, peers, step);
            }
            Phase::Expelled { .. } => {}
        }
    }

    pub(super) fn request(
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

    pub(super) fn push(
        &self,
        peer: NodeId,
        statements: Vec<ByteVec>,
        peers: &mut Peers,
        step: &mut Step<'_>,
    ) {
        let ask = NetworkAsk::Push(Push { statements });
        self.request(peer, ask, NetworkAbout::Push, peers, step);
    }

    /// Compares statements with a node. To introduce itself, this node shows what admits it, and sends its
    /// index along if that is small.
    pub(super) fn sync(
        &self,
        peer: NodeId,
        introduce: bool,
        local: &Local,
        peers: &mut Peers,
        step: &mut Step<'_>,
    ) {
        let ledger = self.roster.ledger();
        let acts = introduce.then(|| self.roster.acts_for(&local.id(), self.phase.admission()));
        let request = SyncRequest {
            root: ledger.root(),
            index: (introduce && ledger.len() <= SMALL_INDEX).then(|| ledger.index()),
            admission: self
                .phase
                .admission()
                .filter(|_| introduce)
                .map(Admission::raw),
            acts: acts.unwrap_or_default(),
        };
        let about = NetworkAbout::Sync {
            introduced: introduce,
        };
        self.request(peer, NetworkAsk::Sync(request), about, peers, step);
    }

    /// Compares with one connected member, picked at random, and sets the timer for the next time.
    pub(super) fn sync_with_one(&self, local: &Local, peers: &mut Peers, step: &mut Step<'_>) {
        if let Some(peer) = self.pick_one(local, peers, step.entropy) {
            self.sync(peer, !self.heard, local, peers, step);
        }
        let span = timers::ANTI_ENTROPY * self.comparisons.pause();
        let pause = span * 3 / 4 + jitter(span / 2, step.entropy);
        step.timers
            .set(NetworkTimer::AntiEntropy.of(self.id()), step.now + pause);
    }

    fn pick_one(&self, local: &Local, peers: &Peers, entropy: &mut dyn Rng) -> Option<NodeId> {
        let may_be_admitted = matches!(
            self.phase.expulsion(),
            None | Some(Expulsion::NotAdmitted | Expulsion::NoRoom)
        );
        if matches!(self.phase, Phase::Waiting) || !may_be_admitted {
            return None;
        }
        let mut connected: Vec<NodeId> = self
            .roster
            .others(&local.id())
            .filter(|node| peers.is_up(node))
            .copied()
            .collect();
        if connected.is_empty() {
            // No member was heard yet, or all are gone: the bootstrap nodes may know more.
            connected = self.connected_bootstrap(peers);
        }
        if connected.is_empty() {
            return None;
        }
        let pick = entropy.next_u64() % connected.len() as u64;
        usize::try_from(pick)
            .ok()
            .and_then(|pick| connected.get(pick).copied())
    }

    /// Compares sooner than the timer would.
    pub(super) fn sync_by(&self, at: Millis, step: &mut Step<'_>) {
        step.timers
            .set_by(NetworkTimer::AntiEntropy.of(self.id()), at);
    }

    /// Nobody waits a minute because one message was lost, and a joiner not even seconds.
    pub(super) fn retry_sync(&self, step: &mut Step<'_>) {
        let pause = if self.heard {
            timers::AFTER_LOSS
        } else {
            timers::FIRST_SYNC
        };
        self.sync_by(step.now + pause, step);
    }

    /// Asks all connected bootstrap nodes for an admission by an owner.
    pub(super) fn request_admission(&self, local: &Local, peers: &mut Peers, step: &mut Step<'_>) {
        if !matches!(self.phase, Phase::Waiting) {
            return;
        }
        for peer in self.connected_bootstrap(peers) {
            self.request_admission_of(peer, local, peers, step);
        }
        step.timers.set(
            NetworkTimer::AskAgain.of(self.id()),
            step.now + timers::ASK_AGAIN,
        );
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
            issued: step.time(),
        };
        if let Ok(request) = Signed::sign(body, local.key()) {
            let ask = NetworkAsk::Admit(AdmitRequest::new(&request));
            self.request(peer, ask, NetworkAbout::Admit, peers, step);
        }
    }
}
