//! The bodies of messages between nodes.
//!
//! A request is a [`Message`] under the promise that it is made by; its first argument names the
//! request, its second the network (its binary id) or the name asked for, and its payload is one of
//! the types here in deterministic CBOR. A response is a message under `answer` with a payload that
//! belongs to the request, or under `refusal` with a `Refused`.

#[cfg(feature = "sim")]
pub mod by_hand;

use std::net::SocketAddr;

use minicbor::bytes::{ByteArray, ByteVec};
use minicbor::{Decode, Encode};

use crate::answer::{AnswerError, BODY, Response, read_response};
use crate::cbor::{self, CborError};
use crate::content_id::ContentId;
use crate::limits::{MAX_ACTS, MAX_ROOTING};
use crate::message::{Message, MessageError};
use crate::network::admission::{AdmissionRequest, RawLink};
use crate::network::ids::NetworkId;
use crate::network::index::{IndexEntry, ShortId};
use crate::network::name::NetworkName;
use crate::network::statement::{MAX_STATEMENTS, Signed};
use crate::texts;
use crate::time::Timestamp;
use crate::wire;

/// Charters of networks with one name that a node tells of.
pub(crate) const MAX_FOUND: usize = 8;

/// A request as it was understood.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Ask {
    Hello(Hello),
    Find(NetworkName),
    Network(NetworkId, NetworkAsk),
}

/// A request in a network.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum NetworkAsk {
    Sync(SyncRequest),
    Pull(Pull),
    Push(Push),
    Admit(AdmitRequest),
}

/// What a request in a network was about, which says how its answer is read.
#[derive(Clone, Copy, Debug)]
pub(crate) enum NetworkAbout {
    Sync {
        /// Whether the request showed this node's admission.
        introduced: bool,
    },
    Pull,
    Push,
    Admit,
}

/// What came back to a request in a network.
#[derive(Debug)]
pub(crate) enum NetworkReply {
    Sync {
        introduced: bool,
        response: Response<SyncAnswer>,
    },
    Pull(Response<Push>),
    Push(Response<PushAnswer>),
    Admit(Response<AdmitAnswer>),
}

impl NetworkAbout {
    /// Reads what came back.
    pub(crate) fn read(self, bytes: &[u8]) -> Result<NetworkReply, AnswerError> {
        Ok(match self {
            Self::Sync { introduced } => NetworkReply::Sync {
                introduced,
                response: read_response(bytes)?,
            },
            Self::Pull => NetworkReply::Pull(read_response(bytes)?),
            Self::Push => NetworkReply::Push(read_response(bytes)?),
            Self::Admit => NetworkReply::Admit(read_response(bytes)?),
        })
    }
}

/// How the sender sees the receiver's address, and what its clock shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub(crate) struct Hello {
    #[n(0)]
    #[cbor(with = "wire::socket_addr")]
    pub(crate) observed: SocketAddr,
    #[n(1)]
    pub(crate) clock: Timestamp,
}

/// The charters that a node knows by a name, for `find`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub(crate) struct Found {
    #[cbor(n(0), decode_with = "wire::at_most::<MAX_FOUND, _, _>")]
    pub(crate) charters: Vec<ByteVec>,
}

/// An id of an index, as a byte string.
type Short = ByteArray<{ size_of::<ShortId>() }>;

/// What the sender holds.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub(crate) struct SyncRequest {
    #[n(0)]
    #[cbor(with = "minicbor::bytes")]
    pub(crate) root: [u8; 32],
    /// Left out on the timer: most comparisons end with equal roots.
    #[n(1)]
    pub(crate) index: Option<Vec<IndexEntry>>,
    /// Shown by a node whose promise the receiver may not have.
    #[n(2)]
    pub(crate) admission: Option<Vec<RawLink>>,
    /// The acts that make the sender a member, if it takes any, and those that undid what put it out: the receiver may not
    /// have them either.
    #[cbor(n(3), decode_with = "wire::at_most::<MAX_ACTS, _, _>")]
    pub(crate) acts: Vec<ByteVec>,
}

