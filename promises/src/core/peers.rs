//! The other nodes, in whatever networks: which are connected, what they were asked, and how they behave.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use rand_core::Rng;

use crate::core::clock::Offset;
use crate::core::effect::{Effect, Notice, Parting};
use crate::core::input::{RequestId, Ticket};
use crate::core::links::Links;
use crate::core::protocol::{Ask, NetworkAbout};
use crate::core::step::{Queue, Step};
use crate::network::ids::NetworkId;
use crate::time::Millis;
use grid_keys::NodeId;

/// A request on its way.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    pub(crate) peer: NodeId,
    pub(crate) about: About,
}

/// What a request is about.
#[derive(Clone, Copy, Debug)]
pub(crate) enum About {
    Hello,
    Find(Ticket),
    Network(NetworkId, NetworkAbout),
}

/// The other nodes.
#[derive(Debug, Default)]
pub(crate) struct Peers {
    links: Links,
    /// Nodes that a person made peers of this one, and where their QUIC was reached.
    known: BTreeMap<NodeId, Vec<SocketAddr>>,
    sent: BTreeMap<RequestId, Sent>,
    last_request: u64,
}

impl Peers {
    pub(crate) const fn links(&self) -> &Links {
        &self.links
    }

    pub(crate) const fn known(&self) -> &BTreeMap<NodeId, Vec<SocketAddr>> {
        &self.known
    }

    pub(crate) fn is_up(&self, node: &NodeId) -> bool {
        self.links.is_up(node)
    }

    /// Takes in a node that a person made a peer.
    pub(crate) fn introduce(&mut self, node: NodeId, addrs: Vec<SocketAddr>) {
        self.known.insert(node, addrs);
        self.links.hurry(&node);
    }

    /// Forgets the pauses of a node: something new is known of it.
    pub(crate) fn hurry(&mut self, node: &NodeId) {
        self.links.hurry(node);
    }

    /// Sends a request to a node, and remembers what it is about.
    pub(crate) fn request(&mut self, peer: NodeId, ask: &Ask, about: About, effects: &mut Queue) {
        self.last_request += 1;
        let id = RequestId(self.last_request);
        self.sent.insert(id, Sent { peer, about });
        effects.push(Effect::Request {
            id,
            peer,
            message: ask.encode(),
        });
    }

    /// Takes out a request that was answered, or that never will be.
    pub(crate) fn answered(&mut self, request: RequestId) -> Option<Sent> {
        self.sent.remove(&request)
    }

    /// A connection is up. One to a banned node is closed again. Returns whether it may stay.
    pub(crate) fn connected(
        &mut self,
        peer: NodeId,
        remote: SocketAddr,
        outgoing: bool,
        step: &mut Step<'_>,
    ) -> bool {
        self.links.connected(peer, remote, outgoing, step.now);
        let banned = self.links.is_banned(&peer, step.now);
        if banned {
            part(peer, Parting::Misbehaved, step.effects);
        }
        !banned
    }

    pub(crate) fn disconnected(&mut self, peer: &NodeId, step: &mut Step<'_>) {
        self.links.disconnected(peer, step.now, step.entropy);
    }

    pub(crate) fn dial_failed(&mut self, peer: &NodeId, now: Millis, entropy: &mut dyn Rng) {
        self.links.failed(peer, now, entropy);
    }

    /// Another node says where it sees this one. Returns whether that is news.
    pub(crate) fn see(&mut self, peer: &NodeId, observed: SocketAddr) -> bool {
        self.links.see(peer, observed)
    }

    /// Another node says what its clock shows.
    pub(crate) fn hear_clock(&mut self, peer: &NodeId, offset: Offset) {
        self.links.hear_clock(peer, offset);
    }

    /// Marks a connected node as asked where it sees this one. Returns whether it was not.
    pub(crate) fn ask_once(&mut self, node: &NodeId) -> bool {
        self.links.ask(node)
    }

    /// A node sent what no correct node sends. After a few of these its connection is closed.
    pub(crate) fn misbehaved(&mut self, peer: NodeId, why: String, step: &mut Step<'_>) {
        step.effects.notice(Notice::BadMessage { peer, why });
        if self.links.strike(&peer, step.now) {
            part(peer, Parting::Misbehaved, step.effects);
        }
    }

    /// Those of `wanted` that have to be dialled now, and when the next one is due.
    pub(crate) fn due(
        &mut self,
        wanted: &BTreeSet<NodeId>,
        now: Millis,
    ) -> (Vec<NodeId>, Option<Millis>) {
        self.links.due(wanted, now)
    }

    /// Forgets nodes that nothing is known of any more, so that the table stays bounded.
    pub(crate) fn retain(&mut self, now: Millis, keep: impl Fn(&NodeId) -> bool) {
        self.links.retain(now, keep);
    }
}

/// Closes the connection to a node.
pub(crate) fn part(peer: NodeId, why: Parting, effects: &mut Queue) {
    effects.push(Effect::Disconnect { peer, why });
}
