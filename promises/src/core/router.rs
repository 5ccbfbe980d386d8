//! Where everything that happens to a node goes: to its peers, its searches, its networks.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use crate::answer::{AnswerError, Response, answer, read_response, refusal};
use crate::core::effect::{Effect, Notice, Parting};
use crate::core::error::CommandError;
use crate::core::input::{Command, Input, JoinWith, ReplyTo, RequestId, Ticket};
use crate::core::links::jitter;
use crate::core::local::Local;
use crate::core::mesh::{Beginning, Ending, Mesh};
use crate::core::networks::Networks;
use crate::core::peers::{About, Peers, Sent, part};
use crate::core::protocol::{Ask, Found, Hello, NetworkAbout, NetworkReply};
use crate::core::searches::{Discovery, Search, Searches};
use crate::core::status::NetworkStatus;
use crate::core::step::Step;
use crate::core::timers::{self, Timer};
use crate::limits::MAX_ENDPOINTS;
use crate::network::admission::Admission;
use crate::network::charter::AdmissionRule;
use crate::network::endpoint::is_reachable;
use crate::network::ids::NetworkId;
use crate::network::invite::Bootstrap;
use crate::time::Millis;
use grid_keys::NodeId;

/// The parts of a node.
pub(crate) struct Router {
    local: Local,
    peers: Peers,
    searches: Searches,
    networks: Networks,
    /// Whether it has to be looked anew whom to be connected to.
    relink: bool,
}

impl Router {
    pub(crate) fn new(local: Local) -> Self {
        Self {
            local,
            peers: Peers::default(),
            searches: Searches::default(),
            networks: Networks::default(),
            relink: false,
        }
    }

    pub(crate) const fn id(&self) -> NodeId {
        self.local.id()
    }

    /// What is known of every network, by name.
    pub(crate) fn status(&self) -> Vec<NetworkStatus> {
        let links = self.peers.links();
        let mut all: Vec<NetworkStatus> = self
            .networks
            .iter()
            .map(|mesh| mesh.status(&self.local, links))
            .collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }

    pub(crate) fn handle(&mut self, input: Input, step: &mut Step<'_>) {
        // Messages alone change nothing about whom this node wants connections to; the views that
        // follow from them do.
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
                    mesh.observe(peers, step.now);
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

    /// Has a network act on something, if it is still there, and carries it through if that is its end.
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
            Timer::Housekeeping(network) => {
                self.with_network(&network, step, |mesh, local, _, step| {
                    mesh.maintain(local, step);
                    None
                });
                self.part_from_idle(step);
                self.forget_strangers(step.now);
            }
            Timer::AntiEntropy(network) => {
                self.with_network(&network, step, |mesh, local, peers, step| {
                    mesh.sync_with_one(local, peers, step);
                    None
                });
                let pause =
                    timers::ANTI_ENTROPY * 3 / 4 + jitter(timers::ANTI_ENTROPY / 2, step.entropy);
                step.timers
                    .set(Timer::AntiEntropy(network), step.now + pause);
            }
            Timer::Resign(network) => self.with_network(&network, step, |mesh, local, _, step| {
                mesh.resign(local, step);
                None
            }),
            Timer::Refresh(_) | Timer::Flush(_) | Timer::Dial => {}
            Timer::Save(network) => self.with_network(&network, step, |mesh, local, _, step| {
                mesh.save(local, step.effects);
                None
            }),
            Timer::ClaimAnyway(network) => {
                self.with_network(&network, step, |mesh, local, _, step| {
                    mesh.claim(local, step)
                });
            }
            Timer::AskAgain(network) => {
                self.with_network(&network, step, |mesh, local, peers, step| {
                    mesh.request_admission(local, peers, step);
                    None
                });
            }
            Timer::Paths(network) => self.with_network(&network, step, |mesh, _, _, _| {
                mesh.touch();
                None
            }),
            Timer::Judge(network) => self.with_network(&network, step, |mesh, _, _, _| {
                mesh.retry_judge();
                None
            }),
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
            self.part_from_revoked(step);
            self.dial(step);
        }
    }
}

/// Connections.
impl Router {
    /// A connection that this node made stands.
    fn greet(&mut self, peer: NodeId, remote: SocketAddr, step: &mut Step<'_>) {
        // The comparison goes first: a joiner waits for it, and for nothing else.
        for mesh in self.networks.shared_with(&peer) {
            mesh.greet(peer, &self.local, &mut self.peers, step);
        }
        self.searches.connected(peer, &mut self.peers, step);
        let hello = Ask::Hello(Hello { observed: remote });
        self.peers.request(peer, &hello, About::Hello, step.effects);
    }

