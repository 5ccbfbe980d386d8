//! Peers with a valid key that break the rules: each loses at most its own connection, and the others
//! lose nothing.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // helpers of tests

mod common;

use std::net::UdpSocket;
use std::time::{Duration, Instant};

use common::raw::{self, Shows};
use common::{LONG, Node, Stopwatch, key};
use grid_keys::{NodeKey, Secret};
use grid_net::{
    AttemptError, CloseCode, ConnectError, DisconnectReason, Endpoint, Event, Limits, RequestError,
    StreamCode,
};
use quinn::{Connection, ConnectionError, ReadError, ReadToEndError, VarInt, WriteError};
use tokio::time::{sleep, timeout};

fn limits() -> Limits {
    Limits {
        max_message: 10_000,
        request_timeout: Duration::from_millis(300),
        handshake_timeout: Duration::from_millis(500),
        penalty: Duration::from_millis(500),
        ..Limits::default()
    }
}

/// A node that answers every request with the request's bytes.
fn strict(seed: u8) -> Endpoint {
    Node::limited(seed, limits()).echo()
}

/// Waits for the node to close the connection, and expects `code`.
async fn closed_with(connection: &Connection, code: CloseCode) {
    match timeout(LONG, connection.closed())
        .await
        .expect("not closed")
    {
        ConnectionError::ApplicationClosed(close) => {
            assert_eq!(
                close.error_code,
                VarInt::from_u32(code.number()),
                "{close}, not {code}"
            );
        }
        other => panic!("{other}"),
    }
}

fn wire(code: StreamCode) -> VarInt {
    VarInt::from_u32(code.number())
}

#[tokio::test]
async fn a_request_over_the_limit_is_reset_and_the_connection_lives() {
    let node = strict(1);
    let (_endpoint, peer) = raw::join(2, node.local_addr()).await;
    let (mut send, mut receive) = peer.open_bi().await.unwrap();
    let written = async {
        send.write_all(&[0; 10_001]).await?;
        send.finish().map_err(WriteError::from)?;
        Ok::<_, WriteError>(())
    };
    let _ = written.await;
    let code = wire(StreamCode::TOO_LARGE);
    let answer = receive.read_to_end(10).await;
    assert_eq!(answer, Err(ReadToEndError::Read(ReadError::Reset(code))));
    let (mut send, mut receive) = peer.open_bi().await.unwrap();
    send.write_all(&[1; 10_000]).await.unwrap();
    send.finish().unwrap();
    assert_eq!(receive.read_to_end(10_000).await.unwrap(), [1; 10_000]);
}

#[tokio::test]
async fn messages_over_the_limit_are_not_sent() {
    let (a, mut b) = (Node::limited(1, limits()), Node::limited(2, limits()));
    a.dial(&b).await;
    let too_large = RequestError::TooLarge {
        size: 10_001,
        limit: 10_000,
    };
    assert_eq!(
        a.endpoint.request(b.id(), vec![0; 10_001]).await,
        Err(too_large)
    );
    b.connected().await;
    let asked = tokio::spawn({
        let (a, to) = (a.endpoint.clone(), b.id());
        async move { a.request(to, vec![]).await }
    });
    let Event::Request { respond, .. } = b.event().await else {
        panic!()
    };
    respond.send(vec![0; 10_001]);
    assert_eq!(
        asked.await.unwrap(),
        Err(RequestError::Refused(StreamCode::TOO_LARGE))
    );
}

/// A peer that greets and answers every request with `answer`, ended or not.
async fn answering(answer: Vec<u8>, ends: bool) -> quinn::Endpoint {
    let server = raw::server(Shows::RawKey(key(2)), &[b"grid/1"]);
    let endpoint = server.clone();
    tokio::spawn(async move {
        let connection = server.accept().await.unwrap().await.unwrap();
        let (mut greeting, _) = connection.accept_bi().await.unwrap();
        greeting.finish().unwrap();
        let mut kept = Vec::new();
        while let Ok((mut send, mut receive)) = connection.accept_bi().await {
            let _ = receive.read_to_end(1 << 20).await;
            let _ = send.write_all(&answer).await;
            if ends {
                let _ = send.finish();
            }
            kept.push(send);
        }
    });
    endpoint
}

