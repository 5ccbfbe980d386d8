//! The node without its machine: what happens goes in as [`Input`], what it wants done comes out as
//! [`Effect`].
//!
//! The core reads no clock and no random source; both are arguments of [`Core::handle`]. With the
//! same inputs, times and entropy it does the same, so that a seed replays any simulated run. It
//! refuses to know how bytes travel, where files are and what WireGuard runs on.
//!
//! | file | concept |
//! |---|---|
//! | `input`, `effect`, `record`, `error`, `status` | what crosses the boundary |
//! | `timers` | the one table of timers |
//! | `network` | one network of this node: its view, its tunnel |
//! | `judging` | what this node thinks of the promises of others, by rules or with a judge |
//! | `own` | this node's own promise: claim, renewal, receipts |
//! | `commands` | what people ask for |
//! | `beginning`, `joining`, `leaving` | the life of a membership |
//! | `search`, `asking` | finding a network by its name, being admitted by an owner |
//! | `revoking` | an owner withdraws admissions |
//! | `protocol` | the bodies of messages between nodes |
//! | `serving` | requests of other nodes |
//! | `gossip` | who is connected, what is asked of them, and what comes back |
//! | `pushing`, `comparing`, `ingesting` | how statements spread: told when new, compared, merged |
//! | `links` | whom to be connected to, and when to try again |
//! | `paths` | which endpoint of a member to send to |

mod asking;
mod beginning;
mod commands;
mod comparing;
pub mod effect;
pub mod error;
mod gossip;
mod ingesting;
pub mod input;
mod joining;
mod judging;
mod leaving;
mod links;
mod network;
mod own;
mod paths;
pub mod protocol;
mod pushing;
pub mod record;
mod revoking;
mod search;
mod serving;
pub mod status;
mod timers;

pub use effect::{Effect, Notice, Parting, Reply, Tunnel, TunnelPeer};
pub use error::{CommandError, FailureKind};
pub use input::{Command, HostFacts, Input, JoinWith, PeerObservation, ReplyTo, RequestId, Ticket};
pub use record::{Change, NetworkRecord};
pub use status::{NetworkStatus, OwnStanding, PeerStatus};

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;

use rand_core::Rng;

use crate::core::gossip::Sent;
use crate::core::links::Links;
use crate::core::network::{Network, Phase, Surroundings};
use crate::core::search::Search;
use crate::core::timers::{Timer, Timers};
use crate::network::accept::LocalFacts;
use crate::network::charter::NetworkId;
use crate::network::name::{Label, NetworkName};
use crate::time::Millis;
use grid_keys::{NodeId, NodeKey};

/// What a node is from its start to its end.
#[derive(Clone, Debug)]
pub struct Config {
    /// Its key.
    pub key: NodeKey,
    /// What it calls itself.
    pub label: Label,
}

/// The time and the entropy of one step.
pub(crate) struct Step<'a> {
    pub(crate) now: Millis,
    pub(crate) entropy: &'a mut dyn Rng,
}

/// A node.
pub struct Core {
    config: Config,
    id: NodeId,
    networks: BTreeMap<NetworkId, Network>,
    /// Networks that this node left and can join again.
    left: BTreeMap<NetworkName, NetworkRecord>,
    host: HostFacts,
    facts: LocalFacts,
    seen_at: BTreeSet<SocketAddr>,
    links: Links,
    known_peers: BTreeMap<NodeId, Vec<SocketAddr>>,
    searches: BTreeMap<Ticket, Search>,
    sent: BTreeMap<RequestId, Sent>,
    last_request: u64,
    timers: Timers,
    /// Whether it has to be looked anew whom to be connected to.
    relink: bool,
    effects: VecDeque<Effect>,
}

