//! What a guest is called with, and what it answers: messages,
//! `grid([42(promise), 42(module) | null, [arg, ...], payload, proof | null])`.

use alloc::string::String;
use alloc::vec::Vec;

use crate::cbor::{self, ARRAY, BYTES, NULL, Reader, TAG};

/// The tag that every message begins with: "grid".
const GRID: u64 = 0x6772_6964;
const CID: u64 = 42;
/// The most arguments of a message.
const MAX_ARGS: u64 = 64;

/// The binary content id of the promise that says: I will handle this
/// (`texts/accept-message.md`).
pub const ACCEPT_MESSAGE: [u8; 36] = [
    0x01, 0x55, 0x12, 0x20, 0x2b, 0xb7, 0x01, 0xed, 0xda, 0x5c, 0x32, 0xec, 0x61, 0x4e, 0x9f, 0xbd,
    0xe0, 0xec, 0x8e, 0x0d, 0x52, 0x49, 0xaa, 0xef, 0xcb, 0x2f, 0xfa, 0x66, 0xf5, 0x72, 0x0a, 0x92,
    0x25, 0xaf, 0x5b, 0x03,
];
/// The binary content id of the promise that says: I will not (`texts/reject-message.md`).
pub const REJECT_MESSAGE: [u8; 36] = [
    0x01, 0x55, 0x12, 0x20, 0x29, 0x5c, 0x64, 0xb1, 0x77, 0x38, 0xcf, 0x1b, 0xa1, 0xfb, 0xb9, 0x30,
    0x4e, 0x8f, 0xcd, 0x47, 0x4e, 0x5e, 0x51, 0xe4, 0x70, 0x7a, 0x42, 0xd7, 0x6c, 0x6c, 0x84, 0x2a,
    0xeb, 0x7e, 0x2a, 0xe4,
];

/// The parameters of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parms<'a> {
    /// The binary content id of the promise that the call is made under.
    pub promise: &'a [u8],
    /// The binary content id of the module that is asked for, where the caller names one.
    pub module: Option<&'a [u8]>,
    /// The arguments.
    pub args: Vec<&'a [u8]>,
}

/// What a guest says to *accept*.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It will handle such a call. Saying so and then not answering is a broken promise.
    Accept,
    /// It will not, and why.
    Reject(String),
}

/// What a guest answers to *handle*.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The binary content id of the promise that it is made under.
    pub promise: Vec<u8>,
    /// The arguments; usually none.
    pub args: Vec<Vec<u8>>,
    /// The content. At most 1 MiB.
    pub payload: Vec<u8>,
}

/// Bytes that are not a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

impl<'a> Parms<'a> {
    /// Reads a message that takes up all of `bytes`. The payload is beside the parameters; a proof
    /// is passed over.
    ///
    /// # Errors
    /// Not a message.
    pub fn decode(bytes: &'a [u8]) -> Result<(Self, &'a [u8]), Malformed> {
        read(bytes).ok_or(Malformed)
    }
}

impl Answer {
    /// An empty answer under the promise of the call.
    #[must_use]
    pub fn to(parms: &Parms<'_>) -> Self {
        Self {
            promise: parms.promise.to_vec(),
            args: Vec::new(),
            payload: Vec::new(),
        }
    }

    /// Sets the payload.
    #[must_use]
    pub fn payload(mut self, payload: impl Into<Vec<u8>>) -> Self {
        self.payload = payload.into();
        self
    }

    /// The bytes of the message.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.payload.len() + 64);
        cbor::head(&mut out, TAG, GRID);
        cbor::head(&mut out, ARRAY, 5);
        cbor::id(&mut out, &self.promise);
        out.push(NULL);
        cbor::head(&mut out, ARRAY, self.args.len() as u64);
        for arg in &self.args {
            cbor::string(&mut out, BYTES, arg);
        }
        cbor::string(&mut out, BYTES, &self.payload);
        out.push(NULL);
        out
    }
}

impl From<Verdict> for Answer {
    fn from(verdict: Verdict) -> Self {
        let (promise, payload) = match verdict {
            Verdict::Accept => (ACCEPT_MESSAGE, Vec::new()),
            Verdict::Reject(why) => (REJECT_MESSAGE, why.into_bytes()),
        };
        Self {
            promise: promise.to_vec(),
            args: Vec::new(),
            payload,
        }
    }
}

