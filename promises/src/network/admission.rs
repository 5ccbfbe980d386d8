//! How a node shows that it is a member: a chain of signatures from an owner to its key.
//!
//! Every link is an invite and its use, and admits one node. The first invite is of an owner, or of a node that an
//! owner admitted by name; each further one is of the node that the link before it admitted. Owners, and those
//! whom an owner admitted by name, need no links. Here it is verified how the links hang together; whether
//! the first one hangs on an owner, and what owners withdrew, is decided in
//! [`ruling`](crate::network::ruling), and who wins an invite that was used too often in
//! [`membership`](crate::network::membership).
//!
//! A link may carry a receipt that says since when its node was seen. So those further down the chain
//! can show that an invite was used in time when its user is long gone.

use std::collections::BTreeSet;

use minicbor::bytes::ByteVec;
use minicbor::{Decode, Encode};

use crate::content_id::ContentId;
use crate::limits::{INVITE_MAX_LIFE, MAX_CHAIN, MAX_USES};
use crate::network::act::OfficeId;
use crate::network::address;
use crate::network::authority::{Authority, Office};
use crate::network::charter::{AdmissionRule, Charter};
use crate::network::ids::{AdmissionId, NetworkId};
use crate::network::name::Label;
use crate::network::receipt::Receipt;
use crate::network::statement::{Kind, Signed, Statement, StatementError, Trust, peek_body};
use crate::network::void::Void;
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
    /// The office by which an owner made it. It ends with the office, but for those whom another owner saw join.
    #[n(6)]
    pub office: Option<OfficeId>,
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
    /// When the node says that it joined, at the latest: nodes give the time at which the grant was issued.
    #[n(3)]
    pub joined: Timestamp,
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

/// One link as it travels: the signed statements, byte for byte.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct RawLink {
    /// A [`Grant`].
    #[n(0)]
    #[cbor(with = "minicbor::bytes")]
    pub grant: Vec<u8>,
    /// A [`GrantUse`].
    #[n(1)]
    #[cbor(with = "minicbor::bytes")]
    pub used: Vec<u8>,
    /// A [`Receipt`] for that use, where there is one.
    #[n(2)]
    pub seen: Option<ByteVec>,
}

impl RawLink {
    /// Who it says was admitted, without verifying it.
    pub(crate) fn user(&self) -> Option<NodeId> {
        peek_body::<GrantUse>(&self.used).map(|used| used.node)
    }
}

/// One verified link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// What the issuer allowed.
    pub grant: Signed<Grant>,
    /// How it was used.
    pub used: Signed<GrantUse>,
    /// Since when somebody has seen the node as a member by it. What that is worth depends on who owns the
    /// network (`is_heard`).
    pub seen: Option<Box<Signed<Receipt>>>,
}

impl Link {
    /// Who vouched.
    #[must_use]
    pub fn issuer(&self) -> NodeId {
        self.grant.issuer
    }

    /// Who was admitted.
    #[must_use]
    pub fn node(&self) -> NodeId {
        self.used.node
    }

    /// When the node was admitted, as the link says.
    #[must_use]
    pub fn made(&self) -> Timestamp {
        self.used.joined
    }

