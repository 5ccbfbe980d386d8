//! Somebody with a node key that nobody admitted.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::{Context as _, Result};
use grid_keys::{NodeId, NodeKey, Secret};
use grid_net::{Config, Endpoint, Event};
use tokio::sync::mpsc::Receiver;

use super::target::Victim;
use crate::tap::QUIC_PORT;

/// One node key: its connections.
pub(super) struct Stranger {
    pub(super) endpoint: Endpoint,
    events: Receiver<Event>,
}

impl Stranger {
    /// With the node key that starts with the number `seed`.
    pub(super) fn new(seed: u64) -> Result<Self> {
        Self::at(Ipv4Addr::UNSPECIFIED, seed)
    }

    /// As [`Stranger::new`], at one of this machine's addresses.
    pub(super) fn at(from: Ipv4Addr, seed: u64) -> Result<Self> {
        let mut config = Config::new(key(seed));
        config.listen = SocketAddr::from((from, 0));
        let (endpoint, events) = Endpoint::bind(config)?;
        Ok(Self { endpoint, events })
    }

    pub(super) async fn connect(&self, victim: &Victim) -> Result<()> {
        let to = SocketAddr::from((victim.node.ipv4()?, QUIC_PORT));
        self.endpoint.connect(Some(victim.id), &[to]).await?;
        Ok(())
    }

    /// Asks a victim, and leaves the victim's own requests unanswered.
    pub(super) async fn ask(&mut self, victim: NodeId, message: Vec<u8>) -> Result<Vec<u8>> {
        ask(&self.endpoint, &mut self.events, victim, message).await
    }
}

/// Asks over an endpoint whose events are of no interest.
pub(super) async fn ask(
    endpoint: &Endpoint,
    events: &mut Receiver<Event>,
    victim: NodeId,
    message: Vec<u8>,
) -> Result<Vec<u8>> {
    let request = endpoint.request(victim, message);
    tokio::pin!(request);
    loop {
        tokio::select! {
            answer = &mut request => return Ok(answer?),
            event = events.recv() => drop(event.context("the endpoint ended")?),
        }
    }
}

/// The node key that starts with the number `seed`.
pub(super) fn key(seed: u64) -> NodeKey {
    let mut bytes = [0xa5; 32];
    for (to, from) in bytes.iter_mut().zip(seed.to_be_bytes()) {
        *to = from;
    }
    NodeKey::from_seed(&Secret::new(bytes))
}
