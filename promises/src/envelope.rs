//! The envelope: the hash of a promise leads, and what follows belongs to that promise.
//!
//! `1735551332([42(promise), ...slots])`: CBOR tag `0x67726964` ("grid") over a definite-length
//! array whose slot 0 is the content id of the document that states the promise (PromiseGrid,
//! `grid-cbor-tag-spec`). The other slots stay opaque here; [`crate::message`] reads those of this
//! project. Nothing is accepted by being well-formed: a promise that nobody here keeps is the
//! caller's to refuse.

use minicbor::data::{Tag, Type};
use minicbor::decode::Decoder;

use crate::cbor::{self, Bounds, CborError, CborFault};
use crate::content_id::{ContentId, ContentIdError};
use crate::wire::CID_TAG;

/// The CBOR tag of the envelope: "grid" in ASCII.
pub const GRID_TAG: u64 = 0x6772_6964;

/// What every envelope begins with: the tag in its one shortest form.
pub const GRID_PREFIX: [u8; 5] = [0xda, 0x67, 0x72, 0x69, 0x64];

/// The multicodec code of the envelope (`grid-cbor`).
pub const GRID_CBOR_CODEC: u64 = 0x1027;

/// How much of a message [`peek`] looks at, in bytes: tag, array, tag, and the longest content id fit.
const PEEKED: usize = GRID_PREFIX.len() + 16 + ContentId::MAX_LEN;

/// The promise that leads a message, if there is one. The rest of it is not looked at, so that messages
/// can be told apart before they are read.
#[must_use]
pub fn peek(message: &[u8]) -> Option<ContentId> {
    let head = message.get(..message.len().min(PEEKED))?;
    let mut decoder = Decoder::new(head.strip_prefix(&GRID_PREFIX)?);
    decoder.array().ok()??;
    decoder.tag().ok()?;
    if decoder.datatype().ok()? != Type::Bytes {
        return None;
    }
    ContentId::from_bytes(decoder.bytes().ok()?.strip_prefix(&[0])?).ok()
}

/// An envelope as it was received. The bytes are kept: they are what is hashed and handed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope<'a> {
    promise: ContentId,
    slots: Vec<&'a [u8]>,
    raw: &'a [u8],
}

impl<'a> Envelope<'a> {
    /// Reads an envelope that takes up all of `bytes`.
    ///
    /// # Errors
    /// Not an envelope, not deterministic CBOR, or beyond `bounds`.
    pub fn decode(bytes: &'a [u8], bounds: &Bounds) -> Result<Self, EnvelopeError> {
        let (id, slots) = parts(bytes, bounds)?;
        let binary = id.strip_prefix(&[0]).ok_or(EnvelopeError::NoPrefix)?;
        let promise = ContentId::from_bytes(binary)?;
        Ok(Self {
            promise,
            slots,
            raw: bytes,
        })
    }

    /// Encodes an envelope from a promise and slots that are encoded already.
    ///
    /// # Errors
    /// The slot with the index of the error is not exactly one deterministic CBOR item.
    pub fn encode(promise: &ContentId, slots: &[&[u8]]) -> Result<Vec<u8>, SlotError> {
        let any = Bounds {
            max_bytes: usize::MAX,
            max_depth: u8::MAX - 2,
            max_items: u64::MAX,
        };
        for (index, slot) in slots.iter().enumerate() {
            cbor::check(slot, &any).map_err(|error| SlotError { index, error })?;
        }
        Ok(cbor::encode(&Parts { promise, slots }))
    }

    /// The promise that this is said under.
    #[must_use]
    pub const fn promise(&self) -> &ContentId {
        &self.promise
    }

    /// The encoded slots after the promise, in order.
    #[must_use]
    pub fn slots(&self) -> &[&'a [u8]] {
        &self.slots
    }

    /// The bytes as received.
    #[must_use]
    pub const fn raw(&self) -> &'a [u8] {
        self.raw
    }

    /// The content id of the bytes as received.
    #[must_use]
    pub fn id(&self) -> ContentId {
        ContentId::of(self.raw)
    }
}

/// An envelope of the older form, which leaves out the `00` before the content id.
///
/// It can be read and its bytes handed on as they are; there is no way to encode one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LegacyEnvelope<'a> {
    promise: ContentId,
    slots: Vec<&'a [u8]>,
    raw: &'a [u8],
}

impl<'a> LegacyEnvelope<'a> {
    /// Reads an envelope of the older form that takes up all of `bytes`.
    ///
    /// # Errors
    /// As [`Envelope::decode`]; an envelope of today's form is refused too.
    pub fn decode(bytes: &'a [u8], bounds: &Bounds) -> Result<Self, EnvelopeError> {
        let (id, slots) = parts(bytes, bounds)?;
        if id.first() == Some(&0) {
            return Err(EnvelopeError::NotLegacy);
        }
        Ok(Self {
            promise: ContentId::from_bytes(id)?,
            slots,
            raw: bytes,
        })
    }

    /// The promise that this is said under.
    #[must_use]
    pub const fn promise(&self) -> &ContentId {
        &self.promise
    }

    /// The encoded slots after the promise, in order.
    #[must_use]
    pub fn slots(&self) -> &[&'a [u8]] {
        &self.slots
    }

