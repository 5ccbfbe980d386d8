//! Under which name the result of a pure call is kept, and in which form.
//!
//! A lookup is a call: a result that was computed once is found by what was asked. The name of a
//! call is a path of segments, so that people can find it too:
//!
//! ```text
//! cache/<promise>/<module>/<argument>/.../=result            without a payload
//! cache/<promise>/<module>/<argument>/.../=result-<id>       with the payload of this content id
//! ```
//!
//! - Promise and module are content ids in text form; `=none` stands for no module.
//! - An argument is percent-encoded (RFC 3986 section 2.1): the unreserved bytes `A-Z a-z 0-9 - . _
//!   ~` stay as they are, every other byte becomes `%` and two upper-case hexadecimal digits.
//! - `.` becomes `%2E`, `..` becomes `%2E%2E`, and the empty argument `=empty`.
//! - An argument whose encoding is longer than [`MAX_SEGMENT`] is named by its hash:
//!   `=long-<id>`.
//! - Where the whole path would be longer than [`MAX_PATH`], the arguments from the first one that
//!   finds no room are named together by their hash, in one segment: `=rest-<id>`, the content id of
//!   the CBOR array of these arguments.
//!
//! No encoded argument has a `=` in it, so that no argument can be mistaken for one of these names.
//! The result of `a` is a file in the folder `a`, beside the folder `b` of `a/b`: both can be there.
//! The names are for file systems that tell upper case from lower case. A proof is no part of the
//! name: it says who asks, and a pure call does not depend on that.
//!
//! This file only names and encodes: which modules promise to be pure, and what is written where, is
//! for the caller to know.

use std::fmt;

use data_encoding::HEXUPPER;
use minicbor::encode::Write;
use minicbor::{Decode, Encode, Encoder};

use crate::cbor::{self, Bounds, CborError};
use crate::content_id::ContentId;
use crate::message::{Message, MessageError};

/// The longest segment of a path, in bytes. File names may have 255: there is room for suffixes such
/// as those of temporary files.
pub const MAX_SEGMENT: usize = 200;
/// The longest path, in bytes, with a slash before each segment but the first. Linux takes 4096 with
/// a final zero byte: there is room for the folder that the cache is in.
pub const MAX_PATH: usize = 3072;
/// The first segment of every path.
pub const FOLDER: &str = "cache";

const NO_MODULE: &str = "=none";
const EMPTY: &str = "=empty";
const LONG: &str = "=long-";
const REST: &str = "=rest-";
const RESULT: &str = "=result";

/// The relative path under which the result of a call is kept.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MemoPath(Vec<String>);

impl MemoPath {
    /// The path of a call.
    ///
    /// # Errors
    /// The message is over a limit of messages.
    pub fn of(call: &Message) -> Result<Self, MessageError> {
        call.check_limits()?;
        let module = match &call.module {
            None => NO_MODULE.to_owned(),
            Some(module) => module.to_string(),
        };
        let mut segments = vec![FOLDER.to_owned(), call.promise.to_string(), module];
        let result = result_name(&call.payload);
        let taken = |segments: &[String]| segments.iter().map(|name| 1 + name.len()).sum::<usize>();
        let args: Vec<String> = call.args.iter().map(|arg| argument(arg)).collect();
        // The slash that is counted before the first segment is not there.
        let room = (MAX_PATH + 1).saturating_sub(taken(&segments) + 1 + result.len());
        if taken(&args) <= room {
            segments.extend(args);
        } else {
            let mut left = room.saturating_sub(1 + REST.len() + ContentId::MAX_TEXT_LEN);
            let fits = |arg: &&String| {
                let rest = left.checked_sub(1 + arg.len());
                left = rest.unwrap_or(0);
                rest.is_some()
            };
            segments.extend(args.iter().take_while(fits).cloned());
            let named = segments.len() - 3;
            segments.push(format!("{REST}{}", rest_id(call.args.split_at(named).1)));
        }
        segments.push(result);
        Ok(Self(segments))
    }

    /// The segments: [`FOLDER`] first, the file of the result last. Each is a file name.
    #[must_use]
    pub fn segments(&self) -> &[String] {
        &self.0
    }
}

/// The segments with slashes between them.
impl fmt::Display for MemoPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("/"))
    }
}

/// Shows ids only: an argument may be what does not belong in a log.
impl fmt::Debug for MemoPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoPath")
            .field("promise", &self.0.get(1))
            .field("module", &self.0.get(2))
            .field("segments", &self.0.len())
            .finish()
    }
}

