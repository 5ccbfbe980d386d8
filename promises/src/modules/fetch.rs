//! The promise `fetch`: what one node asks another for, and what it is given.
//!
//! A request is a [`Message`] under `fetch`; its first argument names the request. An answer is a
//! message under `answer`, a no is one under `refusal`. Nothing here decides who is served or what a
//! node stands by, and nothing that is read here is verified: an object is what its content id
//! verifies.

use minicbor::bytes::ByteVec;
use minicbor::{Decode, Encode};

use super::chunks::{CHUNK_LEN, MAX_CHUNKS, Manifest};
use crate::answer::{Response, answer, read_response, refusal};
use crate::cbor::{self, Bounds, CborError};
use crate::content_id::ContentId;
use crate::message::Message;
use crate::texts;

/// The largest object that is given in one message, in bytes: as long as a chunk.
pub const MAX_WHOLE: usize = CHUNK_LEN;

/// What one node asks another for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FetchRequest {
    /// The content id of the symbol table that it stands by.
    Symbols,
    /// An object, or its manifest if it is longer than [`MAX_WHOLE`].
    Object(ContentId),
    /// One chunk of an object.
    Chunk(ContentId, u32),
}

/// An object as it is given in one message.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Offer {
    /// All of its bytes.
    #[n(0)]
    Whole(#[n(0)] ByteVec),
    /// An encoded [`Manifest`]: the object is to be asked for chunk by chunk.
    #[n(1)]
    InChunks(#[n(0)] ByteVec),
}

/// The content id of a symbol table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Symbols {
    /// The table's.
    #[n(0)]
    pub table: ContentId,
}

/// One chunk.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Chunk {
    /// Its bytes, at most [`CHUNK_LEN`].
    #[n(0)]
    pub bytes: ByteVec,
}

/// Why a message is no request to fetch. No correct node sends such a one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FetchError {
    /// Another promise leads it.
    #[error("the message is not under the promise to fetch")]
    Promise,
    /// The arguments are none that the promise knows.
    #[error("the promise to fetch knows no such request")]
    Unknown,
}

/// What came back to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fetched<T> {
    /// What was asked for, as the peer says.
    Given(T),
    /// The peer will not, and why. Not hostile.
    Refused(String),
}

/// An answer that cannot be read. Nothing was changed; the peer is at fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the answer cannot be read: {0}")]
pub struct BadAnswer(String);

impl FetchRequest {
    /// The encoded message.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let message = Message::new(texts::FETCH.id());
        let message = match self {
            Self::Symbols => message.arg("symbols"),
            Self::Object(id) => message.arg("object").arg(id.to_bytes()),
            Self::Chunk(id, index) => message
                .arg("chunk")
                .arg(id.to_bytes())
                .arg(index.to_be_bytes()),
        };
        message.encode()
    }

    /// Reads a request out of a message.
    ///
    /// # Errors
    /// Another promise, or arguments that it does not know. A payload is not looked at.
    pub fn read(message: &Message) -> Result<Self, FetchError> {
        if message.promise != texts::FETCH.id() {
            return Err(FetchError::Promise);
        }
        let args: Vec<&[u8]> = message.args.iter().map(Vec::as_slice).collect();
        let id = |bytes: &[u8]| ContentId::from_bytes(bytes).map_err(|_| FetchError::Unknown);
        match args.as_slice() {
            [b"symbols"] => Ok(Self::Symbols),
            [b"object", object] => Ok(Self::Object(id(object)?)),
            [b"chunk", object, index] => {
                let index = <[u8; 4]>::try_from(*index).map_err(|_| FetchError::Unknown)?;
                let index = u32::from_be_bytes(index);
                if index >= MAX_CHUNKS {
                    return Err(FetchError::Unknown);
                }
                Ok(Self::Chunk(id(object)?, index))
            }
            _ => Err(FetchError::Unknown),
        }
    }
}

/// What can be given in answer to a request.
pub trait Given: Encode<()> + for<'b> Decode<'b, ()> {
    /// Whether it is within the bounds of its kind.
    #[doc(hidden)]
    fn is_sound(&self) -> bool;

    /// The encoded answer.
    #[must_use]
    fn answer(&self) -> Vec<u8>
    where
        Self: Sized,
    {
        answer(self)
    }

    /// Reads an answer.
    ///
    /// # Errors
    /// It is no answer of this kind.
    fn read_answer(bytes: &[u8]) -> Result<Fetched<Self>, BadAnswer>
    where
        Self: Sized,
    {
        match read_response::<Self>(bytes) {
            Ok(Response::Answer(given)) if given.is_sound() => Ok(Fetched::Given(given)),
            Ok(Response::Answer(_)) => Err(BadAnswer("it is longer than it may be".to_owned())),
            Ok(Response::Refusal(why)) => Ok(Fetched::Refused(why)),
            Err(error) => Err(BadAnswer(error.to_string())),
        }
    }
}

