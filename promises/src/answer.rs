//! How requests between nodes are answered: a message under `answer` with a payload that belongs to the
//! request, or one under `refusal` that says why not.

use minicbor::{Decode, Encode};

use crate::cbor::{self, Bounds, CborError};
use crate::message::{Message, MessageError};
use crate::network::statement::MAX_STATEMENTS;
use crate::texts;

/// What a payload may be. The index of a full ledger fits.
pub(crate) const BODY: Bounds = Bounds {
    max_bytes: Message::MAX_PAYLOAD,
    max_depth: 8,
    max_items: 96 * 1024,
};

/// What a [`IndexEntry`](crate::network::index::IndexEntry) is made of: an array and its three items.
const ITEMS_OF_AN_ENTRY: u64 = 4;
const _: () = assert!(
    ITEMS_OF_AN_ENTRY * (MAX_STATEMENTS as u64) + 256 <= BODY.max_items,
    "the index of a full ledger does not fit a payload"
);

/// The longest reason for a refusal that is kept, in characters: it comes from another node, and goes to
/// logs.
const MAX_WHY: usize = 300;

/// Why a request is refused.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub(crate) struct Refused {
    #[n(0)]
    pub(crate) why: String,
}

/// Why bytes are no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AnswerError {
    #[error("not a message: {0}")]
    Message(#[from] MessageError),
    #[error("a payload that cannot be read: {0}")]
    Payload(#[from] CborError),
    #[error("a message under a promise that this node does not keep for others")]
    Promise,
}

/// An answer with this body.
pub(crate) fn answer<T: Encode<()>>(body: &T) -> Vec<u8> {
    Message::new(texts::ANSWER.id())
        .payload(cbor::encode(body))
        .encode()
}

/// A refusal with this reason.
pub(crate) fn refusal(why: &str) -> Vec<u8> {
    let body = Refused {
        why: why.to_owned(),
    };
    Message::new(texts::REFUSAL.id())
        .payload(cbor::encode(&body))
        .encode()
}

/// What came back.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Response<T> {
    Answer(T),
    Refusal(String),
}

/// Reads a response.
pub(crate) fn read_response<T>(bytes: &[u8]) -> Result<Response<T>, AnswerError>
where
    T: for<'b> Decode<'b, ()> + Encode<()>,
{
    let message = Message::decode(bytes, &Message::BOUNDS)?;
    if message.promise == texts::ANSWER.id() {
        Ok(Response::Answer(cbor::decode(&message.payload, &BODY)?))
    } else if message.promise == texts::REFUSAL.id() {
        let refused: Refused = cbor::decode(&message.payload, &BODY)?;
        Ok(Response::Refusal(
            refused.why.chars().take(MAX_WHY).collect(),
        ))
    } else {
        Err(AnswerError::Promise)
    }
}