/// The segment of one argument.
fn argument(arg: &[u8]) -> String {
    match arg {
        b"" => return EMPTY.to_owned(),
        b"." => return "%2E".to_owned(),
        b".." => return "%2E%2E".to_owned(),
        _ => {}
    }
    let length: usize = arg
        .iter()
        .map(|byte| if stays(*byte) { 1 } else { 3 })
        .sum();
    if length > MAX_SEGMENT {
        return format!("{LONG}{}", ContentId::of(arg));
    }
    let mut text = String::with_capacity(length);
    for byte in arg {
        if stays(*byte) {
            text.push(char::from(*byte));
        } else {
            text.push('%');
            HEXUPPER.encode_append(&[*byte], &mut text);
        }
    }
    text
}

/// The unreserved bytes of RFC 3986 section 2.3.
const fn stays(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

fn rest_id(args: &[Vec<u8>]) -> ContentId {
    struct Rest<'a>(&'a [Vec<u8>]);

    impl<C> Encode<C> for Rest<'_> {
        fn encode<W: Write>(
            &self,
            e: &mut Encoder<W>,
            _: &mut C,
        ) -> Result<(), minicbor::encode::Error<W::Error>> {
            e.array(self.0.len() as u64)?;
            self.0.iter().try_for_each(|arg| e.bytes(arg)?.ok())
        }
    }

    ContentId::of(&cbor::encode(&Rest(args)))
}

fn result_name(payload: &[u8]) -> String {
    if payload.is_empty() {
        RESULT.to_owned()
    } else {
        format!("{RESULT}-{}", ContentId::of(payload))
    }
}

/// A result that is kept: `[42(call), 42(result), result as a byte string]`.
///
/// The ids say which call this is the result of and what the result is, so that a file that was cut,
/// altered, or put in another's place is found out. They prove nothing to anybody else: who can
/// write the file can write both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Memo {
    /// The content id of the call: see [`Memo::call_id`].
    pub call: ContentId,
    /// What the call gave.
    pub result: Message,
}

#[derive(Encode, Decode)]
struct Wire {
    #[n(0)]
    call: ContentId,
    #[n(1)]
    id: ContentId,
    #[cbor(n(2), with = "minicbor::bytes")]
    result: Vec<u8>,
}

impl Memo {
    /// The bounds of a memo: a message and two ids.
    pub const BOUNDS: Bounds = Bounds::bytes(Message::MAX_LEN + 256);

    /// The result of a call.
    #[must_use]
    pub fn new(call: &Message, result: Message) -> Self {
        Self {
            call: Self::call_id(call),
            result,
        }
    }

    /// The content id of a call without its proof. It covers promise, module, arguments and payload.
    #[must_use]
    pub fn call_id(call: &Message) -> ContentId {
        ContentId::of(&call.signing_bytes())
    }

    /// The bytes to keep.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let result = self.result.encode();
        cbor::encode(&Wire {
            call: self.call,
            id: ContentId::of(&result),
            result,
        })
    }

    /// Reads a memo of any call.
    ///
    /// # Errors
    /// Not a memo, or a damaged one.
    pub fn decode(bytes: &[u8]) -> Result<Self, MemoError> {
        let wire: Wire = cbor::decode(bytes, &Self::BOUNDS)?;
        // Not `verify`, which takes ids of other hash functions: one memo has one encoding.
        if ContentId::of(&wire.result) != wire.id {
            return Err(MemoError::Damaged);
        }
        Ok(Self {
            call: wire.call,
            result: Message::decode(&wire.result, &Message::BOUNDS)?,
        })
    }

    /// Reads the memo of a call.
    ///
    /// # Errors
    /// Not a memo, a damaged one, or that of another call.
    pub fn decode_for(call: &Message, bytes: &[u8]) -> Result<Self, MemoError> {
        let memo = Self::decode(bytes)?;
        if memo.call == Self::call_id(call) {
            Ok(memo)
        } else {
            Err(MemoError::OtherCall)
        }
    }
}

/// Bytes that are not the kept result. Remove the file and compute the result again; nothing was
/// changed. A sign of a damaged disk or of a hand in the cache, not of a peer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MemoError {
    /// Not deterministic CBOR of this form: cut short, altered, or something else.
    #[error("the kept result cannot be read: {0}")]
    Cbor(#[from] CborError),
    /// The result is not what its id says.
    #[error("the kept result is damaged: its content does not match its id")]
    Damaged,
    /// The result is whole, and no message.
    #[error("the kept result is no message: {0}")]
    Message(#[from] MessageError),
    /// The result of another call.
    #[error("the kept result belongs to another call")]
    OtherCall,
}