    /// Another node says where it sees this one.
    fn seen_as(&mut self, peer: &NodeId, observed: SocketAddr, step: &mut Step<'_>) {
        if is_reachable(&observed) && self.peers.see(peer, observed) {
            self.update_seen_at(step);
        }
    }

    fn update_seen_at(&mut self, step: &mut Step<'_>) {
        if self.local.set_seen_at(self.peers.links().seen_at()) {
            self.networks.resign_all(step);
            self.networks.touch_all();
        }
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
                // Nobody has said where that node is; it may dial this one.
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

    /// Closes connections that this node dialled and needs no longer, such as that to the member that
    /// it began with: otherwise everybody would stay connected to the one who invites.
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

/// Messages.
impl Router {
    fn request(&mut self, peer: NodeId, message: &[u8], to: ReplyTo, step: &mut Step<'_>) {
        let message = match Ask::decode(message) {
            Ok(ask) => self.answer(peer, ask, step),
            Err(error) => {
                self.peers.misbehaved(peer, error.to_string(), step);
                refusal(&error.to_string())
            }
        };
        step.effects.push(Effect::Respond { to, message });
    }

    fn answer(&mut self, peer: NodeId, ask: Ask, step: &mut Step<'_>) -> Vec<u8> {
        match ask {
            Ask::Hello(hello) => {
                self.seen_as(&peer, hello.observed, step);
                match self.peers.links().remote(&peer) {
                    Some(observed) => answer(&Hello { observed }),
                    None => refusal("there is no connection to answer on"),
                }
            }
            Ask::Find(name) => answer(&self.networks.find(&name)),
            Ask::Network(network, ask) => {
                self.networks
                    .answer(peer, &network, &ask, &self.local, &mut self.peers, step)
            }
        }
    }

    fn response(&mut self, request: RequestId, message: Option<&[u8]>, step: &mut Step<'_>) {
        let Some(Sent { peer, about }) = self.peers.answered(request) else {
            return;
        };
        let read = match (about, message) {
            (About::Hello, None) => Ok(()),
            (About::Hello, Some(bytes)) => self.take_hello(&peer, bytes, step),
            (About::Find(ticket), None) => {
                self.take_found(ticket, &peer, &Found::default(), step);
                Ok(())
            }
            (About::Find(ticket), Some(bytes)) => read_response(bytes).map(|response| {
                let found = match response {
                    Response::Answer(found) => found,
                    Response::Refusal(_) => Found::default(),
                };
                self.take_found(ticket, &peer, &found, step);
            }),
            (About::Network(network, about), None) => {
                self.with_network(&network, step, |mesh, _, _, step| {
                    mesh.unanswered(about, step)
                });
                Ok(())
            }
            (About::Network(network, about), Some(bytes)) => {
                self.take_reply(&network, peer, about, bytes, step)
            }
        };
        if let Err(error) = read {
            self.peers.misbehaved(peer, error.to_string(), step);
        }
    }

    fn take_hello(
        &mut self,
        peer: &NodeId,
        bytes: &[u8],
        step: &mut Step<'_>,
    ) -> Result<(), AnswerError> {
        if let Response::Answer(hello) = read_response::<Hello>(bytes)? {
            self.seen_as(peer, hello.observed, step);
        }
        Ok(())
    }

    fn take_found(&mut self, ticket: Ticket, peer: &NodeId, found: &Found, step: &mut Step<'_>) {
        if let Some(search) = self.searches.answered(ticket, peer, &found.charters) {
            self.conclude_search(ticket, search, step);
        }
    }

    fn take_reply(
        &mut self,
        network: &NetworkId,
        peer: NodeId,
        about: NetworkAbout,
        bytes: &[u8],
        step: &mut Step<'_>,
    ) -> Result<(), AnswerError> {
        let reply = about.read(bytes)?;
        if let NetworkReply::Sync {
            introduced: true,
            response: Response::Refusal(why),
        } = &reply
        {
            let why = why.clone();
            step.effects.notice(Notice::Refused { peer, why });
        }
        self.with_network(network, step, |mesh, local, peers, step| {
            mesh.answered(peer, reply, local, peers, step)
        });
        Ok(())
    }
}

/// Commands.
impl Router {
    fn command(&mut self, command: Command, ticket: Ticket, step: &mut Step<'_>) {
        let name = command.network().clone();
        let Self {
            local,
            peers,
            networks,
            ..
        } = self;
        let others = match (&command, networks.named(&name)) {
            (Command::Invite { .. }, Some(mesh)) => networks.bootstrap_of(mesh, local, peers),
            _ => Vec::new(),
        };
        let Some(mesh) = networks.named_mut(&name) else {
            self.enter(command, ticket, step);
            return;
        };
        let outcome = match command {
            Command::Create { .. } | Command::Join { .. } => Err(CommandError::NameTaken(name)),
            // Another command waits for that already.
            Command::Leave { .. } if mesh.is_leaving() => Err(CommandError::NoSuchNetwork(name)),
            Command::Leave { .. } => {
                let network = mesh.id();
                if let Some(ending) = mesh.leave(ticket, local, peers, step) {
                    networks.end(network, ending, local, peers, step);
                }
                return;
            }
            Command::Invite {
                life,
                uses,
                endpoints,
                ..
            } => mesh.invite(life, uses, endpoints, others, local, step),
            Command::Promise { prefix, .. } => mesh.promise_prefix(prefix, local, step),
            Command::Withdraw { prefix, .. } => mesh.withdraw_prefix(prefix, local, step),
            Command::SetRule {
                action,
                prefix,
                from,
                ..
            } => mesh.set_rule(action, prefix, from.as_deref(), step.effects),
            Command::SetJudge { judge, .. } => Ok(mesh.set_judge(judge, step.effects)),
            Command::Approve { node, .. } => mesh.approve(&node, local, step.now.timestamp()),
            Command::Revoke { node, .. } => mesh.revoke(&node, local, step),
        };
        step.done(ticket, outcome);
    }

    /// Carries out a command about a network that this node is not in.
    fn enter(&mut self, command: Command, ticket: Ticket, step: &mut Step<'_>) {
        match command {
            Command::Create {
                name,
                ipv4,
                admission,
                listen_port,
            } => {
                let local = &mut self.local;
                let outcome = self
                    .networks
                    .found(name, ipv4, admission, listen_port, local, step);
                step.done(ticket, outcome);
            }
            Command::Join {
                name,
                with,
                listen_port,
                wait,
            } => {
                let until = step.now + wait;
                step.timers.set(Timer::Deadline(ticket), until);
                let beginning = match with {
                    JoinWith::Invite(invite) => {
                        self.networks
                            .with_invite(&name, *invite, &self.local, step.now)
                    }
                    JoinWith::Peers => match self.networks.again(&name, &self.local) {
                        Some(beginning) => beginning,
                        None => {
                            let peers = &mut self.peers;
                            self.searches
                                .begin(ticket, &name, listen_port, until, peers, step);
                            return;
                        }
                    },
                };
                match beginning {
                    Ok(beginning) => self.join(beginning, listen_port, ticket, step),
                    Err(error) => step.done(ticket, Err(error)),
                }
            }
            other => {
                let name = other.network().clone();
                step.done(ticket, Err(CommandError::NoSuchNetwork(name)));
            }
        }
    }

    fn join(
        &mut self,
        beginning: Beginning,
        listen_port: u16,
        ticket: Ticket,
        step: &mut Step<'_>,
    ) {
        self.networks
            .begin(beginning, listen_port, &mut self.local, step)
            .await_join(ticket, &self.local, &mut self.peers, step);
    }

    /// A peer that was to be asked cannot be reached.
    fn search_lost(&mut self, peer: &NodeId, step: &mut Step<'_>) {
        for (ticket, search) in self.searches.lost(peer) {
            self.conclude_search(ticket, search, step);
        }
    }

    /// Joins what was found, if it is one network.
    fn conclude_search(&mut self, ticket: Ticket, search: Search, step: &mut Step<'_>) {
        let found = search.result().and_then(|found| {
            self.networks
                .check_charter(&found.charter, self.local.host())?;
            Ok(found)
        });
        match found {
            Ok(found) => {
                let listen_port = found.listen_port;
                let until = found.until.max(step.now);
                let beginning = self.beginning_of(found);
                // Set anew, because the join takes its time too.
                step.timers.set(Timer::Deadline(ticket), until);
                self.join(beginning, listen_port, ticket, step);
            }
            Err(error) => step.done(ticket, Err(error)),
        }
    }

    fn beginning_of(&self, found: Discovery) -> Beginning {
        let known = self.peers.known();
        let bootstrap = found.holders.iter().filter_map(|node| {
            let mut quic = known.get(node).cloned().unwrap_or_default();
            quic.extend(self.peers.links().remote(node));
            quic.truncate(MAX_ENDPOINTS);
            (!quic.is_empty()).then_some(Bootstrap { node: *node, quic })
        });
        Beginning {
            bootstrap: bootstrap.collect(),
            secret: None,
            admission: match found.charter.admission {
                AdmissionRule::Open => Some(Admission::default()),
                _ => None,
            },
            charter: found.charter,
            last_promise: None,
        }
    }

    /// A command's time is over.
    fn deadline(&mut self, ticket: Ticket, step: &mut Step<'_>) {
        if let Some(search) = self.searches.end(ticket) {
            self.conclude_search(ticket, search, step);
        } else if let Some(network) = self.networks.waiting_for(ticket) {
            self.with_network(&network, step, |mesh, local, _, step| {
                mesh.deadline(local, step)
            });
        }
    }
}
