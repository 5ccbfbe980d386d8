//! The peers that are asked: connecting to them, asking one thing, and what is remembered of those who
//! lied.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use grid_keys::NodeId;
use grid_net::{ConnectError, Endpoint, RequestError};
use grid_promises::modules::fetch::{FetchRequest, Fetched, Given, read_rejection};
use tracing::warn;

use super::error::{Told, readable};
use crate::peer::Peer;
use grid_net::Pace;

/// How many requests a second this node sends to one peer for long, and at once. Nine tenths of what
/// every server takes: the rest is for what else two nodes have to say to one another.
const RATE: u32 = super::REQUEST_RATE / 10 * 9;
const BURST: u32 = super::REQUEST_BURST / 10 * 9;
/// The most nodes that are remembered for a lie.
const MAX_LIARS: usize = 1024;

/// How long a peer is waited for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// Until it is connected.
    pub(super) connect: Duration,
    /// Until it has answered.
    pub(super) answer: Duration,
}

/// Asks peers.
#[derive(Debug)]
pub(super) struct Contacts {
    endpoint: Endpoint,
    pace: Mutex<Pace>,
    liars: Mutex<BTreeSet<NodeId>>,
}

impl Contacts {
    pub(super) fn new(endpoint: Endpoint) -> Self {
        Self {
            endpoint,
            pace: Mutex::new(Pace::new(RATE, BURST)),
            liars: Mutex::default(),
        }
    }

    /// Notes that a peer lied, for the log and for the order in which peers are asked.
    pub(super) fn note_lie(&self, peer: NodeId, what: &str) {
        warn!("{peer} lied: {what}; nothing of it is used, and it is asked last from now on");
        let mut liars = self.liars.lock().unwrap_or_else(PoisonError::into_inner);
        if liars.len() < MAX_LIARS {
            liars.insert(peer);
        }
    }

    /// Whether a peer lied since the server started.
    pub(super) fn is_liar(&self, peer: &NodeId) -> bool {
        let liars = self.liars.lock().unwrap_or_else(PoisonError::into_inner);
        liars.contains(peer)
    }

    /// Connects to a peer, unless it is connected.
    pub(super) async fn connect(&self, contact: &Peer, limit: Duration) -> Result<(), Told> {
        if contact.addresses.is_empty() {
            let why = "it is not connected, and no address of it is known".to_owned();
            return Err(Told::Unreachable(why));
        }
        let connecting = self
            .endpoint
            .connect(Some(contact.node), &contact.addresses);
        match tokio::time::timeout(limit, connecting).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(ConnectError::Myself)) => {
                Err(Told::Unreachable("that is this node itself".to_owned()))
            }
            Ok(Err(error)) => Err(Told::Unreachable(error.to_string())),
            Err(_) => Err(Told::Unreachable("no answer in time".to_owned())),
        }
    }

    /// The bytes that a peer answers with. It is connected first.
    pub(super) async fn request(
        &self,
        contact: &Peer,
        request: &FetchRequest,
        patience: Patience,
    ) -> Result<Vec<u8>, Told> {
        let wait = {
            let mut pace = self.pace.lock().unwrap_or_else(PoisonError::into_inner);
            pace.take(contact.node, Instant::now())
        };
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
        let message = request.encode();
        let asked = self.exchange(contact, message.clone(), patience).await;
        let Err(RequestError::NotConnected(_)) = &asked else {
            return asked.map_err(told);
        };
        self.connect(contact, patience.connect).await?;
        let asked = self.exchange(contact, message, patience).await;
        asked.map_err(told)
    }

    async fn exchange(
        &self,
        contact: &Peer,
        message: Vec<u8>,
        patience: Patience,
    ) -> Result<Vec<u8>, RequestError> {
        let asking = self.endpoint.request(contact.node, message);
        let after = patience.answer;
        match tokio::time::timeout(after, asking).await {
            Ok(answered) => answered,
            Err(_) => Err(RequestError::TimedOut { after }),
        }
    }

    /// Asks for what is short. A chunk is read where it does not hold others up: see [`read`].
    pub(super) async fn ask<T: Given>(
        &self,
        contact: &Peer,
        request: &FetchRequest,
        patience: Patience,
    ) -> Result<T, Told> {
        read(&self.request(contact, request, patience).await?)
    }
}

/// Reads an answer.
pub(super) fn read<T: Given>(bytes: &[u8]) -> Result<T, Told> {
    match T::read_answer(bytes) {
        Ok(Fetched::Given(given)) => Ok(given),
        Ok(Fetched::Refused(why)) => Err(Told::Refused(readable(&why))),
        Err(error) => match read_rejection(bytes) {
            Ok(Some(_)) => Err(Told::TakesNoPart),
            _ => Err(Told::Lied(readable(&error.to_string()))),
        },
    }
}

fn told(error: RequestError) -> Told {
    match error {
        RequestError::TimedOut { .. } => Told::Silent,
        RequestError::Refused(grid_net::StreamCode::TOO_SLOW) => Told::Silent,
        RequestError::AnswerTooLarge { .. } => Told::Lied(error.to_string()),
        RequestError::NotConnected(_) => Told::Lost("its connection ended".to_owned()),
        error => Told::Lost(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use grid_promises::ContentId;
    use grid_promises::modules::fetch::{Symbols, refuse, reject};

    #[test]
    fn every_answer_is_something() {
        let table = ContentId::of(b"table");
        let given = Symbols { table };
        assert_eq!(read::<Symbols>(&given.answer()), Ok(given));
        let refused = read::<Symbols>(&refuse("no\nno"));
        assert_eq!(refused, Err(Told::Refused("no no".to_owned())));
        assert_eq!(read::<Symbols>(&reject(&table)), Err(Told::TakesNoPart));
        for junk in [&b""[..], b"junk", &given.answer()[1..]] {
            assert!(matches!(read::<Symbols>(junk), Err(Told::Lied(_))));
        }
    }
}
