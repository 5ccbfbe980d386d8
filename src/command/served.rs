//! A request that the server carries out: what crosses the control socket, and both ends of it.

use std::time::Duration;

use grid_promises::Message;
use grid_promises::texts::{self, Promise};
use serde::Serialize;
use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

use crate::control::client::Client;
use crate::control::request;
use crate::exit::{Failure, Outcome};
use crate::node::{Answer, NodeHandle, Progress};

/// How long the server may take from one message to the next, beyond what was asked for.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A request to the server. Its form is read by one version of the program only: a field that this
/// version does not know must be refused (`#[serde(deny_unknown_fields)]`).
pub trait Served: Serialize + DeserializeOwned + Send + 'static {
    /// The promise that it is made under.
    const PROMISE: Promise;
    /// What it comes to.
    type Report: Serialize + DeserializeOwned + Send;

    /// Carries it out. Runs in the server.
    fn handle(
        self,
        node: &NodeHandle,
        progress: &Progress,
    ) -> impl Future<Output = Outcome<Self::Report>> + Send;

    /// How long the server may say nothing.
    fn patience(&self) -> Duration {
        PATIENCE
    }

    /// Whether the server ends with this report.
    fn ends_the_server(_: &Self::Report) -> bool {
        false
    }
}

/// What the server answered.
#[derive(Debug)]
pub struct Answered<T> {
    /// As it was read.
    pub report: T,
    /// As it came.
    pub json: Zeroizing<Vec<u8>>,
}

/// Has a server carry a request out; what it says on the way goes to `say`.
///
/// # Errors
/// What the server says, or that it says nothing.
pub fn call<R: Served>(
    client: &mut Client,
    request: &R,
    say: impl FnMut(&str),
) -> Outcome<Answered<R::Report>> {
    call_within(client, request, request.patience(), say)
}

/// As [`call`]; the server may say nothing for `limit` at most.
///
/// # Errors
/// As [`call`].
pub fn call_within<R: Served>(
    client: &mut Client,
    request: &R,
    limit: Duration,
    say: impl FnMut(&str),
) -> Outcome<Answered<R::Report>> {
    let message = request::encode(R::PROMISE.id(), request)?;
    let json = client.call(message, limit, say)?;
    let report = serde_json::from_slice(&json).map_err(|error| {
        Failure::failed(format!(
            "the server's answer cannot be read ({error}): it is of another version; restart it"
        ))
    })?;
    Ok(Answered { report, json })
}

/// Carries out a request that came in a message. Runs in the server.
///
/// # Errors
/// The message makes no such request, or why it was not done.
pub async fn answer<R: Served>(
    node: &NodeHandle,
    message: Message,
    progress: &Progress,
) -> Outcome<Answer> {
    let request: R = request::decode(message)?;
    let report = request.handle(node, progress).await?;
    let mut payload = Zeroizing::new(Vec::with_capacity(4096));
    serde_json::to_writer(&mut *payload, &report)
        .map_err(|error| Failure::failed(format!("the answer cannot be written: {error}")))?;
    Ok(Answer {
        payload,
        stop: R::ends_the_server(&report),
    })
}

/// Why a message is not carried out that none of the requests of this version is made by.
#[must_use]
pub fn unknown(message: &Message) -> Failure {
    match texts::by_id(&message.promise) {
        Some(_) => Failure::usage("that is not for a server to do"),
        None => Failure::usage(format!(
            "this server knows no promise {}; it is of another version than the command line",
            message.promise
        )),
    }
}
