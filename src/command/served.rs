//! A request to the server: what crosses the control socket, and both ends of it.

use std::time::Duration;

use grid_promises::Message;
use grid_promises::texts::{self, Promise};
use serde::Serialize;
use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

use crate::control::client::Client;
use crate::control::{confidential, request};
use crate::exit::{Failure, Outcome};
use crate::node::{Answer, NodeHandle, Progress};

/// How long the server may stay silent where it waits for peers or for WireGuard, beyond what the request
/// itself allows.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// How long it may stay silent where there is nothing to wait for.
pub const HASTE: Duration = Duration::from_secs(10);

/// A request to the server. It has to refuse fields that it does not know
/// (`#[serde(deny_unknown_fields)]`): a newer program may have added one that changes what is meant.
pub trait Served: Serialize + DeserializeOwned + Send + 'static {
    /// The promise under which it is sent.
    const PROMISE: Promise;
    /// The result.
    type Report: Serialize + DeserializeOwned + Send;

    /// Carries it out, in the server.
    fn handle(
        self,
        node: &NodeHandle,
        progress: &Progress,
    ) -> impl Future<Output = Outcome<Self::Report>> + Send;

    /// Whether whoever asks counts on the server to go on afterwards. If nobody does, a server that was
    /// started for a command that failed is stopped again.
    const RELIES_ON_THE_SERVER: bool = true;

    /// Whether the server waits for peers or for WireGuard.
    const WAITS: bool = false;

    /// How long the server may stay silent.
    fn patience(&self) -> Duration {
        if Self::WAITS { PATIENCE } else { HASTE }
    }

    /// Whether the server ends after this report.
    fn ends_the_server(_: &Self::Report) -> bool {
        false
    }
}

/// What the server answered.
#[derive(Debug)]
pub struct Answered<T> {
    /// The report.
    pub report: T,
    /// The same as JSON, byte for byte as the server sent it.
    pub json: Zeroizing<Vec<u8>>,
}

/// Sends a request and waits for the report. Progress goes to `say`.
///
/// # Errors
/// The server refuses, fails, or stays silent for too long.
pub fn call<R: Served>(
    client: &mut Client,
    request: &R,
    say: impl FnMut(&str),
) -> Outcome<Answered<R::Report>> {
    call_within(client, request, request.patience(), say)
}

/// As [`call`], with another limit for the silence of the server.
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

/// Reads a request from a message and carries it out, in the server.
///
/// # Errors
/// The message holds no such request, or why the request failed.
pub async fn answer<R: Served>(
    node: &NodeHandle,
    message: &Message,
    progress: &Progress,
) -> Outcome<Answer> {
    let request: R = request::decode(message)?;
    let report = request.handle(node, progress).await?;
    let payload = confidential::json(&report)
        .map_err(|error| Failure::failed(format!("the answer cannot be written: {error}")))?;
    Ok(Answer {
        payload,
        stop: R::ends_the_server(&report),
        relies_on_the_server: R::RELIES_ON_THE_SERVER,
    })
}

/// The refusal of a message under a promise that no request has.
#[must_use]
pub fn unknown(message: &Message) -> Failure {
    match texts::by_id(&message.promise) {
        Some(promise) if cfg!(not(feature = "modules")) => Failure::usage(format!(
            "this server cannot carry out \"{}\": it was built without modules",
            promise.name
        )),
        Some(_) => Failure::usage("that is not for a server to do"),
        None => Failure::usage(format!(
            "this server knows no promise {}; it is of another version than the command line",
            message.promise
        )),
    }
}