/// How the receiver's statements differ.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub(crate) enum SyncAnswer {
    /// They do not.
    #[n(0)]
    Equal,
    /// They do; compare with this index.
    #[n(1)]
    Index(#[n(0)] Vec<IndexEntry>),
    /// They do: what the sender lacks, what the receiver lacks, whether there is more.
    #[n(2)]
    Difference(
        #[cbor(n(0), decode_with = "wire::at_most::<MAX_STATEMENTS, _, _>")] Vec<ByteVec>,
        #[cbor(n(1), decode_with = "wire::at_most::<MAX_STATEMENTS, _, _>")] Vec<Short>,
        #[n(2)] bool,
    ),
}

/// Asks for statements by the ids of an index.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub(crate) struct Pull {
    #[cbor(n(0), decode_with = "wire::at_most::<MAX_STATEMENTS, _, _>")]
    pub(crate) wanted: Vec<Short>,
}

/// Statements, unchanged.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub(crate) struct Push {
    #[cbor(n(0), decode_with = "wire::at_most::<MAX_STATEMENTS, _, _>")]
    pub(crate) statements: Vec<ByteVec>,
}

/// What became of a push.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub(crate) struct PushAnswer {
    /// How many statements were not merged.
    #[n(0)]
    pub(crate) refused: u32,
    /// Why the sender's own promise was not merged, if it was among them.
    #[n(1)]
    pub(crate) why: Option<String>,
    /// A receipt for the sender's own promise, where it lacks one.
    #[n(2)]
    pub(crate) receipt: Option<ByteVec>,
}

/// Asks to be admitted: a signed `AdmissionRequest`.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub(crate) struct AdmitRequest {
    #[n(0)]
    pub(crate) request: ByteVec,
}

impl AdmitRequest {
    pub(crate) fn new(request: &Signed<AdmissionRequest>) -> Self {
        Self {
            request: ByteVec::from(request.bytes().to_vec()),
        }
    }

    /// The request, if it holds.
    pub(crate) fn open(&self) -> Option<Signed<AdmissionRequest>> {
        Signed::decode(&self.request).ok()
    }
}

/// The acts by which an owner admitted the node, where one did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub(crate) struct AdmitAnswer {
    #[cbor(n(0), decode_with = "wire::at_most::<MAX_ROOTING, _, _>")]
    pub(crate) acts: Vec<ByteVec>,
    /// The last act of the recovery key, for a node that waits: whoever has that key goes on from it.
    #[n(1)]
    pub(crate) recovery: Option<ByteVec>,
}

/// Why bytes are not a request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ProtocolError {
    #[error("not a message: {0}")]
    Message(#[from] MessageError),
    #[error("a payload that cannot be read: {0}")]
    Payload(#[from] CborError),
    #[error("a message under a promise that this node does not keep for others")]
    Promise,
    #[error("a request that the promise does not know")]
    Unknown,
}

impl Ask {
    /// The encoded message.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let (promise, name, subject, payload) = match self {
            Self::Hello(body) => (texts::EXCHANGE_KEYS, "hello", None, cbor::encode(body)),
            Self::Find(name) => {
                let subject = name.as_str().as_bytes().to_vec();
                (texts::EXCHANGE_KEYS, "find", Some(subject), Vec::new())
            }
            Self::Network(network, ask) => {
                let (name, body) = match ask {
                    NetworkAsk::Sync(body) => ("sync", cbor::encode(body)),
                    NetworkAsk::Pull(body) => ("pull", cbor::encode(body)),
                    NetworkAsk::Push(body) => ("push", cbor::encode(body)),
                    NetworkAsk::Admit(body) => ("ask", cbor::encode(body)),
                };
                let subject = network.0.to_bytes();
                (texts::JOIN_WIREGUARD_NET, name, Some(subject), body)
            }
        };
        let mut message = Message::new(promise.id()).arg(name);
        if let Some(subject) = subject {
            message = message.arg(subject);
        }
        message.payload(payload).encode()
    }

    /// Reads a request.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, ProtocolError> {
        let message = Message::decode(bytes, &Message::BOUNDS)?;
        let args: Vec<&[u8]> = message.args.iter().map(Vec::as_slice).collect();
        let payload = &message.payload;
        if message.promise == texts::EXCHANGE_KEYS.id() {
            return match args.as_slice() {
                [b"hello"] => Ok(Self::Hello(cbor::decode(payload, &BODY)?)),
                [b"find", name] => std::str::from_utf8(name)
                    .ok()
                    .and_then(|name| name.parse().ok())
                    .map(Self::Find)
                    .ok_or(ProtocolError::Unknown),
                _ => Err(ProtocolError::Unknown),
            };
        }
        if message.promise != texts::JOIN_WIREGUARD_NET.id() {
            return Err(ProtocolError::Promise);
        }
        let [name, network] = args.as_slice() else {
            return Err(ProtocolError::Unknown);
        };
        let network = ContentId::from_bytes(network)
            .map(NetworkId)
            .map_err(|_| ProtocolError::Unknown)?;
        let ask = match *name {
            b"sync" => NetworkAsk::Sync(cbor::decode(payload, &BODY)?),
            b"pull" => NetworkAsk::Pull(cbor::decode(payload, &BODY)?),
            b"push" => NetworkAsk::Push(cbor::decode(payload, &BODY)?),
            b"ask" => NetworkAsk::Admit(cbor::decode(payload, &BODY)?),
            _ => return Err(ProtocolError::Unknown),
        };
        Ok(Self::Network(network, ask))
    }
}

