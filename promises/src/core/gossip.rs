//! How statements spread: pushed to connected members when they are new, and compared with members on
//! connecting and on a timer.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use minicbor::bytes::{ByteArray, ByteVec};

use crate::content_id::ContentId;
use crate::core::effect::{Effect, Notice, Parting};
use crate::core::input::{RequestId, Ticket};
use crate::core::network::{Outgoing, Pending, Phase};
use crate::core::protocol::{
    AdmitAnswer, Ask, Found, Hello, MAX_BATCH, Pull, Push, PushAnswer, Response, SyncAnswer,
    SyncRequest, read_response,
};
use crate::core::serving::came_by;
use crate::core::timers::{self, Timer};
use crate::core::{Core, Step};
use crate::network::admission::Admission;
use crate::network::charter::NetworkId;
use crate::network::ledger::{Item, Merged, Refusal, invite_of};
use crate::network::member::PromiseError;
use crate::network::receipt::Receipt;
use crate::network::statement::Signed;
use crate::node_key::NodeId;
use crate::time::Millis;

/// Ledgers up to this size send their whole index on connecting, which saves a round trip.
const SMALL_INDEX: usize = 512;

/// A request on its way.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    peer: NodeId,
    about: About,
}

/// What a request is about.
#[derive(Clone, Debug)]
pub(crate) enum About {
    Hello,
    Find(Ticket),
    /// And whether the request showed this node's admission.
    Sync(NetworkId, bool),
    Pull(NetworkId),
    Push(NetworkId),
    Admit(NetworkId),
}

/// What became of a batch of statements.
#[derive(Debug, Default)]
pub(crate) struct Ingested {
    pub(crate) refused: u32,
    /// The first refusal that no correct sender gets.
    pub(crate) hostile: Option<String>,
    /// Why the sender's own promise was refused.
    pub(crate) own: Option<String>,
    /// Whether the sender's own promise was in it.
    pub(crate) of_sender: bool,
}

impl Core {
    pub(crate) fn request(&mut self, peer: NodeId, ask: &Ask, about: About) {
        self.last_request += 1;
        let id = RequestId(self.last_request);
        self.sent.insert(id, Sent { peer, about });
        self.effects.push_back(Effect::Request {
            id,
            peer,
            message: ask.encode(),
        });
    }

    pub(crate) fn connected(
        &mut self,
        peer: NodeId,
        remote: SocketAddr,
        outgoing: bool,
        step: &mut Step<'_>,
    ) {
        self.links.connected(peer, remote, outgoing, step.now);
        if self.links.is_banned(&peer, step.now) {
            self.effects.push_back(Effect::Disconnect {
                peer,
                why: Parting::Misbehaved,
            });
            return;
        }
        if !outgoing {
            return;
        }
        // The comparison goes first: a joiner waits for it, and for nothing else.
        for network in self.shared_with(&peer) {
            self.greet(network, peer, step.now);
        }
        let ticket_and_name: Vec<_> = self
            .searches
            .iter_mut()
            .filter_map(|(ticket, search)| search.ask(&peer).map(|name| (*ticket, name)))
            .collect();
        for (ticket, name) in ticket_and_name {
            self.request(peer, &Ask::Find(name), About::Find(ticket));
        }
        self.request(peer, &Ask::Hello(Hello { observed: remote }), About::Hello);
    }

    /// The networks in which a node is a member or one to begin with.
    fn shared_with(&self, peer: &NodeId) -> Vec<NetworkId> {
        self.networks
            .values()
            .filter(|net| {
                net.view.members.contains_key(peer) || net.bootstrap.iter().any(|b| b.node == *peer)
            })
            .map(|net| net.id())
            .collect()
    }

    /// Says hello in a network: compares statements, or asks for an admission.
    pub(crate) fn greet(&mut self, network: NetworkId, peer: NodeId, now: Millis) {
        match self.networks.get(&network).map(|net| &net.phase) {
            Some(Phase::Member | Phase::Joining) => self.sync(network, peer, true),
            Some(Phase::Waiting) => self.ask_one(network, peer, now),
            Some(Phase::Expelled(_)) | None => {}
        }
    }

    pub(crate) fn disconnected(&mut self, peer: NodeId, step: &mut Step<'_>) {
        self.links.disconnected(&peer, step.now, step.entropy);
        self.update_seen_at(step);
        self.search_lost(&peer, step);
    }

