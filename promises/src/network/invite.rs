//! The bearer token that a person carries to a new node.
//!
//! Its text is `grid-invite-1.` and the unpadded base64url (RFC 4648 section 5) of the deterministic
//! CBOR of its parts, followed by the first four bytes of their SHA-256, which tell a damaged copy
//! from a forged one. Whoever has it can join: it holds the invite key's seed and the network's
//! secret. It never travels between nodes.

use std::net::SocketAddr;

use minicbor::bytes::ByteVec;
use minicbor::{Decode, Encode};
use zeroize::{Zeroize, Zeroizing};

use crate::cbor::{self, Bounds};
use crate::limits::{MAX_CHAIN, MAX_ENDPOINTS, MAX_HEADS, MAX_INVITE_TEXT};
use crate::network::act::{Act, ActId};
use crate::network::acts::Acts;
use crate::network::admission::{Admission, AdmissionError, Grant, GrantUse, Link, RawLink};
use crate::network::armour::{self, Fault};
use crate::network::charter::Charter;
use crate::network::endpoint::is_reachable;
use crate::network::name::NetworkName;
use crate::network::statement::{Signed, StatementError};
use crate::time::Timestamp;
use crate::wire;
use grid_keys::Secret;
use grid_keys::{NodeId, NodeKey};

/// How the text of every invite begins.
pub const PREFIX: &str = "grid-invite-1.";
const DOMAIN: &str = "grid/1 invite";
const BOUNDS: Bounds = Bounds {
    max_bytes: MAX_INVITE_TEXT,
    max_depth: 8,
    max_items: 1024,
};

/// A node that a joiner can begin with.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Bootstrap {
    /// Its node key: the joiner talks to nobody else at that address.
    #[n(0)]
    pub node: NodeId,
    /// Where its QUIC listens.
    #[n(1)]
    #[cbor(with = "wire::socket_addrs")]
    pub quic: Vec<SocketAddr>,
}

/// A verified invite.
#[derive(Clone, Debug)]
pub struct Invite {
    /// The network's charter.
    pub charter: Signed<Charter>,
    /// Who to begin with.
    pub bootstrap: Vec<Bootstrap>,
    /// What the issuer allowed.
    pub grant: Signed<Grant>,
    /// How the issuer became a member, as far as its invites depend on it.
    pub issuer: Admission,
    /// The acts that show that there is an owner at its beginning, where the charter does not.
    pub acts: Vec<Signed<Act>>,
    /// The last acts of owners that the issuer knows of: whoever joins has not heard all until it has these.
    pub heads: Vec<ActId>,
    /// The secret half of the invite key.
    pub key: NodeKey,
    /// The network's secret.
    pub secret: Secret<32>,
}

/// Why a text is not an invite that can be used. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InviteError {
    /// Nothing was given.
    #[error("the invite is empty")]
    Empty,
    /// Longer than an invite can be.
    #[error("the text is longer than any invite ({MAX_INVITE_TEXT} characters)")]
    TooLong,
    /// Something else than an invite.
    #[error("this is not an invite: invites begin with \"{PREFIX}\"")]
    NotAnInvite,
    /// A part is missing or altered.
    #[error("the invite is incomplete or was altered on the way; copy all of it again")]
    Damaged,
    /// It holds what no invite holds.
    #[error("the invite is malformed: {0}; ask for a new one")]
    Malformed(String),
    /// A signature in it does not hold.
    #[error(transparent)]
    Statement(#[from] StatementError),
    /// The chain in it does not lead to an owner.
    #[error(transparent)]
    Admission(#[from] AdmissionError),
    /// For a network of another name than the one asked for.
    #[error("this invite is for the network \"{invited}\", not \"{asked}\"")]
    OtherNetwork {
        /// The network that the invite is for.
        invited: NetworkName,
        /// The network that was asked for.
        asked: NetworkName,
    },
    /// Its time is over.
    #[error("the invite expired {ago} s ago; ask for a new one")]
    Expired {
        /// How long ago.
        ago: u64,
    },
    /// Its time has not come: a clock is wrong.
    #[error("the invite was made {ahead} seconds in the future; check this machine's clock")]
    Future {
        /// By how much.
        ahead: u64,
    },
}

#[derive(Encode, Decode)]
struct Wire {
    #[n(0)]
    #[cbor(with = "minicbor::bytes")]
    charter: Vec<u8>,
    #[n(1)]
    bootstrap: Vec<Bootstrap>,
    #[n(2)]
    #[cbor(with = "minicbor::bytes")]
    grant: Vec<u8>,
    #[n(3)]
    issuer: Vec<RawLink>,
    #[n(4)]
    #[cbor(with = "minicbor::bytes")]
    seed: [u8; 32],
    #[n(5)]
    #[cbor(with = "minicbor::bytes")]
    secret: [u8; 32],
    #[n(6)]
    acts: Vec<ByteVec>,
    #[n(7)]
    heads: Vec<ActId>,
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.seed.zeroize();
        self.secret.zeroize();
    }
}

