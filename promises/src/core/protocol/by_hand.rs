//! Messages made by hand, for adversaries in simulations: well-formed, and true or not.

use std::net::SocketAddr;

use minicbor::bytes::{ByteArray, ByteVec};

use super::{
    AdmitAnswer, AdmitRequest, Ask, Hello, NetworkAsk, Pull, Push, PushAnswer, SyncAnswer,
    SyncRequest,
};
use crate::answer;
use crate::network::admission::{AdmissionRequest, RawLink};
use crate::network::ids::NetworkId;
use crate::network::index::{IndexEntry, ShortId};
use crate::network::name::NetworkName;
use crate::network::statement::Signed;
use crate::time::Timestamp;

/// What a comparison says of the ledger of who asks for it.
#[derive(Clone, Debug, Default)]
pub struct Comparison {
    /// The digest of it.
    pub root: [u8; 32],
    /// What is in it, if that is said.
    pub index: Option<Vec<IndexEntry>>,
    /// What admits who asks, if that is shown.
    pub admission: Option<Vec<RawLink>>,
    /// The acts that make who asks a member.
    pub acts: Vec<Vec<u8>>,
}

fn strings(statements: &[Vec<u8>]) -> Vec<ByteVec> {
    statements.iter().cloned().map(ByteVec::from).collect()
}

fn shorts(ids: &[ShortId]) -> Vec<ByteArray<16>> {
    ids.iter().copied().map(ByteArray::from).collect()
}

/// Says where the receiver is seen, and what the sender's clock shows.
#[must_use]
pub fn hello(observed: SocketAddr, clock: Timestamp) -> Vec<u8> {
    Ask::Hello(Hello { observed, clock }).encode()
}

/// Asks for the charters of networks of a name.
#[must_use]
pub fn find(name: &NetworkName) -> Vec<u8> {
    Ask::Find(name.clone()).encode()
}

/// Asks for a node to be admitted.
#[must_use]
pub fn ask(request: &Signed<AdmissionRequest>) -> Vec<u8> {
    let ask = NetworkAsk::Admit(AdmitRequest::new(request));
    Ask::Network(request.network, ask).encode()
}

/// Compares ledgers.
#[must_use]
pub fn sync(network: NetworkId, with: Comparison) -> Vec<u8> {
    let request = SyncRequest {
        root: with.root,
        index: with.index,
        admission: with.admission,
        acts: strings(&with.acts),
    };
    Ask::Network(network, NetworkAsk::Sync(request)).encode()
}

/// Asks for statements by their ids.
#[must_use]
pub fn pull(network: NetworkId, wanted: &[ShortId]) -> Vec<u8> {
    let wanted = shorts(wanted);
    Ask::Network(network, NetworkAsk::Pull(Pull { wanted })).encode()
}

/// Sends statements.
#[must_use]
pub fn push(network: NetworkId, statements: &[Vec<u8>]) -> Vec<u8> {
    let statements = strings(statements);
    Ask::Network(network, NetworkAsk::Push(Push { statements })).encode()
}

/// Answers where the asking node is seen.
#[must_use]
pub fn seen_at(observed: SocketAddr, clock: Timestamp) -> Vec<u8> {
    answer::answer(&Hello { observed, clock })
}

/// Answers a comparison: there is no difference.
#[must_use]
pub fn equal() -> Vec<u8> {
    answer::answer(&SyncAnswer::Equal)
}

/// Answers a comparison with what is in the ledger.
#[must_use]
pub fn holds(index: Vec<IndexEntry>) -> Vec<u8> {
    answer::answer(&SyncAnswer::Index(index))
}

/// Answers a comparison with what the asking node lacks, what is wanted of it, and whether there is more.
#[must_use]
pub fn differs(statements: &[Vec<u8>], wanted: &[ShortId], more: bool) -> Vec<u8> {
    let difference = SyncAnswer::Difference(strings(statements), shorts(wanted), more);
    answer::answer(&difference)
}

/// Answers a request for statements.
#[must_use]
pub fn gives(statements: &[Vec<u8>]) -> Vec<u8> {
    let statements = strings(statements);
    answer::answer(&Push { statements })
}

/// Answers statements, with a receipt if there is one.
#[must_use]
pub fn took(receipt: Option<&[u8]>) -> Vec<u8> {
    answer::answer(&PushAnswer {
        receipt: receipt.map(|bytes| bytes.to_vec().into()),
        ..PushAnswer::default()
    })
}

/// Answers a node that asks to be admitted with acts.
#[must_use]
pub fn admits(acts: &[Vec<u8>]) -> Vec<u8> {
    let acts = strings(acts);
    answer::answer(&AdmitAnswer {
        acts,
        recovery: None,
    })
}

/// Refuses anything.
#[must_use]
pub fn refuses(why: &str) -> Vec<u8> {
    answer::refusal(why)
}