    pub(crate) fn connect_failed(&mut self, peer: NodeId, step: &mut Step<'_>) {
        self.links.failed(&peer, step.now, step.entropy);
        self.search_lost(&peer, step);
    }

    /// Compares statements with a node. With the index where it is small, or asked for.
    fn sync(&mut self, network: NetworkId, peer: NodeId, introduce: bool) {
        let Some(net) = self.networks.get(&network) else {
            return;
        };
        let index = net.ledger.index();
        let request = SyncRequest {
            root: net.ledger.root(),
            index: (introduce && index.len() <= SMALL_INDEX).then_some(index),
            admission: net
                .admission
                .as_ref()
                .filter(|_| introduce)
                .map(Admission::raw),
        };
        self.request(
            peer,
            &Ask::Sync(network, request),
            About::Sync(network, introduce),
        );
    }

    /// Compares with one connected member, picked at random.
    pub(crate) fn compare_with_one(&mut self, network: NetworkId, step: &mut Step<'_>) {
        let Some(net) = self.networks.get(&network) else {
            return;
        };
        if matches!(net.phase, Phase::Waiting | Phase::Expelled(_)) {
            return;
        }
        let mut connected: Vec<NodeId> = net
            .others(&self.id)
            .filter(|node| self.links.is_up(node))
            .copied()
            .collect();
        if connected.is_empty() {
            // Nobody was heard yet, or everybody known is gone: those to begin with may know more.
            connected = net.bootstrap.iter().map(|b| b.node).collect();
            connected.retain(|node| self.links.is_up(node));
        }
        if connected.is_empty() {
            return;
        }
        let introduce = !net.heard;
        let pick = step.entropy.next_u64() % connected.len() as u64;
        let peer = usize::try_from(pick)
            .ok()
            .and_then(|pick| connected.get(pick))
            .copied();
        if let Some(peer) = peer {
            self.sync(network, peer, introduce);
        }
    }

    /// Compares sooner than the timer would; not for a network that is gone meanwhile.
    fn compare_soon(&mut self, network: NetworkId, at: Millis) {
        if self.networks.contains_key(&network) {
            self.timers.set_by(Timer::AntiEntropy(network), at);
        }
    }

    /// Nobody waits a minute because one message was lost, and a joiner not even seconds.
    fn retry_sync(&mut self, network: NetworkId, now: Millis) {
        let heard = self.networks.get(&network).is_some_and(|net| net.heard);
        let pause = if heard {
            timers::AFTER_LOSS
        } else {
            timers::FIRST_SYNC
        };
        self.compare_soon(network, now + pause);
    }

    /// Pushes what is new to the connected members.
    ///
    /// At once, unless that was done a moment ago: what comes in bursts goes out in one message for
    /// each member, not in one for each statement.
    pub(crate) fn flush(&mut self, network: NetworkId, step: &Step<'_>) {
        let Some(net) = self.networks.get_mut(&network) else {
            return;
        };
        if net.outbox.is_empty() {
            return;
        }
        let leaving = matches!(net.pending, Some(Pending::Leave { .. }));
        let due = net.flushed_at.map_or(step.now, |last| last + timers::FLUSH);
        if due > step.now && !leaving {
            self.timers.set_by(Timer::Flush(network), due);
            return;
        }
        net.flushed_at = Some(step.now);
        let mut outbox = std::mem::take(&mut net.outbox);
        // What was overtaken meanwhile need not be told any more.
        outbox.retain(|out| net.ledger.knows(&out.bytes));
        let revoked = |node: &NodeId| net.ledger.withdrawn().is_revoked(node);
        let receivers: Vec<NodeId> = self
            .links
            .up()
            .map(|(node, _)| *node)
            .filter(|node| {
                net.view.members.contains_key(node)
                    || revoked(node)
                    || net.bootstrap.iter().any(|b| b.node == *node)
            })
            .collect();
        // Who lost an invite, or is about to, hears of the others who used it, and of nothing else.
        let rivals = self.links.up().filter_map(|(node, _)| {
            let theirs = invite_of(net.ledger.members().get(node)?)?;
            (!receivers.contains(node)).then(|| (*node, Some(theirs.id())))
        });
        let all = receivers.iter().map(|node| (*node, None));
        let concerns = |only: Option<ContentId>, bytes: &[u8]| {
            let mut members = net.ledger.members().values();
            only.is_none_or(|grant| {
                members.any(|m| came_by(m, &grant) && m.promise().bytes() == bytes)
            })
        };
        let told: Vec<(NodeId, Vec<Vec<ByteVec>>)> = all
            .chain(rivals)
            .map(|(peer, only)| {
                let fresh = outbox.iter().filter(|out| out.source != Some(peer));
                let fresh = fresh.map(|out| out.bytes.as_slice());
                (peer, batches(fresh.filter(|bytes| concerns(only, bytes))))
            })
            .collect();
        let mut requests = 0;
        for (peer, batches) in told {
            for statements in batches {
                requests += 1;
                self.request(
                    peer,
                    &Ask::Push(network, Push { statements }),
                    About::Push(network),
                );
            }
        }
        if let Some(net) = self.networks.get_mut(&network)
            && let Some(Pending::Leave { waiting, .. }) = &mut net.pending
        {
            *waiting += requests;
        }
        self.timers
            .set_by(Timer::Save(network), step.now + timers::SAVE);
    }

