//! Evidence: a member signs when it saw what another member promised.
//!
//! A receipt configures nothing. It only decides who was first when two nodes promise the same
//! address, or use the same single-use invite: a time that a node writes
//! into its own promise proves nothing, a time that another node signed does.
//!
//! For a *membership*, only receipts of those who vouched for the node (and of owners) count,
//! because their standing follows from the node's own admission, and only for the admission that
//! they name: who was seen early by one way was not therefore early by another. For an *address*
//! those of every other member count.

use std::net::Ipv4Addr;

use minicbor::{Decode, Encode};

use crate::limits::RECEIPT_LIFETIME;
use crate::network::ids::{AdmissionId, NetworkId};
use crate::network::statement::{Kind, Statement};
use crate::time::Timestamp;
use crate::wire;
use grid_keys::NodeId;

/// What one member saw of another, and since when.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Receipt {
    /// The network that it holds in.
    #[n(0)]
    pub network: NetworkId,
    /// Who saw it, and signs this.
    #[n(1)]
    pub witness: NodeId,
    /// Whose promise it was.
    #[n(2)]
    pub subject: NodeId,
    /// The admission that it showed.
    #[n(3)]
    pub admission: AdmissionId,
    /// Since when the subject has been a member by that admission.
    #[n(4)]
    pub member_since: Timestamp,
    /// The IPv4 address that it claimed.
    #[n(5)]
    #[cbor(with = "wire::ipv4_addr")]
    pub address: Ipv4Addr,
    /// Since when it claimed that address.
    #[n(6)]
    pub address_since: Timestamp,
    /// When this was signed.
    #[n(7)]
    pub issued: Timestamp,
}

impl Receipt {
    /// Until when this speaks for the address. For the membership it speaks for ever.
    #[must_use]
    pub const fn until(&self) -> Timestamp {
        self.issued.after(RECEIPT_LIFETIME)
    }
}

impl Statement for Receipt {
    const KIND: Kind = Kind::Receipt;
    fn signer(&self) -> NodeId {
        self.witness
    }
    fn check(&self) -> Result<(), &'static str> {
        if self.witness == self.subject {
            return Err("a node cannot vouch for itself");
        }
        if self.member_since > self.issued || self.address_since > self.issued {
            return Err("it speaks of a time after it was signed");
        }
        Ok(())
    }
}
