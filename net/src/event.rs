//! What an endpoint tells the program.

use std::net::SocketAddr;

use grid_keys::NodeId;
use tokio::sync::oneshot;

use crate::budget::Hold;
use crate::connection::Direction;
use crate::error::DisconnectReason;

/// Something happened on an endpoint.
///
/// For each peer, `Connected` and `Disconnected` alternate, beginning with `Connected`, whatever
/// number of connections were dialled. A `Request` comes after the `Connected` of its peer; one
/// that was complete when the connection ended may still come after the `Disconnected`, and its
/// answer goes nowhere.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event {
    /// A peer is connected: requests can go both ways.
    Connected {
        /// Which node: proven by its key.
        peer: NodeId,
        /// Where its packets come from. IPv4 is never written as IPv6.
        remote: SocketAddr,
        /// Who dialled.
        direction: Direction,
    },
    /// A peer is no longer connected. After a [`Replaced`](DisconnectReason::Replaced) the
    /// `Connected` of the new connection follows at once.
    Disconnected {
        /// Which node.
        peer: NodeId,
        /// Why.
        reason: DisconnectReason,
    },
    /// A peer asks.
    Request {
        /// Which node: proven by its key.
        peer: NodeId,
        /// Where its packets come from at the moment.
        remote: SocketAddr,
        /// What it asks, whole, at most `Limits::max_message` bytes. Not looked into.
        message: Vec<u8>,
        /// Takes the answer.
        respond: Responder,
    },
}

/// Takes the answer to one request. Dropped without one, the peer gets an error at once.
#[derive(Debug)]
pub struct Responder {
    answer: oneshot::Sender<Vec<u8>>,
    /// The request counts as its peer's until it is answered.
    _hold: Hold,
}

impl Responder {
    pub(crate) fn new(hold: Hold) -> (Self, oneshot::Receiver<Vec<u8>>) {
        let (answer, receiver) = oneshot::channel();
        (
            Self {
                answer,
                _hold: hold,
            },
            receiver,
        )
    }

    /// Sends the answer, in the background, as far as the peer still wants it. One that is longer
    /// than `Limits::max_message` is not sent; the peer gets an error instead.
    pub fn send(self, answer: Vec<u8>) {
        // An error means that the peer has given up or is gone; there is no one to tell.
        let _ = self.answer.send(answer);
    }

    /// Whether the peer has given the request up, or is gone.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.answer.is_closed()
    }
}