impl Core {
    /// A node that nothing has happened to.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self {
            id: config.key.id(),
            config,
            networks: BTreeMap::new(),
            left: BTreeMap::new(),
            host: HostFacts::default(),
            facts: LocalFacts::default(),
            seen_at: BTreeSet::new(),
            links: Links::default(),
            known_peers: BTreeMap::new(),
            searches: BTreeMap::new(),
            sent: BTreeMap::new(),
            last_request: 0,
            timers: Timers::default(),
            relink: false,
            effects: VecDeque::new(),
        }
    }

    /// This node.
    #[must_use]
    pub const fn id(&self) -> NodeId {
        self.id
    }

    /// Takes one input in. What it wants done is in [`pop_effect`](Self::pop_effect) afterwards.
    ///
    /// `now` never runs backwards between calls.
    pub fn handle(&mut self, now: Millis, entropy: &mut dyn Rng, input: Input) {
        let mut step = Step { now, entropy };
        // Messages alone change nothing about whom this node wants connections to; the views that
        // follow from them do.
        self.relink |= !matches!(
            input,
            Input::Request { .. } | Input::Response { .. } | Input::Tunnel { .. }
        );
        match input {
            Input::Tick => self.tick(&mut step),
            Input::Restore(record) => self.restore(*record, &mut step),
            Input::KnownPeer { node, addrs } => {
                if node != self.id {
                    self.known_peers.insert(node, addrs);
                    self.links.hurry(&node);
                }
            }
            Input::Host(host) => self.take_host(host, &step),
            Input::Connected {
                peer,
                remote,
                outgoing,
            } => {
                self.connected(peer, remote, outgoing, &mut step);
            }
            Input::Disconnected { peer } => self.disconnected(peer, &mut step),
            Input::ConnectFailed { peer } => self.connect_failed(peer, &mut step),
            Input::Request {
                peer,
                message,
                reply,
            } => {
                self.serve(peer, &message, reply, &mut step);
            }
            Input::Response { request, message } => {
                self.take_response(request, message.as_deref(), &mut step);
            }
            Input::Tunnel { network, peers } => {
                if let Some(net) = self.networks.get_mut(&network) {
                    net.observe(peers, now);
                }
            }
            Input::Judged {
                network,
                judge,
                answer,
            } => self.judged(network, judge, answer, now),
            Input::Command { command, ticket } => self.command(*command, ticket, &mut step),
        }
        self.settle(&mut step);
    }

    /// The next thing to do, in order.
    pub fn pop_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// When [`Input::Tick`] is wanted next.
    #[must_use]
    pub fn next_timer(&self) -> Option<Millis> {
        self.timers.next()
    }

    fn notice(&mut self, notice: Notice) {
        self.effects.push_back(Effect::Notice(notice));
    }

    fn done(&mut self, ticket: Ticket, outcome: Result<Reply, CommandError>) {
        self.timers.cancel(Timer::Deadline(ticket));
        self.effects.push_back(Effect::Done { ticket, outcome });
    }

    /// Runs `act` on a network, with what the network needs to know of this node.
    fn with_network<R>(
        &mut self,
        network: &NetworkId,
        now: Millis,
        act: impl FnOnce(&mut Network, &Surroundings<'_>, &mut VecDeque<Effect>) -> R,
    ) -> Option<R> {
        let Self {
            config,
            id,
            networks,
            host,
            facts,
            seen_at,
            effects,
            ..
        } = self;
        let around = Surroundings {
            now,
            key: &config.key,
            id: *id,
            label: &config.label,
            host,
            facts,
            seen_at,
        };
        networks
            .get_mut(network)
            .map(|net| act(net, &around, effects))
    }

    fn by_name(&self, name: &NetworkName) -> Option<NetworkId> {
        self.networks
            .values()
            .find(|net| net.name() == name)
            .map(Network::id)
    }

    /// Recomputes what the networks' ranges and the host decide together.
    fn update_facts(&mut self) {
        self.facts = LocalFacts {
            connected: self.host.connected.clone(),
            ranges: self
                .networks
                .values()
                .map(|net| (net.id(), net.ranges()))
                .collect(),
        };
        for net in self.networks.values_mut() {
            net.dirty = true;
        }
    }

    fn take_host(&mut self, host: HostFacts, step: &Step<'_>) {
        if self.host != host {
            self.host = host;
            self.update_facts();
            self.resign_all(step);
        }
    }

    /// Has every network look whether its promise should say something else.
    fn resign_all(&mut self, step: &Step<'_>) {
        for network in self.networks.keys() {
            self.timers
                .set_by(Timer::Resign(*network), step.now + timers::RESIGN);
        }
    }

    fn tick(&mut self, step: &mut Step<'_>) {
        while let Some(timer) = self.timers.pop_due(step.now) {
            self.fire(timer, step);
        }
    }

    fn fire(&mut self, timer: Timer, step: &mut Step<'_>) {
        match timer {
            Timer::Housekeeping(network) => self.keep_house(network, step),
            Timer::AntiEntropy(network) => {
                self.compare_with_one(network, step);
                let pause = timers::ANTI_ENTROPY * 3 / 4
                    + links::jitter(timers::ANTI_ENTROPY / 2, step.entropy);
                self.timers
                    .set(Timer::AntiEntropy(network), step.now + pause);
            }
            Timer::Resign(network) => {
                self.with_network(&network, step.now, |net, around, out| {
                    if net.may_speak() {
                        net.renew(around, out);
                    }
                });
            }
            Timer::Refresh(_) | Timer::Flush(_) | Timer::Dial => {}
            Timer::Save(network) => self.save_statements(network),
            Timer::ClaimAnyway(network) => self.claim(network, step),
            Timer::AskAgain(network) => self.ask_for_admission(network, step),
            Timer::Paths(network) => {
                if let Some(net) = self.networks.get_mut(&network) {
                    net.dirty = true;
                }
            }
            Timer::Judge(network) => self.ask_judge_again(network),
            Timer::Deadline(ticket) => self.deadline(ticket, step),
            Timer::Part(peer) => {
                if !self.shares_a_network(&peer) {
                    self.effects.push_back(Effect::Disconnect {
                        peer,
                        why: Parting::Revoked,
                    });
                }
            }
        }
    }

    fn keep_house(&mut self, network: NetworkId, step: &mut Step<'_>) {
        self.timers.set(
            Timer::Housekeeping(network),
            step.now + timers::HOUSEKEEPING,
        );
        let pruned = self.with_network(&network, step.now, |net, around, out| {
            net.dirty = true;
            if net.is_member() {
                net.renew(around, out);
            }
            net.prune(around.now.timestamp())
        });
        if pruned == Some(true) {
            self.timers
                .set_by(Timer::Save(network), step.now + timers::SAVE);
        }
        self.part_from_idle(step.now);
        let known: BTreeSet<NodeId> = self
            .networks
            .values()
            .flat_map(|net| {
                net.view
                    .members
                    .keys()
                    .copied()
                    .chain(net.bootstrap.iter().map(|b| b.node))
            })
            .chain(self.known_peers.keys().copied())
            .collect();
        self.links.retain(step.now, |node| known.contains(node));
    }

    /// Closes connections that this node dialled and needs no longer, such as that to the member that
    /// it began with: otherwise everybody would stay connected to the one who invites.
    fn part_from_idle(&mut self, now: Millis) {
        let wanted = self.wanted();
        let idle: Vec<NodeId> = self
            .links
            .dialled_before(now, timers::LINGER)
            .filter(|node| !wanted.contains(node) && !self.known_peers.contains_key(node))
            .collect();
        for peer in idle {
            let why = Parting::NotNeeded;
            self.effects.push_back(Effect::Disconnect { peer, why });
        }
    }

    /// Carries the consequences of an input through: views, tunnels, pushes, dials.
    fn settle(&mut self, step: &mut Step<'_>) {
        let networks: Vec<NetworkId> = self.networks.keys().copied().collect();
        for network in networks {
            self.refresh(network, step.now);
            self.conclude_join(network, step);
            self.watch_paths(network, step.now);
            self.flush(network, step);
        }
        if std::mem::take(&mut self.relink) {
            self.part_from_revoked(step);
            self.dial(step);
        }
    }

    /// Refreshes a network that has news: at once, unless that was done a moment ago. Statements that
    /// come in bursts cost one reconfiguration, not one each.
    fn refresh(&mut self, network: NetworkId, now: Millis) {
        let Some(net) = self.networks.get(&network).filter(|net| net.dirty) else {
            return;
        };
        let due = net.refreshed_at.map_or(now, |last| last + timers::REFRESH);
        if due > now {
            self.timers.set_by(Timer::Refresh(network), due);
            return;
        }
        self.relink = true;
        // A refresh that makes this node move on to another address asks for one more.
        for _ in 0..4 {
            let again = self.with_network(&network, now, |net, around, out| {
                net.refresh(around, out);
                net.dirty
            });
            if again != Some(true) {
                break;
            }
        }
    }

    /// Dials those that are wanted, not connected, and due.
    fn dial(&mut self, step: &mut Step<'_>) {
        let wanted = self.wanted();
        let (due, next) = self.links.due(&wanted, step.now);
        for peer in due {
            let addrs = self.addresses_of(&peer);
            if addrs.is_empty() {
                // Nobody has said where that node is; it may dial this one.
                self.links.failed(&peer, step.now, step.entropy);
                continue;
            }
            self.effects.push_back(Effect::Connect { peer, addrs });
        }
        match next {
            Some(at) => self.timers.set(Timer::Dial, at),
            None => self.timers.cancel(Timer::Dial),
        }
    }

    fn wanted(&self) -> BTreeSet<NodeId> {
        let mut wanted = BTreeSet::new();
        for net in self.networks.values() {
            let bootstrap = net.bootstrap.iter().map(|bootstrap| bootstrap.node);
            match net.phase {
                Phase::Member => {
                    wanted.extend(self.links.choose(&net.neighbours));
                    if !net.neighbours.iter().any(|node| self.links.is_up(node)) {
                        wanted.extend(bootstrap);
                    }
                }
                Phase::Joining | Phase::Waiting => {
                    wanted.extend(bootstrap);
                    wanted.extend(self.links.choose(&net.neighbours));
                }
                Phase::Expelled(_) => {}
            }
        }
        wanted.extend(self.searches.values().flat_map(Search::unasked));
        wanted.remove(&self.id);
        wanted
    }

    /// Where a node's QUIC may be reached, best first.
    fn addresses_of(&self, node: &NodeId) -> Vec<SocketAddr> {
        let mut all = Vec::new();
        for net in self.networks.values() {
            if let Some(member) = net.ledger.members().get(node) {
                let inside = |ip: &std::net::IpAddr| {
                    self.facts.ranges.values().any(|(v4, v6)| match ip {
                        std::net::IpAddr::V4(ip) => v4.contains(ip),
                        std::net::IpAddr::V6(ip) => v6.contains(ip),
                    })
                };
                let endpoints = &member.promise().quic;
                let ranked = paths::ranked(
                    endpoints,
                    &self.host.addresses,
                    &self.host.connected,
                    inside,
                );
                all.extend(ranked.into_iter().map(|endpoint| endpoint.addr));
            }
            let bootstrap = net
                .bootstrap
                .iter()
                .filter(|bootstrap| bootstrap.node == *node);
            all.extend(bootstrap.flat_map(|bootstrap| bootstrap.quic.iter().copied()));
        }
        all.extend(self.known_peers.get(node).into_iter().flatten().copied());
        let mut seen = BTreeSet::new();
        all.retain(|addr| seen.insert(*addr));
        all.truncate(crate::limits::MAX_ENDPOINTS);
        all
    }

    /// Whether a node is a member of a network of this node.
    fn shares_a_network(&self, node: &NodeId) -> bool {
        self.networks
            .values()
            .any(|net| net.view.members.contains_key(node))
    }
}
