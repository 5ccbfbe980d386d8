//! News on its way to the connected members: each is told at once of everything that it did not send
//! itself.

use std::collections::BTreeMap;

use minicbor::bytes::ByteVec;

use crate::content_id::ContentId;
use crate::core::batches::batches;
use crate::core::mesh::roster::Roster;
use crate::core::peers::{About, Peers};
use crate::core::protocol::{Ask, NetworkAbout, NetworkAsk, Push};
use crate::core::step::Step;
use crate::core::timers::{self, NetworkTimer};
use crate::network::invite::Bootstrap;
use crate::network::ledger::{came_by, invite_of};
use crate::network::member::MemberPromise;
use crate::network::statement::Signed;
use crate::time::Millis;
use grid_keys::NodeId;

/// A statement on its way.
#[derive(Clone, Debug)]
struct Outgoing {
    bytes: Vec<u8>,
    /// The node that sent it, which need not be told.
    source: Option<NodeId>,
}

/// The statements of one network that connected members have not been told yet.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    waiting: Vec<Outgoing>,
    flushed_at: Option<Millis>,
    /// When a promise of each node went out last, of those that spoke lately.
    lately: BTreeMap<NodeId, Millis>,
}

impl Outbox {
    /// Takes in a statement of this node, or one that `source` sent.
    pub(crate) fn push(&mut self, bytes: Vec<u8>, source: Option<NodeId>) {
        self.waiting.push(Outgoing { bytes, source });
    }

    pub(crate) fn clear(&mut self) {
        self.waiting.clear();
    }

    /// Pushes what is new to the connected members, and says in how many messages.
    ///
    /// At once, unless that was done a moment ago and is not `urgent`: what comes in bursts goes out in
    /// one message for each member, not in one for each statement.
    pub(crate) fn flush(
        &mut self,
        urgent: bool,
        roster: &Roster,
        bootstrap: &[Bootstrap],
        peers: &mut Peers,
        step: &mut Step<'_>,
    ) -> usize {
        if self.waiting.is_empty() {
            return 0;
        }
        let network = roster.id();
        let due = self
            .flushed_at
            .map_or(step.now, |last| last + timers::FLUSH);
        if due > step.now && !urgent {
            step.timers.set_by(NetworkTimer::Flush.of(network), due);
            return 0;
        }
        self.flushed_at = Some(step.now);
        let waiting = self.in_turn(step.now);
        let mut sent = 0;
        for (peer, batches) in messages(waiting, roster, bootstrap, peers) {
            for statements in batches {
                sent += 1;
                let ask = Ask::Network(network, NetworkAsk::Push(Push { statements }));
                let about = About::Network(network, NetworkAbout::Push);
                peers.request(peer, &ask, about, step.effects);
            }
        }
        step.timers
            .set_by(NetworkTimer::Save.of(network), step.now + timers::SAVE);
        sent
    }

    /// What waits, those first who have not spoken for long. A receiver takes only so much from this node: somebody who
    /// signs promise after promise would otherwise leave it no time for those of others, and this node's own.
    fn in_turn(&mut self, now: Millis) -> Vec<Outgoing> {
        let mut waiting = std::mem::take(&mut self.waiting);
        let author = |out: &Outgoing| MemberPromise::peek(&out.bytes).map(|(_, node, _)| node);
        self.lately.retain(|_, at| now - *at < timers::ANTI_ENTROPY);
        waiting.sort_by_cached_key(|out| {
            let last = author(out).and_then(|node| self.lately.get(&node).copied());
            (out.source.is_some(), last)
        });
        let spoke = waiting.iter().filter_map(author);
        self.lately.extend(spoke.map(|node| (node, now)));
        waiting
    }
}

/// Who is told what, cut into messages.
fn messages(
    mut waiting: Vec<Outgoing>,
    roster: &Roster,
    bootstrap: &[Bootstrap],
    peers: &Peers,
) -> Vec<(NodeId, Vec<Vec<ByteVec>>)> {
    let ledger = roster.ledger();
    // What a later statement replaced meanwhile need not be sent.
    waiting.retain(|out| ledger.knows(&out.bytes));
    let receivers = receivers(roster, bootstrap, peers);
    // A node that lost an invite to others, or is about to, is told of them and of nothing else.
    let rivals = peers.links().up().filter_map(|(node, _)| {
        let theirs = invite_of(ledger.members().get(node)?)?;
        (!receivers.contains(node) && !roster.is_out(node)).then(|| (*node, Some(theirs.id())))
    });
    let all = receivers.iter().map(|node| (*node, None));
    let concerns = |only: Option<ContentId>, bytes: &[u8]| {
        let mut members = ledger.members().values();
        only.is_none_or(|grant| members.any(|m| came_by(m, &grant) && m.promise().bytes() == bytes))
    };
    // Those that owners put out are told why, and nothing else.
    let out = peers.links().up().map(|(node, _)| *node);
    let out = out.filter(|node| !receivers.contains(node) && roster.is_out(node));
    let out: Vec<(NodeId, Vec<Vec<ByteVec>>)> = out
        .map(|peer| {
            let about: Vec<&[u8]> = roster.acts_about(&peer, None).map(Signed::bytes).collect();
            let is_fresh = |bytes: &&[u8]| waiting.iter().any(|out| out.bytes == *bytes);
            // With all that they need to understand what is new: a dismissal makes others matter, which were not told.
            let told = about.iter().any(is_fresh).then_some(about);
            (peer, batches(told.into_iter().flatten()))
        })
        .collect();
    all.chain(rivals)
        .map(|(peer, only)| {
            let fresh = waiting.iter().filter(|out| out.source != Some(peer));
            let fresh = fresh.map(|out| out.bytes.as_slice());
            (peer, batches(fresh.filter(|bytes| concerns(only, bytes))))
        })
        .chain(out)
        .collect()
}

/// The connected nodes that are told everything: members, and bootstrap nodes that no owner put out.
fn receivers(roster: &Roster, bootstrap: &[Bootstrap], peers: &Peers) -> Vec<NodeId> {
    peers
        .links()
        .up()
        .map(|(node, _)| *node)
        .filter(|node| {
            let is_bootstrap = || bootstrap.iter().any(|b| b.node == *node);
            roster.is_member(node) || (is_bootstrap() && !roster.is_out(node))
        })
        .collect()
}
