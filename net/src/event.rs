//! What an endpoint tells the program.

use std::net::SocketAddr;

use grid_keys::NodeId;
use tokio::sync::oneshot;

use crate::budget::Hold;
use crate::connection::Direction;
use crate::error::DisconnectReason;

/// Something happened on an endpoint.
///
/// For each peer, `Connected` and `Disconnected` alternate, beginning with `Connected`, however many
/// connections were dialled. A `Request` follows its peer's `Connected`. One that was complete when
/// the connection ended may follow the `Disconnected` too; its answer goes nowhere.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event {
    /// A peer is connected: requests can go both ways.
    Connected {
        /// The node at the other end, proven by its key.
        peer: NodeId,
        /// Where its packets come from. IPv4 is never written as IPv6.
        remote: SocketAddr,
        /// Which end dialled.
        direction: Direction,
    },
    /// A peer is no longer connected.
    Disconnected {
        /// The peer of the last `Connected` with this id.
        peer: NodeId,
        /// After [`Replaced`](DisconnectReason::Replaced) the `Connected` of the new connection
        /// follows at once.
        reason: DisconnectReason,
    },
    /// A peer asks something.
    Request {
        /// The node that asks, proven by its key.
        peer: NodeId,
        /// Where its packets come from at the moment.
        remote: SocketAddr,
        /// The whole request, at most `Limits::max_message` bytes. Nothing in it has been checked.
        message: Vec<u8>,
        /// Where the answer goes.
        respond: Responder,
    },
}

/// Takes the answer to one request. If it is dropped unused, the peer gets
/// [`UNANSWERED`](crate::StreamCode::UNANSWERED) at once.
#[derive(Debug)]
pub struct Responder {
    answer: oneshot::Sender<Vec<u8>>,
    /// Until it is answered, the request counts against its peer's budget.
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

    /// Sends the answer in the background, if the peer still wants it. In place of an answer longer
    /// than `Limits::max_message` the peer gets [`TOO_LARGE`](crate::StreamCode::TOO_LARGE).
    pub fn send(self, answer: Vec<u8>) {
        // Fails if the peer has given up or is gone. Nobody is left to tell.
        let _ = self.answer.send(answer);
    }

    /// Whether the peer has given up on the request, or is gone.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.answer.is_closed()
    }
}
