//! An object that is wanted, how far getting it is, and what it came to.

use grid_keys::NodeId;
use grid_promises::ContentId;

/// What is wanted, and how much of it at most.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    pub(super) id: ContentId,
    /// In bytes.
    pub(super) limit: u64,
    /// As what, for the error.
    pub(super) what: &'static str,
}

/// How far a transfer is, in bytes of the object.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Transfer {
    pub(super) here: u64,
    /// Of which this was here before it began.
    pub(super) before: u64,
    /// 0: not known yet.
    pub(super) total: u64,
    /// How many peers are asked for chunks.
    pub(super) peers: usize,
}

/// An object that is in the store now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Obtained {
    /// The object.
    pub id: ContentId,
    /// Its length, in bytes.
    pub bytes: u64,
    /// Who gave it, or parts of it; nobody if it was here.
    pub from: Vec<NodeId>,
}