/// Whether reading these bytes as a request or as any response stays within bounds. For fuzzing.
pub fn fuzz_one(bytes: &[u8]) {
    if let Ok(ask) = Ask::decode(bytes) {
        assert_eq!(Ask::decode(&ask.encode()), Ok(ask));
    }
    let _ = read_response::<SyncAnswer>(bytes);
    let _ = read_response::<PushAnswer>(bytes);
    let _ = read_response::<AdmitAnswer>(bytes);
    let _ = read_response::<Found>(bytes);
    let _ = read_response::<Hello>(bytes);
    let _ = read_response::<Push>(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answer::answer;
    use crate::limits::{MAX_CHAIN, MAX_STATEMENT};
    use crate::network::statement::MAX_STATEMENTS;

    #[test]
    fn the_index_of_a_full_ledger_fits_a_payload() {
        let entry = IndexEntry {
            key: [0xff; 16],
            sequence: u64::MAX,
            id: [0xff; 16],
        };
        let index = vec![entry; MAX_STATEMENTS];
        let link = RawLink {
            grant: vec![0; MAX_STATEMENT],
            used: vec![0; MAX_STATEMENT],
            seen: Some(vec![0; MAX_STATEMENT].into()),
        };
        let ask = NetworkAsk::Sync(SyncRequest {
            root: [0xff; 32],
            // Longer ones are sent in answers only.
            index: Some(vec![entry; 512]),
            admission: Some(vec![link; MAX_CHAIN]),
            acts: vec![vec![7; 3].into()],
        });
        let ask = Ask::Network(NetworkId(ContentId::of(b"network")), ask);
        assert_eq!(Ask::decode(&ask.encode()), Ok(ask));

        let bytes = answer(&SyncAnswer::Index(index.clone()));
        assert_eq!(
            read_response::<SyncAnswer>(&bytes),
            Ok(Response::Answer(SyncAnswer::Index(index)))
        );
    }

    /// Whether a body is read that has a list of so many items between these bytes.
    fn reads<T>(before: &[u8], count: usize, after: &[u8]) -> bool
    where
        T: for<'b> Decode<'b, ()> + Encode<()>,
    {
        let list = cbor::encode(&vec![ByteVec::from(vec![7; 16]); count]);
        cbor::decode::<T>(&[before, &list, after].concat(), &BODY).is_ok()
    }

    #[test]
    fn a_list_longer_than_any_that_is_sent_is_refused() {
        let root = cbor::encode(&ByteArray::from([9; 32]));
        let sync = [&[0x84], root.as_slice(), &[0xf6, 0xf6]].concat();
        let (given, wanted) = ([0x82, 2, 0x83], [0x82, 2, 0x83, 0x80]);
        for more in [0, 1] {
            let is_read = [
                reads::<SyncRequest>(&sync, MAX_ACTS + more, &[]),
                reads::<AdmitAnswer>(&[0x81], MAX_ROOTING + more, &[]),
                reads::<Found>(&[0x81], MAX_FOUND + more, &[]),
                reads::<Pull>(&[0x81], MAX_STATEMENTS + more, &[]),
                reads::<Push>(&[0x81], MAX_STATEMENTS + more, &[]),
                reads::<SyncAnswer>(&given, MAX_STATEMENTS + more, &[0x80, 0xf4]),
                reads::<SyncAnswer>(&wanted, MAX_STATEMENTS + more, &[0xf4]),
            ];
            assert_eq!(is_read, [more == 0; 7]);
        }
    }
}
