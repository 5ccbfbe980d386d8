//! Handing a message to a peer that takes part in its promise, and taking one that was handed on.
//!
//! The message travels inside another one, under the promise `forward`, which says how often it may
//! still be handed on and which nodes it has passed. A node hands it to nobody on that list, and
//! refuses one that has passed itself; so there are no loops among honest nodes. Whoever lies in the
//! list begins anew, as if it had sent the message itself: what that may cost is bounded where the
//! messages of a peer are.
//!
//! Only known peers are asked, those with whom a person exchanged keys: what a peer says is not shown
//! to strangers. Who rejected, or did not answer, is not asked again for ten minutes.

use std::sync::Arc;
use std::time::Duration;

use grid_keys::NodeId;
use grid_net::RequestError;
use grid_promises::modules::fetch::refuse;
use grid_promises::routes::{Key, Target};
use grid_promises::{Message, texts};
use tokio::time::{Instant, timeout, timeout_at};
use tracing::debug;

use super::Inner;
use super::tree::{What, general};
use crate::peer::Peer;

/// How often a message is handed on at most.
pub(super) const MAX_HOPS: u8 = 4;
/// How many peers are asked for one message.
const MAX_ASKED: usize = 3;
/// How long all of them together have.
const TIME: Duration = Duration::from_secs(15);
/// How long connecting to one may take.
const CONNECT: Duration = Duration::from_secs(3);
/// How long the answer of one may take.
const ANSWER: Duration = Duration::from_secs(12);

/// A message that was handed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Passed {
    /// How often it may still be handed on.
    pub(super) left: u8,
    /// The nodes that it has passed, the first one first.
    pub(super) route: Vec<NodeId>,
    /// The message.
    pub(super) inner: Message,
}

/// Why a message that was handed on is not taken. Nothing was done with it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum PassedError {
    /// The arguments are none that the promise knows. No correct node sends such a one.
    #[error("the promise to forward wants one byte, and the node ids of the way behind it")]
    Args,
    /// More hops than are allowed, with those that it has behind it.
    #[error("a message is handed on {MAX_HOPS} times at most")]
    TooFar,
    /// The last node on the way is not who sent it.
    #[error("the last node of the way has to be the one that sends the message")]
    OtherSender,
    /// It was here before.
    #[error("the message has passed this node already")]
    Loop,
    /// A forwarded message in a forwarded message.
    #[error("a forwarded message holds no other")]
    Nested,
    /// The payload is no message.
    #[error("the payload is no message: {0}")]
    NoMessage(#[from] grid_promises::message::MessageError),
}

impl Passed {
    /// Reads a message under `forward` that `sender` handed to `own`.
    ///
    /// # Errors
    /// See [`PassedError`].
    pub(super) fn read(
        message: &Message,
        sender: NodeId,
        own: NodeId,
    ) -> Result<Self, PassedError> {
        let (left, route) = message.args.split_first().ok_or(PassedError::Args)?;
        let &[left] = left.as_slice() else {
            return Err(PassedError::Args);
        };
        if usize::from(left) + route.len() > usize::from(MAX_HOPS) + 1 {
            return Err(PassedError::TooFar);
        }
        let node = |id: &Vec<u8>| <[u8; 32]>::try_from(id.as_slice()).map(NodeId);
        let route: Result<Vec<NodeId>, _> = route.iter().map(node).collect();
        let route = route.map_err(|_| PassedError::Args)?;
        if route.last() != Some(&sender) {
            return Err(PassedError::OtherSender);
        }
        if route.contains(&own) {
            return Err(PassedError::Loop);
        }
        let inner = Message::decode(&message.payload, &Message::BOUNDS)?;
        if inner.promise == texts::FORWARD.id() {
            return Err(PassedError::Nested);
        }
        Ok(Self { left, route, inner })
    }

    /// The encoded message under `forward`. `None`: the inner one is too long to travel in another.
    pub(super) fn encode(&self) -> Option<Vec<u8>> {
        let outer = Message::new(texts::FORWARD.id())
            .arg([self.left])
            .payload(self.inner.encode());
        let outer = self
            .route
            .iter()
            .fold(outer, |outer, node| outer.arg(node.0));
        outer.check_limits().ok()?;
        Some(outer.encode())
    }
}

/// What a peer made of a message.
enum Handed {
    /// Its answer or its refusal, and whether it is an answer.
    Answer(Vec<u8>, bool),
    /// It takes no part in the promise.
    Rejected,
    /// It was not asked: it cannot be reached.
    NotThere,
    /// It was asked, and no answer came that can be read.
    Failed(String),
}

impl Inner {
    /// Hands a message to the first known peer that takes it. `None`: there is none, or the message
    /// went far enough.
    pub(super) async fn pass_on(
        &self,
        message: &Message,
        known: &[NodeId],
        route: &[NodeId],
        left: u8,
    ) -> Option<Vec<u8>> {
        let left = left.checked_sub(1)?;
        if !self.takes_part_in(&self.forward) {
            return None;
        }
        let own = self.endpoint.node_id();
        let passed = Passed {
            left,
            route: [route, &[own]].concat(),
            inner: message.clone(),
        };
        let bytes = passed.encode()?;
        let until = Instant::now() + TIME;
        for peer in self.contacts(message, known, &passed.route).await {
            let target = Target::Peer(peer.node);
            let handed = timeout_at(until, self.hand(&peer, bytes.clone())).await;
            let handed = handed.unwrap_or_else(|_| Handed::Failed("no answer in time".to_owned()));
            match handed {
                Handed::Answer(answer, is_kept) => {
                    self.ways.learn_once(general(message), &target);
                    if is_kept {
                        self.ways.note(general(message), &target, What::Kept);
                    }
                    return Some(answer);
                }
                Handed::Rejected => {
                    let key = Key::promise(message.promise);
                    self.ways.note(key, &target, What::Rejected);
                }
                Handed::NotThere => {}
                Handed::Failed(why) => {
                    debug!("{} failed at a message: {why}", peer.node.short());
                    self.ways.note(general(message), &target, What::Broken);
                    self.ways.note(general(message), &target, What::Rejected);
                    return Some(refuse(&format!(
                        "the message was handed to {}, and {why}; it may have been handled",
                        peer.node
                    )));
                }
            }
        }
        None
    }

