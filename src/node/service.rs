//! The function that carries out requests from the control socket. The server is given one, so that it
//! does not import the commands.

use std::pin::Pin;

use tokio::sync::mpsc;
use zeroize::Zeroizing;

use super::handle::NodeHandle;
use crate::control::confidential::Confidential;
use crate::exit::Outcome;

/// The result of a request.
#[derive(Debug)]
pub struct Answer {
    /// The report as JSON. It may be an invite, so it is wiped when dropped.
    pub payload: Zeroizing<Vec<u8>>,
    /// Whether the server ends after it was sent.
    pub stop: bool,
    /// Whether whoever asked counts on the server to go on.
    pub relies_on_the_server: bool,
}

/// Takes sentences about how a request is going.
pub type Progress = mpsc::Sender<String>;

/// A request that is being carried out.
pub type Answering = Pin<Box<dyn Future<Output = Outcome<Answer>> + Send>>;

/// Carries out the request in a message.
pub type Service = fn(NodeHandle, Confidential, Progress) -> Answering;
