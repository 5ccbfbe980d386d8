//! Memory stays bounded while hostile peers send all they can. The attackers are another process,
//! so that what is measured is the node alone.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // helpers of tests

mod common;

use std::net::{SocketAddr, UdpSocket};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::{Node, raw};
use grid_net::Limits;
use tokio::time::sleep;

const TARGET: &str = "GRID_NET_TEST_TARGET";
const PEERS: u8 = 8;
const STREAMS: usize = 64;

/// Resident memory of this process in kB.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

/// Eight peers begin 64 messages of 1 MiB each and end none, over and over: unbounded, that would take
/// 512 MiB. In between arrive packets that look like the beginning of handshakes.
#[tokio::test]
async fn memory_stays_bounded_under_attack() {
    let limits = Limits {
        max_buffered: 8 << 20,
        request_timeout: Duration::from_secs(3),
        ..Limits::default()
    };
    let node = Node::limited(1, limits);
    let good = Node::start(2);
    good.dial(&node).await;
    let addr = node.addr();
    let id = node.id();
    let endpoint = node.echo();
    let before = resident();
    let mut attackers = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "attackers", "--ignored"])
        .env(TARGET, addr.to_string())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let start = Instant::now();
    let (mut most, mut connected, mut received) = (before, 0, 0);
    while start.elapsed() < Duration::from_secs(5) {
        let connections = endpoint.connections();
        connected = connected.max(connections.len());
        received = received.max(
            connections
                .iter()
                .map(|connection| connection.received)
                .sum(),
        );
        most = most.max(resident());
        // A well-behaved peer is served all the while.
        assert_eq!(
            good.endpoint.request(id, vec![1; 1000]).await,
            Ok(vec![1; 1000])
        );
        sleep(Duration::from_millis(50)).await;
    }
    attackers.kill().unwrap();
    attackers.wait().unwrap();
    let grown = (most - before) / 1024;
    println!(
        "{connected} connections, {} MiB received, {grown} MiB more memory",
        received >> 20
    );
    assert!(
        connected > usize::from(PEERS) / 2,
        "the attack did not take place: {connected}"
    );
    assert!(
        received > 4 << 20,
        "the attack did not take place: {received} bytes"
    );
    // 8 MiB of messages, 8 times 0.5 MiB inside QUIC, and as much again for the allocator.
    assert!(grown < 24, "{grown} MiB");
}

/// The other process of the test above.
#[tokio::test]
#[ignore = "started by memory_stays_bounded_under_attack"]
async fn attackers() {
    let Ok(target) = std::env::var(TARGET) else {
        println!("SKIPPED: {TARGET} is not set");
        return;
    };
    let target: SocketAddr = target.parse().unwrap();
    for seed in 0..PEERS {
        tokio::spawn(async move {
            loop {
                attack(100 + seed, target).await;
                sleep(Duration::from_millis(50)).await;
            }
        });
    }
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    for n in 0..u32::MAX {
        let mut packet = [0xaa; 1200];
        packet[..6].copy_from_slice(&[0xc3, 0, 0, 0, 1, 8]);
        packet[6..10].copy_from_slice(&n.to_be_bytes());
        let _ = socket.send_to(&packet, target);
        sleep(Duration::from_millis(1)).await;
    }
}

async fn attack(seed: u8, target: SocketAddr) {
    let config = raw::client_config(raw::Shows::RawKey(common::key(seed)), &[b"grid/1"]);
    let endpoint = raw::socket();
    let Ok(dial) = endpoint.connect_with(config, target, "x.invalid") else {
        return;
    };
    let Ok(connection) = dial.await else { return };
    let Ok((mut greeting, mut answer)) = connection.open_bi().await else {
        return;
    };
    let _ = greeting.finish();
    if answer.read_to_end(16).await.is_err() {
        return;
    }
    let mut streams = Vec::new();
    for _ in 0..STREAMS {
        let Ok((mut send, receive)) = connection.open_bi().await else {
            return;
        };
        streams.push(tokio::spawn(async move {
            let _ = send.write_all(&vec![0; 1 << 20]).await;
            // Kept open, never ended.
            sleep(Duration::from_secs(60)).await;
            drop((send, receive));
        }));
    }
    connection.closed().await;
    for stream in streams {
        stream.abort();
    }
}
