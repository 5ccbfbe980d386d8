//! Why an admission does not hold, by what owners did.

use grid_keys::NodeId;

/// Why an admission does not hold, by what owners did or did not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum Void {
    /// An owner revoked the node, or one that it came from.
    #[error("an owner revoked the node's admission")]
    Revoked,
    /// The node, or one that it came from, was an owner, was dismissed, and nobody admitted it by name.
    #[error("the node, or one that let it in, is no owner any longer")]
    Dismissed,
    /// An owner closed the invite, and nothing shows that it was used before.
    #[error("an owner closed the invite, and nobody had seen it used")]
    Closed {
        /// The invite key.
        invite: NodeId,
    },
    /// The owner who made the invite was dismissed, and no other owner saw its use.
    #[error("whoever made the invite is no owner any longer, and no other owner saw it used")]
    OfficeEnded {
        /// The invite key.
        invite: NodeId,
    },
    /// No owner stands at its beginning, as far as this node knows.
    #[error("no owner that this node knows admitted it")]
    NotAdmitted,
}
