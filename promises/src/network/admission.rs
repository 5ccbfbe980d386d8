//! How a node shows that it is a member: a chain of signatures from an owner to its key.
//!
//! Every link admits one node. The first is signed by an owner (or the holder of an owner's invite),
//! each further one by the node that the link before it admitted. Anyone who has the charter can
//! verify the chain, with nobody online. Whether a link was *revoked*, or an invite used too often,
//! follows from the set of statements and is decided in [`membership`](crate::network::membership).
//!
//! A link may carry a receipt that says since when its node was seen. So those further down the chain
//! can show that an invite was used in time when its user is long gone.

use std::collections::BTreeSet;

use minicbor::bytes::ByteVec;
use minicbor::{Decode, Encode};

use crate::limits::{INVITE_MAX_LIFE, MAX_CHAIN, MAX_USES};
use crate::network::address;
use crate::network::charter::{AdmissionRule, Charter};
use crate::network::ids::{AdmissionId, NetworkId};
use crate::network::name::Label;
use crate::network::receipt::Receipt;
use crate::network::statement::{Kind, Signed, Statement, StatementError, peek_body};
use crate::time::Timestamp;
use grid_keys::NodeId;

/// A member lets whoever holds the invite key admit nodes.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Grant {
    /// The network that it holds in.
    #[n(0)]
    pub network: NetworkId,
    /// The public half of the invite key.
    #[n(1)]
    pub invite: NodeId,
    /// The member who made the invite.
    #[n(2)]
    pub issuer: NodeId,
    /// How many nodes it may admit.
    #[n(3)]
    pub uses: u32,
    /// When it was made.
    #[n(4)]
    pub issued: Timestamp,
    /// When it can be used no longer.
    #[n(5)]
    pub expires: Timestamp,
}

/// The invite key admits one node.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct GrantUse {
    /// The network that it holds in.
    #[n(0)]
    pub network: NetworkId,
    /// The invite key, which signs this.
    #[n(1)]
    pub invite: NodeId,
    /// The node that is admitted.
    #[n(2)]
    pub node: NodeId,
    /// When the node says that it joined.
    #[n(3)]
    pub joined: Timestamp,
}

/// An owner admits one node by name.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Direct {
    /// The network that it holds in.
    #[n(0)]
    pub network: NetworkId,
    /// The owner, who signs this.
    #[n(1)]
    pub owner: NodeId,
    /// The node that is admitted.
    #[n(2)]
    pub node: NodeId,
    /// When it was signed.
    #[n(3)]
    pub issued: Timestamp,
}

/// A node asks the owners to admit it. Signed by the node; admits nobody by itself.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct AdmissionRequest {
    /// The network that it holds in.
    #[n(0)]
    pub network: NetworkId,
    /// The node that wants to be admitted, and signs this.
    #[n(1)]
    pub node: NodeId,
    /// What it calls itself.
    #[n(2)]
    pub label: Label,
    /// When it was signed.
    #[n(3)]
    pub issued: Timestamp,
}

impl Statement for AdmissionRequest {
    const KIND: Kind = Kind::Request;
    fn signer(&self) -> NodeId {
        self.node
    }
    fn check(&self) -> Result<(), &'static str> {
        if self.label.is_valid() {
            Ok(())
        } else {
            Err("the node's name breaks the rules for names")
        }
    }
}

impl Statement for Grant {
    const KIND: Kind = Kind::Grant;
    fn signer(&self) -> NodeId {
        self.issuer
    }
    fn check(&self) -> Result<(), &'static str> {
        if self.uses == 0 || self.uses > MAX_USES {
            return Err("an invite has 1 to 10000 uses");
        }
        if self.expires <= self.issued || self.expires.since(self.issued) > INVITE_MAX_LIFE {
            return Err("an invite lives for at most 366 days");
        }
        Ok(())
    }
}

