//! `grid exchange-keys HOST:PORT[#KEY]`: makes another node a peer, which can be asked for open networks.

use std::io::{self, Write};

use grid_keys::NodeId;
use grid_net::{AttemptError, ConnectError};
use grid_promises::texts::{self, Promise};
use serde::{Deserialize, Serialize};

use crate::command::{Caller, Command, Report, Served, asking};
use crate::control::waiting;
use crate::exit::{Exit, Failure, Outcome};
use crate::node::host_port::HostPort;
use crate::node::joining::with_patience;
use crate::node::{NodeHandle, Progress};
use crate::store::KnownPeer;
use crate::values::{moment, text};

/// Make another node a peer: it can be asked for open networks
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The node's address; #KEY pins the node id that it must have
    #[arg(value_name = "HOST:PORT[#KEY]")]
    peer: String,
}

/// What the server is asked.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    #[serde(with = "text")]
    place: HostPort,
    /// Who it must be.
    #[serde(with = "text::option")]
    pin: Option<NodeId>,
}

/// Who the two nodes are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExchangedReport {
    /// This node.
    own: String,
    /// The other one.
    peer: String,
    /// Where it was reached.
    address: String,
    /// Whether that is the place that was named; else a connection to it stood already.
    is_there: bool,
    /// Whether its key was given beforehand.
    pinned: bool,
}

impl Report for ExchangedReport {
    fn show(&self, out: &mut dyn Write) -> io::Result<()> {
        let next = if self.pinned {
            "That is the key that you gave."
        } else {
            "Compare the other node's with what `grid generate-keys` prints there, over a channel that you trust."
        };
        let place = if self.is_there {
            ""
        } else {
            ", where it was connected already: the place that was named was not tried"
        };
        writeln!(
            out,
            "this node   {}\nother node  {}\n  at {}{place}\n{next}",
            self.own, self.peer, self.address
        )
    }
}

impl Command for Args {
    fn run(self, caller: &Caller) -> Outcome {
        let (place, pin) = match self.peer.split_once('#') {
            Some((place, key)) => {
                let key = key.parse().map_err(|error| {
                    Failure::usage(format!("\"{key}\" is not a node id: {error}"))
                })?;
                (place, Some(key))
            }
            None => (self.peer.as_str(), None),
        };
        let place = place.parse()?;
        asking::ask_or_start(caller, &Request { place, pin })
    }
}

impl Served for Request {
    const PROMISE: Promise = texts::EXCHANGE_KEYS;
    type Report = ExchangedReport;
    const WAITS: bool = true;

    async fn handle(self, node: &NodeHandle, progress: &Progress) -> Outcome<ExchangedReport> {
        if self.pin == Some(node.node()) {
            return Err(Failure::usage(
                "that key is this node's own; ask for the other node's",
            ));
        }
        let addrs = self.place.resolve().await?;
        let connecting = node.connect(self.pin, &addrs);
        let connected = with_patience(
            connecting,
            progress.clone(),
            waiting::for_a_peer(&self.place),
        )
        .await
        .map_err(|error| failure(&self.place, &error))?;
        // A connection that stood already says nothing about the place that was named.
        let is_there = addrs.contains(&connected.remote);
        let peer = KnownPeer {
            node: connected.peer,
            addresses: vec![connected.remote],
            since: moment::now(),
            label: None,
        };
        node.remember(peer).await?;
        Ok(ExchangedReport {
            own: node.node().to_string(),
            peer: connected.peer.to_string(),
            address: connected.remote.to_string(),
            is_there,
            pinned: self.pin.is_some(),
        })
    }
}

fn failure(place: &HostPort, error: &ConnectError) -> Failure {
    match error {
        ConnectError::IdentityMismatch { found, .. } => Failure::refused(format!(
            "{place} is node {found}, not the one that you named; nothing was saved. \
             Check the address, and ask the person for the key again"
        )),
        ConnectError::Myself => Failure::usage(format!("{place} is this node")),
        ConnectError::Failed(attempts)
            if attempts
                .iter()
                .all(|(_, error)| *error == AttemptError::TimedOut) =>
        {
            Failure::new(
                Exit::TimedOut,
                format!(
                    "nothing answered at {place}; check the address, that the server runs there, \
                     and that its UDP port (51821 unless told otherwise) can be reached"
                ),
            )
        }
        error => Failure::failed(format!("no keys were exchanged with {place}: {error}")),
    }
}
