//! One message on one direction of a stream: the bytes up to FIN, bounded in size and memory.
//!
//! A [`Collector`] bounds what arrives. A message that was not written whole is reset, never ended,
//! so that the other side cannot mistake a part for the whole.

use quinn::{ConnectionError, ReadError, RecvStream, SendStream, VarInt, WriteError};

use crate::budget::{Budget, Collector, Hold, Refused};
use crate::codes::StreamCode;

/// Why no message came.
#[derive(Debug)]
pub(crate) enum ReadFailure {
    TooLarge,
    Busy,
    Reset(StreamCode),
    Lost(ConnectionError),
}

/// Reads a message of up to `longest` bytes. `budget` is what its sender may occupy; `None` if that is
/// bounded elsewhere.
pub(crate) async fn read(
    stream: &mut RecvStream,
    longest: u32,
    budget: Option<&Budget>,
) -> Result<(Vec<u8>, Hold), ReadFailure> {
    let mut collector = Collector::new(longest, budget);
    loop {
        match stream.read_chunk(collector.step(), true).await {
            Ok(Some(chunk)) => collector.take(&chunk.bytes)?,
            Ok(None) => return Ok(collector.finish()),
            Err(ReadError::Reset(code)) => {
                return Err(ReadFailure::Reset(StreamCode::from_wire(code)));
            }
            Err(ReadError::ConnectionLost(error)) => return Err(ReadFailure::Lost(error)),
            // Unreachable for a stream that is read once, in order, without 0-RTT.
            Err(_) => return Err(ReadFailure::Reset(StreamCode::CANCELLED)),
        }
    }
}

impl From<Refused> for ReadFailure {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::TooLarge => Self::TooLarge,
            Refused::Busy => Self::Busy,
        }
    }
}

/// Why a message was not written.
#[derive(Debug)]
pub(crate) enum WriteFailure {
    Stopped(StreamCode),
    Lost(ConnectionError),
}

/// The sending half of a stream, which is reset unless a whole message was written. QUIC libraries
/// end a stream that is merely dropped, and what was sent so far would pass for the message.
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

    /// Writes the message and ends the stream. Success does not mean that it has arrived.
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

    /// Gives up on the message and tells the other end why.
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
