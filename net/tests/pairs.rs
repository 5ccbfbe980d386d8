//! One connection per pair, whoever dials, and however often a node dies and comes back.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout
)] // helpers

mod common;

use std::collections::HashSet;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use common::{LONG, Node, config, key, ordered_keys};
use grid_keys::{NodeId, NodeKey};
use grid_net::{
    Config, ConnectError, Connected, DisconnectReason, Endpoint, Event, Limits, RequestError,
};

use tokio::runtime::Runtime;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

/// Answers requests with their own bytes, and passes on all other events.
fn echo(mut node: Node) -> (Endpoint, UnboundedReceiver<Event>) {
    let (out, events) = unbounded_channel();
    let endpoint = node.endpoint.clone();
    drop(node.endpoint);
    tokio::spawn(async move {
        while let Some(event) = node.events.recv().await {
            match event {
                Event::Request {
                    message, respond, ..
                } => respond.send(message),
                other => drop(out.send(other)),
            }
        }
    });
    (endpoint, events)
}

/// Dials, and sends requests the moment the connection is usable.
fn dial_and_ask(from: &Endpoint, to: &Endpoint, delay: Duration) -> JoinHandle<()> {
    let (from, to, addr) = (from.clone(), to.node_id(), to.local_addr());
    tokio::spawn(async move {
        sleep(delay).await;
        from.connect(Some(to), &[addr]).await.expect("connect");
        for n in 0..20u8 {
            assert_eq!(from.request(to, vec![n]).await, Ok(vec![n]), "request {n}");
        }
    })
}

async fn simultaneous_rounds(rounds: u32) {
    let (low, high) = ordered_keys();
    let mut dialled_by_low = 0;
    for round in 0..rounds {
        let (a, mut a_events) = echo(Node::with(config(low.clone())));
        let (b, mut b_events) = echo(Node::with(config(high.clone())));
        // One clearly first, every kind of overlap, the other clearly first.
        let shift = Duration::from_micros(u64::from(round) * 4000 / u64::from(rounds));
        let (x, y) = (
            dial_and_ask(&a, &b, shift),
            dial_and_ask(&b, &a, Duration::from_millis(4) - shift),
        );
        for task in [x, y] {
            timeout(LONG, task)
                .await
                .expect("hangs")
                .expect("lost a request");
        }
        let (of_a, of_b) = (a.connections(), b.connections());
        assert_eq!((of_a.len(), of_b.len()), (1, 1));
        assert_ne!(
            of_a[0].direction, of_b[0].direction,
            "round {round}: two different connections"
        );
        dialled_by_low += u32::from(of_a[0].direction == grid_net::Direction::Outgoing);
        for events in [&mut a_events, &mut b_events] {
            assert!(matches!(events.try_recv(), Ok(Event::Connected { .. })));
            assert!(
                events.try_recv().is_err(),
                "round {round}: more than one event"
            );
        }
        // The end of the connection that lost the race must not end the other.
        if round % 10 == 0 {
            sleep(Duration::from_millis(30)).await;
            assert_eq!(a.request(b.node_id(), vec![1]).await, Ok(vec![1]));
            assert!(a_events.try_recv().is_err() && b_events.try_recv().is_err());
        }
    }
    println!("{dialled_by_low} of {rounds} dialled by the lower id");
}

