//! Why bytes are no tree.

use crate::cbor::CborError;

/// The version of the encoding.
pub(super) const VERSION: u8 = 1;

/// Bytes that are not an exported tree. Nothing was changed, and the same bytes will fail again: go
/// on with an empty tree, which fills by use. Not an attack, unless others can write the file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ImportError {
    /// Not deterministic CBOR of this form: cut short, altered, or something else.
    #[error("the routing tree cannot be read: {0}")]
    Cbor(#[from] CborError),
    /// Another version of the encoding.
    #[error("the routing tree has the form {found}; this version reads {VERSION}")]
    Version {
        /// The version that was found.
        found: u8,
    },
    /// The content is not what its id says.
    #[error("the routing tree is damaged: its content does not match its id")]
    Damaged,
    /// Targets that are not sorted, not valid, or that nothing is known of.
    #[error("the targets of the routing tree are not those that its paths have")]
    Targets,
    /// A path that is out of order, or that no tree has.
    #[error("path {index} of the routing tree is not one that a tree has there")]
    Path {
        /// Which one, from 0.
        index: usize,
    },
    /// More than the limits allow.
    #[error("the routing tree is larger than the limits of this node allow")]
    OverLimits,
}
