//! Connecting, asking, answering, and the ends of connections, between two ordinary nodes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // helpers of tests

mod common;

use std::net::UdpSocket;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use common::{LONG, Node, Stopwatch, config, key, raw};
use grid_net::{
    BindError, CloseCode, Config, ConnectError, Direction, DisconnectReason, Endpoint, Event,
    RequestError, StreamCode, TapDirection,
};
use tokio::time::timeout;

#[tokio::test]
async fn both_sides_learn_who_the_other_is_and_where() {
    let (mut a, mut b) = (Node::start(1), Node::start(2));
    let connected = a.endpoint.connect(Some(b.id()), &[b.addr()]).await.unwrap();
    assert_eq!((connected.peer, connected.remote), (b.id(), b.addr()));
    match a.event().await {
        Event::Connected {
            peer,
            remote,
            direction: Direction::Outgoing,
        } => {
            assert_eq!((peer, remote), (b.id(), b.addr()));
        }
        other => panic!("{other:?}"),
    }
    match b.event().await {
        Event::Connected {
            peer,
            remote,
            direction: Direction::Incoming,
        } => {
            assert_eq!((peer, remote), (a.id(), a.addr()));
        }
        other => panic!("{other:?}"),
    }
    let info = a.endpoint.connections();
    assert_eq!(info.len(), 1);
    assert_eq!((info[0].peer, info[0].remote), (b.id(), b.addr()));
    assert!(info[0].sent > 1200 && info[0].received > 1200, "{info:?}");
}

#[tokio::test]
async fn requests_go_both_ways() {
    let (a, b) = (Node::start(1), Node::start(2));
    a.dial(&b).await;
    let (a, b) = (a.echo(), b.echo());
    for size in [0, 1, 4096, 4097, 100_000, 1 << 20] {
        let message: Vec<u8> = (0..size).map(|n: u32| n.to_le_bytes()[0]).collect();
        assert_eq!(
            a.request(b.node_id(), message.clone()).await.as_ref(),
            Ok(&message)
        );
        assert_eq!(b.request(a.node_id(), message.clone()).await, Ok(message));
    }
}

/// More than the windows and buffers hold, in both directions at once: no message may wait for room
/// that only another one could free.
#[tokio::test]
async fn many_large_requests_at_once_all_come_through() {
    let (a, b) = (Node::start(1), Node::start(2));
    a.dial(&b).await;
    let (a, b) = (a.echo(), b.echo());
    let mut asked = tokio::task::JoinSet::new();
    for (from, to) in [(&a, &b), (&b, &a)] {
        for n in 0..20u8 {
            let (from, to) = (from.clone(), to.node_id());
            asked.spawn(async move {
                let answer = from.request(to, vec![n; 1 << 20]).await;
                answer.map(|answer| answer == vec![n; 1 << 20])
            });
        }
    }
    while let Some(done) = asked.join_next().await {
        assert_eq!(done.unwrap(), Ok(true));
    }
}

#[tokio::test]
async fn a_second_connect_finds_the_first() {
    let (mut a, mut b) = (Node::start(1), Node::start(2));
    a.dial(&b).await;
    a.connected().await;
    b.connected().await;
    a.dial(&b).await;
    b.dial(&a).await;
    assert_eq!(
        a.endpoint.connect(None, &[b.addr()]).await.unwrap().peer,
        b.id()
    );
    a.quiet(Duration::from_millis(50)).await;
    b.quiet(Duration::from_millis(1)).await;
    assert_eq!(a.endpoint.connections().len(), 1);
}

#[tokio::test]
async fn a_dropped_responder_is_an_error_at_once() {
    let (a, mut b) = (Node::start(1), Node::start(2));
    a.dial(&b).await;
    let asked = tokio::spawn({
        let (a, to) = (a.endpoint.clone(), b.id());
        async move { a.request(to, b"?".to_vec()).await }
    });
    b.connected().await;
    match b.event().await {
        Event::Request {
            peer,
            message,
            respond,
            ..
        } => {
            assert_eq!((peer, &message[..]), (a.id(), &b"?"[..]));
            assert!(!respond.is_closed());
            drop(respond);
        }
        other => panic!("{other:?}"),
    }
    let start = Stopwatch::start();
    let answer = asked.await.unwrap();
    assert_eq!(answer, Err(RequestError::Refused(StreamCode::UNANSWERED)));
    assert!(start.elapsed() < Duration::from_secs(1));
}