#[tokio::test]
async fn an_answer_over_the_limit_is_thrown_away() {
    let a = Node::limited(1, limits());
    let server = answering(vec![0; 10_001], true).await;
    a.endpoint
        .connect(Some(key(2).id()), &[server.local_addr().unwrap()])
        .await
        .unwrap();
    let answer = a.endpoint.request(key(2).id(), vec![]).await;
    assert_eq!(answer, Err(RequestError::AnswerTooLarge { limit: 10_000 }));
    assert_eq!(a.endpoint.connections().len(), 1);
}

#[tokio::test]
async fn an_answer_that_never_ends_times_out() {
    let a = Node::limited(1, limits());
    let server = answering(vec![0; 100], false).await;
    a.endpoint
        .connect(Some(key(2).id()), &[server.local_addr().unwrap()])
        .await
        .unwrap();
    let start = Stopwatch::start();
    let answer = a.endpoint.request(key(2).id(), vec![]).await;
    assert_eq!(
        answer,
        Err(RequestError::TimedOut {
            after: limits().request_timeout
        })
    );
    assert!(start.elapsed() < Duration::from_secs(1));
}

#[tokio::test]
async fn a_request_that_never_ends_is_reset() {
    let node = strict(1);
    let (_endpoint, peer) = raw::join(2, node.local_addr()).await;
    let (mut send, mut receive) = peer.open_bi().await.unwrap();
    send.write_all(b"and then").await.unwrap();
    let start = Instant::now();
    let code = wire(StreamCode::TOO_SLOW);
    let answer = timeout(LONG, receive.read_to_end(10)).await.unwrap();
    assert_eq!(answer, Err(ReadToEndError::Read(ReadError::Reset(code))));
    assert!(start.elapsed() >= Duration::from_millis(250));
    assert_eq!(node.connections().len(), 1);
}

#[tokio::test]
async fn a_peer_that_trickles_on_many_streams_is_disconnected_and_turned_away_for_a_while() {
    let node = strict(1);
    let good = Node::start(3);
    good.endpoint
        .connect(None, &[node.local_addr()])
        .await
        .unwrap();
    let (_endpoint, peer) = raw::join(2, node.local_addr()).await;
    let trickle = tokio::spawn({
        let peer = peer.clone();
        async move {
            let mut streams = Vec::new();
            for _ in 0..20 {
                streams.push(peer.open_bi().await.unwrap());
            }
            while peer.close_reason().is_none() {
                for (send, _) in &mut streams {
                    let _ = send.write_all(b".").await;
                }
                sleep(Duration::from_millis(20)).await;
            }
        }
    });
    closed_with(&peer, CloseCode::PROTOCOL).await;
    trickle.await.unwrap();
    let (_again, turned_away) = raw::connect(2, node.local_addr()).await;
    let (mut greeting, _answer) = turned_away.open_bi().await.unwrap();
    greeting.finish().unwrap();
    closed_with(&turned_away, CloseCode::PENALTY).await;
    assert_eq!(
        good.endpoint.request(node.node_id(), vec![1]).await,
        Ok(vec![1])
    );
    sleep(limits().penalty).await;
    raw::join(2, node.local_addr()).await;
}

#[tokio::test]
async fn without_a_greeting_there_is_no_connection() {
    let mut node = Node::limited(1, limits());
    let (_endpoint, silent) = raw::connect(2, node.addr()).await;
    closed_with(&silent, CloseCode::TOO_SLOW).await;
    let (_endpoint, wordy) = raw::connect(2, node.addr()).await;
    let (mut send, _receive) = wordy.open_bi().await.unwrap();
    send.write_all(b"hello").await.unwrap();
    send.finish().unwrap();
    closed_with(&wordy, CloseCode::PROTOCOL).await;
    node.quiet(Duration::from_millis(10)).await;
}