impl Grant {
    /// The invite key that a grant names, without verifying it.
    pub(crate) fn peek_invite(bytes: &[u8]) -> Option<NodeId> {
        peek_body::<Self>(bytes).map(|grant| grant.invite)
    }
}

impl Statement for GrantUse {
    const KIND: Kind = Kind::GrantUse;
    fn signer(&self) -> NodeId {
        self.invite
    }
    fn check(&self) -> Result<(), &'static str> {
        Ok(())
    }
}

impl Statement for Direct {
    const KIND: Kind = Kind::Direct;
    fn signer(&self) -> NodeId {
        self.owner
    }
    fn check(&self) -> Result<(), &'static str> {
        Ok(())
    }
}

/// One link as it travels: the signed statements, byte for byte.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum RawLink {
    /// A [`Direct`].
    #[n(0)]
    Direct(#[cbor(n(0), with = "minicbor::bytes")] Vec<u8>),
    /// A [`Grant`], a [`GrantUse`], and where there is one a [`Receipt`] for that use.
    #[n(1)]
    Invite(
        #[cbor(n(0), with = "minicbor::bytes")] Vec<u8>,
        #[cbor(n(1), with = "minicbor::bytes")] Vec<u8>,
        #[n(2)] Option<ByteVec>,
    ),
}

/// One verified link.
// Nearly all links are invites: boxing them would cost an allocation each and save nothing.
#[allow(clippy::large_enum_variant)]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Link {
    /// Admitted by an owner, by name.
    Direct(Signed<Direct>),
    /// Admitted by an invite.
    Invite {
        /// What the issuer allowed.
        grant: Signed<Grant>,
        /// How it was used.
        used: Signed<GrantUse>,
        /// Since when an owner, or the issuer, has seen the node as a member by it.
        seen: Option<Box<Signed<Receipt>>>,
    },
}

impl Link {
    /// Who vouched.
    #[must_use]
    pub fn issuer(&self) -> NodeId {
        match self {
            Self::Direct(direct) => direct.owner,
            Self::Invite { grant, .. } => grant.issuer,
        }
    }

    /// Who was admitted.
    #[must_use]
    pub fn node(&self) -> NodeId {
        match self {
            Self::Direct(direct) => direct.node,
            Self::Invite { used, .. } => used.node,
        }
    }

    /// When the node was admitted, as the link says.
    #[must_use]
    pub fn made(&self) -> Timestamp {
        match self {
            Self::Direct(direct) => direct.issued,
            Self::Invite { used, .. } => used.joined,
        }
    }

    /// The form that travels.
    #[must_use]
    pub fn raw(&self) -> RawLink {
        match self {
            Self::Direct(direct) => RawLink::Direct(direct.bytes().to_vec()),
            Self::Invite { grant, used, seen } => RawLink::Invite(
                grant.bytes().to_vec(),
                used.bytes().to_vec(),
                seen.as_ref().map(|seen| seen.bytes().to_vec().into()),
            ),
        }
    }
}

/// Why an admission does not admit. The state is unchanged; the same bytes will fail again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AdmissionError {
    /// A link is damaged or falsely signed.
    #[error(transparent)]
    Statement(#[from] StatementError),
    /// The chain is longer than a chain may be.
    #[error("the admission has more than {MAX_CHAIN} links")]
    TooLong,
    /// A link belongs to another network.
    #[error("the admission is for another network")]
    OtherNetwork,
    /// A link was not signed by the node that the one before it admitted.
    #[error("the admission does not lead from an owner to this node")]
    Broken,
    /// An invite was used when it could not be: before it was made or after it expired.
    #[error("the invite was used outside its time (it expired at {expires})")]
    OutOfTime {
        /// When it expired.
        expires: Timestamp,
    },
    /// A link says that it was made after the promise that shows it.
    #[error("the admission was made {ahead} seconds after the promise that shows it")]
    Later {
        /// By how much.
        ahead: u64,
    },
    /// A receipt in it does not speak of the link that carries it.
    #[error("a receipt in the admission is not one for its link")]
    Evidence,
    /// The charter does not admit in this way.
    #[error("this network admits by {rule}")]
    Rule {
        /// The network's rule.
        rule: AdmissionRule,
    },
}

