//! What the driver's own tasks report to it.

use grid_keys::NodeId;
use grid_net::Responder;
use grid_promises::ContentId;
use grid_promises::core::RequestId;
use grid_promises::network::charter::NetworkId;

/// Something that a task of the driver's came to.
pub(super) enum Event {
    /// Nobody could be reached.
    ConnectFailed(NodeId),
    /// A request of a peer that asked faster than the core takes, and that has waited.
    Delayed(NodeId, Vec<u8>, Responder, Option<ContentId>),
    /// A judge of a network spoke, or did not.
    Judged(NetworkId, ContentId, Result<Vec<u8>, String>),
    /// A request was answered, or not: one of the core that was the how-many-th.
    Response(u64, RequestId, Option<Vec<u8>>),
}
