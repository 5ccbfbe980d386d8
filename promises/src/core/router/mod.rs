//! Hands everything that happens to a node to the part that it concerns: peers, searches, networks.

mod commands;
mod keeping_time;
mod messages;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use crate::core::effect::{Effect, Parting};
use crate::core::input::{Command, Input, Ticket};
use crate::core::local::Local;
use crate::core::mesh::Mesh;
use crate::core::mesh::phase::Ending;
use crate::core::networks::Networks;
use crate::core::observed::{Changes, Hints};
use crate::core::peers::{About, Peers, part};
use crate::core::protocol::{Ask, Hello};
use crate::core::searches::Searches;
use crate::core::status::NetworkStatus;
use crate::core::step::Step;
use crate::core::timers::{self, NetworkTimer, Timer};
use crate::network::endpoint::is_reachable;
use crate::network::ids::NetworkId;
use crate::network::name::NetworkName;
use crate::time::{Millis, Timestamp};
use grid_keys::NodeId;

/// The parts of a node.
pub(crate) struct Router {
    local: Local,
    peers: Peers,
    searches: Searches,
    networks: Networks,
    /// Whether the wanted connections have to be recomputed.
    relink: bool,
    /// The nodes that the endpoint was told to be known.
    known: BTreeSet<NodeId>,
    /// Those of where others see this node.
    changes: Changes,
    /// Who was asked for the time last.
    asked_time: Option<NodeId>,
    /// Acts of an owner that wait for what members know of this node's acts.
    deferred: BTreeMap<Ticket, Command>,
}

impl Router {
    pub(crate) fn new(local: Local) -> Self {
        Self {
            local,
            peers: Peers::default(),
            searches: Searches::default(),
            networks: Networks::default(),
            relink: false,
            known: BTreeSet::new(),
            changes: Changes::default(),
            asked_time: None,
            deferred: BTreeMap::new(),
        }
    }

    pub(crate) const fn id(&self) -> NodeId {
        self.local.id()
    }

    /// What is known of every network, by name.
    pub(crate) fn status(&self, time: Timestamp) -> Vec<NetworkStatus> {
        let links = self.peers.links();
        let mut all: Vec<NetworkStatus> = self
            .networks
            .iter()
            .map(|mesh| mesh.status(&self.local, links, time))
            .collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }

    /// The networks in which both this node and that one are members now.
    pub(crate) fn shared_with(&self, node: &NodeId) -> Vec<NetworkName> {
        let shared = self
            .networks
            .iter()
            .filter(|mesh| mesh.is_shared_with(node));
        shared.map(|mesh| mesh.name().clone()).collect()
    }

    pub(crate) fn handle(&mut self, input: Input, step: &mut Step<'_>) {
        // Messages do not change the wanted connections directly; the views that follow from them do.
        self.relink |= !matches!(
            input,
            Input::Request { .. } | Input::Response { .. } | Input::Tunnel { .. }
        );
        match input {
            Input::Tick => {
                while let Some(timer) = step.timers.pop_due(step.now) {
                    self.fire(timer, step);
                }
            }
            Input::Start { shown, written } => {
                step.clock.start(shown, written, step.now);
                let time = step.clock.take_first(step.now);
                step.effects.extend(time.map(Effect::WriteTime));
                step.timers.set(Timer::Clock, step.now + timers::CLOCK);
                if step.clock.spoils_keys(step.now) {
                    // Not at once: an interface that is there is known by the key before.
                    step.timers.set(Timer::Clock, step.now + timers::LEAP);
                }
            }
            Input::Clock { shown } => {
                step.clock.show(shown, step.now);
                self.decide_the_time(step);
                if step.clock.is_doubted() || step.clock.spoils_keys(step.now) {
                    // Not at once: two who set one clock may do so again and again.
                    step.timers.set_by(Timer::Clock, step.now + timers::LEAP);
                }
            }
            Input::Restore(record) => self.networks.restore(*record, &mut self.local, step),
            Input::KnownPeer { node, addrs } => {
                if node != self.local.id() {
                    self.peers.introduce(node, addrs);
                }
            }
            Input::Host(host) => {
                if self.local.set_host(host) {
                    self.networks.update_facts(&mut self.local);
                    self.networks.resign_all(step);
                }
            }
            Input::Memory { works } => {
                if self.local.set_remembers(works) && works {
                    self.networks.catch_up(&self.local, step);
                }
            }
            Input::Stop => {
                self.networks.save_all(&self.local, step);
                let time = step.clock.take_last(step.now);
                step.effects.extend(time.map(Effect::WriteTime));
            }
            Input::Connected {
                peer,
                remote,
                outgoing,
            } => {
                let welcome = self.peers.connected(peer, remote, outgoing, step);
                if welcome && outgoing {
                    self.greet(peer, remote, step);
                }
            }
            Input::Disconnected { peer } => {
                self.peers.disconnected(&peer, step);
                self.update_seen_at(step);
                self.decide_the_time(step);
                self.search_lost(&peer, step);
            }
            Input::ConnectFailed { peer } => {
                self.peers.dial_failed(&peer, step.now, step.entropy);
                self.search_lost(&peer, step);
            }
            Input::Request {
                peer,
                message,
                reply,
            } => self.request(peer, &message, reply, step),
            Input::Response { request, message } => {
                self.response(request, message.as_deref(), step);
            }
            Input::Tunnel { network, peers } => {
                if let Some(mesh) = self.networks.get_mut(&network) {
                    mesh.observe(peers, step);
                }
            }
            Input::Judged {
                network,
                judge,
                answer,
            } => {
                if let Some(mesh) = self.networks.get_mut(&network) {
                    mesh.judged(judge, answer, step);
                }
            }
            Input::Command { command, ticket } => self.command(*command, ticket, step),
        }
        self.settle(step);
    }