    /// The form that travels.
    #[must_use]
    pub fn raw(&self) -> RawLink {
        RawLink {
            grant: self.grant.bytes().to_vec(),
            used: self.used.bytes().to_vec(),
            seen: self.seen.as_ref().map(|seen| seen.bytes().to_vec().into()),
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
    #[error("the admission does not lead to this node")]
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
    /// No owner stands at its beginning, or what owners did makes it void.
    #[error(transparent)]
    Void(Void),
    /// The charter does not admit in this way.
    #[error("this network admits by {rule}")]
    Rule {
        /// The network's rule.
        rule: AdmissionRule,
    },
}

/// A verified chain of links to a node. Empty for owners, for those whom an owner admitted by name, and for anyone in
/// open networks.
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

    /// Reads a chain of the network of `charter` and verifies it all the way to `node`.
    ///
    /// # Errors
    /// Every way in which it can fail to admit that node.
    pub fn decode(
        raw: &[RawLink],
        charter: &Signed<Charter>,
        node: &NodeId,
    ) -> Result<Self, AdmissionError> {
        Self::decode_with(raw, charter, node, Trust::Nobody, |_| None)
    }

    /// The same, where the caller has verified some of the grants before: members by one invite all
    /// carry the same one.
    pub(crate) fn decode_with(
        raw: &[RawLink],
        charter: &Signed<Charter>,
        node: &NodeId,
        trust: Trust,
        verified: impl Fn(&[u8]) -> Option<Signed<Grant>>,
    ) -> Result<Self, AdmissionError> {
        if raw.len() > MAX_CHAIN {
            return Err(AdmissionError::TooLong);
        }
        let mut links = Vec::with_capacity(raw.len());
        for link in raw {
            let RawLink { grant, used, seen } = link;
            links.push(Link {
                grant: verified(grant).map_or_else(|| Signed::read(grant, trust), Ok)?,
                used: Signed::read(used, trust)?,
                seen: seen
                    .as_ref()
                    .map(|seen| Signed::read(seen, trust).map(Box::new))
                    .transpose()?,
            });
        }
        let admission = Self { links };
        admission.verify(charter, node)?;
        Ok(admission)
    }

    /// Whether this chain of verified links leads to `node` in the network of `charter`.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn verify(&self, charter: &Signed<Charter>, node: &NodeId) -> Result<(), AdmissionError> {
        if self.links.len() > MAX_CHAIN {
            return Err(AdmissionError::TooLong);
        }
        let Some(first) = self.links.first() else {
            return Ok(());
        };
        let mut admitted = first.issuer();
        let mut seen = BTreeSet::from([admitted]);
        for (position, link) in self.links.iter().enumerate() {
            // A chain that comes back to a node would let that node's own guests vouch for it. An owner's invite
            // hangs on its office, and on nobody who invited the owner.
            let is_below = position > 0 && link.grant.office.is_some();
            if link.issuer() != admitted || !seen.insert(link.node()) || is_below {
                return Err(AdmissionError::Broken);
            }
            verify_link(link, charter)?;
            admitted = link.node();
        }
        for (position, link) in self.links.iter().enumerate() {
            let is_about = |seen: &Receipt| self.is_about(seen, position, charter);
            if link.seen.as_ref().is_some_and(|seen| !is_about(seen)) {
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

    /// The same of what may be one, without verifying anything.
    pub(crate) fn peek_id(raw: &[RawLink]) -> Option<AdmissionId> {
        let links = raw.iter();
        let links = links.map(|link| Some((ContentId::of(&link.grant), link.user()?)));
        let links: Option<Vec<_>> = links.collect();
        links.map(id_of)
    }

    fn id_up_to(&self, count: usize) -> AdmissionId {
        let links = self.links.iter().take(count);
        id_of(links.map(|link| (link.grant.id(), link.node())))
    }

    /// Whether a receipt says that the node of the link at `position` has been a member by the links
    /// up to there.
    fn is_about(&self, seen: &Receipt, position: usize, charter: &Signed<Charter>) -> bool {
        let links = self.links.get(..=position).unwrap_or_default();
        links.last().is_some_and(|last| {
            seen.network == charter.network()
                && seen.subject == last.node()
                && seen.admission == self.id_up_to(links.len())
        })
    }

    /// The chain with a receipt for its last link, where the receipt is about it and its witness is
    /// heard; otherwise as it was.
    #[must_use]
    pub fn seen(
        &self,
        receipt: &Signed<Receipt>,
        charter: &Signed<Charter>,
        authority: &Authority,
    ) -> Self {
        let mut links = self.links.clone();
        let is_about = self.is_about(receipt, links.len().saturating_sub(1), charter);
        if let Some(last) = links.last_mut()
            && is_about
            && is_heard(&receipt.witness, std::slice::from_ref(last), authority)
        {
            last.seen = Some(Box::new(receipt.clone()));
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

/// The id of a chain, by its grants and whom each let in.
fn id_of(links: impl IntoIterator<Item = (ContentId, NodeId)>) -> AdmissionId {
    let mut parts = Vec::new();
    for (grant, node) in links {
        parts.extend_from_slice(&grant.to_bytes());
        parts.extend_from_slice(&node.0);
    }
    AdmissionId(address::hash("grid/1 admission", &[&parts]))
}

/// Whether the word of a witness counts for a membership by `links`: an owner's, and that of those who
/// signed one of them and are not out. What was made by an office that ended takes an owner.
pub(crate) fn is_heard(witness: &NodeId, links: &[Link], authority: &Authority) -> bool {
    let signed = |link: &Link| {
        let office = link.grant.office.as_ref();
        let is_live = |office: &OfficeId| {
            let office = authority.offices().get(office);
            office.is_some_and(Office::is_live)
        };
        link.issuer() == *witness && office.is_none_or(is_live)
    };
    authority.is_owner(witness) || (links.iter().any(signed) && !authority.is_out(witness))
}

/// Since when a receipt says that its subject has been a member by `links`, if its witness is heard. An owner speaks
/// of no time before its appointment, and nobody of one before the network was founded.
pub(crate) fn heard_since(
    receipt: &Receipt,
    links: &[Link],
    authority: &Authority,
) -> Option<Timestamp> {
    let witness = &receipt.witness;
    let floor = || authority.owner_since(witness);
    is_heard(witness, links, authority).then(|| {
        receipt
            .member_since
            .max(floor().unwrap_or(authority.founded()))
    })
}

fn verify_link(link: &Link, charter: &Signed<Charter>) -> Result<(), AdmissionError> {
    let network = charter.network();
    let Link { grant, used, .. } = link;
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
    if used.joined > grant.expires || used.joined < grant.issued.before(crate::limits::CLOCK_SKEW) {
        return Err(AdmissionError::OutOfTime {
            expires: grant.expires,
        });
    }
    Ok(())
}