#[tokio::test]
async fn a_request_that_is_dropped_tells_the_responder() {
    let (a, mut b) = (Node::start(1), Node::start(2));
    a.dial(&b).await;
    b.connected().await;
    let asked = tokio::spawn({
        let (a, to) = (a.endpoint.clone(), b.id());
        async move { a.request(to, b"?".to_vec()).await }
    });
    let Event::Request { respond, .. } = b.event().await else {
        panic!()
    };
    asked.abort();
    let start = Instant::now();
    while !respond.is_closed() {
        assert!(start.elapsed() < common::LONG);
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn disconnecting_tells_both_programs_why() {
    let (mut a, mut b) = (Node::start(1), Node::start(2));
    a.dial(&b).await;
    a.connected().await;
    b.connected().await;
    a.endpoint
        .disconnect(b.id(), CloseCode::program(7), "we are through\n");
    assert!(a.endpoint.connections().is_empty());
    let code = CloseCode::program(7);
    assert_eq!(
        a.disconnected().await,
        (b.id(), DisconnectReason::Local(code))
    );
    let reason = DisconnectReason::PeerClosed {
        code,
        reason: "we are through ".into(),
    };
    assert_eq!(b.disconnected().await, (a.id(), reason));
    let unsent = a.endpoint.request(b.id(), vec![]).await;
    assert_eq!(unsent, Err(RequestError::NotConnected(b.id())));
    a.dial(&b).await;
    assert_eq!((a.connected().await, b.connected().await), (b.id(), a.id()));
}

#[tokio::test]
async fn a_shutdown_is_noticed_at_once() {
    let (mut a, mut b) = (Node::start(1), Node::start(2));
    a.dial(&b).await;
    a.connected().await;
    b.connected().await;
    let start = Stopwatch::start();
    let (_, (peer, reason)) = tokio::join!(a.endpoint.shutdown(), b.disconnected());
    assert_eq!(peer, a.id());
    assert!(
        matches!(
            reason,
            DisconnectReason::PeerClosed {
                code: CloseCode::SHUTDOWN,
                ..
            }
        ),
        "{reason}"
    );
    assert!(
        start.elapsed() < Duration::from_millis(500),
        "{:?}",
        start.elapsed()
    );
    assert_eq!(
        a.disconnected().await.1,
        DisconnectReason::Local(CloseCode::SHUTDOWN)
    );
    let refused = a.endpoint.connect(Some(b.id()), &[b.addr()]).await;
    assert_eq!(refused, Err(ConnectError::ShutDown));
    assert!(b.endpoint.connect(Some(a.id()), &[a.addr()]).await.is_err());
}

#[tokio::test]
async fn dropping_the_endpoint_closes_its_connections() {
    let (mut a, mut b) = (Node::start(1), Node::start(2));
    a.dial(&b).await;
    a.connected().await;
    b.connected().await;
    let clone = a.endpoint.clone();
    drop(a.endpoint);
    b.quiet(Duration::from_millis(20)).await;
    drop(clone);
    b.disconnected().await;
    let event = timeout(LONG, a.events.recv()).await.unwrap();
    assert!(
        matches!(event, Some(Event::Disconnected { .. })),
        "{event:?}"
    );
    assert!(
        timeout(LONG, a.events.recv()).await.unwrap().is_none(),
        "the tasks live on"
    );
}

#[tokio::test]
async fn a_port_in_use_is_named() {
    let a = Node::start(1);
    let error = Endpoint::bind(Config {
        listen: a.addr(),
        ..config(key(2))
    })
    .unwrap_err();
    assert!(
        matches!(error, BindError::AddrInUse { addr } if addr == a.addr()),
        "{error}"
    );
}

#[tokio::test]
async fn a_node_does_not_connect_to_itself() {
    let mut a = Node::start(1);
    let by_key = a.endpoint.connect(Some(a.id()), &[a.addr()]).await;
    assert_eq!(by_key, Err(ConnectError::Myself));
    let by_address = a.endpoint.connect(None, &[a.addr()]).await;
    assert_eq!(by_address, Err(ConnectError::Myself));
    a.quiet(Duration::from_millis(20)).await;
}

#[tokio::test]
async fn a_dead_address_costs_a_quarter_of_a_second() {
    let (a, b) = (Node::start(1), Node::start(2));
    // A socket that never answers.
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let start = Instant::now();
    let addrs = [silent.local_addr().unwrap(), b.addr()];
    let connected = a.endpoint.connect(Some(b.id()), &addrs).await.unwrap();
    assert_eq!(connected.remote, b.addr());
    let took = start.elapsed();
    assert!(
        took >= Duration::from_millis(250) && took < Duration::from_secs(2),
        "{took:?}"
    );
}

#[tokio::test]
async fn without_an_address_or_an_answer_the_error_says_so() {
    let limits = grid_net::Limits {
        handshake_timeout: Duration::from_millis(200),
        ..grid_net::Limits::default()
    };
    let a = Node::limited(1, limits);
    assert_eq!(
        a.endpoint.connect(None, &[]).await,
        Err(ConnectError::NoAddresses)
    );
    let silent = UdpSocket::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let error = a
        .endpoint
        .connect(Some(key(2).id()), &[silent, silent])
        .await
        .unwrap_err();
    assert_eq!(
        error,
        ConnectError::Failed(vec![(silent, grid_net::AttemptError::TimedOut)])
    );
}

#[tokio::test]
async fn a_dual_stack_node_sees_ipv4_as_ipv4() {
    let listen = "[::]:0".parse().unwrap();
    let a = Node::with(Config {
        listen,
        ..config(key(1))
    });
    let mut b = Node::with(Config {
        listen,
        ..config(key(2))
    });
    let to = format!("127.0.0.1:{}", b.addr().port()).parse().unwrap();
    let connected = a.endpoint.connect(Some(b.id()), &[to]).await.unwrap();
    assert_eq!(connected.remote, to);
    match b.event().await {
        Event::Connected { remote, .. } => {
            assert_eq!(
                remote,
                format!("127.0.0.1:{}", a.addr().port()).parse().unwrap()
            );
        }
        other => panic!("{other:?}"),
    }
    assert!(b.endpoint.connections()[0].remote.is_ipv4());
}

#[tokio::test]
async fn the_tap_sees_every_message_and_nothing_else() {
    type Seen = Vec<(TapDirection, Vec<u8>)>;
    let seen: Arc<Mutex<Seen>> = Arc::default();
    let tap: grid_net::Tap = {
        let seen = Arc::clone(&seen);
        let peer = key(2).id();
        Arc::new(move |direction, id, message| {
            assert_eq!(*id, peer);
            seen.lock().unwrap().push((direction, message.to_vec()));
        })
    };
    let a = Node::with(Config {
        tap: Some(tap),
        ..config(key(1))
    });
    let b = Node::start(2);
    a.dial(&b).await;
    let (a, b) = (a.echo(), b.echo());
    a.request(b.node_id(), b"from a".to_vec()).await.unwrap();
    b.request(a.node_id(), b"from b".to_vec()).await.unwrap();
    let sent = |text: &[u8]| (TapDirection::Sent, text.to_vec());
    let received = |text: &[u8]| (TapDirection::Received, text.to_vec());
    let expected = [
        sent(b"from a"),
        received(b"from a"),
        received(b"from b"),
        sent(b"from b"),
    ];
    assert_eq!(*seen.lock().unwrap(), expected);
}

/// Not a benchmark: the bound is far above what is normal, and catches a timer in the path.
#[tokio::test]
async fn a_handshake_on_loopback_takes_no_timer() {
    let b = Node::start(2);
    let mut times = Vec::new();
    for seed in 10..30 {
        let a = Node::start(seed);
        let start = Stopwatch::start();
        a.dial(&b).await;
        times.push(start.elapsed());
    }
    times.sort();
    println!(
        "connect on loopback: median {:?}, worst {:?}",
        times[10], times[19]
    );
    assert!(times[10] < Duration::from_millis(20), "{times:?}");
}

/// A message that was not sent whole must not look like one, although QUIC ends a stream that is
/// dropped.
#[tokio::test]
async fn a_request_that_is_given_up_halfway_is_reset_not_ended() {
    let a = Node::start(1);
    let mut config = raw::server_config(raw::Shows::RawKey(key(2)), &[b"grid/1"]);
    let mut transport = quinn::TransportConfig::default();
    transport.stream_receive_window(10_000u32.into());
    config.transport_config(Arc::new(transport));
    let server = quinn::Endpoint::server(config, "127.0.0.1:0".parse().unwrap()).unwrap();
    let addr = server.local_addr().unwrap();
    let reading = tokio::spawn(async move {
        let connection = server.accept().await.unwrap().await.unwrap();
        let (mut greeting, _) = connection.accept_bi().await.unwrap();
        greeting.finish().unwrap();
        let (_send, mut receive) = connection.accept_bi().await.unwrap();
        receive.read_exact(&mut [0; 5_000]).await.unwrap();
        // More than the window and the sender's buffer: the rest is never written.
        tokio::time::sleep(Duration::from_millis(200)).await;
        receive.read_to_end(2 << 20).await
    });
    a.endpoint.connect(None, &[addr]).await.unwrap();
    let request = a.endpoint.request(key(2).id(), vec![0; 1 << 20]);
    assert!(timeout(Duration::from_millis(100), request).await.is_err());
    let read = timeout(LONG, reading).await.unwrap().unwrap();
    assert!(
        matches!(
            read,
            Err(quinn::ReadToEndError::Read(quinn::ReadError::Reset(_)))
        ),
        "{:?}",
        read.map(|message| message.len())
    );
}
