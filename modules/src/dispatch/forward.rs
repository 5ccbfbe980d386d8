//! Forwarding a message to a peer that takes part in its promise, and accepting forwarded ones.
//!
//! The message travels inside another one under the promise `forward`, which carries the remaining hops
//! and the nodes on the route so far. A node forwards to nobody on that route and refuses a message that
//! it has already passed on, so honest nodes form no loops. A node that falsifies the route merely starts
//! over, as if it had sent the message itself; the limits on a peer's messages bound what that costs.
//!
//! Only known peers are asked, those with whom somebody exchanged keys: strangers do not get to see what
//! a peer says. A peer that rejected a message or did not answer is skipped for ten minutes.

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
use super::shared_tree::{Observed, general};
use crate::caller::Caller;
use crate::peer::Peer;

/// The most hops a message may take.
pub(super) const MAX_HOPS: u8 = 4;
/// The most peers tried for one message.
const MAX_ASKED: usize = 3;
/// The time for all of them together.
const TIME: Duration = Duration::from_secs(15);
/// The time to connect to one.
const CONNECT: Duration = Duration::from_secs(3);
/// The time for one to answer.
const ANSWER: Duration = Duration::from_secs(12);

/// A forwarded message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Forwarded {
    /// How many hops are left.
    pub(super) left: u8,
    /// The nodes it has passed, from its origin on.
    pub(super) route: Vec<NodeId>,
    /// The message.
    pub(super) inner: Message,
}

/// Why a forwarded message is refused. Nothing was done with it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ForwardedError {
    /// The arguments do not fit the promise. No correct node sends this.
    #[error("the promise to forward wants one byte, and the node ids of the route behind it")]
    Args,
    /// The route and the hops left exceed the limit.
    #[error("a message is handed on {MAX_HOPS} times at most")]
    TooFar,
    /// The last node on the route is not the sender.
    #[error("the last node of the route has to be the one that sends the message")]
    OtherSender,
    /// It has been here before.
    #[error("the message has passed this node already")]
    Loop,
    /// A forwarded message in a forwarded message.
    #[error("a forwarded message holds no other")]
    Nested,
    /// The payload is not a message.
    #[error("the payload is no message: {0}")]
    NoMessage(#[from] grid_promises::message::MessageError),
}

impl Forwarded {
    /// Reads a message under `forward` that `sender` sent to `own`.
    ///
    /// # Errors
    /// See [`ForwardedError`].
    pub(super) fn read(
        message: &Message,
        sender: NodeId,
        own: NodeId,
    ) -> Result<Self, ForwardedError> {
        let (left, route) = message.args.split_first().ok_or(ForwardedError::Args)?;
        let &[left] = left.as_slice() else {
            return Err(ForwardedError::Args);
        };
        if usize::from(left) + route.len() > usize::from(MAX_HOPS) + 1 {
            return Err(ForwardedError::TooFar);
        }
        let node = |id: &Vec<u8>| <[u8; 32]>::try_from(id.as_slice()).map(NodeId);
        let route: Result<Vec<NodeId>, _> = route.iter().map(node).collect();
        let route = route.map_err(|_| ForwardedError::Args)?;
        if route.last() != Some(&sender) {
            return Err(ForwardedError::OtherSender);
        }
        if route.contains(&own) {
            return Err(ForwardedError::Loop);
        }
        let inner = Message::decode(&message.payload, &Message::BOUNDS)?;
        if inner.promise == texts::FORWARD.id() {
            return Err(ForwardedError::Nested);
        }
        Ok(Self { left, route, inner })
    }

    /// The encoded message under `forward`; `None` if the inner one is too long to travel inside another.
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

/// How a peer dealt with a message.
enum PeerAnswer {
    /// It answered; whether that is an answer and not a refusal.
    Answer(Vec<u8>, bool),
    /// It takes no part in the promise.
    Rejected,
    /// It could not be reached, so it was not asked.
    NotThere,
    /// It was asked, and no readable answer came.
    Failed(String),
}

impl Inner {
    /// Forwards a message to the first known peer that accepts it. `None` if there is none, or no hop is
    /// left.
    pub(super) async fn pass_on(
        &self,
        caller: &Caller,
        message: &Message,
        known: &[NodeId],
        route: &[NodeId],
        left: u8,
    ) -> Option<Vec<u8>> {
        let left = left.checked_sub(1)?;
        // The next node takes the message for this node's own, so not everybody's is passed on.
        if !self.host.admission(caller, &self.forward).is_granted() {
            return None;
        }
        let own = self.endpoint.node_id();
        let passed = Forwarded {
            left,
            route: [route, &[own]].concat(),
            inner: message.clone(),
        };
        let bytes = passed.encode()?;
        let until = Instant::now() + TIME;
        for peer in self.contacts(message, known, &passed.route).await {
            let target = Target::Peer(peer.node);
            let handed = timeout_at(until, self.hand(&peer, bytes.clone())).await;
            let handed =
                handed.unwrap_or_else(|_| PeerAnswer::Failed("no answer in time".to_owned()));
            match handed {
                PeerAnswer::Answer(answer, is_kept) => {
                    self.tree.learn_once(general(message), &target);
                    if is_kept {
                        self.tree.note(general(message), &target, Observed::Kept);
                    }
                    return Some(answer);
                }
                PeerAnswer::Rejected => {
                    let key = Key::promise(message.promise);
                    self.tree.note(key, &target, Observed::Rejected);
                }
                PeerAnswer::NotThere => {}
                PeerAnswer::Failed(why) => {
                    debug!("{} failed at a message: {why}", peer.node.short());
                    self.tree.note(general(message), &target, Observed::Broken);
                    self.tree
                        .note(general(message), &target, Observed::Rejected);
                    return Some(refuse(&format!(
                        "the message was handed to {}, and {why}; it may have been handled",
                        peer.node
                    )));
                }
            }
        }
        None
    }