    /// Merges statements that a node sent.
    pub(crate) fn ingest<'a>(
        &mut self,
        network: NetworkId,
        statements: impl Iterator<Item = &'a [u8]>,
        source: NodeId,
        now: Millis,
    ) -> Ingested {
        let own = self.id;
        let mut result = Ingested::default();
        let mut revoked = false;
        let mut newcomers = false;
        let mut seen_own = None;
        let Some(net) = self.networks.get_mut(&network) else {
            return result;
        };
        for bytes in statements {
            if net.ledger.knows(bytes) {
                result.of_sender |= is_promise_of(&net.ledger, &source, bytes);
                continue;
            }
            let item = match net.ledger.verify(bytes) {
                Ok(item) => item,
                Err(refusal) => {
                    result.refused += 1;
                    result.hostile = Some(refusal.to_string());
                    break;
                }
            };
            let of_sender = matches!(&item, Item::Member(m) if m.node() == source);
            if let Item::Member(promised) = &item
                && promised.node() == own
            {
                seen_own = seen_own.max(Some(promised.promise().sequence));
                continue;
            }
            let revokes = matches!(item, Item::Revocation(_));
            let newcomer = matches!(&item, Item::Member(m)
                if !net.ledger.members().contains_key(&m.node()));
            match net.ledger.insert(item, now.timestamp()) {
                Ok(Merged::New) => {
                    net.dirty = true;
                    revoked |= revokes;
                    newcomers |= newcomer;
                    net.outbox.push(Outgoing {
                        bytes: bytes.to_vec(),
                        source: Some(source),
                    });
                }
                Ok(Merged::Known | Merged::Stale) => {}
                Err(refusal) => {
                    result.refused += 1;
                    if of_sender || matches!(refusal, Refusal::Promise(PromiseError::Future { .. }))
                    {
                        result.own = Some(refusal.to_string());
                    }
                    continue;
                }
            }
            result.of_sender |= of_sender;
        }
        if let Some(sequence) = seen_own {
            self.own_promise_seen(network, sequence, now);
        }
        if revoked {
            // Nobody who was told comes back as if it had not been, however soon it is killed.
            self.save_statements(network);
        }
        if newcomers {
            self.save_newcomers(network, now);
        }
        result
    }

    /// Writes newcomers down: at once, unless that was done a moment ago. Who is killed right after a
    /// join must still know whom to call.
    fn save_newcomers(&mut self, network: NetworkId, now: Millis) {
        let Some(net) = self.networks.get_mut(&network) else {
            return;
        };
        let due = net
            .saved_at
            .map_or(now, |last| last + timers::SAVE_NEWCOMERS);
        if due > now {
            self.timers.set_by(Timer::Save(network), due);
            return;
        }
        net.saved_at = Some(now);
        self.save_statements(network);
    }

    /// The network knows a promise of this node: after a loss of the disk it may be a later one than
    /// this node remembers, and has to be overtaken.
    fn own_promise_seen(&mut self, network: NetworkId, sequence: u64, now: Millis) {
        let Some(net) = self.networks.get_mut(&network) else {
            return;
        };
        let standing = net.own.as_ref().map_or(0, |own| own.sequence);
        if sequence > standing.max(net.sequence_floor) {
            net.sequence_floor = sequence;
            self.timers
                .set_by(Timer::Resign(network), now + timers::RESIGN);
        }
    }

    /// A message that no correct node sends.
    pub(crate) fn bad_message(&mut self, peer: NodeId, why: String, now: Millis) {
        self.notice(Notice::BadMessage { peer, why });
        if self.links.strike(&peer, now) {
            self.effects.push_back(Effect::Disconnect {
                peer,
                why: Parting::Misbehaved,
            });
        }
    }

    pub(crate) fn take_response(
        &mut self,
        request: RequestId,
        message: Option<&[u8]>,
        step: &mut Step<'_>,
    ) {
        let Some(Sent { peer, about }) = self.sent.remove(&request) else {
            return;
        };
        let outcome = match (about, message) {
            (About::Push(network), None) => {
                // Whether it arrived is not known: a comparison will tell.
                let soon = step.now + timers::AFTER_LOSS;
                self.compare_soon(network, soon);
                self.leave_told(network, false, step);
                Ok(())
            }
            (About::Find(ticket), None) => {
                self.search_answered(ticket, &peer, &[], step);
                Ok(())
            }
            (About::Sync(network, _), None) => {
                self.retry_sync(network, step.now);
                Ok(())
            }
            (_, None) => Ok(()),
            (About::Hello, Some(bytes)) => read_response::<Hello>(bytes).map(|response| {
                if let Response::Answer(hello) = response {
                    self.seen_as(peer, hello.observed, step);
                }
            }),
            (About::Find(ticket), Some(bytes)) => read_response::<Found>(bytes).map(|response| {
                let charters = match response {
                    Response::Answer(found) => found.charters,
                    Response::Refusal(_) => Vec::new(),
                };
                self.search_answered(ticket, &peer, &charters, step);
            }),
            (About::Sync(network, introduced), Some(bytes)) => read_response::<SyncAnswer>(bytes)
                .map(|response| self.take_sync(network, peer, introduced, response, step)),
            (About::Pull(network), Some(bytes)) => read_response::<Push>(bytes).map(|response| {
                if let Response::Answer(push) = response {
                    self.take_statements(network, peer, &push.statements, step);
                }
            }),
            (About::Push(network), Some(bytes)) => read_response::<PushAnswer>(bytes)
                .map(|response| self.take_push_answer(network, response, step)),
            (About::Admit(network), Some(bytes)) => {
                read_response::<AdmitAnswer>(bytes).map(|response| {
                    if let Response::Answer(answer) = response {
                        self.take_admission(network, &answer.admission, step);
                    }
                })
            }
        };
        if let Err(error) = outcome {
            self.bad_message(peer, error.to_string(), step.now);
        }
    }

    fn take_sync(
        &mut self,
        network: NetworkId,
        peer: NodeId,
        introduced: bool,
        response: Response<SyncAnswer>,
        step: &mut Step<'_>,
    ) {
        if matches!(response, Response::Answer(_)) {
            self.show_promise(network, peer);
        }
        match response {
            // The peer does not know this node as a member (yet): its promise got lost on the way.
            Response::Refusal(_) if !introduced => self.sync(network, peer, true),
            Response::Refusal(why) => {
                self.notice(Notice::Refused { peer, why });
                let net = self.networks.get(&network);
                if net.is_some_and(|net| net.phase == Phase::Joining) {
                    self.retry_sync(network, step.now);
                }
            }
            Response::Answer(SyncAnswer::Equal) => self.heard(network, step),
            Response::Answer(SyncAnswer::Index(index)) => {
                let Some(net) = self.networks.get(&network) else {
                    return;
                };
                let difference = net.ledger.compare(&index);
                let push = batches(difference.they_lack.iter().copied());
                let wanted: Vec<ByteArray<8>> = difference
                    .i_lack
                    .iter()
                    .map(|id| ByteArray::from(*id))
                    .collect();
                for statements in push {
                    let ask = Ask::Push(network, Push { statements });
                    self.request(peer, &ask, About::Push(network));
                }
                if !wanted.is_empty() {
                    let ask = Ask::Pull(network, Pull { wanted });
                    self.request(peer, &ask, About::Pull(network));
                }
                self.heard(network, step);
            }
            Response::Answer(SyncAnswer::Difference(statements, wanted, more)) => {
                self.take_statements(network, peer, &statements, step);
                let Some(net) = self.networks.get(&network) else {
                    return;
                };
                let ids: BTreeSet<[u8; 8]> = wanted.iter().map(|id| **id).collect();
                for statements in batches(net.ledger.statements_of(&ids)) {
                    let ask = Ask::Push(network, Push { statements });
                    self.request(peer, &ask, About::Push(network));
                }
                // What did not fit comes with the next comparison; without progress there is none.
                if more && !statements.is_empty() {
                    self.sync(network, peer, true);
                } else {
                    self.heard(network, step);
                }
            }
        }
    }

    /// Pushes the own promise to a peer that has not given the receipt that it could give: it may have
    /// heard of the promise from others, and only who is told by the node itself signs one.
    fn show_promise(&mut self, network: NetworkId, peer: NodeId) {
        let Some(net) = self.networks.get(&network) else {
            return;
        };
        if let Some(own) = net.own.as_ref().filter(|_| net.lacks_receipt_of(&peer)) {
            let statements = vec![ByteVec::from(own.bytes().to_vec())];
            let ask = Ask::Push(network, Push { statements });
            self.request(peer, &ask, About::Push(network));
        }
    }

    fn take_statements(
        &mut self,
        network: NetworkId,
        peer: NodeId,
        statements: &[ByteVec],
        step: &Step<'_>,
    ) {
        let statements = statements.iter().map(|bytes| bytes.as_slice());
        let result = self.ingest(network, statements, peer, step.now);
        if let Some(why) = result.hostile {
            self.bad_message(peer, why, step.now);
        }
    }

    fn take_push_answer(
        &mut self,
        network: NetworkId,
        response: Response<PushAnswer>,
        step: &mut Step<'_>,
    ) {
        let Response::Answer(answer) = response else {
            self.leave_told(network, false, step);
            return;
        };
        let receipt = answer
            .receipt
            .and_then(|bytes| Signed::<Receipt>::decode(&bytes).ok());
        let better = receipt.is_some_and(|receipt| {
            self.with_network(&network, step.now, |net, around, _| {
                net.may_speak() && net.keep_receipt(receipt, around)
            }) == Some(true)
        });
        if better {
            self.timers
                .set_by(Timer::Resign(network), step.now + timers::RESIGN);
        }
        self.leave_told(network, true, step);
    }

    /// Another node says where it sees this one.
    pub(crate) fn seen_as(&mut self, peer: NodeId, observed: SocketAddr, step: &Step<'_>) {
        if crate::network::endpoint::is_reachable(&observed) && self.links.see(&peer, observed) {
            self.update_seen_at(step);
        }
    }

    fn update_seen_at(&mut self, step: &Step<'_>) {
        let seen_at = self.links.seen_at();
        // When the last connection is gone, what was seen last is the best guess.
        if seen_at != self.seen_at && !seen_at.is_empty() {
            self.seen_at = seen_at;
            self.resign_all(step);
            for net in self.networks.values_mut() {
                net.dirty = true;
            }
        }
    }

    pub(crate) fn save_statements(&mut self, network: NetworkId) {
        let own = self.id;
        let Some(net) = self.networks.get(&network) else {
            return;
        };
        let statements: Vec<Vec<u8>> = net
            .ledger
            .statements()
            .filter(|bytes| !is_promise_of(&net.ledger, &own, bytes))
            .map(<[u8]>::to_vec)
            .collect();
        let change = crate::core::record::Change::Statements(statements);
        net.store(change, &mut self.effects);
    }
}

