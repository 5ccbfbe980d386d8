//! What idle connections cost.
//!
//! `cargo run -p grid-net --example idle_cost [PEERS [SECONDS]]` connects one node to PEERS others on
//! loopback (default 5), waits for SECONDS (default 60), and prints how long a connect takes, how many
//! bytes the node sent and received on the wire meanwhile (UDP payload, and 48 bytes of IPv6 and UDP
//! headers a packet), and how much memory a connection takes (both ends together).

use std::error::Error;
use std::time::{Duration, Instant};

use grid_keys::{NodeKey, Secret};
use grid_net::{Config, Endpoint, Event};

use tokio::sync::mpsc::Receiver;

const HEADERS: u64 = 48;

fn node(number: u8) -> Result<(Endpoint, Receiver<Event>), Box<dyn Error>> {
    let key = NodeKey::from_seed(&Secret::new([number; 32]));
    Ok(Endpoint::bind(Config {
        listen: "127.0.0.1:0".parse()?,
        ..Config::new(key)
    })?)
}

/// How many bytes the node has sent and received on the wire so far.
fn traffic(node: &Endpoint) -> (u64, u64) {
    node.connections()
        .iter()
        .fold((0, 0), |(sent, received), c| {
            (
                sent + c.sent + HEADERS * c.sent_packets,
                received + c.received + HEADERS * c.received_packets,
            )
        })
}

/// Resident memory of this process in kB.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .unwrap_or("0");
    line.split_whitespace()
        .next()
        .and_then(|number| number.parse().ok())
        .unwrap_or(0)
}

#[tokio::main]
#[allow(clippy::print_stdout)]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let peers: u8 = args.next().map_or(Ok(5), |text| text.parse())?;
    let seconds: u64 = args.next().map_or(Ok(60), |text| text.parse())?;
    let (hub, _hub_events) = node(0xff)?;
    let mut others = Vec::new();
    for number in 0..peers {
        others.push(node(number)?);
    }
    let before = resident();
    let mut connects = Vec::new();
    for (other, _) in &others {
        let start = Instant::now();
        hub.connect(Some(other.node_id()), &[other.local_addr()])
            .await?;
        connects.push(start.elapsed());
    }
    connects.sort();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let with_connections = resident();
    let start = traffic(&hub);
    println!(
        "{peers} connects: median {:?}, {} bytes sent and {} received on the wire for each",
        connects
            .get(connects.len() / 2)
            .copied()
            .unwrap_or_default(),
        start.0 / u64::from(peers.max(1)),
        start.1 / u64::from(peers.max(1)),
    );
    println!(
        "memory: {} kB for each connection, both ends; {with_connections} kB for {} nodes",
        (with_connections - before.min(with_connections)) / u64::from(peers.max(1)),
        peers + 1,
    );
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    let end = traffic(&hub);
    let per_minute = |from: u64, to: u64| (to - from) * 60 / seconds.max(1);
    println!(
        "idle for {seconds} s: {} bytes a minute sent, {} received, over {peers} connections",
        per_minute(start.0, end.0),
        per_minute(start.1, end.1),
    );
    Ok(())
}
