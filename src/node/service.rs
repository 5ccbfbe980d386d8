//! The form of what carries out requests on the control socket. The server is given one, so that it
//! knows no command.

use std::pin::Pin;

use grid_promises::Message;
use tokio::sync::mpsc;
use zeroize::Zeroizing;

use super::handle::NodeHandle;
use crate::exit::Outcome;

/// What a request came to.
#[derive(Debug)]
pub struct Answer {
    /// JSON. May be an invite: wiped when dropped.
    pub payload: Zeroizing<Vec<u8>>,
    /// Whether the server ends after it.
    pub stop: bool,
}

/// Where a command says how it is going.
pub type Progress = mpsc::Sender<String>;

/// An answer on its way.
pub type Answering = Pin<Box<dyn Future<Output = Outcome<Answer>> + Send>>;

/// Carries out what a message asks of a node.
pub type Service = fn(NodeHandle, Message, Progress) -> Answering;
