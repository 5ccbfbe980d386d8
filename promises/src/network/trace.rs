//! What remains of a member when its promise is long over: how it came in, and who saw that.
//!
//! Without it, an invite that was used up could be used again once its users are forgotten. It is kept for as long as
//! the invite could be used, and nothing else follows from it. Everything in it is signed, so that it needs no
//! signature of its own: `[8, [link, ...]]`, the links as in a member promise, the last one with a receipt.

use std::sync::Arc;

use minicbor::{Decode, Encode};

use crate::cbor;
use crate::content_id::ContentId;
use crate::network::address;
use crate::network::admission::{Admission, AdmissionError, Grant, Link, RawLink};
use crate::network::authority::Authority;
use crate::network::charter::Charter;
use crate::network::member::{Member, PromiseError};
use crate::network::receipt::Receipt;
use crate::network::statement::{Kind, Signed, Trust, read_frame};
use crate::network::uses::{deadline, in_link};
use crate::time::Timestamp;
use grid_keys::NodeId;

/// What tells traces apart: the admission, and whose word it is that it was used. So nobody replaces what somebody else
/// saw.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TraceId(pub [u8; 32]);

/// The admission of a member who may be gone, and who saw it used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    bytes: Arc<[u8]>,
    id: ContentId,
    key: TraceId,
    node: NodeId,
    admission: Admission,
    seen: Timestamp,
    until: Timestamp,
}

#[derive(Encode, Decode)]
struct Frame {
    #[n(0)]
    kind: u8,
    #[n(1)]
    links: Vec<RawLink>,
}

impl Trace {
    /// What remains of a member, if somebody who counts saw it use its invite.
    #[must_use]
    pub fn of(member: &Member, charter: &Signed<Charter>, authority: &Authority) -> Option<Self> {
        let shown = member.admission();
        let better = member
            .receipts()
            .iter()
            .map(|receipt| shown.seen(receipt, charter, authority));
        let all = std::iter::once(shown.clone()).chain(better);
        let dated = all.filter_map(|admission| {
            let since = in_link(authority, admission.links().last()?)?;
            Some((since, admission))
        });
        let (_, best) = dated.min_by_key(|(since, _)| *since)?;
        Self::new(best, None)
    }

    /// Reads a trace and verifies it against the charter.
    ///
    /// # Errors
    /// What is wrong with it. Time and what owners did are not looked at here.
    pub fn decode(bytes: &[u8], charter: &Signed<Charter>) -> Result<Self, PromiseError> {
        Self::read(bytes, charter, Trust::Nobody, |_| None)
    }

    /// The same. `verified` are grants that were verified before.
    pub(crate) fn read(
        bytes: &[u8],
        charter: &Signed<Charter>,
        trust: Trust,
        verified: impl Fn(&[u8]) -> Option<Signed<Grant>>,
    ) -> Result<Self, PromiseError> {
        let frame: Frame = read_frame(bytes, Kind::Trace, |frame: &Frame| frame.kind)?;
        let last = frame.links.last().and_then(|link| link.user());
        let node = last.ok_or(AdmissionError::Broken)?;
        let admission = Admission::decode_with(&frame.links, charter, &node, trust, verified)?;
        Self::new(admission, Some(bytes)).ok_or_else(|| AdmissionError::Evidence.into())
    }

    fn new(admission: Admission, bytes: Option<&[u8]>) -> Option<Self> {
        let last = admission.links().last()?;
        let (node, until) = (last.node(), deadline(&last.grant));
        let seen = last.seen.as_ref()?;
        let parts = [&admission.id().0[..], &seen.witness.0];
        let key = TraceId(address::hash("grid/1 trace", &parts));
        let seen = seen.member_since;
        let encode = || {
            cbor::encode(&Frame {
                kind: Kind::Trace as u8,
                links: admission.raw(),
            })
        };
        let bytes: Arc<[u8]> = bytes.map_or_else(|| encode().into(), Into::into);
        Some(Self {
            id: ContentId::of(&bytes),
            bytes,
            key,
            node,
            admission,
            seen,
            until,
        })
    }

    /// The bytes as they travel.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The content id of the bytes.
    #[must_use]
    pub const fn id(&self) -> ContentId {
        self.id
    }

    /// Which admission that is, on whose word: of several traces of that, the best is kept.
    #[must_use]
    pub const fn key(&self) -> TraceId {
        self.key
    }

    /// Who came in.
    #[must_use]
    pub const fn node(&self) -> NodeId {
        self.node
    }

    /// How it came in.
    #[must_use]
    pub const fn admission(&self) -> &Admission {
        &self.admission
    }

    /// Until when somebody else could use the invite.
    #[must_use]
    pub const fn until(&self) -> Timestamp {
        self.until
    }

    /// Of two traces with one key the one with the higher number is kept: the one of the older use.
    #[must_use]
    pub const fn sequence(&self) -> u64 {
        u64::MAX - self.seen.0
    }

    /// Who saw it used, and when that was signed.
    pub(crate) fn receipt(&self) -> Option<&Signed<Receipt>> {
        self.last().and_then(|link| link.seen.as_deref())
    }

    /// The invite, and its use.
    pub(crate) fn last(&self) -> Option<&Link> {
        self.admission.links().last()
    }

    /// Since when the use was seen by somebody who counts; `None` if it was not.
    pub(crate) fn since(&self, authority: &Authority) -> Option<Timestamp> {
        in_link(authority, self.last()?)
    }
}
