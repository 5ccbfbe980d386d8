//! What a node says about itself in one network. One is live per node, and only its node writes it.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use minicbor::bytes::ByteVec;
use minicbor::{Decode, Decoder, Encode};

use crate::limits::{
    CLOCK_SKEW, MAX_CHAIN, MAX_ENDPOINTS, MAX_PREFIXES, MAX_RECEIPTS, PROMISE_LIFETIME, QUIET_TIME,
};
use crate::network::address;
use crate::network::admission::{Admission, AdmissionError, Grant, RawLink};
use crate::network::charter::Charter;
use crate::network::endpoint::Endpoint;
use crate::network::ids::{AdmissionId, NetworkId};
use crate::network::name::Label;
use crate::network::receipt::Receipt;
use crate::network::statement::{
    Kind, Signed, Statement, StatementError, Trust, peek_body, peek_kind,
};
use crate::time::Timestamp;
use crate::wire;
use grid_keys::{NodeId, SignatureBytes, WgPublicKey};

/// An IPv4 address and which of the node's candidates it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Claim {
    /// The address that is claimed.
    #[n(0)]
    #[cbor(with = "wire::ipv4_addr")]
    pub address: Ipv4Addr,
    /// The candidate's number.
    #[n(1)]
    pub number: u32,
}

/// An IPv6 address and the modifier by which it is the node's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Ipv6Claim {
    /// The address.
    #[n(0)]
    #[cbor(with = "wire::ipv6_addr")]
    pub address: Ipv6Addr,
    /// The modifier.
    #[n(1)]
    pub modifier: u32,
}

impl Ipv6Claim {
    /// A node's claim by its first modifier from `from` on ([`address::first_ipv6`]). Takes a while.
    #[must_use]
    pub fn first(charter: &Signed<Charter>, node: &NodeId, from: u32) -> Option<Self> {
        let found = address::first_ipv6(charter.ipv6, &charter.network(), node, from);
        found.map(|(modifier, address)| Self { address, modifier })
    }

    /// The same, or the claim by the node's next modifier, if another holds the address.
    #[must_use]
    pub fn unless_held(
        self,
        holder: Option<&NodeId>,
        charter: &Signed<Charter>,
        node: &NodeId,
    ) -> Self {
        let is_lost = holder.is_some_and(|holder| holder != node);
        let next = self.modifier.checked_add(1).filter(|_| is_lost);
        next.and_then(|from| Self::first(charter, node, from))
            .unwrap_or(self)
    }
}

/// Whether a promise stands or was taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum Standing {
    /// The node is in the network.
    #[n(0)]
    Promised,
    /// The node left.
    #[n(1)]
    Withdrawn,
}

/// A node's promise to one network.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct MemberPromise {
    /// The network that it holds in.
    #[n(0)]
    pub network: NetworkId,
    /// The node, which signs this.
    #[n(1)]
    pub node: NodeId,
    /// Grows with every promise of the node: the highest one stands.
    #[n(2)]
    pub sequence: u64,
    /// When it was made.
    #[n(3)]
    pub issued: Timestamp,
    /// When it lapses; at most 24 hours later.
    #[n(4)]
    pub expires: Timestamp,
    /// Whether it stands.
    #[n(5)]
    pub standing: Standing,
    /// The WireGuard key that it answers with.
    #[n(6)]
    pub public_key: WgPublicKey,
    /// Shows that the node has that key: the key's signature over [`possession`].
    #[n(7)]
    #[cbor(with = "minicbor::bytes")]
    pub possession: SignatureBytes,
    /// Its IPv6 address, which follows from the network, the node key and a modifier.
    #[n(8)]
    pub ipv6: Ipv6Claim,
    /// The IPv4 address that it claims.
    #[n(9)]
    pub ipv4: Claim,
    /// Where its WireGuard listens.
    #[n(10)]
    pub wireguard: Vec<Endpoint>,
    /// Where its QUIC listens.
    #[n(11)]
    pub quic: Vec<Endpoint>,
    /// What else it will route: subnets behind it, a default route.
    #[n(12)]
    #[cbor(with = "wire::ip_nets")]
    pub prefixes: Vec<IpNet>,
    /// What people call it.
    #[n(13)]
    pub label: Label,
    /// How it became a member.
    #[n(14)]
    pub admission: Vec<RawLink>,
    /// Since when others know of it.
    #[n(15)]
    pub receipts: Vec<ByteVec>,
}

