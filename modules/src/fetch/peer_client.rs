//! Asks one peer for one thing, connecting first if necessary, and remembers which peers lied.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use grid_keys::NodeId;
use grid_net::Pace;
use grid_net::{ConnectError, Endpoint, RequestError, peer_text};
use grid_promises::modules::fetch::{FetchRequest, Fetched, Given, read_rejection};
use parking_lot::Mutex;
use tracing::warn;

use super::limits::{REQUEST_BURST, REQUEST_RATE};
use super::peer_failure::PeerFailure;
use crate::peer::Peer;

/// The sustained rate of requests to one peer, a second, and the burst. Nine tenths of what every server
/// accepts; the rest is for what else two nodes have to say to each other.
const RATE: u32 = REQUEST_RATE / 10 * 9;
const BURST: u32 = REQUEST_BURST / 10 * 9;
/// The most liars that are remembered.
const MAX_LIARS: usize = 1024;

/// How long to wait for a peer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// Until it is connected.
    pub(super) connect: Duration,
    /// Until it has answered.
    pub(super) answer: Duration,
}

/// Asks peers.
#[derive(Debug)]
pub(super) struct PeerClient {
    endpoint: Endpoint,
    pace: Mutex<Pace>,
    liars: Mutex<BTreeSet<NodeId>>,
}

impl PeerClient {
    pub(super) fn new(endpoint: Endpoint) -> Self {
        Self {
            endpoint,
            pace: Mutex::new(Pace::new(RATE, BURST)),
            liars: Mutex::default(),
        }
    }

    /// Notes that a peer lied: the log says so, and others are asked first from now on.
    pub(super) fn note_lie(&self, peer: NodeId, what: &str) {
        warn!("{peer} lied: {what}; nothing of it is used, and it is asked last from now on");
        let mut liars = self.liars.lock();
        if liars.len() < MAX_LIARS {
            liars.insert(peer);
        }
    }

    /// Whether a peer has lied since the server started.
    pub(super) fn is_liar(&self, peer: &NodeId) -> bool {
        let liars = self.liars.lock();
        liars.contains(peer)
    }

    /// Connects to a peer if it is not connected.
    pub(super) async fn connect(&self, contact: &Peer, limit: Duration) -> Result<(), PeerFailure> {
        if contact.addresses.is_empty() {
            let why = "it is not connected, and no address of it is known".to_owned();
            return Err(PeerFailure::Unreachable(why));
        }
        let connecting = self
            .endpoint
            .connect(Some(contact.node), &contact.addresses);
        match tokio::time::timeout(limit, connecting).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(ConnectError::Myself)) => {
                Err(PeerFailure::Unreachable("that is this node".to_owned()))
            }
            Ok(Err(error)) => Err(PeerFailure::Unreachable(error.to_string())),
            Err(_) => Err(PeerFailure::Unreachable("no answer in time".to_owned())),
        }
    }

    /// Sends a request and returns the raw answer. Connects first if necessary.
    pub(super) async fn request(
        &self,
        contact: &Peer,
        request: &FetchRequest,
        patience: Patience,
    ) -> Result<Vec<u8>, PeerFailure> {
        let wait = {
            let mut pace = self.pace.lock();
            pace.take(contact.node, Instant::now())
        };
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
        let message = request.encode();
        let asked = self.exchange(contact, message.clone(), patience).await;
        let Err(RequestError::NotConnected(_)) = &asked else {
            return asked.map_err(failure);
        };
        self.connect(contact, patience.connect).await?;
        let asked = self.exchange(contact, message, patience).await;
        asked.map_err(failure)
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

    /// As [`request`](Self::request), for short answers, which it decodes. Chunks are decoded elsewhere, where
    /// that holds nobody up.
    pub(super) async fn ask<T: Given>(
        &self,
        contact: &Peer,
        request: &FetchRequest,
        patience: Patience,
    ) -> Result<T, PeerFailure> {
        read(&self.request(contact, request, patience).await?)
    }
}

/// Decodes an answer.
pub(super) fn read<T: Given>(bytes: &[u8]) -> Result<T, PeerFailure> {
    match T::read_answer(bytes) {
        Ok(Fetched::Given(given)) => Ok(given),
        Ok(Fetched::Refused(why)) => Err(PeerFailure::Refused(peer_text(why))),
        Err(error) => match read_rejection(bytes) {
            Ok(Some(_)) => Err(PeerFailure::TakesNoPart),
            _ => Err(PeerFailure::Lied(peer_text(error.to_string()))),
        },
    }
}

fn failure(error: RequestError) -> PeerFailure {
    match error {
        RequestError::TimedOut { .. } => PeerFailure::Silent,
        RequestError::Refused(grid_net::StreamCode::TOO_SLOW) => PeerFailure::Silent,
        RequestError::AnswerTooLarge { .. } => PeerFailure::Lied(error.to_string()),
        RequestError::NotConnected(_) => PeerFailure::Lost("its connection ended".to_owned()),
        error => PeerFailure::Lost(error.to_string()),
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
        assert_eq!(refused, Err(PeerFailure::Refused("no no".to_owned())));
        assert_eq!(
            read::<Symbols>(&reject(&table)),
            Err(PeerFailure::TakesNoPart)
        );
        for junk in [&b""[..], b"junk", &given.answer()[1..]] {
            assert!(matches!(read::<Symbols>(junk), Err(PeerFailure::Lied(_))));
        }
    }
}