/// A verified chain from an owner to a node. Empty for owners, and for anyone in open networks.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Admission {
    links: Vec<Link>,
}

impl Admission {
    /// A chain of links that were verified one by one; [`verify`](Self::verify) checks how they
    /// hang together.
    #[must_use]
    pub const fn from_links(links: Vec<Link>) -> Self {
        Self { links }
    }

    /// Reads a chain and verifies it all the way from an owner of `charter` to `node`.
    ///
    /// # Errors
    /// Every way in which it can fail to admit that node.
    pub fn decode(
        raw: &[RawLink],
        charter: &Signed<Charter>,
        node: &NodeId,
    ) -> Result<Self, AdmissionError> {
        Self::decode_with(raw, charter, node, |_| None)
    }

    /// The same, where the caller has verified some of the grants before: members by one invite all
    /// carry the same one.
    pub(crate) fn decode_with(
        raw: &[RawLink],
        charter: &Signed<Charter>,
        node: &NodeId,
        verified: impl Fn(&[u8]) -> Option<Signed<Grant>>,
    ) -> Result<Self, AdmissionError> {
        if raw.len() > MAX_CHAIN {
            return Err(AdmissionError::TooLong);
        }
        let mut links = Vec::with_capacity(raw.len());
        for link in raw {
            links.push(match link {
                RawLink::Direct(bytes) => Link::Direct(Signed::decode(bytes)?),
                RawLink::Invite(grant, used, seen) => Link::Invite {
                    grant: verified(grant).map_or_else(|| Signed::decode(grant), Ok)?,
                    used: Signed::decode(used)?,
                    seen: seen
                        .as_ref()
                        .map(|seen| Signed::decode(seen).map(Box::new))
                        .transpose()?,
                },
            });
        }
        let admission = Self { links };
        admission.verify(charter, node)?;
        Ok(admission)
    }

