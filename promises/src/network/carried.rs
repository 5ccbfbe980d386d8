//! The admission of one node by name, as a text that a person carries to it where its request does not get through.
//!
//! It holds no secret: nobody but the node that it names can use it, and nothing in it is kept from whoever asks for the
//! network by its name, but where some members are.

use minicbor::bytes::ByteVec;
use minicbor::{Decode, Encode};
use zeroize::Zeroizing;

use crate::cbor::{self, Bounds};
use crate::limits::{MAX_INVITE_TEXT, MAX_ROOTING};
use crate::network::act::Act;
use crate::network::acts::Acts;
use crate::network::armour::{self, Fault};
use crate::network::charter::{AdmissionRule, Charter};
use crate::network::invite::{Bootstrap, are_usable};
use crate::network::name::NetworkName;
use crate::network::statement::{Signed, StatementError};
use grid_keys::NodeId;

/// How the text of every carried admission begins.
pub const PREFIX: &str = "grid-admission-1.";
const DOMAIN: &str = "grid/1 carried admission";
const BOUNDS: Bounds = Bounds {
    max_bytes: MAX_INVITE_TEXT,
    max_depth: 8,
    max_items: 1024,
};

/// A verified admission.
#[derive(Clone, Debug, PartialEq)]
pub struct Carried {
    /// The network's charter.
    pub charter: Signed<Charter>,
    /// Who to begin with.
    pub bootstrap: Vec<Bootstrap>,
    /// The node that is admitted.
    pub node: NodeId,
    /// The act that admits it, and those by which its owner was appointed.
    pub acts: Vec<Signed<Act>>,
}

/// Why a text is not an admission that can be used. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CarriedError {
    /// Longer than an admission can be.
    #[error("the text is longer than any admission ({MAX_INVITE_TEXT} characters)")]
    TooLong,
    /// Something else.
    #[error("this is not an admission: they begin with \"{PREFIX}\"")]
    NotAnAdmission,
    /// A part is missing or altered.
    #[error("the admission is incomplete or was altered on the way; copy all of it again")]
    Damaged,
    /// It holds what no admission holds.
    #[error("the admission is malformed: {0}; ask the owner for a new one")]
    Malformed(String),
    /// A signature in it does not hold.
    #[error(transparent)]
    Statement(#[from] StatementError),
    /// No owner's act in it admits the node.
    #[error(
        "no owner admits the node that the admission names, by what is in it; ask the owner for a new one"
    )]
    NotAdmitted,
    /// For another node.
    #[error("this admission is for the node {0}, and no other can use it")]
    OtherNode(NodeId),
    /// For a network of another name than the one asked for.
    #[error("this admission is for the network \"{admitted}\", not \"{asked}\"")]
    OtherNetwork {
        /// The network that it is for.
        admitted: NetworkName,
        /// The network that was asked for.
        asked: NetworkName,
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
    node: NodeId,
    #[n(3)]
    acts: Vec<ByteVec>,
}

impl Carried {
    /// The text that a person carries.
    #[must_use]
    pub fn to_text(&self) -> String {
        let acts = self.acts.iter().map(|act| act.bytes().to_vec().into());
        let wire = Wire {
            charter: self.charter.bytes().to_vec(),
            bootstrap: self.bootstrap.clone(),
            node: self.node,
            acts: acts.collect(),
        };
        let bytes = Zeroizing::new(cbor::encode(&wire));
        std::mem::take(&mut *armour::encode(PREFIX, DOMAIN, bytes))
    }

    /// Reads an admission and verifies all of it. White space anywhere in it is ignored.
    ///
    /// # Errors
    /// Every way in which a text can fail to be an admission.
    pub fn from_text(text: &str) -> Result<Self, CarriedError> {
        let body = armour::decode(PREFIX, DOMAIN, text)?;
        let wire: Wire = cbor::decode(&body, &BOUNDS)
            .map_err(|error| CarriedError::Malformed(error.to_string()))?;
        let malformed = |why: &str| CarriedError::Malformed(why.to_owned());
        if !are_usable(&wire.bootstrap) {
            return Err(malformed("a bootstrap node has no usable address"));
        }
        if wire.acts.len() > MAX_ROOTING {
            return Err(malformed("it has more acts than it can need"));
        }
        let charter = Signed::<Charter>::decode(&wire.charter)?;
        if charter.admission != AdmissionRule::Approve {
            return Err(malformed("its network does not admit in that way"));
        }
        let acts = wire.acts.iter().map(|bytes| Signed::<Act>::decode(bytes));
        let acts: Vec<_> = acts.collect::<Result<_, _>>()?;
        let mut known = Acts::new(charter.clone());
        known.merge(acts.iter().cloned());
        if known.held().len() != acts.len() {
            return Err(malformed(
                "it has acts of another network, or of nobody in it",
            ));
        }
        if !known.authority().is_rooted(&wire.node) {
            return Err(CarriedError::NotAdmitted);
        }
        Ok(Self {
            charter,
            bootstrap: wire.bootstrap,
            node: wire.node,
            acts,
        })
    }

    /// Whether `node` can use it for this network.
    ///
    /// # Errors
    /// [`CarriedError::OtherNetwork`], [`CarriedError::OtherNode`].
    pub fn check(&self, asked: &NetworkName, node: &NodeId) -> Result<(), CarriedError> {
        if self.charter.name != *asked {
            return Err(CarriedError::OtherNetwork {
                admitted: self.charter.name.clone(),
                asked: asked.clone(),
            });
        }
        if self.node != *node {
            return Err(CarriedError::OtherNode(self.node));
        }
        Ok(())
    }
}

impl From<Fault> for CarriedError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::TooLong => Self::TooLong,
            Fault::Empty | Fault::OtherPrefix => Self::NotAnAdmission,
            Fault::Damaged => Self::Damaged,
        }
    }
}