fn read(bytes: &[u8]) -> Option<(Parms<'_>, &[u8])> {
    let mut reader = Reader(bytes);
    if reader.head(TAG)? != GRID || reader.head(ARRAY)? != 5 {
        return None;
    }
    let promise = read_id(&mut reader)?;
    let module = if reader.is(NULL) {
        None
    } else {
        Some(read_id(&mut reader)?)
    };
    let count = reader.head(ARRAY)?;
    if count > MAX_ARGS {
        return None;
    }
    let mut args = Vec::new();
    for _ in 0..count {
        args.push(reader.string(BYTES)?);
    }
    let payload = reader.string(BYTES)?;
    if !reader.is(NULL) && reader.string(BYTES)?.len() != 64 {
        return None;
    }
    let parms = Parms {
        promise,
        module,
        args,
    };
    reader.0.is_empty().then_some((parms, payload))
}

fn read_id<'a>(reader: &mut Reader<'a>) -> Option<&'a [u8]> {
    if reader.head(TAG)? != CID {
        return None;
    }
    reader.string(BYTES)?.strip_prefix(&[0])
}

#[cfg(test)]
mod tests {
    use super::*;
    use grid_promises::{ContentId, Message};
    use proptest::prelude::*;

    #[test]
    fn the_two_verdicts_are_those_texts() {
        let accept = ContentId::of(include_bytes!("../../../promises/texts/accept-message.md"));
        let reject = ContentId::of(include_bytes!("../../../promises/texts/reject-message.md"));
        assert_eq!(accept.to_bytes(), ACCEPT_MESSAGE);
        assert_eq!(reject.to_bytes(), REJECT_MESSAGE);
        let no = Answer::from(Verdict::Reject("busy".into())).encode();
        let no = Message::decode(&no, &Message::BOUNDS).unwrap();
        assert_eq!(no, Message::new(reject).payload("busy"));
    }

    #[test]
    fn what_is_cut_or_altered_is_no_message() {
        let message = Message::new(ContentId::of(b"p"))
            .module(ContentId::of(b"m"))
            .arg("a")
            .payload("xyz");
        let bytes = message.encode();
        assert!(Parms::decode(&bytes).is_ok());
        for cut in 0..bytes.len() {
            assert_eq!(Parms::decode(&bytes[..cut]), Err(Malformed));
        }
        let mut longer = bytes.clone();
        longer.push(0);
        assert_eq!(Parms::decode(&longer), Err(Malformed));
        for (at, byte) in [(0, 0xdb), (4, 0x65), (5, 0x84), (6, 0xd9)] {
            let mut other = bytes.clone();
            other[at] = byte;
            assert_eq!(Parms::decode(&other), Err(Malformed), "byte {at}");
        }
    }

    proptest! {
        /// The node's encoder and decoder are the measure.
        #[test]
        fn messages_are_those_of_the_node(
            promise: Vec<u8>, module: Option<Vec<u8>>, signed: bool,
            args in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..30),
            payload in prop::collection::vec(any::<u8>(), 0..70_000),
        ) {
            let mut message = Message::new(ContentId::of(&promise)).payload(payload.clone());
            message.module = module.map(|module| ContentId::of(&module));
            message.args = args.clone();
            let answer = Answer {
                promise: message.promise.to_bytes(), args: args.clone(), payload: payload.clone(),
            };
            let without = Message { module: None, ..message.clone() };
            prop_assert_eq!(answer.encode(), without.encode());
            message.proof = signed.then_some([7; 64]);
            let bytes = message.encode();
            let (parms, read) = Parms::decode(&bytes).unwrap();
            prop_assert_eq!(read, payload);
            prop_assert_eq!(parms.promise.to_vec(), message.promise.to_bytes());
            prop_assert_eq!(parms.module.map(<[u8]>::to_vec), message.module.map(|id| id.to_bytes()));
            prop_assert_eq!(parms.args, args.iter().map(Vec::as_slice).collect::<Vec<_>>());
        }

        #[test]
        fn nothing_panics(bytes: Vec<u8>, at: prop::sample::Index, byte: u8) {
            let _ = Parms::decode(&bytes);
            let mut message = Message::new(ContentId::of(b"p")).arg("a").payload(bytes).encode();
            let at = at.index(message.len());
            message[at] = byte;
            let _ = Parms::decode(&message);
        }
    }
}
