//! What a ledger holds, in a fixed order: what two nodes compare.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;

use minicbor::{Decode, Encode};

use crate::network::act::ActId;
use crate::network::address;
use crate::network::held::Place;
use crate::network::member::Member;
use crate::network::trace::{Trace, TraceId};

/// The first bytes of a key or a digest. To find two that begin alike takes 2^64 tries.
pub type ShortId = [u8; 16];

/// One entry of a ledger's index: enough to see who has the later statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub struct IndexEntry {
    /// The first bytes of a hash of the node and its admission, of the act's id with `sequence` 0, or of a
    /// trace's key.
    #[n(0)]
    #[cbor(with = "minicbor::bytes")]
    pub key: ShortId,
    /// The promise's sequence number; 0 for acts; for traces the more the older the use is.
    #[n(1)]
    pub sequence: u64,
    /// The first bytes of the promise's or trace's digest, or of the act's id.
    #[n(2)]
    #[cbor(with = "minicbor::bytes")]
    pub id: ShortId,
}

impl IndexEntry {
    /// That of a node's promise.
    pub(crate) fn of_promise(member: &Member) -> Self {
        let promise = member.promise();
        let place = [&promise.node.0[..], &member.admission_id().0];
        Self {
            key: short(&address::hash("grid/1 place", &place)),
            sequence: promise.sequence,
            id: short(promise.id().digest()),
        }
    }

    /// That of an act.
    pub(crate) fn of_act(id: &ActId) -> Self {
        Self {
            key: short(&id.0),
            sequence: 0,
            id: short(&id.0),
        }
    }

    /// That of a trace.
    pub(crate) fn of_trace(trace: &Trace) -> Self {
        Self {
            key: short(&trace.key().0),
            sequence: trace.sequence(),
            id: short(trace.id().digest()),
        }
    }

    /// Whether this statement replaces another one with the same key.
    #[must_use]
    pub fn is_later_than(&self, other: &Self) -> bool {
        (self.sequence, self.id) > (other.sequence, other.id)
    }
}

/// Whose statement an entry stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Source {
    Act(ActId),
    Promise(Place),
    Trace(TraceId),
}

/// The entries of one ledger, kept up as statements come and go.
#[derive(Clone, Debug, Default)]
pub(crate) struct Index {
    entries: BTreeSet<IndexEntry>,
    sources: BTreeMap<ShortId, Source>,
    /// Found when it is asked for, and forgotten when something changes.
    root: OnceLock<[u8; 32]>,
}

impl Index {
    pub(crate) fn insert(&mut self, entry: IndexEntry, source: Source) {
        self.root = OnceLock::new();
        self.entries.insert(entry);
        self.sources.insert(entry.id, source);
    }

    pub(crate) fn remove(&mut self, entry: &IndexEntry) {
        self.root = OnceLock::new();
        self.entries.remove(entry);
        self.sources.remove(&entry.id);
    }

    /// In ascending order.
    pub(crate) const fn entries(&self) -> &BTreeSet<IndexEntry> {
        &self.entries
    }

    pub(crate) fn source(&self, id: &ShortId) -> Option<Source> {
        self.sources.get(id).copied()
    }

    /// A hash over all entries.
    pub(crate) fn root(&self) -> [u8; 32] {
        *self.root.get_or_init(|| root(&self.entries))
    }
}

/// A hash over entries, in their order.
pub(crate) fn root<'a>(entries: impl IntoIterator<Item = &'a IndexEntry>) -> [u8; 32] {
    let mut bytes = Vec::new();
    for entry in entries {
        bytes.extend_from_slice(&entry.key);
        bytes.extend_from_slice(&entry.sequence.to_be_bytes());
        bytes.extend_from_slice(&entry.id);
    }
    address::hash("grid/1 ledger", &[&bytes])
}

fn short(bytes: &[u8]) -> ShortId {
    let mut first = ShortId::default();
    for (to, from) in first.iter_mut().zip(bytes) {
        *to = *from;
    }
    first
}