    /// Runs `act` on a network, if it is still there, and ends it if that is the outcome.
    fn with_network(
        &mut self,
        network: &NetworkId,
        step: &mut Step<'_>,
        act: impl FnOnce(&mut Mesh, &Local, &mut Peers, &mut Step<'_>) -> Option<Ending>,
    ) {
        let ending = self
            .networks
            .get_mut(network)
            .and_then(|mesh| act(mesh, &self.local, &mut self.peers, step));
        if let Some(ending) = ending {
            self.networks
                .end(*network, ending, &mut self.local, &self.peers, step);
        }
    }

    fn fire(&mut self, timer: Timer, step: &mut Step<'_>) {
        match timer {
            Timer::Network(timer, network) => {
                self.with_network(&network, step, |mesh, local, peers, step| {
                    mesh.fire(timer, local, peers, step)
                });
                if timer == NetworkTimer::Housekeeping {
                    self.part_from_idle(step);
                    self.forget_strangers(step.now);
                }
            }
            Timer::Clock => self.keep_time(step),
            Timer::SeenAt => self.update_seen_at(step),
            // Done at the end of every step.
            Timer::Dial => {}
            Timer::Deadline(ticket) => self.deadline(ticket, step),
            Timer::Part(peer) => {
                if !self.networks.has_member(&peer) {
                    part(peer, Parting::Revoked, step.effects);
                }
            }
        }
    }

    /// Carries the consequences of an input through: views, tunnels, pushes, dials.
    fn settle(&mut self, step: &mut Step<'_>) {
        self.resume(step);
        for network in self.networks.ids() {
            let mut refreshed = false;
            self.with_network(&network, step, |mesh, local, peers, step| {
                refreshed = mesh.refresh_if_dirty(local, step);
                let ending = mesh.conclude_join(local, step);
                if ending.is_none() {
                    mesh.watch_paths(step);
                    mesh.flush(peers, step);
                }
                ending
            });
            self.relink |= refreshed;
        }
        if std::mem::take(&mut self.relink) {
            self.introduce(step);
            self.update_seen_at(step);
            self.part_from_revoked(step);
            self.dial(step);
        }
    }

    /// Tells the endpoint whom this node knows, if that changed.
    fn introduce(&mut self, step: &mut Step<'_>) {
        let mut known = self.networks.known();
        known.extend(self.peers.known().keys());
        if known != self.known {
            self.known.clone_from(&known);
            step.effects.push(Effect::Know(known));
        }
    }
}

/// Connections.
impl Router {
    /// A connection that this node dialled is up.
    fn greet(&mut self, peer: NodeId, remote: SocketAddr, step: &mut Step<'_>) {
        // The comparison goes first: a joiner waits for that alone.
        for mesh in self.networks.shared_with(&peer) {
            mesh.greet(peer, &self.local, &mut self.peers, step);
        }
        self.searches.connected(peer, &mut self.peers, step);
        self.say_hello(peer, remote, step);
    }

