//! Requests of other nodes, and the answers to those of this node.

use crate::answer::{AnswerError, Response, answer, read_response, refusal};
use crate::core::effect::{Effect, Notice};
use crate::core::input::{ReplyTo, RequestId, Ticket};
use crate::core::peers::{About, Sent};
use crate::core::protocol::{Ask, Found, Hello, NetworkAbout, NetworkReply};
use crate::core::router::Router;
use crate::core::step::Step;
use crate::network::ids::NetworkId;
use grid_keys::NodeId;

impl Router {
    pub(super) fn request(
        &mut self,
        peer: NodeId,
        message: &[u8],
        to: ReplyTo,
        step: &mut Step<'_>,
    ) {
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
            // What it says of this node is believed only in its answer, where this node asks.
            Ask::Hello(_) => match self.peers.links().remote(&peer) {
                Some(observed) => answer(&Hello {
                    observed,
                    clock: step.clock.shown(step.now),
                }),
                None => refusal("there is no connection to answer on"),
            },
            Ask::Find(name) => answer(&self.networks.find(&name)),
            Ask::Network(network, ask) => {
                self.networks
                    .answer(peer, &network, &ask, &self.local, &mut self.peers, step)
            }
        }
    }

    pub(super) fn response(
        &mut self,
        request: RequestId,
        message: Option<&[u8]>,
        step: &mut Step<'_>,
    ) {
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
            self.told_time(peer, hello.clock, step);
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