#[tokio::test]
async fn simultaneous_dials_give_one_connection_and_lose_nothing() {
    simultaneous_rounds(50).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn simultaneous_dials_on_many_threads() {
    simultaneous_rounds(50).await;
}

/// Dials to the same peer from many tasks share one connection.
#[tokio::test]
async fn many_dials_from_one_node_share_one_connection() {
    let (mut a, mut b) = (Node::start(1), Node::start(2));
    let dials: Vec<_> = (0..10)
        .map(|n| {
            let (a, to, addr) = (a.endpoint.clone(), b.id(), b.addr());
            let expected = (n % 2 == 0).then_some(to);
            tokio::spawn(async move { a.connect(expected, &[addr]).await })
        })
        .collect();
    for dial in dials {
        assert_eq!(
            dial.await.unwrap(),
            Ok(Connected {
                peer: b.id(),
                remote: b.addr()
            })
        );
    }
    a.connected().await;
    b.connected().await;
    a.quiet(Duration::from_millis(50)).await;
    b.quiet(Duration::from_millis(1)).await;
}

/// A dial whose caller loses interest at any moment leaves both ends with the same view.
#[tokio::test]
async fn dials_may_be_dropped_at_any_moment() {
    let (a, b) = (Node::start(1), Node::start(2));
    for step in 0..40 {
        let patience = Duration::from_micros(step * 150);
        let _ = timeout(patience, a.endpoint.connect(Some(b.id()), &[b.addr()])).await;
        let start = Instant::now();
        // Whatever became of it, the next dial works, and both ends agree.
        let dialled = a.endpoint.connect(Some(b.id()), &[b.addr()]).await;
        assert!(dialled.is_ok(), "{dialled:?}");
        while b.endpoint.connections().len() != 1 {
            assert!(start.elapsed() < LONG);
            sleep(Duration::from_millis(1)).await;
        }
        a.endpoint.disconnect(b.id(), grid_net::CloseCode::DONE, "");
        while !b.endpoint.connections().is_empty() {
            assert!(start.elapsed() < LONG);
            sleep(Duration::from_millis(1)).await;
        }
    }
}

/// A node with a runtime of its own, so that it can die without a word.
struct Mortal {
    runtime: Runtime,
    node: Node,
}

impl Mortal {
    fn start(key: NodeKey, listen: SocketAddr) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build();
        let runtime = runtime.unwrap();
        let _guard = runtime.enter();
        let node = Node::with(Config {
            listen,
            ..config(key)
        });
        drop(_guard);
        Self { runtime, node }
    }

    /// Dies as by `kill -9`: no packet leaves, the socket is closed.
    fn kill(self) {
        // The runtime and its threads go first: without them nothing sends what dropping the endpoint
        // would send. On a thread of its own, because a runtime must not wait for another one.
        let runtime = self.runtime;
        std::thread::spawn(move || runtime.shutdown_timeout(LONG))
            .join()
            .unwrap();
        drop(self.node);
    }

    async fn connect(&self, to: NodeId, addr: SocketAddr) -> Result<Connected, ConnectError> {
        let endpoint = self.node.endpoint.clone();
        let dial = async move { endpoint.connect(Some(to), &[addr]).await };
        self.runtime.spawn(dial).await.unwrap()
    }
}

/// Kills a connected peer, restarts it, and lets it dial. `mortal_is_low`: whether the node that dies
/// has the lower id. `it_dialled`: whether it had dialled the connection that becomes a corpse.
/// `same_port`: whether it comes back at the same address.
async fn restart(mortal_is_low: bool, it_dialled: bool, same_port: bool) {
    let (low, high) = ordered_keys();
    let (mortal_key, survivor_key) = if mortal_is_low {
        (low, high)
    } else {
        (high, low)
    };
    let any_port = "127.0.0.1:0".parse().unwrap();
    let mut survivor = Node::with(config(survivor_key));
    let mortal = Mortal::start(mortal_key.clone(), any_port);
    let (id, addr) = (mortal.node.id(), mortal.node.addr());
    if it_dialled {
        mortal
            .connect(survivor.id(), survivor.addr())
            .await
            .unwrap();
    } else {
        survivor.endpoint.connect(Some(id), &[addr]).await.unwrap();
    }
    assert_eq!(survivor.connected().await, id);
    mortal.kill();
    survivor.quiet(Duration::from_millis(10)).await;

    let reborn = Mortal::start(mortal_key, if same_port { addr } else { any_port });
    let start = Instant::now();
    reborn
        .connect(survivor.id(), survivor.addr())
        .await
        .unwrap();
    assert!(
        start.elapsed() < Duration::from_secs(1),
        "{:?}",
        start.elapsed()
    );
    let (peer, reason) = survivor.disconnected().await;
    assert_eq!(peer, id);
    assert!(
        matches!(reason, DisconnectReason::Replaced | DisconnectReason::Reset),
        "{reason}"
    );
    assert_eq!(survivor.connected().await, id);
    let (endpoint, mut events) = (reborn.node.endpoint.clone(), reborn.node.events);
    let echo = reborn.runtime.spawn(async move {
        while let Some(event) = events.recv().await {
            if let Event::Request {
                message, respond, ..
            } = event
            {
                respond.send(message);
            }
        }
    });
    assert_eq!(survivor.endpoint.request(id, vec![7]).await, Ok(vec![7]));
    survivor.quiet(Duration::from_millis(20)).await;
    echo.abort();
    drop(endpoint);
    reborn.runtime.shutdown_background();
}

