//! What networks and admissions are named by.

use std::fmt;

use minicbor::{Decode, Encode};

use crate::content_id::ContentId;

/// A network's identity: the content id of its signed charter.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(transparent)]
pub struct NetworkId(#[n(0)] pub ContentId);

impl fmt::Display for NetworkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for NetworkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NetworkId({})", self.0.short())
    }
}

/// Which chain it is: the grants, the owners who admitted by name, and the nodes on it, whatever
/// was signed anew or added to it since.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
#[cbor(transparent)]
pub struct AdmissionId(#[cbor(with = "minicbor::bytes")] pub [u8; 32]);