/// What a WireGuard key signs to be promised by a node in a network. Without that, a node could promise the key of
/// another, which each machine can only have as one peer.
#[must_use]
pub fn possession(network: &NetworkId, node: &NodeId) -> Vec<u8> {
    let domain: &[u8] = b"grid/1 wireguard key\0";
    [domain, &network.0.to_bytes(), &node.0].concat()
}

impl Statement for MemberPromise {
    const KIND: Kind = Kind::Member;

    fn signer(&self) -> NodeId {
        self.node
    }

    fn check(&self) -> Result<(), &'static str> {
        if self.expires <= self.issued || self.expires.since(self.issued) > PROMISE_LIFETIME {
            return Err("a member promise lives for at most 24 hours");
        }
        if self.wireguard.len() > MAX_ENDPOINTS || self.quic.len() > MAX_ENDPOINTS {
            return Err("a node has at most 16 endpoints of each kind");
        }
        if !self
            .wireguard
            .iter()
            .chain(&self.quic)
            .all(Endpoint::is_valid)
        {
            return Err("an endpoint is not an address that packets can be sent to");
        }
        if self.prefixes.len() > MAX_PREFIXES {
            return Err("a node promises at most 32 further prefixes");
        }
        if !self.prefixes.is_sorted_by(|a, b| a < b) {
            return Err("the prefixes are not a set in ascending order");
        }
        if !self.label.is_valid() {
            return Err("the node's name breaks the rules for names");
        }
        if self.admission.len() > MAX_CHAIN || self.receipts.len() > MAX_RECEIPTS {
            return Err("a promise has at most 6 links of admission and 4 receipts");
        }
        Ok(())
    }
}

impl MemberPromise {
    /// The network, the node and the number of what may be a promise, without verifying anything or reading further.
    pub(crate) fn peek(bytes: &[u8]) -> Option<(NetworkId, NodeId, u64)> {
        if peek_kind(bytes) != Some(Kind::Member as u8) {
            return None;
        }
        let mut frame = Decoder::new(bytes);
        frame.array().ok()?;
        frame.u8().ok()?;
        let mut body = Decoder::new(frame.bytes().ok()?);
        body.array().ok()?;
        Some((
            body.decode().ok()?,
            body.decode().ok()?,
            body.decode().ok()?,
        ))
    }
}

impl MemberPromise {
    /// The admission that what may be a promise shows, without verifying anything.
    pub(crate) fn peek_admission(bytes: &[u8]) -> Option<Vec<RawLink>> {
        peek_body::<Self>(bytes).map(|promise| promise.admission)
    }
}

/// Why a member promise is not taken. The state is unchanged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PromiseError {
    /// Damaged, falsely signed, or against its own rules.
    #[error(transparent)]
    Statement(#[from] StatementError),
    /// For another network.
    #[error("the promise is for another network")]
    OtherNetwork,
    /// The admission does not admit this node.
    #[error(transparent)]
    Admission(#[from] AdmissionError),
    /// It does not show that the node has the WireGuard key.
    #[error("the node does not show that the WireGuard key {0} is its own")]
    NotItsKey(WgPublicKey),
    /// The IPv6 address does not follow from the node's key and the modifier, or that is none of the node's.
    #[error("{0} is not an address that follows from the node's key")]
    NotItsIpv6(Ipv6Addr),
    /// The IPv4 address is outside the range, reserved, or not the candidate that it says.
    #[error("{0} is not an address that this node can claim")]
    NotItsCandidate(Ipv4Addr),
    /// Made later than now.
    #[error("the promise was made {ahead} seconds in the future; is a clock wrong?")]
    Future {
        /// By how much.
        ahead: u64,
    },
    /// Lapsed so long ago that nothing follows from it.
    #[error("the promise lapsed at {expires}")]
    Lapsed {
        /// When it expired.
        expires: Timestamp,
    },
}

/// What was verified before, and need not be again.
#[derive(Clone, Copy, Default)]
pub(crate) struct Known<'a> {
    /// The promise that stands of the same node.
    pub(crate) predecessor: Option<&'a Member>,
    /// Grants by their invite keys.
    pub(crate) grants: Option<&'a BTreeMap<NodeId, Signed<Grant>>>,
    /// Whether this node verified all of it.
    pub(crate) trust: Trust,
}

impl Known<'_> {
    pub(crate) fn grant(&self, bytes: &[u8]) -> Option<Signed<Grant>> {
        let invite = Grant::peek_invite(bytes)?;
        self.grants?
            .get(&invite)
            .filter(|grant| grant.bytes() == bytes)
            .cloned()
    }

    fn receipt(&self, bytes: &[u8]) -> Option<Signed<Receipt>> {
        self.predecessor
            .and_then(|before| {
                before
                    .receipts
                    .iter()
                    .find(|receipt| receipt.bytes() == bytes)
            })
            .cloned()
            .or_else(|| Signed::read(bytes, self.trust).ok())
    }
}