fn is_promise_of(ledger: &crate::network::ledger::Ledger, node: &NodeId, bytes: &[u8]) -> bool {
    ledger
        .members()
        .get(node)
        .is_some_and(|member| member.promise().bytes() == bytes)
}

/// Cuts statements into messages.
pub(crate) fn batches<'a>(statements: impl Iterator<Item = &'a [u8]>) -> Vec<Vec<ByteVec>> {
    let mut batches: Vec<Vec<ByteVec>> = Vec::new();
    let mut room = 0;
    for bytes in statements {
        if bytes.len() > room {
            batches.push(Vec::new());
            room = MAX_BATCH;
        }
        room -= bytes.len().min(room);
        if let Some(batch) = batches.last_mut() {
            batch.push(ByteVec::from(bytes.to_vec()));
        }
    }
    batches
}

/// One message of statements, and whether there are more.
pub(crate) fn first_batch<'a>(statements: impl Iterator<Item = &'a [u8]>) -> (Vec<ByteVec>, bool) {
    let mut all = batches(statements);
    let more = all.len() > 1;
    (
        if all.is_empty() {
            Vec::new()
        } else {
            all.swap_remove(0)
        },
        more,
    )
}

/// The refusal that tells a node that it is in the wrong place.
pub(crate) const NOT_HERE: &str = "this node is not in that network";
