//! Who is connected, what is asked of them, and what comes back. How statements spread by that is in
//! `pushing`, `comparing` and `ingesting`.

use std::net::SocketAddr;

use crate::core::effect::{Effect, Notice, Parting};
use crate::core::input::{RequestId, Ticket};
use crate::core::network::Phase;
use crate::core::protocol::{
    AdmitAnswer, Ask, Found, Hello, Push, PushAnswer, Response, SyncAnswer, read_response,
};
use crate::core::{Core, Step, timers};
use crate::network::charter::NetworkId;
use crate::time::Millis;
use grid_keys::NodeId;

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

/// The refusal that tells a node that it is in the wrong place.
pub(crate) const NOT_HERE: &str = "this node is not in that network";

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
}
