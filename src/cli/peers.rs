//! Asking peers through the server of the home: for their names, and for objects.

use std::time::Duration;

use grid_promises::ContentId;
use serde_json::Value;

use super::args::Global;
use super::{background, output};
use crate::control::client::Client;
use crate::exit::{Failure, Outcome};
use crate::home::Home;

/// How long the server may say nothing while it fetches.
const PATIENCE: Duration = Duration::from_secs(120);
/// How long it may take to ask peers for a name.
const FINDING: Duration = Duration::from_secs(15);

/// A peer that has a name in its table.
pub(super) struct Namesake {
    /// The peer's node id.
    pub(super) peer: String,
    /// The descriptor that the name leads to there.
    pub(super) module: Option<ContentId>,
}

impl Namesake {
    /// As much of the node id as a person needs to name the peer.
    pub(super) fn short(&self) -> &str {
        short(&self.peer)
    }
}

/// As much of a node id as a person needs to name a peer.
pub(super) fn short(peer: &str) -> &str {
    peer.get(..10).unwrap_or(peer)
}

/// The peer's symbol table, and who the peer is. The table, the descriptors and the promise texts are
/// in the store then; the code is not.
///
/// # Errors
/// The peer is not known, cannot be reached, or takes no part in this.
pub(super) fn symbols_of(home: &Home, global: &Global, peer: &str) -> Outcome<(String, ContentId)> {
    let words = ["symbols", peer].map(str::to_owned);
    let (mut client, _) = background::connect_or_start(home, global)?;
    let answer = client.call("fetch", &words, &[], PATIENCE, output::say)?;
    let answer: Value = serde_json::from_slice(&answer).unwrap_or_default();
    let who = answer["peer"].as_str().unwrap_or(peer).to_owned();
    let table = answer["table"].as_str().and_then(|id| id.parse().ok());
    let table = table.ok_or_else(|| Failure::failed("the server's answer cannot be read"))?;
    Ok((who, table))
}

/// Has the server get an object from peers into the store.
///
/// # Errors
/// Nobody who could be asked has it.
pub(super) fn fetch(home: &Home, global: &Global, id: &ContentId) -> Outcome {
    let words = ["object".to_owned(), id.to_string()];
    let (mut client, _) = background::connect_or_start(home, global)?;
    client.call("fetch", &words, &[], PATIENCE, output::say)?;
    Ok(())
}

/// The peers whose tables have a name. None if no server runs: nobody is asked for a slip of the
/// fingers then.
pub(super) fn find(home: &Home, name: &str) -> Vec<Namesake> {
    let ask = || {
        let mut client = Client::connect(home).ok()??;
        let words = ["find", name].map(str::to_owned);
        let answer = client.call("fetch", &words, &[], FINDING, |_| {}).ok()?;
        let answer: Value = serde_json::from_slice(&answer).ok()?;
        let peers = answer["peers"].as_array()?.iter();
        let namesakes = peers.filter_map(|one| {
            Some(Namesake {
                peer: one["peer"].as_str()?.to_owned(),
                module: one["descriptor"].as_str().and_then(|id| id.parse().ok()),
            })
        });
        Some(namesakes.collect())
    };
    ask().unwrap_or_default()
}
