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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content_id::HashCode;
    use proptest::prelude::*;

    fn call(args: &[&[u8]]) -> Message {
        let message = Message::new(ContentId::of(b"p"));
        args.iter().fold(message, |message, arg| message.arg(*arg))
    }

    /// The segments of the arguments.
    fn arguments(call: &Message) -> Vec<String> {
        let path = MemoPath::of(call).unwrap();
        let [folder, promise, _, args @ .., _] = path.segments() else {
            panic!("{path}");
        };
        assert_eq!(
            (folder.as_str(), promise),
            ("cache", &call.promise.to_string())
        );
        args.to_vec()
    }

    #[test]
    fn odd_arguments_have_names_of_their_own() {
        for (arg, name) in [
            (&b"a"[..], "a"),
            (b"A-z_0.9~", "A-z_0.9~"),
            (b"", "=empty"),
            (b".", "%2E"),
            (b"..", "%2E%2E"),
            (b"...", "..."),
            (b".hidden", ".hidden"),
            (b"%2E", "%252E"),
            (b"=empty", "%3Dempty"),
            (b"a/b", "a%2Fb"),
            (b"../../etc/passwd", "..%2F..%2Fetc%2Fpasswd"),
            (b"a b+c", "a%20b%2Bc"),
            ("ä".as_bytes(), "%C3%A4"),
            (b"\0\n\xff", "%00%0A%FF"),
            (b"\\:*?\"<>|", "%5C%3A%2A%3F%22%3C%3E%7C"),
        ] {
            assert_eq!(arguments(&call(&[arg])), [name], "{arg:?}");
        }
    }

    #[test]
    fn long_arguments_are_named_by_hash() {
        let most = vec![b'a'; MAX_SEGMENT];
        assert_eq!(arguments(&call(&[&most])), ["a".repeat(MAX_SEGMENT)]);
        for long in [vec![b'a'; MAX_SEGMENT + 1], vec![0; MAX_SEGMENT / 3 + 1]] {
            let name = format!("=long-{}", ContentId::of(&long));
            assert_eq!(arguments(&call(&[&long])), [name]);
        }
    }

    #[test]
    fn a_path_that_would_be_too_long_ends_in_the_hash_of_the_rest() {
        let longest = Message {
            promise: ContentId::with(HashCode::Sha2_512, b""),
            module: Some(ContentId::with(HashCode::Sha2_512, b"")),
            args: vec![vec![b'a'; MAX_SEGMENT]; Message::MAX_ARGS],
            payload: vec![1],
            proof: None,
        };
        let path = MemoPath::of(&longest).unwrap();
        assert!(path.to_string().len() <= MAX_PATH);
        let named = path.segments().len() - 5;
        let rest = path.segments().get(3 + named).unwrap();
        let array = cbor::encode(&vec![
            minicbor::bytes::ByteVec::from(vec![b'a'; MAX_SEGMENT]);
            Message::MAX_ARGS - named
        ]);
        assert_eq!(*rest, format!("=rest-{}", ContentId::of(&array)));
        // 64 short arguments need no hash.
        let short = call(&[&b"argument"[..]; Message::MAX_ARGS]);
        assert_eq!(arguments(&short), ["argument"; Message::MAX_ARGS]);
    }

    #[test]
    fn a_path_is_as_long_as_it_may_be() {
        let with = |last: usize| {
            let mut args = vec![vec![b'a'; MAX_SEGMENT]; 14];
            args.push(vec![b'a'; last]);
            let call = Message { args, ..call(&[]) };
            MemoPath::of(&call).unwrap()
        };
        let fits = (1..MAX_SEGMENT)
            .rev()
            .find(|last| !with(*last).to_string().contains("=rest-"));
        let fits = fits.unwrap();
        assert_eq!(with(fits).to_string().len(), MAX_PATH);
        assert!(with(fits + 1).to_string().contains("=rest-"));
        assert!(with(fits + 1).to_string().len() <= MAX_PATH);
    }

    #[test]
    fn the_name_holds_all_of_a_call_but_its_proof() {
        let id = ContentId::of(b"p");
        let plain = call(&[b"a"]);
        let text = |call: &Message| MemoPath::of(call).unwrap().to_string();
        assert_eq!(text(&plain), format!("cache/{id}/=none/a/=result"));
        assert_eq!(
            text(&plain.clone().module(id)),
            format!("cache/{id}/{id}/a/=result")
        );
        assert_eq!(
            text(&plain.clone().payload(b"x")),
            format!("cache/{id}/=none/a/=result-{}", ContentId::of(b"x"))
        );
        assert_eq!(text(&call(&[])), format!("cache/{id}/=none/=result"));
        // The result of `a` and the folder of `a/b`.
        assert_eq!(
            text(&call(&[b"a", b"b"])),
            format!("cache/{id}/=none/a/b/=result")
        );
        let signed = Message {
            proof: Some([7; 64]),
            ..plain.clone()
        };
        assert_eq!(text(&signed), text(&plain));
        assert_eq!(Memo::call_id(&signed), Memo::call_id(&plain));
    }

    #[test]
    fn a_message_over_its_limits_has_no_path() {
        let long = vec![0; Message::MAX_ARG_LEN + 1];
        assert!(MemoPath::of(&call(&[&long])).is_err());
        assert!(MemoPath::of(&call(&[&b""[..]; Message::MAX_ARGS + 1])).is_err());
    }

    #[test]
    fn no_argument_is_shown_for_a_log() {
        let path = MemoPath::of(&call(&[b"grid-invite-secret"])).unwrap();
        assert!(!format!("{path:?}").contains("secret"));
    }

    #[test]
    fn a_memo_of_another_call_is_refused() {
        let memo = Memo::new(&call(&[b"a"]), call(&[b"result"]));
        let bytes = memo.encode();
        assert_eq!(Memo::decode_for(&call(&[b"a"]), &bytes), Ok(memo));
        let other = Memo::decode_for(&call(&[b"b"]), &bytes);
        assert_eq!(other, Err(MemoError::OtherCall));
        let payload = Memo::decode_for(&call(&[b"a"]).payload(b"x"), &bytes);
        assert_eq!(payload, Err(MemoError::OtherCall));
    }

    #[test]
    fn what_is_no_memo_is_refused() {
        let good = call(&[b"result"]).encode();
        let wire = |id: ContentId, result: &[u8]| {
            cbor::encode(&Wire {
                call: ContentId::of(b""),
                id,
                result: result.to_vec(),
            })
        };
        assert!(Memo::decode(&wire(ContentId::of(&good), &good)).is_ok());
        let other = Memo::decode(&wire(ContentId::of(b""), &good));
        assert_eq!(other, Err(MemoError::Damaged));
        let other_hash = Memo::decode(&wire(ContentId::with(HashCode::Blake3, &good), &good));
        assert_eq!(other_hash, Err(MemoError::Damaged));
        let nothing = Memo::decode(&wire(ContentId::of(b""), b""));
        assert!(matches!(nothing, Err(MemoError::Message(_))), "{nothing:?}");
        assert!(matches!(Memo::decode(b""), Err(MemoError::Cbor(_))));
    }

    /// The longest message that there can be has a memo.
    #[test]
    fn the_longest_result_can_be_kept() {
        let result = Message {
            args: vec![vec![1; Message::MAX_ARG_LEN]; Message::MAX_ARGS],
            payload: vec![2; Message::MAX_PAYLOAD],
            ..call(&[])
        };
        let memo = Memo::new(&result, result.clone());
        assert_eq!(Memo::decode(&memo.encode()), Ok(memo));
    }

    /// Arguments that are near to one another, and to the names that are made here.
    fn any_arg() -> impl Strategy<Value = Vec<u8>> {
        let odd = [
            "", ".", "..", "a", "b", "a/b", "%", "%2E", "=empty", "=result", "=long-", "=rest-",
        ];
        prop_oneof![
            4 => prop::sample::select(odd.to_vec()).prop_map(|text| text.as_bytes().to_vec()),
            2 => prop::collection::vec(any::<u8>(), 0..5),
            1 => (any::<u8>(), 60..210usize).prop_map(|(byte, length)| vec![byte; length]),
            1 => (prop::sample::select(vec![b'a', b'b']), 190..210usize)
                .prop_map(|(byte, length)| vec![byte; length]),
        ]
    }

    fn any_call() -> impl Strategy<Value = Message> {
        let id = || prop::sample::select(vec![ContentId::of(b"1"), ContentId::of(b"2")]);
        let args = prop_oneof![
            prop::collection::vec(any_arg(), 0..4),
            prop::collection::vec(any_arg(), 0..Message::MAX_ARGS),
        ];
        let payload = prop::sample::select(vec![&b""[..], b"a", b"b"]);
        (id(), prop::option::of(id()), args, payload).prop_map(
            |(promise, module, args, payload)| Message {
                promise,
                module,
                args,
                payload: payload.to_vec(),
                proof: None,
            },
        )
    }

    /// A call and one that differs in one place.
    fn two_calls() -> impl Strategy<Value = (Message, Message)> {
        let change = (any::<prop::sample::Index>(), any_arg(), 0..3u8);
        prop_oneof![
            (any_call(), any_call()),
            (any_call(), change).prop_map(|(call, (at, arg, kind))| {
                let mut other = call.clone();
                let at = at.index(call.args.len() + 1);
                match (kind, other.args.get_mut(at)) {
                    (0, Some(old)) => *old = arg,
                    (1, Some(_)) => _ = other.args.remove(at),
                    _ => other.args.insert(at, arg),
                }
                (call, other)
            }),
        ]
    }

    proptest! {
        #[test]
        fn two_calls_never_have_one_path((a, b) in two_calls()) {
            let (one, other) = (MemoPath::of(&a).unwrap(), MemoPath::of(&b).unwrap());
            prop_assert_eq!(one == other, a == b);
            prop_assert_eq!(one.to_string() == other.to_string(), a == b);
            // Nor is the file of one the folder of the other.
            prop_assert!(a == b || !other.segments().starts_with(one.segments()));
        }

        #[test]
        fn every_segment_is_a_file_name_and_none_leads_out(call in any_call()) {
            let path = MemoPath::of(&call).unwrap();
            prop_assert_eq!(&path.segments()[0], FOLDER);
            prop_assert!(path.segments().len() <= 4 + Message::MAX_ARGS + 1);
            prop_assert!(path.to_string().len() <= MAX_PATH);
            for name in path.segments() {
                prop_assert!(!["", ".", ".."].contains(&name.as_str()));
                prop_assert!(name.len() <= MAX_SEGMENT);
                let safe = |byte: u8| stays(byte) || byte == b'%' || byte == b'=';
                prop_assert!(name.bytes().all(safe), "{}", name);
            }
        }

        #[test]
        fn an_argument_can_be_read_back(arg in any_arg()) {
            let name = argument(&arg);
            prop_assume!(!name.starts_with('='));
            let mut back = Vec::new();
            let mut rest = name.as_bytes();
            while let Some((byte, after)) = rest.split_first() {
                rest = after;
                if *byte == b'%' {
                    let (digits, after) = rest.split_at(2);
                    back.extend(HEXUPPER.decode(digits).unwrap());
                    rest = after;
                } else {
                    back.push(*byte);
                }
            }
            prop_assert_eq!(back, arg);
        }

        #[test]
        fn a_memo_reads_back_and_damage_is_found_out(
            call in any_call(),
            result in any_call(),
            at: prop::sample::Index,
            flip in 1..=255u8,
        ) {
            let memo = Memo::new(&call, result);
            let bytes = memo.encode();
            prop_assert_eq!(Memo::decode_for(&call, &bytes), Ok(memo));
            let mut damaged = bytes.clone();
            damaged[at.index(bytes.len())] ^= flip;
            prop_assert!(Memo::decode_for(&call, &damaged).is_err());
            prop_assert!(Memo::decode(&bytes[..at.index(bytes.len())]).is_err());
        }
    }
}