    /// Whether this chain of verified links admits `node` to the network of `charter`.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn verify(&self, charter: &Signed<Charter>, node: &NodeId) -> Result<(), AdmissionError> {
        if self.links.len() > MAX_CHAIN {
            return Err(AdmissionError::TooLong);
        }
        let Some(first) = self.links.first() else {
            return if charter.is_owner(node) || charter.admission == AdmissionRule::Open {
                Ok(())
            } else {
                Err(AdmissionError::Rule {
                    rule: charter.admission,
                })
            };
        };
        let open = charter.admission == AdmissionRule::Open;
        if !charter.is_owner(&first.issuer()) && !open {
            return Err(AdmissionError::Broken);
        }
        let mut admitted = first.issuer();
        let mut seen = BTreeSet::from([admitted]);
        for link in &self.links {
            // A chain that comes back to a node would let that node's own guests vouch for it.
            if link.issuer() != admitted || !seen.insert(link.node()) {
                return Err(AdmissionError::Broken);
            }
            verify_link(link, charter)?;
            admitted = link.node();
        }
        for (position, link) in self.links.iter().enumerate() {
            if let Link::Invite {
                seen: Some(seen), ..
            } = link
                && !self.is_evidence(seen, position, charter)
            {
                return Err(AdmissionError::Evidence);
            }
        }
        if admitted == *node {
            Ok(())
        } else {
            Err(AdmissionError::Broken)
        }
    }

    /// Which chain this is. Two nodes never have the same one, but for those who need none.
    #[must_use]
    pub fn id(&self) -> AdmissionId {
        self.id_up_to(self.links.len())
    }

    fn id_up_to(&self, count: usize) -> AdmissionId {
        let mut parts = Vec::with_capacity(count * 72);
        for link in self.links.iter().take(count) {
            match link {
                Link::Direct(direct) => {
                    parts.push(0);
                    parts.extend_from_slice(&direct.owner.0);
                }
                Link::Invite { grant, .. } => {
                    parts.push(1);
                    parts.extend_from_slice(&grant.id().to_bytes());
                }
            }
            parts.extend_from_slice(&link.node().0);
        }
        AdmissionId(address::hash("grid/1 admission", &[&parts]))
    }

    /// Whether a receipt says that the node of the link at `position` has been a member by the links
    /// up to there, on the word of an owner or of that link's issuer.
    fn is_evidence(&self, seen: &Receipt, position: usize, charter: &Signed<Charter>) -> bool {
        let links = self.links.get(..=position).unwrap_or_default();
        links.last().is_some_and(|last| {
            seen.network == charter.network()
                && seen.subject == last.node()
                && seen.admission == self.id_up_to(links.len())
                && is_heard(&seen.witness, std::slice::from_ref(last), charter)
        })
    }

    /// The chain with a receipt for its last link, where that link is an invite and the receipt is
    /// evidence for it; otherwise as it was.
    #[must_use]
    pub fn seen(&self, receipt: &Signed<Receipt>, charter: &Signed<Charter>) -> Self {
        let mut links = self.links.clone();
        if self.is_evidence(receipt, links.len().saturating_sub(1), charter)
            && let Some(Link::Invite { seen, .. }) = links.last_mut()
        {
            *seen = Some(Box::new(receipt.clone()));
        }
        Self { links }
    }

    /// The links, from the owner on.
    #[must_use]
    pub fn links(&self) -> &[Link] {
        &self.links
    }

    /// The form that travels inside a member promise or an invite.
    #[must_use]
    pub fn raw(&self) -> Vec<RawLink> {
        self.links.iter().map(Link::raw).collect()
    }

    /// Everybody who vouched, from the owner on.
    pub fn issuers(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.links.iter().map(Link::issuer)
    }

    /// The chain as far as a node that is on it, if it is: empty when it begins with that node.
    #[must_use]
    pub fn up_to(&self, node: &NodeId) -> Option<Self> {
        if self.links.first()?.issuer() == *node {
            return Some(Self::default());
        }
        let position = self.links.iter().position(|link| link.node() == *node)?;
        let links = self.links.iter().take(position + 1).cloned().collect();
        Some(Self { links })
    }

    /// The chain with one more link at its end.
    #[must_use]
    pub fn extended(&self, link: Link) -> Self {
        let mut links = self.links.clone();
        links.push(link);
        Self { links }
    }
}

/// Whether the word of a witness counts for a membership by `links`: an owner's, and that of those who
/// signed one of them.
pub(crate) fn is_heard(witness: &NodeId, links: &[Link], charter: &Charter) -> bool {
    charter.is_owner(witness) || links.iter().any(|link| link.issuer() == *witness)
}

fn verify_link(link: &Link, charter: &Signed<Charter>) -> Result<(), AdmissionError> {
    let network = charter.network();
    match link {
        Link::Direct(direct) => {
            if direct.network != network {
                return Err(AdmissionError::OtherNetwork);
            }
            // Only owners admit by name, whatever their place in the chain.
            if !charter.is_owner(&direct.owner) {
                return Err(AdmissionError::Broken);
            }
        }
        Link::Invite { grant, used, .. } => {
            if grant.network != network || used.network != network {
                return Err(AdmissionError::OtherNetwork);
            }
            if charter.admission == AdmissionRule::Approve {
                return Err(AdmissionError::Rule {
                    rule: charter.admission,
                });
            }
            if used.invite != grant.invite {
                return Err(AdmissionError::Broken);
            }
            if used.joined > grant.expires
                || used.joined < grant.issued.before(crate::limits::CLOCK_SKEW)
            {
                return Err(AdmissionError::OutOfTime {
                    expires: grant.expires,
                });
            }
        }
    }
    Ok(())
}