impl Given for Symbols {
    fn is_sound(&self) -> bool {
        true
    }
}

impl Given for Offer {
    fn is_sound(&self) -> bool {
        match self {
            Self::Whole(bytes) => bytes.len() <= MAX_WHOLE,
            Self::InChunks(bytes) => bytes.len() <= Manifest::MAX_LEN,
        }
    }
}

impl Given for Chunk {
    fn is_sound(&self) -> bool {
        self.bytes.len() <= CHUNK_LEN
    }
}

/// The encoded refusal of a request.
#[must_use]
pub fn refuse(why: &str) -> Vec<u8> {
    refusal(why)
}

/// A message that rejects another: this node takes no part in its promise. The payload names the
/// promise.
#[must_use]
pub fn reject(promise: &ContentId) -> Vec<u8> {
    let payload = cbor::encode(&Rejected { promise: *promise });
    Message::new(texts::REJECT_MESSAGE.id())
        .payload(payload)
        .encode()
}

/// The promise that a message rejects, if it is one that rejects.
///
/// # Errors
/// It rejects, and does not say what.
pub fn read_rejection(bytes: &[u8]) -> Result<Option<ContentId>, CborError> {
    const BOUNDS: Bounds = Bounds::bytes(256);
    match Message::decode(bytes, &Message::BOUNDS) {
        Ok(message) if message.promise == texts::REJECT_MESSAGE.id() => {
            let rejected: Rejected = cbor::decode(&message.payload, &BOUNDS)?;
            Ok(Some(rejected.promise))
        }
        _ => Ok(None),
    }
}

#[derive(Encode, Decode)]
struct Rejected {
    #[n(0)]
    promise: ContentId,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(message: &Message) -> Result<FetchRequest, FetchError> {
        let bytes = message.encode();
        FetchRequest::read(&Message::decode(&bytes, &Message::BOUNDS).unwrap())
    }

    #[test]
    fn requests_are_read_as_they_were_meant() {
        let id = ContentId::of(b"x");
        for asked in [
            FetchRequest::Symbols,
            FetchRequest::Object(id),
            FetchRequest::Chunk(id, 0),
            FetchRequest::Chunk(id, MAX_CHUNKS - 1),
        ] {
            let message = Message::decode(&asked.encode(), &Message::BOUNDS).unwrap();
            assert_eq!(FetchRequest::read(&message), Ok(asked));
        }
    }

    #[test]
    fn what_the_promise_does_not_know_is_refused() {
        let id = ContentId::of(b"x").to_bytes();
        let fetch = || Message::new(texts::FETCH.id());
        for message in [
            fetch(),
            fetch().arg("everything"),
            fetch().arg("symbols").arg("all"),
            fetch().arg("object"),
            fetch().arg("object").arg(&id[1..]),
            fetch().arg("chunk").arg(id.clone()),
            fetch().arg("chunk").arg(id.clone()).arg([0; 3]),
            fetch()
                .arg("chunk")
                .arg(id.clone())
                .arg(MAX_CHUNKS.to_be_bytes()),
        ] {
            assert_eq!(request(&message), Err(FetchError::Unknown), "{message:?}");
        }
        let other = Message::new(texts::ANSWER.id()).arg("symbols");
        assert_eq!(request(&other), Err(FetchError::Promise));
    }

    #[test]
    fn answers_are_bounded() {
        let whole = |length| Offer::Whole(vec![7; length].into());
        let read = |offer: &Offer| Offer::read_answer(&offer.answer());
        assert_eq!(
            read(&whole(MAX_WHOLE)),
            Ok(Fetched::Given(whole(MAX_WHOLE)))
        );
        assert!(read(&whole(MAX_WHOLE + 1)).is_err());
        assert!(read(&Offer::InChunks(vec![0; Manifest::MAX_LEN + 1].into())).is_err());
        let chunk = |length| Chunk {
            bytes: vec![7; length].into(),
        };
        assert!(Chunk::read_answer(&chunk(CHUNK_LEN).answer()).is_ok());
        assert!(Chunk::read_answer(&chunk(CHUNK_LEN + 1).answer()).is_err());
        assert!(Symbols::read_answer(&whole(1).answer()).is_err());
        let refused = Symbols::read_answer(&refuse("not here"));
        assert_eq!(refused, Ok(Fetched::Refused("not here".to_owned())));
    }

    #[test]
    fn a_rejection_names_the_promise() {
        let id = texts::FETCH.id();
        assert_eq!(read_rejection(&reject(&id)), Ok(Some(id)));
        assert_eq!(read_rejection(&refuse("no")), Ok(None));
        assert_eq!(read_rejection(b"grid"), Ok(None));
        let damaged = Message::new(texts::REJECT_MESSAGE.id()).encode();
        assert!(read_rejection(&damaged).is_err());
    }
}