    /// Whom to ask: known peers that are not on the route, first those that take such messages, and
    /// none that rejected one lately.
    async fn contacts(&self, message: &Message, known: &[NodeId], route: &[NodeId]) -> Vec<Peer> {
        let host = Arc::clone(&self.host);
        let reading = tokio::task::spawn_blocking(move || host.peers());
        let mut peers = reading.await.unwrap_or_default();
        peers.retain(|peer| {
            let target = Target::Peer(peer.node);
            !route.contains(&peer.node) && !self.ways.rejects(Key::of(message), &target)
        });
        let place = |peer: &Peer| known.iter().position(|node| *node == peer.node);
        peers.sort_by_key(|peer| place(peer).unwrap_or(usize::MAX));
        peers.truncate(MAX_ASKED);
        peers
    }

    async fn hand(&self, peer: &Peer, bytes: Vec<u8>) -> Handed {
        let asking = || timeout(ANSWER, self.endpoint.request(peer.node, bytes.clone()));
        let mut asked = asking().await;
        if matches!(asked, Ok(Err(RequestError::NotConnected(_)))) {
            let connecting = self.endpoint.connect(Some(peer.node), &peer.addresses);
            if !matches!(timeout(CONNECT, connecting).await, Ok(Ok(_))) {
                return Handed::NotThere;
            }
            asked = asking().await;
        }
        let answer = match asked {
            Ok(Ok(answer)) => answer,
            Ok(Err(RequestError::NotConnected(_))) => return Handed::NotThere,
            Ok(Err(error)) => return Handed::Failed(error.to_string()),
            Err(_) => return Handed::Failed("no answer came in time".to_owned()),
        };
        match Message::decode(&answer, &Message::BOUNDS) {
            Ok(message) if message.promise == texts::REJECT_MESSAGE.id() => Handed::Rejected,
            Ok(message) => Handed::Answer(answer, message.promise != texts::REFUSAL.id()),
            Err(error) => Handed::Failed(format!("what it answered is no message: {error}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use grid_promises::ContentId;

    fn passed(left: u8, route: &[u8], inner: Message) -> Passed {
        Passed {
            left,
            route: route.iter().map(|byte| NodeId([*byte; 32])).collect(),
            inner,
        }
    }

    fn read(passed: &Passed, sender: u8, own: u8) -> Result<Passed, PassedError> {
        let bytes = passed.encode().unwrap();
        let message = Message::decode(&bytes, &Message::BOUNDS).unwrap();
        Passed::read(&message, NodeId([sender; 32]), NodeId([own; 32]))
    }

    #[test]
    fn a_message_is_found_in_the_one_that_carries_it() {
        let inner = Message::new(ContentId::of(b"p")).arg("a").payload("b");
        for sent in [
            passed(3, &[1, 2], inner.clone()),
            passed(0, &[1, 3, 4, 5, 2], inner),
        ] {
            assert_eq!(read(&sent, 2, 9), Ok(sent));
        }
    }

    #[test]
    fn what_goes_too_far_or_in_circles_is_refused() {
        let inner = Message::new(ContentId::of(b"p"));
        let wrap = |left, route: &[u8]| passed(left, route, inner.clone());
        assert_eq!(read(&wrap(4, &[1, 2]), 2, 9), Err(PassedError::TooFar));
        assert_eq!(read(&wrap(255, &[2]), 2, 9), Err(PassedError::TooFar));
        assert_eq!(
            read(&wrap(0, &[1, 1, 1, 1, 1, 2]), 2, 9),
            Err(PassedError::TooFar)
        );
        assert_eq!(read(&wrap(3, &[9, 2]), 2, 9), Err(PassedError::Loop));
        assert_eq!(read(&wrap(3, &[2, 1]), 2, 9), Err(PassedError::OtherSender));
        assert_eq!(read(&wrap(3, &[]), 2, 9), Err(PassedError::OtherSender));
        let nested = Message::new(texts::FORWARD.id());
        assert_eq!(
            read(&passed(3, &[2], nested), 2, 9),
            Err(PassedError::Nested)
        );
        let outer = Message::new(texts::FORWARD.id());
        let (sender, own) = (NodeId([2; 32]), NodeId([9; 32]));
        for args in [vec![], vec![vec![1, 2]], vec![vec![1], vec![2; 31]]] {
            let message = Message {
                args,
                ..outer.clone()
            };
            assert_eq!(Passed::read(&message, sender, own), Err(PassedError::Args));
        }
        let empty = outer.arg([1]).arg([2; 32]);
        let error = Passed::read(&empty, sender, own);
        assert!(matches!(error, Err(PassedError::NoMessage(_))));
        let long = Message::new(ContentId::of(b"p")).payload(vec![0; Message::MAX_PAYLOAD]);
        assert_eq!(passed(1, &[2], long).encode(), None);
    }
}