impl Invite {
    /// The text that a person carries. Wiped when dropped.
    #[must_use]
    pub fn to_text(&self) -> Zeroizing<String> {
        let wire = Wire {
            charter: self.charter.bytes().to_vec(),
            bootstrap: self.bootstrap.clone(),
            grant: self.grant.bytes().to_vec(),
            issuer: self.issuer.raw(),
            seed: *self.key.seed().expose(),
            secret: *self.secret.expose(),
            acts: self
                .acts
                .iter()
                .map(|act| act.bytes().to_vec().into())
                .collect(),
            heads: self.heads.clone(),
        };
        armour::encode(PREFIX, DOMAIN, Zeroizing::new(cbor::encode(&wire)))
    }

    /// Reads an invite and verifies all of it but the time. White space around it is ignored, also
    /// inside: mail programs break long lines.
    ///
    /// # Errors
    /// Every way in which a text can fail to be an invite.
    pub fn from_text(text: &str) -> Result<Self, InviteError> {
        let body = armour::decode(PREFIX, DOMAIN, text)?;
        let wire: Wire = cbor::decode(&body, &BOUNDS)
            .map_err(|error| InviteError::Malformed(error.to_string()))?;
        Self::verify(&wire)
    }

    fn verify(wire: &Wire) -> Result<Self, InviteError> {
        let malformed = |why: &str| InviteError::Malformed(why.to_owned());
        if !are_usable(&wire.bootstrap) {
            return Err(malformed("a bootstrap node has no usable address"));
        }
        if wire.heads.len() > MAX_HEADS {
            return Err(malformed("it names more acts than an invite does"));
        }
        let charter = Signed::<Charter>::decode(&wire.charter)?;
        let grant = Signed::<Grant>::decode(&wire.grant)?;
        let key = NodeKey::from_seed(&Secret::new(wire.seed));
        if key.id() != grant.invite {
            return Err(malformed("its key is not the one that was granted"));
        }
        if grant.network != charter.network() {
            return Err(AdmissionError::OtherNetwork.into());
        }
        let issuer = Admission::decode(&wire.issuer, &charter, &grant.issuer)?;
        let acts = wire.acts.iter().map(|bytes| Signed::decode(bytes));
        let acts: Vec<Signed<Act>> = acts.collect::<Result<_, _>>()?;
        let mut known = Acts::new(charter.clone());
        known.merge(acts.iter().cloned());
        let first = issuer.links().first().map_or(&grant, |link| &link.grant);
        known
            .authority()
            .rule_beginning(&charter, Some(first))
            .map_err(AdmissionError::Void)?;
        Ok(Self {
            charter,
            bootstrap: wire.bootstrap.clone(),
            grant,
            issuer,
            key,
            acts,
            heads: wire.heads.clone(),
            secret: Secret::new(wire.secret),
        })
    }

    /// Whether it can be used for this network now.
    ///
    /// # Errors
    /// [`InviteError::OtherNetwork`], [`InviteError::Expired`], [`InviteError::Future`].
    pub fn check(&self, asked: &NetworkName, now: Timestamp) -> Result<(), InviteError> {
        if self.charter.name != *asked {
            return Err(InviteError::OtherNetwork {
                invited: self.charter.name.clone(),
                asked: asked.clone(),
            });
        }
        if now > self.grant.expires {
            return Err(InviteError::Expired {
                ago: now.since(self.grant.expires).as_secs(),
            });
        }
        if self.grant.issued > now.after(crate::limits::CLOCK_SKEW) {
            return Err(InviteError::Future {
                ahead: self.grant.issued.since(now).as_secs(),
            });
        }
        Ok(())
    }

    /// Admits a node by this invite. The issuer, and a node that it came in by, get the admission
    /// that they have.
    ///
    /// # Errors
    /// When the chain would be too long. Whether its time is over, [`check`](Self::check) says.
    pub fn admit(&self, node: NodeId) -> Result<Admission, AdmissionError> {
        if self.issuer.links().len() >= MAX_CHAIN {
            return Err(AdmissionError::TooLong);
        }
        if node == self.grant.issuer {
            return Ok(self.issuer.clone());
        }
        if let Some(admission) = self.issuer.up_to(&node) {
            return Ok(admission);
        }
        // Not by this node's clock, which may be ahead: nobody signs it again when the clock is put right, and no promise
        // of before that time would be taken.
        let joined = self.grant.issued;
        let used = Signed::sign(
            GrantUse {
                network: self.charter.network(),
                invite: self.key.id(),
                node,
                joined,
            },
            &self.key,
        )?;
        let admission = self.issuer.extended(Link {
            grant: self.grant.clone(),
            used,
            seen: None,
        });
        admission.verify(&self.charter, &node)?;
        Ok(admission)
    }
}

/// Whether each of these nodes can be reached, and there are not too many.
pub(crate) fn are_usable(bootstrap: &[Bootstrap]) -> bool {
    let is_usable = |node: &Bootstrap| {
        (1..=MAX_ENDPOINTS).contains(&node.quic.len()) && node.quic.iter().all(is_reachable)
    };
    bootstrap.len() <= MAX_ENDPOINTS && bootstrap.iter().all(is_usable)
}

impl From<Fault> for InviteError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Empty => Self::Empty,
            Fault::TooLong => Self::TooLong,
            Fault::OtherPrefix => Self::NotAnInvite,
            Fault::Damaged => Self::Damaged,
        }
    }
}
