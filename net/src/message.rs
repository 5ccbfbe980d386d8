//! One message on one direction of a stream: the bytes up to FIN, bounded in size and memory.
//!
//! Nothing announces a length, so there is no length to believe: the buffer grows as bytes arrive.
//! A message that was not written whole is reset, never ended, so that the other side cannot take
//! a part for the whole.

use std::sync::Arc;

use quinn::{ConnectionError, ReadError, RecvStream, SendStream, VarInt, WriteError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::codes::StreamCode;
use crate::config::Limits;

/// A message up to this size needs no reservation: the number of streams bounds their sum.
const FREE: usize = 4096;

/// The most that is read at once.
const STEP: usize = 16 * 1024;

/// The memory that requests may take: of one peer, and of all together.
///
/// A message that outgrows [`FREE`] first reserves room for the longest message there can be, and
/// returns what it does not need when it is complete. If there is no room it is refused. It does not
/// wait, because what a stream leaves unread takes up the window of the whole connection: messages
/// that wait for room would keep those that have room from ever being complete.
#[derive(Clone, Debug)]
pub(crate) struct Budget {
    peer: Arc<Semaphore>,
    total: Arc<Semaphore>,
    longest: u32,
}

/// What a message holds of the budget, until it is dropped.
#[derive(Debug, Default)]
pub(crate) struct Hold(Option<[OwnedSemaphorePermit; 2]>);

impl Budget {
    /// The part that all peers share.
    pub(crate) fn shared(limits: &Limits) -> Arc<Semaphore> {
        Arc::new(room(limits.max_buffered, limits.max_message))
    }

    /// One peer's part.
    pub(crate) fn new(limits: &Limits, total: &Arc<Semaphore>) -> Self {
        Self {
            peer: Arc::new(room(limits.max_buffered_per_peer, limits.max_message)),
            total: Arc::clone(total),
            longest: limits.max_message,
        }
    }

    fn reserve(&self) -> Option<Hold> {
        let peer = Arc::clone(&self.peer)
            .try_acquire_many_owned(self.longest)
            .ok()?;
        let total = Arc::clone(&self.total)
            .try_acquire_many_owned(self.longest)
            .ok()?;
        Some(Hold(Some([peer, total])))
    }
}

/// What a peer has room for if its limits are the same: how many requests above [`FREE`] may be
/// under way to it. Those that wait here do not occupy its window.
pub(crate) fn large_at_once(limits: &Limits) -> Semaphore {
    let count = usize::try_from(limits.max_buffered_per_peer / limits.max_message.max(1));
    Semaphore::new(count.unwrap_or(1).clamp(1, Semaphore::MAX_PERMITS))
}

/// Whether a request takes one of those places.
pub(crate) fn is_large(message: &[u8]) -> bool {
    message.len() > FREE
}

impl Hold {
    fn shrink(&mut self, size: usize) {
        for permit in self.0.iter_mut().flatten() {
            let surplus = permit.num_permits().saturating_sub(size);
            drop(permit.split(surplus));
        }
    }
}

fn room(wanted: u32, longest: u32) -> Semaphore {
    let bytes = usize::try_from(wanted.max(longest)).unwrap_or(usize::MAX);
    Semaphore::new(bytes.min(Semaphore::MAX_PERMITS))
}

/// Why no message came.
#[derive(Debug)]
pub(crate) enum ReadFailure {
    TooLarge,
    Busy,
    Reset(StreamCode),
    Lost(ConnectionError),
}

/// Reads a message of up to `longest` bytes. `budget` is what its sender may occupy, if that is not
/// bounded elsewhere.
pub(crate) async fn read(
    stream: &mut RecvStream,
    longest: u32,
    budget: Option<&Budget>,
) -> Result<(Vec<u8>, Hold), ReadFailure> {
    let longest = usize::try_from(longest).unwrap_or(usize::MAX);
    let mut message = Vec::new();
    let mut hold = Hold::default();
    loop {
        let mut step = STEP;
        if let (Some(budget), None) = (budget, &hold.0) {
            // One more byte than is free shows whether there is more.
            match (FREE + 1).saturating_sub(message.len()) {
                0 => hold = budget.reserve().ok_or(ReadFailure::Busy)?,
                free => step = free,
            }
        }
        match stream.read_chunk(step, true).await {
            Ok(Some(chunk)) if message.len() + chunk.bytes.len() > longest => {
                return Err(ReadFailure::TooLarge);
            }
            Ok(Some(chunk)) => message.extend_from_slice(&chunk.bytes),
            Ok(None) => break,
            Err(ReadError::Reset(code)) => {
                return Err(ReadFailure::Reset(StreamCode::from_wire(code)));
            }
            Err(ReadError::ConnectionLost(error)) => return Err(ReadFailure::Lost(error)),
            // Not reachable for a stream that is read once, in order, without 0-RTT.
            Err(_) => return Err(ReadFailure::Reset(StreamCode::CANCELLED)),
        }
    }
    hold.shrink(message.len());
    Ok((message, hold))
}

/// Why a message was not written.
#[derive(Debug)]
pub(crate) enum WriteFailure {
    Stopped(StreamCode),
    Lost(ConnectionError),
}

/// The sending half of a stream, which is reset unless a whole message was written: QUIC libraries
/// end a stream that is merely dropped, and the part that was sent would count as the message.
#[derive(Debug)]
pub(crate) struct Outgoing {
    stream: SendStream,
    ended: bool,
}

impl Outgoing {
    pub(crate) fn new(stream: SendStream) -> Self {
        Self {
            stream,
            ended: false,
        }
    }

    /// Writes the message and ends the stream. It has left this node's hands, not more.
    pub(crate) async fn send(&mut self, message: &[u8]) -> Result<(), WriteFailure> {
        let written = match self.stream.write_all(message).await {
            Ok(()) => self.stream.finish().map_err(WriteError::from),
            Err(error) => Err(error),
        };
        match written {
            Ok(()) => {
                self.ended = true;
                Ok(())
            }
            Err(WriteError::Stopped(code)) => {
                Err(WriteFailure::Stopped(StreamCode::from_wire(code)))
            }
            Err(WriteError::ConnectionLost(error)) => Err(WriteFailure::Lost(error)),
            Err(WriteError::ClosedStream | WriteError::ZeroRttRejected) => {
                Err(WriteFailure::Stopped(StreamCode::CANCELLED))
            }
        }
    }

    /// Resolves when the other end no longer wants the message, or the connection is gone.
    pub(crate) fn unwanted(&self) -> impl Future<Output = ()> + use<> {
        let stopped = self.stream.stopped();
        async move {
            let _: Result<Option<VarInt>, _> = stopped.await;
        }
    }

    /// Gives the message up and tells why.
    pub(crate) fn give_up(mut self, code: StreamCode) {
        let _ = self.stream.reset(code.wire());
        self.ended = true;
    }
}

impl Drop for Outgoing {
    fn drop(&mut self) {
        if !self.ended {
            let _ = self.stream.reset(StreamCode::CANCELLED.wire());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_complete_message_returns_what_it_does_not_need() {
        let limits = Limits {
            max_message: 1000,
            max_buffered_per_peer: 2000,
            ..Limits::default()
        };
        let total = Budget::shared(&limits);
        let all = total.available_permits();
        let budget = Budget::new(&limits, &total);
        let mut first = budget.reserve().unwrap();
        assert_eq!(budget.peer.available_permits(), 1000);
        first.shrink(300);
        assert_eq!(budget.peer.available_permits(), 1700);
        assert_eq!(total.available_permits(), all - 300);
        let second = budget.reserve().unwrap();
        assert!(budget.reserve().is_none());
        drop((first, second));
        assert_eq!(total.available_permits(), all);
        assert_eq!(budget.peer.available_permits(), 2000);
    }

    #[test]
    fn what_one_peer_takes_another_does_not_get() {
        let limits = Limits {
            max_message: 1000,
            max_buffered_per_peer: 2000,
            max_buffered: 3000,
            ..Limits::default()
        };
        let total = Budget::shared(&limits);
        let (a, b) = (Budget::new(&limits, &total), Budget::new(&limits, &total));
        let _held = [
            a.reserve().unwrap(),
            a.reserve().unwrap(),
            b.reserve().unwrap(),
        ];
        assert!(b.reserve().is_none());
        assert_eq!(
            b.peer.available_permits(),
            1000,
            "a failed reservation holds nothing"
        );
    }

    #[test]
    fn a_sender_never_exceeds_the_room_of_a_receiver_with_the_same_limits() {
        for (budget, longest, at_once) in [(4 << 20, 1 << 20, 4), (10, 100, 1), (299, 100, 2)] {
            let limits = Limits {
                max_buffered_per_peer: budget,
                max_message: longest,
                ..Limits::default()
            };
            assert_eq!(large_at_once(&limits).available_permits(), at_once);
            assert!(
                Budget::new(&limits, &Budget::shared(&limits))
                    .reserve()
                    .is_some()
            );
        }
    }
}