/// A member promise whose every part was verified against the charter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    promise: Signed<MemberPromise>,
    admission: Admission,
    admission_id: AdmissionId,
    receipts: Vec<Signed<Receipt>>,
}

impl Member {
    /// Reads a member promise and verifies it against the charter: signatures, admission, addresses.
    ///
    /// Receipts that do not verify, or speak of something else, are left out rather than refused:
    /// they are hints.
    ///
    /// # Errors
    /// What is wrong with it. Time is not looked at here.
    pub fn decode(bytes: &[u8], charter: &Signed<Charter>) -> Result<Self, PromiseError> {
        Self::verify(Signed::decode(bytes)?, charter, &Known::default())
    }

    /// The same for a promise whose signature was verified.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn verify(
        promise: Signed<MemberPromise>,
        charter: &Signed<Charter>,
        known: &Known<'_>,
    ) -> Result<Self, PromiseError> {
        if promise.network != charter.network() {
            return Err(PromiseError::OtherNetwork);
        }
        let admission = match known.predecessor {
            Some(before) if before.promise.admission == promise.admission => {
                before.admission.clone()
            }
            _ => {
                let grant = |bytes: &[u8]| known.grant(bytes);
                let links = &promise.admission;
                Admission::decode_with(links, charter, &promise.node, known.trust, grant)?
            }
        };
        // So no admission of the far future is kept for as long as its invite would have lasted.
        let latest = promise.issued.after(CLOCK_SKEW);
        if let Some(link) = admission.links().iter().find(|link| link.made() > latest) {
            let ahead = link.made().since(promise.issued).as_secs();
            return Err(AdmissionError::Later { ahead }.into());
        }
        let has_shown = |before: &Self| {
            let before = before.promise();
            (before.public_key, before.possession) == (promise.public_key, promise.possession)
        };
        let message = possession(&promise.network, &promise.node);
        if known.trust == Trust::Nobody
            && !known.predecessor.is_some_and(has_shown)
            && !promise.public_key.verify(&message, &promise.possession)
        {
            return Err(PromiseError::NotItsKey(promise.public_key));
        }
        let Ipv6Claim { address, modifier } = promise.ipv6;
        let own = address::ipv6(charter.ipv6, &promise.network, &promise.node, modifier);
        if own != Some(address) {
            return Err(PromiseError::NotItsIpv6(address));
        }
        let Claim { address, number } = promise.ipv4;
        if number >= address::MAX_CANDIDATES
            || address != address::candidate(&promise.network, charter.ipv4, &promise.node, number)
        {
            return Err(PromiseError::NotItsCandidate(address));
        }
        let receipts = promise
            .receipts
            .iter()
            .filter_map(|bytes| known.receipt(bytes))
            .filter(|receipt| {
                receipt.network == promise.network
                    && receipt.subject == promise.node
                    && receipt.issued <= latest
            })
            .collect();
        Ok(Self {
            promise,
            admission_id: admission.id(),
            admission,
            receipts,
        })
    }

    /// Until when the promise matters: the end of its address's quiet time.
    pub(crate) fn retained_until(&self) -> Timestamp {
        self.promise.expires.after(QUIET_TIME)
    }

    /// Whether all receipts in its promise hold: nothing was left out.
    pub(crate) fn is_whole(&self) -> bool {
        self.receipts.len() == self.promise.receipts.len()
    }

    /// What the node said.
    #[must_use]
    pub const fn promise(&self) -> &Signed<MemberPromise> {
        &self.promise
    }

    /// How it became a member.
    #[must_use]
    pub const fn admission(&self) -> &Admission {
        &self.admission
    }

    /// Which admission that is.
    #[must_use]
    pub const fn admission_id(&self) -> AdmissionId {
        self.admission_id
    }

    /// The receipts that were given for the admission that the node shows: the only ones that speak for
    /// its membership.
    pub fn membership_receipts(&self) -> impl Iterator<Item = &Signed<Receipt>> {
        self.receipts
            .iter()
            .filter(|receipt| receipt.admission == self.admission_id)
    }

    /// The receipts that verify and speak of this node.
    #[must_use]
    pub fn receipts(&self) -> &[Signed<Receipt>] {
        &self.receipts
    }

    /// The node.
    #[must_use]
    pub fn node(&self) -> NodeId {
        self.promise.node
    }
}