    /// The bytes as received.
    #[must_use]
    pub const fn raw(&self) -> &'a [u8] {
        self.raw
    }

    /// The content id of the bytes as received.
    #[must_use]
    pub fn id(&self) -> ContentId {
        ContentId::of(self.raw)
    }
}

/// The bytes under the tag of slot 0, and the slots that follow.
type RawParts<'a> = (&'a [u8], Vec<&'a [u8]>);

fn parts<'a>(bytes: &'a [u8], bounds: &Bounds) -> Result<RawParts<'a>, EnvelopeError> {
    if !bytes.starts_with(&GRID_PREFIX) {
        return Err(if GRID_PREFIX.starts_with(bytes) {
            CborFault::Truncated.at(0).into()
        } else {
            EnvelopeError::NotGrid
        });
    }
    cbor::check(bytes, bounds)?;
    let mut decoder = Decoder::new(bytes);
    decoder.tag().map_err(unexpected)?;
    if decoder.datatype().map_err(unexpected)? != Type::Array {
        return Err(EnvelopeError::NotAnArray);
    }
    let length = decoder.array().map_err(unexpected)?.unwrap_or(0);
    let id = match decoder.datatype() {
        Ok(Type::Tag) if length > 0 => promise_bytes(&mut decoder)?,
        _ => return Err(EnvelopeError::NoPromise),
    };
    let mut slots = Vec::new();
    for _ in 1..length {
        let start = decoder.position();
        decoder.skip().map_err(unexpected)?;
        slots.push(bytes.get(start..decoder.position()).unwrap_or_default());
    }
    Ok((id, slots))
}

fn promise_bytes<'a>(decoder: &mut Decoder<'a>) -> Result<&'a [u8], EnvelopeError> {
    if decoder.tag().map_err(unexpected)?.as_u64() != CID_TAG {
        return Err(EnvelopeError::NoPromise);
    }
    decoder.bytes().map_err(|_| EnvelopeError::NoPromise)
}

/// The bytes passed the check, so that only their shape can be wrong.
fn unexpected(error: minicbor::decode::Error) -> EnvelopeError {
    let offset = error.position().unwrap_or(0);
    CborFault::Unexpected {
        detail: error.to_string(),
    }
    .at(offset)
    .into()
}

struct Parts<'a> {
    promise: &'a ContentId,
    slots: &'a [&'a [u8]],
}

impl<C> minicbor::Encode<C> for Parts<'_> {
    fn encode<W: minicbor::encode::Write>(
        &self,
        e: &mut minicbor::Encoder<W>,
        ctx: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        e.tag(Tag::new(GRID_TAG))?
            .array(1 + self.slots.len() as u64)?;
        self.promise.encode(e, ctx)?;
        for slot in self.slots {
            e.writer_mut()
                .write_all(slot)
                .map_err(minicbor::encode::Error::write)?;
        }
        Ok(())
    }
}

/// Bytes that are not an envelope. Nothing was changed; the same bytes will fail again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// The bytes do not begin with the grid tag.
    #[error("not a grid message: it must begin with the CBOR tag 1735551332 (da67726964)")]
    NotGrid,
    /// Not deterministic CBOR, or beyond the bounds.
    #[error("the envelope is not acceptable CBOR: {0}")]
    Cbor(#[from] CborError),
    /// Something other than an array under the tag.
    #[error("the envelope must be an array")]
    NotAnArray,
    /// An empty array, or a slot 0 that is not tag 42 over a byte string.
    #[error("slot 0 of the envelope must be the content id of a promise (tag 42)")]
    NoPromise,
    /// A content id without the zero byte before it: the older form.
    #[error("the promise id lacks the zero byte before it (the older form is not read here)")]
    NoPrefix,
    /// An envelope of today's form where the older one was asked for.
    #[error("this is not an envelope of the older form")]
    NotLegacy,
    /// Slot 0 does not hold a content id that this version can verify.
    #[error("the promise id cannot be used: {0}")]
    Promise(#[from] ContentIdError),
}

/// A slot that cannot stand in an envelope.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("slot {} of the envelope is not acceptable CBOR: {error}", index + 1)]
pub struct SlotError {
    /// Which of the slots that were passed, from 0.
    pub index: usize,
    /// What is wrong with it.
    pub error: CborError,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content_id::HashCode;
    use crate::{Message, texts};
    use proptest::prelude::*;

    #[test]
    fn messages_are_told_apart_by_the_promise_that_leads_them() {
        let unknown = ContentId::with(HashCode::Sha2_512, b"I will do anything");
        for promise in [texts::FETCH.id(), texts::STATUS.id(), unknown] {
            let message = Message::new(promise).arg("x").payload([7; 5000]);
            assert_eq!(peek(&message.encode()), Some(promise));
        }
        assert_eq!(peek(b""), None);
    }

    proptest! {
        #[test]
        fn no_bytes_are_too_strange_to_be_told_apart(
            bytes in proptest::collection::vec(any::<u8>(), 0..200), prefixed in any::<bool>(),
        ) {
            let bytes = if prefixed { [&GRID_PREFIX[..], &bytes].concat() } else { bytes };
            let _ = peek(&bytes);
        }
    }
}
