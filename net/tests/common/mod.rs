//! Nodes on loopback for the tests.
#![allow(dead_code, unreachable_pub)] // each test file uses a part of it

pub mod raw;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use grid_keys::{NodeId, NodeKey, Secret};
use grid_net::{Config, DisconnectReason, Endpoint, Event, Limits};

use tokio::sync::mpsc::Receiver;
use tokio::time::timeout;

/// Longer than anything that is not broken takes.
pub const LONG: Duration = Duration::from_secs(10);

/// Measures time without what this thread spent ready to run but waiting for a processor, so that
/// other processes do not disturb a test. For work that this thread does alone, as under the default
/// runtime of tests.
pub struct Stopwatch {
    start: Instant,
    queued: Duration,
}

impl Stopwatch {
    pub fn start() -> Self {
        Self {
            start: Instant::now(),
            queued: queued(),
        }
    }

    pub fn elapsed(&self) -> Duration {
        let queued = queued().saturating_sub(self.queued);
        self.start.elapsed().saturating_sub(queued)
    }
}

/// How long this thread has waited for a processor since it began: the second number of `schedstat`,
/// in nanoseconds. Zero where the kernel does not count it.
fn queued() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanoseconds = text.split_whitespace().nth(1).and_then(|n| n.parse().ok());
    Duration::from_nanos(nanoseconds.unwrap_or(0))
}

pub fn key(seed: u8) -> NodeKey {
    NodeKey::from_seed(&Secret::new([seed; 32]))
}

/// Two keys, the one with the lower node id first.
pub fn ordered_keys() -> (NodeKey, NodeKey) {
    let (a, b) = (key(1), key(2));
    if a.id() < b.id() { (a, b) } else { (b, a) }
}

pub fn config(key: NodeKey) -> Config {
    Config {
        listen: "127.0.0.1:0".parse().unwrap(),
        ..Config::new(key)
    }
}

pub struct Node {
    pub endpoint: Endpoint,
    pub events: Receiver<Event>,
}

impl Node {
    pub fn start(seed: u8) -> Self {
        Self::with(config(key(seed)))
    }

    pub fn limited(seed: u8, limits: Limits) -> Self {
        Self::with(Config {
            limits,
            ..config(key(seed))
        })
    }

    pub fn with(config: Config) -> Self {
        let (endpoint, events) = Endpoint::bind(config).unwrap();
        Self { endpoint, events }
    }

    pub fn id(&self) -> NodeId {
        self.endpoint.node_id()
    }

    pub fn addr(&self) -> SocketAddr {
        self.endpoint.local_addr()
    }

    pub async fn dial(&self, other: &Node) {
        let connected = self
            .endpoint
            .connect(Some(other.id()), &[other.addr()])
            .await
            .expect("connect");
        assert_eq!(connected.peer, other.id());
    }

    pub async fn event(&mut self) -> Event {
        timeout(LONG, self.events.recv())
            .await
            .expect("no event")
            .expect("no more events")
    }

    pub async fn connected(&mut self) -> NodeId {
        match self.event().await {
            Event::Connected { peer, .. } => peer,
            other => panic!("{other:?}"),
        }
    }

    pub async fn disconnected(&mut self) -> (NodeId, DisconnectReason) {
        match self.event().await {
            Event::Disconnected { peer, reason } => (peer, reason),
            other => panic!("{other:?}"),
        }
    }

    /// No event for a while.
    pub async fn quiet(&mut self, time: Duration) {
        if let Ok(event) = timeout(time, self.events.recv()).await {
            panic!("{event:?}");
        }
    }

    /// Answers every request with its own bytes, in the background; other events are dropped.
    pub fn echo(mut self) -> Endpoint {
        let endpoint = self.endpoint.clone();
        tokio::spawn(async move {
            while let Some(event) = self.events.recv().await {
                if let Event::Request {
                    message, respond, ..
                } = event
                {
                    respond.send(message);
                }
            }
        });
        endpoint
    }
}