    /// Another node, which this one asked, says where it sees it.
    fn seen_as(&mut self, peer: &NodeId, observed: SocketAddr, step: &mut Step<'_>) {
        if is_reachable(&observed) && self.peers.see(peer, observed) {
            self.update_seen_at(step);
        }
    }

    /// Believes what members under different lines agree on, if the last change is long enough ago.
    fn update_seen_at(&mut self, step: &mut Step<'_>) {
        let links = self.peers.links();
        let line_of = |node: &NodeId| self.networks.line_of(node);
        let said = links.seen_at();
        let came = links.unasked();
        let hints = Hints {
            said: said
                .filter_map(|(node, addr)| Some((line_of(node)?, addr)))
                .collect(),
            unasked: came
                .filter_map(|(node, remote)| Some((line_of(node)?, remote.ip().to_canonical())))
                .collect(),
            believed: self.local.seen_at(),
        };
        let seen_at = hints.agreed();
        if hints.is_held_back() {
            self.ask_who_came(step);
        }
        if !self.local.would_change(&seen_at) {
            step.timers.cancel(Timer::SeenAt);
        } else if self.changes.next() > step.now {
            step.timers.set(Timer::SeenAt, self.changes.next());
        } else {
            self.changes.made(step.now);
            self.local.set_seen_at(seen_at);
            self.networks.resign_all(step);
            self.networks.touch_all();
        }
    }

    /// Asks the members that dialled this node where they see it, once for each connection.
    fn ask_who_came(&mut self, step: &mut Step<'_>) {
        let came = self.peers.links().unasked();
        let members: Vec<(NodeId, SocketAddr)> = came
            .filter(|(node, _)| self.networks.line_of(node).is_some())
            .map(|(node, remote)| (*node, remote))
            .collect();
        for (node, remote) in members {
            if self.peers.ask_once(&node) {
                self.say_hello(node, remote, step);
            }
        }
    }

    fn say_hello(&mut self, peer: NodeId, remote: SocketAddr, step: &mut Step<'_>) {
        let hello = Ask::Hello(Hello {
            observed: remote,
            clock: step.clock.shown(step.now),
        });
        self.peers.request(peer, &hello, About::Hello, step.effects);
    }

    fn wanted(&self) -> BTreeSet<NodeId> {
        let links = self.peers.links();
        let mut wanted: BTreeSet<NodeId> = self
            .networks
            .iter()
            .flat_map(|mesh| mesh.wanted(links))
            .chain(self.searches.wanted())
            .collect();
        wanted.remove(&self.local.id());
        wanted
    }

    /// Dials those that are wanted, not connected, and due.
    fn dial(&mut self, step: &mut Step<'_>) {
        let wanted = self.wanted();
        let (due, next) = self.peers.due(&wanted, step.now);
        for peer in due {
            let addrs = self.networks.addresses_of(&peer, &self.local, &self.peers);
            if addrs.is_empty() {
                // Nobody knows where that node is; it may dial this one.
                self.peers.dial_failed(&peer, step.now, step.entropy);
                continue;
            }
            step.effects.push(Effect::Connect { peer, addrs });
        }
        match next {
            Some(at) => step.timers.set(Timer::Dial, at),
            None => step.timers.cancel(Timer::Dial),
        }
    }

    /// Closes connections to nodes that were revoked, once they had time to take notice.
    fn part_from_revoked(&self, step: &mut Step<'_>) {
        let up = self.peers.links().up().map(|(node, _)| *node);
        for node in up.filter(|node| self.networks.is_out(node)) {
            step.timers
                .set_by(Timer::Part(node), step.now + timers::PART);
        }
    }

    /// Closes connections that this node dialled and no longer needs, such as the one to the member that
    /// invited it: otherwise everybody would stay connected to the inviter.
    fn part_from_idle(&self, step: &mut Step<'_>) {
        let wanted = self.wanted();
        let dialled = self.peers.links().dialled_before(step.now, timers::LINGER);
        let known = self.peers.known();
        for peer in dialled.filter(|node| !wanted.contains(node) && !known.contains_key(node)) {
            part(peer, Parting::NotNeeded, step.effects);
        }
    }

    fn forget_strangers(&mut self, now: Millis) {
        let mut known = self.networks.known();
        known.extend(self.peers.known().keys().copied());
        self.peers.retain(now, |node| known.contains(node));
    }
}