#[tokio::test]
async fn a_greeting_without_an_answer_or_with_a_wrong_one_is_no_connection() {
    for (answer, expected) in [
        (None, AttemptError::TimedOut),
        (
            Some(15),
            AttemptError::NotAGridNode("it answered the greeting wrongly".into()),
        ),
        (
            Some(17),
            AttemptError::NotAGridNode("it answered the greeting wrongly".into()),
        ),
    ] {
        let mut a = Node::limited(1, limits());
        let server = raw::server(Shows::RawKey(key(2)), &[b"grid/1"]);
        let addr = server.local_addr().unwrap();
        tokio::spawn(async move {
            let connection = server.accept().await.unwrap().await.unwrap();
            let (mut greeting, _receive) = connection.accept_bi().await.unwrap();
            if let Some(length) = answer {
                greeting.write_all(&vec![0; length]).await.unwrap();
                greeting.finish().unwrap();
            }
            connection.closed().await;
        });
        let error = a.endpoint.connect(None, &[addr]).await.unwrap_err();
        assert_eq!(error, ConnectError::Failed(vec![(addr, expected)]));
        a.quiet(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn unidirectional_streams_and_datagrams_do_not_exist() {
    let node = strict(1);
    let (_endpoint, peer) = raw::join(2, node.local_addr()).await;
    assert_eq!(peer.max_datagram_size(), None);
    assert!(
        timeout(Duration::from_millis(100), peer.open_uni())
            .await
            .is_err()
    );
}

/// Asks as fast as QUIC allows until the connection ends; returns how many were answered.
async fn flood(peer: Connection) -> usize {
    let mut asked = tokio::task::JoinSet::new();
    while let Ok((mut send, mut receive)) = peer.open_bi().await {
        asked.spawn(async move {
            let _ = send.write_all(b"?").await;
            let _ = send.finish();
            receive.read_to_end(10).await.is_ok()
        });
    }
    asked
        .join_all()
        .await
        .into_iter()
        .filter(|&answered| answered)
        .count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_is_delayed_then_disconnected_and_others_do_not_feel_it() {
    let limits = Limits {
        request_rate: 100,
        request_burst: 50,
        flood_patience: Duration::from_secs(1),
        ..limits()
    };
    let node = Node::limited(1, limits).echo();
    let good = Node::start(3);
    good.endpoint
        .connect(None, &[node.local_addr()])
        .await
        .unwrap();
    let (_endpoint, peer) = raw::join(2, node.local_addr()).await;
    let start = Instant::now();
    let flooding = tokio::spawn(flood(peer.clone()));
    let mut slowest = Duration::ZERO;
    while peer.close_reason().is_none() {
        assert!(start.elapsed() < LONG);
        let asked = Instant::now();
        assert_eq!(
            good.endpoint.request(node.node_id(), vec![1]).await,
            Ok(vec![1])
        );
        slowest = slowest.max(asked.elapsed());
        sleep(Duration::from_millis(25)).await;
    }
    closed_with(&peer, CloseCode::FLOOD).await;
    assert!(
        start.elapsed() >= Duration::from_secs(1),
        "no patience: {:?}",
        start.elapsed()
    );
    let allowed = 50.0 + 100.0 * start.elapsed().as_secs_f64() + 1.0;
    let answered = flooding.await.unwrap();
    println!("{answered} answered; slowest request of another peer {slowest:?}");
    assert!(
        answered >= 50 && f64::from(u32::try_from(answered).unwrap()) <= allowed,
        "{answered}"
    );
    assert!(slowest < Duration::from_millis(250), "{slowest:?}");
}

/// A peer that asks a lot but obeys flow control is only slowed down.
#[tokio::test]
async fn a_busy_peer_within_the_patience_is_only_delayed() {
    let limits = Limits {
        request_rate: 200,
        request_burst: 10,
        ..Limits::default()
    };
    let node = Node::limited(1, limits).echo();
    let good = Node::start(3);
    good.endpoint
        .connect(None, &[node.local_addr()])
        .await
        .unwrap();
    let start = Instant::now();
    let mut asked = tokio::task::JoinSet::new();
    for n in 0..110u8 {
        let (good, to) = (good.endpoint.clone(), node.node_id());
        asked.spawn(async move { good.request(to, vec![n]).await.is_ok() });
    }
    assert!(asked.join_all().await.into_iter().all(|answered| answered));
    assert!(
        start.elapsed() >= Duration::from_millis(450),
        "{:?}",
        start.elapsed()
    );
}

#[tokio::test]
async fn beyond_the_connection_limit_newcomers_are_refused_and_members_may_return() {
    let limits = Limits {
        max_connections: 2,
        ..limits()
    };
    let mut node = Node::limited(1, limits);
    let (b, c, d) = (Node::start(2), Node::start(3), Node::start(4));
    node.endpoint.know([b.id(), c.id(), d.id()]);
    b.dial(&node).await;
    c.dial(&node).await;
    let refused = d.endpoint.connect(Some(node.id()), &[node.addr()]).await;
    let busy = ConnectError::Failed(vec![(node.addr(), AttemptError::Busy)]);
    assert_eq!(refused, Err(busy));
    let full = node.endpoint.connect(Some(d.id()), &[d.addr()]).await;
    assert_eq!(full, Err(ConnectError::TooManyConnections { limit: 2 }));
    // The same key again, as after a restart.
    let (_endpoint, _returned) = raw::join(3, node.addr()).await;
    assert_eq!(
        (node.connected().await, node.connected().await),
        (b.id(), c.id())
    );
    assert_eq!(
        node.disconnected().await,
        (c.id(), DisconnectReason::Replaced)
    );
    assert_eq!(node.connected().await, c.id());
}

fn few_strangers() -> Limits {
    Limits {
        max_connections: 2,
        max_strangers: 3,
        max_strangers_per_network: 3,
        ..limits()
    }
}

/// Strangers take every place that there is for them: who is known and who is dialled finds one all the same.
#[tokio::test]
async fn strangers_keep_no_known_peer_and_no_dial_out() {
    let node = Node::limited(1, few_strangers());
    let (known, dialled) = (Node::start(2), Node::start(3));
    node.endpoint.know([known.id()]);
    let mut strangers = Vec::new();
    for seed in 10..13 {
        let stranger = Node::start(seed);
        stranger.dial(&node).await;
        strangers.push(stranger);
    }
    let fourth = Node::start(13);
    let refused = fourth
        .endpoint
        .connect(Some(node.id()), &[node.addr()])
        .await;
    assert!(refused.is_err(), "{refused:?}");
    known.dial(&node).await;
    node.dial(&dialled).await;
    assert_eq!(node.endpoint.connections().len(), 5);
}

/// Under the usual limits, 256 keys on five networks, which is as many as there are places for members.
#[tokio::test]
async fn two_hundred_and_fifty_six_strangers_isolate_nobody() {
    let node = Node::start(1);
    let (member, dialled) = (Node::start(2), Node::start(3));
    node.endpoint.know([member.id()]);
    let mut crowd = Vec::new();
    for number in 0..=255u8 {
        let from = format!("127.0.{}.1:0", 1 + number % 5);
        let mut seed = [200; 32];
        seed[0] = number;
        let key = NodeKey::from_seed(&Secret::new(seed));
        crowd.extend(raw::join_from(from.parse().unwrap(), key, node.addr()).await);
    }
    let limit = Limits::default().max_strangers;
    assert!(crowd.len() >= limit, "{} of 256 came in", crowd.len());
    member.dial(&node).await;
    node.dial(&dialled).await;
    let connections = node.endpoint.connections();
    let mut others = [member.id(), dialled.id()].into_iter();
    let is_there = |id| connections.iter().any(|about| about.peer == id);
    assert!(others.all(is_there) && connections.len() <= limit + 2);
}

/// One that asks nothing gives its place to the next, and nobody else does.
#[tokio::test]
async fn an_idle_stranger_makes_room_for_another() {
    let mut node = Node::limited(1, few_strangers());
    let strangers = [Node::start(10), Node::start(11), Node::start(12)];
    for stranger in &strangers {
        stranger.dial(&node).await;
        assert_eq!(node.connected().await, stranger.id());
    }
    tokio::time::sleep(Duration::from_millis(2500)).await;
    let fourth = Node::start(13);
    fourth.dial(&node).await;
    let (gone, reason) = node.disconnected().await;
    assert_eq!(gone, strangers[0].id());
    assert_eq!(reason, DisconnectReason::Local(CloseCode::BUSY));
}

/// Strangers of one network have all places, and none is idle: one from elsewhere finds a place, and keeps it.
#[tokio::test]
async fn a_crowd_from_one_network_makes_room_for_a_stranger_from_elsewhere() {
    let mut node = Node::limited(1, few_strangers());
    let mut crowd = Vec::new();
    for seed in 10..13 {
        let stranger = Node::start(seed);
        stranger.dial(&node).await;
        assert_eq!(node.connected().await, stranger.id());
        crowd.push(stranger);
    }
    let elsewhere = |seed| {
        Node::with(grid_net::Config {
            listen: "127.0.1.1:0".parse().unwrap(),
            ..common::config(key(seed))
        })
    };
    let newcomer = elsewhere(20);
    newcomer.dial(&node).await;
    let (gone, reason) = node.disconnected().await;
    assert_eq!(gone, crowd[0].id());
    assert_eq!(reason, DisconnectReason::Local(CloseCode::BUSY));
    assert_eq!(node.connected().await, newcomer.id());
    // Each has its share now: one place of three, and two.
    for late in [elsewhere(21), Node::start(22)] {
        let to = [node.addr()];
        let refused = late.endpoint.connect(Some(node.id()), &to).await;
        assert!(refused.is_err(), "{refused:?}");
    }
}

#[tokio::test]
async fn a_stranger_does_not_stay_and_one_that_became_known_does() {
    let limits = Limits {
        stranger_life: Duration::from_millis(300),
        ..few_strangers()
    };
    let mut node = Node::limited(1, limits);
    let (stranger, member) = (Node::start(2), Node::start(3));
    stranger.dial(&node).await;
    member.dial(&node).await;
    node.endpoint.know([member.id()]);
    assert_eq!(node.connected().await, stranger.id());
    assert_eq!(node.connected().await, member.id());
    let (gone, _) = node.disconnected().await;
    assert_eq!(gone, stranger.id());
    tokio::time::sleep(Duration::from_millis(700)).await;
    let connections = node.endpoint.connections();
    assert!(connections.iter().map(|about| about.peer).eq([member.id()]));
}

#[tokio::test]
async fn one_network_has_its_share_of_strangers() {
    let limits = Limits {
        max_strangers_per_network: 2,
        ..few_strangers()
    };
    let node = Node::limited(1, limits);
    let (b, c, d) = (Node::start(2), Node::start(3), Node::start(4));
    b.dial(&node).await;
    c.dial(&node).await;
    assert!(
        d.endpoint
            .connect(Some(node.id()), &[node.addr()])
            .await
            .is_err()
    );
    b.endpoint.shutdown().await;
    d.dial(&node).await;
}

/// Clients that begin handshakes and stay silent fill the gate. A node from elsewhere still gets in by
/// proving its address, and the silent ones time out.
#[tokio::test]
async fn half_open_handshakes_do_not_lock_others_out() {
    let limits = Limits {
        max_handshakes: 8,
        max_handshakes_per_source: 4,
        retry_threshold: 2,
        handshake_timeout: Duration::from_secs(1),
        ..limits()
    };
    let node = Node::limited(1, limits);
    // Connected, but silent: no greeting, so still in the gate.
    let mut silent = Vec::new();
    for seed in 20..24 {
        silent.push(raw::connect(seed, node.addr()).await);
    }
    let fifth = raw::socket();
    let config = raw::client_config(Shows::RawKey(key(30)), &[b"grid/1"]);
    let refused = fifth
        .connect_with(config, node.addr(), "x.invalid")
        .unwrap()
        .await;
    assert!(
        matches!(&refused, Err(ConnectionError::ConnectionClosed(close))
            if close.error_code == quinn::TransportErrorCode::CONNECTION_REFUSED),
        "{refused:?}"
    );
    // 127.0.0.2 is another source.
    let elsewhere = quinn::Endpoint::client("127.0.0.2:0".parse().unwrap()).unwrap();
    let config = raw::client_config(Shows::RawKey(key(31)), &[b"grid/1"]);
    let let_in = elsewhere
        .connect_with(config, node.addr(), "x.invalid")
        .unwrap()
        .await;
    assert!(let_in.is_ok(), "{let_in:?}");
    // Once the silent ones have timed out, the first source is admitted again.
    sleep(Duration::from_millis(1200)).await;
    raw::join(30, node.addr()).await;
}

/// A first packet, as whoever spoofs its source sends it.
async fn first_packet() -> Vec<u8> {
    let tap = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let config = raw::client_config(Shows::RawKey(key(90)), &[b"grid/1"]);
    let client = raw::socket();
    let to = tap.local_addr().unwrap();
    let _dial = client.connect_with(config, to, "x.invalid").unwrap();
    let mut packet = vec![0; 2000];
    let (length, _) = timeout(LONG, tap.recv_from(&mut packet))
        .await
        .unwrap()
        .unwrap();
    packet.truncate(length);
    packet
}

/// Whether a node answers a first packet with a Retry (RFC 9000 section 17.2.5).
async fn is_asked_to_retry(node: std::net::SocketAddr) -> bool {
    let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.send_to(&first_packet().await, node).await.unwrap();
    let mut answer = vec![0; 2000];
    let received = timeout(LONG, socket.recv_from(&mut answer)).await;
    received.unwrap().unwrap();
    answer[0] & 0xf0 == 0xf0
}

/// Strangers have more than half of their places: packets with spoofed sources keep nobody out any longer.
#[tokio::test]
async fn in_a_crowd_of_strangers_spoofed_sources_cost_nothing() {
    let limits = Limits {
        max_strangers: 4,
        max_handshakes: 8,
        max_handshakes_per_source: 8,
        retry_threshold: 8,
        handshake_timeout: LONG,
        ..limits()
    };
    let node = Node::limited(1, limits);
    let strangers = [Node::start(10), Node::start(11), Node::start(12)];
    for stranger in &strangers[..2] {
        stranger.dial(&node).await;
    }
    assert!(!is_asked_to_retry(node.addr()).await);
    strangers[2].dial(&node).await;
    assert!(is_asked_to_retry(node.addr()).await);
    for _ in 0..20 {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.send_to(&first_packet().await, node.addr()).unwrap();
    }
    let _stranger = raw::join(30, node.addr()).await;
    let member = Node::start(2);
    node.endpoint.know([member.id()]);
    member.dial(&node).await;
    assert_eq!(node.endpoint.connections().len(), 5);
}

#[tokio::test]
async fn garbage_changes_nothing() {
    let mut node = Node::start(1);
    let good = Node::start(2);
    good.dial(&node).await;
    node.connected().await;
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut state = 1u64;
    let mut random = move || {
        // xorshift64
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    for n in 0..5000usize {
        let mut packet: Vec<u8> = (0..n % 187).flat_map(|_| random()).collect();
        match n % 4 {
            // A QUIC v1 Initial to look at, with a random body.
            0 if packet.len() > 20 => {
                packet.resize(1200, 0xaa);
                packet[..6].copy_from_slice(&[0xc3, 0, 0, 0, 1, 8]);
            }
            // An unknown version, which asks for a version negotiation.
            1 if packet.len() > 20 => {
                packet.resize(1200, 0);
                packet[..6].copy_from_slice(&[0xc3, 0xba, 0xba, 0xba, 0xba, 8]);
            }
            // A short header.
            2 if !packet.is_empty() => packet[0] = 0x40,
            _ => {}
        }
        socket.send_to(&packet, node.addr()).unwrap();
        if n % 100 == 0 {
            tokio::task::yield_now().await;
        }
    }
    node.quiet(Duration::from_millis(100)).await;
    let node = node.echo();
    assert_eq!(
        good.endpoint.request(node.node_id(), vec![5]).await,
        Ok(vec![5])
    );
    let late = Node::start(3);
    assert!(
        late.endpoint
            .connect(Some(node.node_id()), &[node.local_addr()])
            .await
            .is_ok()
    );
}

/// A connection survives a change of its path, as when a NAT forgets a mapping.
#[tokio::test]
async fn a_peer_may_move_to_another_address() {
    let mut node = Node::start(1);
    let (endpoint, peer) = raw::join(2, node.addr()).await;
    node.connected().await;
    let before = node.endpoint.connections()[0].remote;
    endpoint
        .rebind(UdpSocket::bind("127.0.0.1:0").unwrap())
        .unwrap();
    let answering = node.echo();
    let (mut send, mut receive) = peer.open_bi().await.unwrap();
    send.write_all(b"moved").await.unwrap();
    send.finish().unwrap();
    assert_eq!(receive.read_to_end(10).await.unwrap(), b"moved");
    let after = answering.connections()[0].remote;
    assert_ne!(before, after);
    assert_eq!(after, endpoint.local_addr().unwrap());
}

/// While the program takes no events, what peers send waits: nothing is lost, nothing grows.
#[tokio::test]
async fn a_program_that_is_slow_gets_everything_in_the_end() {
    let node = Node::limited(
        1,
        Limits {
            request_timeout: Duration::from_secs(5),
            ..limits()
        },
    );
    let peers: Vec<_> = (2..6).map(Node::start).collect();
    let mut asked = tokio::task::JoinSet::new();
    for peer in &peers {
        peer.dial(&node).await;
        for n in 0..100u8 {
            let (peer, to) = (peer.endpoint.clone(), node.id());
            asked.spawn(async move { peer.request(to, vec![n; 5000]).await == Ok(vec![n; 5000]) });
        }
    }
    sleep(Duration::from_millis(300)).await;
    let _node = node.echo();
    assert!(asked.join_all().await.into_iter().all(|whole| whole));
}

/// A peer fills its share of the buffers. Its large requests are refused until there is room; its
/// small ones and those of others go through.
#[tokio::test]
async fn a_peer_that_fills_its_buffers_is_told_to_come_back() {
    let limits = Limits {
        max_buffered_per_peer: 20_000,
        request_timeout: Duration::from_secs(5),
        ..limits()
    };
    let node = Node::limited(1, limits.clone()).echo();
    let good = Node::limited(3, limits);
    good.endpoint
        .connect(None, &[node.local_addr()])
        .await
        .unwrap();
    let (_endpoint, peer) = raw::join(2, node.local_addr()).await;
    let mut unfinished = Vec::new();
    for _ in 0..2 {
        let (mut send, receive) = peer.open_bi().await.unwrap();
        send.write_all(&[0; 5000]).await.unwrap();
        unfinished.push((send, receive));
    }
    let ask = async |size: usize| {
        let (mut send, mut receive) = peer.open_bi().await.unwrap();
        let _ = send.write_all(&vec![1; size]).await;
        let _ = send.finish();
        receive.read_to_end(10_000).await
    };
    // Until the node has read them: what arrives in the meantime would take their room.
    sleep(Duration::from_millis(200)).await;
    let busy = Err(ReadToEndError::Read(ReadError::Reset(wire(
        StreamCode::BUSY,
    ))));
    assert_eq!(ask(5000).await, busy);
    assert_eq!(ask(4096).await, Ok(vec![1; 4096]));
    assert_eq!(
        good.endpoint.request(node.node_id(), vec![2; 9000]).await,
        Ok(vec![2; 9000])
    );
    let (mut send, mut receive) = unfinished.pop().unwrap();
    send.finish().unwrap();
    assert_eq!(receive.read_to_end(10_000).await, Ok(vec![0; 5000]));
    assert_eq!(ask(5000).await, Ok(vec![1; 5000]));
}