    /// The peers to try: known ones that are not on the route and did not recently reject such a message;
    /// those known to accept it come first.
    async fn contacts(&self, message: &Message, known: &[NodeId], route: &[NodeId]) -> Vec<Peer> {
        let host = Arc::clone(&self.host);
        let reading = tokio::task::spawn_blocking(move || host.peers());
        let mut peers = reading.await.unwrap_or_default();
        peers.retain(|peer| {
            let target = Target::Peer(peer.node);
            !route.contains(&peer.node) && !self.tree.rejects(Key::of(message), &target)
        });
        let place = |peer: &Peer| known.iter().position(|node| *node == peer.node);
        peers.sort_by_key(|peer| place(peer).unwrap_or(usize::MAX));
        peers.truncate(MAX_ASKED);
        peers
    }

    async fn hand(&self, peer: &Peer, bytes: Vec<u8>) -> PeerAnswer {
        let asking = || timeout(ANSWER, self.endpoint.request(peer.node, bytes.clone()));
        let mut asked = asking().await;
        if matches!(asked, Ok(Err(RequestError::NotConnected(_)))) {
            let connecting = self.endpoint.connect(Some(peer.node), &peer.addresses);
            if !matches!(timeout(CONNECT, connecting).await, Ok(Ok(_))) {
                return PeerAnswer::NotThere;
            }
            asked = asking().await;
        }
        let answer = match asked {
            Ok(Ok(answer)) => answer,
            Ok(Err(RequestError::NotConnected(_))) => return PeerAnswer::NotThere,
            Ok(Err(error)) => return PeerAnswer::Failed(error.to_string()),
            Err(_) => return PeerAnswer::Failed("no answer came in time".to_owned()),
        };
        match Message::decode(&answer, &Message::BOUNDS) {
            Ok(message) if message.promise == texts::REJECT_MESSAGE.id() => PeerAnswer::Rejected,
            Ok(message) => PeerAnswer::Answer(answer, message.promise != texts::REFUSAL.id()),
            Err(error) => PeerAnswer::Failed(format!("what it answered is no message: {error}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use grid_promises::ContentId;

    fn passed(left: u8, route: &[u8], inner: Message) -> Forwarded {
        Forwarded {
            left,
            route: route.iter().map(|byte| NodeId([*byte; 32])).collect(),
            inner,
        }
    }

    fn read(passed: &Forwarded, sender: u8, own: u8) -> Result<Forwarded, ForwardedError> {
        let bytes = passed.encode().unwrap();
        let message = Message::decode(&bytes, &Message::BOUNDS).unwrap();
        Forwarded::read(&message, NodeId([sender; 32]), NodeId([own; 32]))
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
        assert_eq!(read(&wrap(4, &[1, 2]), 2, 9), Err(ForwardedError::TooFar));
        assert_eq!(read(&wrap(255, &[2]), 2, 9), Err(ForwardedError::TooFar));
        assert_eq!(
            read(&wrap(0, &[1, 1, 1, 1, 1, 2]), 2, 9),
            Err(ForwardedError::TooFar)
        );
        assert_eq!(read(&wrap(3, &[9, 2]), 2, 9), Err(ForwardedError::Loop));
        assert_eq!(
            read(&wrap(3, &[2, 1]), 2, 9),
            Err(ForwardedError::OtherSender)
        );
        assert_eq!(read(&wrap(3, &[]), 2, 9), Err(ForwardedError::OtherSender));
        let nested = Message::new(texts::FORWARD.id());
        assert_eq!(
            read(&passed(3, &[2], nested), 2, 9),
            Err(ForwardedError::Nested)
        );
        let outer = Message::new(texts::FORWARD.id());
        let (sender, own) = (NodeId([2; 32]), NodeId([9; 32]));
        for args in [vec![], vec![vec![1, 2]], vec![vec![1], vec![2; 31]]] {
            let message = Message {
                args,
                ..outer.clone()
            };
            assert_eq!(
                Forwarded::read(&message, sender, own),
                Err(ForwardedError::Args)
            );
        }
        let empty = outer.arg([1]).arg([2; 32]);
        let error = Forwarded::read(&empty, sender, own);
        assert!(matches!(error, Err(ForwardedError::NoMessage(_))));
        let long = Message::new(ContentId::of(b"p")).payload(vec![0; Message::MAX_PAYLOAD]);
        assert_eq!(passed(1, &[2], long).encode(), None);
    }
}
