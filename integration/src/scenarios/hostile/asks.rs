//! Requests of the protocol, and its answers, as far as an attacker needs them.

use std::net::SocketAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Result, bail};
use grid_promises::core::protocol::by_hand;
use grid_promises::network::NetworkId;
use grid_promises::network::admission::{Admission, RawLink};
use grid_promises::network::index::{IndexEntry, ShortId};
use grid_promises::{Message, Timestamp, cbor, texts};
use minicbor::bytes::{ByteArray, ByteVec};
use minicbor::{Decode, Encode};

/// The body of a comparison.
#[derive(Encode)]
struct Sync {
    #[n(0)]
    #[cbor(with = "minicbor::bytes")]
    root: [u8; 32],
    #[n(1)]
    index: Option<Vec<IndexEntry>>,
    #[n(2)]
    admission: Option<Vec<RawLink>>,
    #[n(3)]
    acts: Vec<ByteVec>,
}

/// The body of a request for single statements.
#[derive(Encode)]
struct Pull {
    #[n(0)]
    wanted: Vec<ByteArray<16>>,
}

/// The answer to a comparison.
#[derive(Encode, Decode)]
pub(super) enum Compared {
    #[n(0)]
    Equal,
    #[n(1)]
    Index(#[n(0)] Vec<IndexEntry>),
    /// What the asker lacks, what it is to send, and whether there is more.
    #[n(2)]
    Difference(
        #[n(0)] Vec<ByteVec>,
        #[n(1)] Vec<ByteArray<16>>,
        #[n(2)] bool,
    ),
}

/// The body of a push, and of the answer to [`pull`].
#[derive(Encode, Decode)]
pub(super) struct Statements {
    #[n(0)]
    pub(super) statements: Vec<ByteVec>,
}

/// Asks for everything, as one who holds nothing and shows this admission.
pub(super) fn compare(network: &NetworkId, admission: Option<&Admission>) -> Vec<u8> {
    let body = Sync {
        root: [0; 32],
        index: Some(Vec::new()),
        admission: admission.map(Admission::raw),
        acts: Vec::new(),
    };
    about(network, "sync", cbor::encode(&body))
}

/// Asks for single statements.
pub(super) fn pull(network: &NetworkId, wanted: &[ShortId]) -> Vec<u8> {
    let wanted = wanted.iter().map(|id| ByteArray::from(*id)).collect();
    about(network, "pull", cbor::encode(&Pull { wanted }))
}

/// Sends statements.
pub(super) fn push(network: &NetworkId, statements: &[Vec<u8>]) -> Vec<u8> {
    let statements = statements.iter().cloned().map(ByteVec::from).collect();
    about(network, "push", cbor::encode(&Statements { statements }))
}

fn about(network: &NetworkId, request: &str, body: Vec<u8>) -> Vec<u8> {
    Message::new(texts::JOIN_WIREGUARD_NET.id())
        .arg(request)
        .arg(network.0.to_bytes())
        .payload(body)
        .encode()
}

/// A hello that says where its receiver is seen, and the right time.
pub(super) fn hello(observed: SocketAddr) -> Vec<u8> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let clock = Timestamp(since.unwrap_or_default().as_secs());
    by_hand::hello(observed, clock)
}

/// The answer to a hello, which has the body of one.
pub(super) fn seen_at(observed: SocketAddr) -> Result<Vec<u8>> {
    let hello = Message::decode(&self::hello(observed), &Message::BOUNDS)?;
    let answer = Message::new(texts::ANSWER.id()).payload(hello.payload);
    Ok(answer.encode())
}

/// Whether a request is called `word`.
pub(super) fn is(request: &Message, word: &str) -> bool {
    let first = request.args.first();
    first.is_some_and(|first| first == word.as_bytes())
}

/// The payload of an answer; `None` for a refusal.
pub(super) fn answered(bytes: &[u8]) -> Result<Option<Vec<u8>>> {
    let message = Message::decode(bytes, &Message::BOUNDS)?;
    if message.promise == texts::ANSWER.id() {
        Ok(Some(message.payload))
    } else if message.promise == texts::REFUSAL.id() {
        Ok(None)
    } else {
        bail!("neither an answer nor a refusal")
    }
}