#[tokio::test]
async fn a_restarted_peer_replaces_its_corpse() {
    for mortal_is_low in [true, false] {
        for it_dialled in [true, false] {
            for same_port in [true, false] {
                println!("low {mortal_is_low}, dialled {it_dialled}, same port {same_port}");
                restart(mortal_is_low, it_dialled, same_port).await;
            }
        }
    }
}

/// A request to a peer that has restarted fails at once, not after the idle timeout: the new process
/// recognises the old one's connections by their ids, and resets them.
#[tokio::test]
async fn a_request_to_a_restarted_peer_fails_at_once() {
    let mut survivor = Node::start(1);
    let any_port = "127.0.0.1:0".parse().unwrap();
    let mortal = Mortal::start(key(2), any_port);
    let (id, addr) = (mortal.node.id(), mortal.node.addr());
    survivor.endpoint.connect(Some(id), &[addr]).await.unwrap();
    survivor.connected().await;
    mortal.kill();
    let reborn = Mortal::start(key(2), addr);
    let start = Instant::now();
    let answer = survivor.endpoint.request(id, vec![0; 100]).await;
    assert_eq!(
        answer,
        Err(RequestError::Disconnected(DisconnectReason::Reset))
    );
    assert!(
        start.elapsed() < Duration::from_secs(2),
        "{:?}",
        start.elapsed()
    );
    assert_eq!(survivor.disconnected().await, (id, DisconnectReason::Reset));
    survivor.endpoint.connect(Some(id), &[addr]).await.unwrap();
    reborn.kill();
}

#[tokio::test]
async fn a_dead_peer_is_noticed_after_the_idle_timeout() {
    let limits = Limits {
        idle_timeout: Duration::from_millis(600),
        keepalive: Duration::from_millis(150),
        ..Limits::default()
    };
    let mut survivor = Node::limited(1, limits);
    let mortal = Mortal::start(key(2), "127.0.0.1:0".parse().unwrap());
    let (id, addr) = (mortal.node.id(), mortal.node.addr());
    survivor.endpoint.connect(Some(id), &[addr]).await.unwrap();
    survivor.connected().await;
    // Keepalives hold it for longer than the timeout.
    survivor.quiet(Duration::from_millis(1000)).await;
    mortal.kill();
    let start = Instant::now();
    assert_eq!(
        survivor.disconnected().await,
        (id, DisconnectReason::IdleTimeout)
    );
    assert!(start.elapsed() < Duration::from_secs(2));
}

/// Ten nodes that all dial each other at the same moment end up in a full mesh of single connections.
#[tokio::test]
async fn a_mesh_that_forms_all_at_once() {
    const NODES: u8 = 10;
    let mut nodes: Vec<_> = (1..=NODES).map(|seed| echo(Node::start(seed))).collect();
    let mut dials = tokio::task::JoinSet::new();
    for (a, _) in &nodes {
        for (b, _) in &nodes {
            if a.node_id() != b.node_id() {
                let (a, to, addr) = (a.clone(), b.node_id(), b.local_addr());
                dials.spawn(async move { a.connect(Some(to), &[addr]).await.map(|_| ()) });
            }
        }
    }
    while let Some(dial) = dials.join_next().await {
        assert_eq!(dial.unwrap(), Ok(()));
    }
    for (node, events) in &mut nodes {
        let connections = node.connections();
        let peers: HashSet<_> = connections
            .iter()
            .map(|connection| connection.peer)
            .collect();
        assert_eq!((connections.len(), peers.len()), (9, 9));
        for _ in 0..9 {
            assert!(matches!(events.try_recv(), Ok(Event::Connected { .. })));
        }
        assert!(events.try_recv().is_err());
        for peer in peers {
            assert_eq!(node.request(peer, vec![1, 2]).await, Ok(vec![1, 2]));
        }
    }
}
