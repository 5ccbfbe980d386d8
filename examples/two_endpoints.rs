//! Two nodes on the loopback interface: one asks over QUIC, the other answers.
//!
//! Run it with `cargo run --example two_endpoints`.

#![allow(clippy::print_stdout)]

use anyhow::{Result, bail, ensure};
use grid_keys::{NodeKey, Secret};
use grid_net::{Config, Endpoint, Event};

use tokio::sync::mpsc::Receiver;

#[tokio::main]
async fn main() -> Result<()> {
    let (a, mut events) = endpoint(1)?;
    let (b, asked) = endpoint(2)?;
    println!("a is {} at {}", a.node_id(), a.local_addr());
    println!("b is {} at {}", b.node_id(), b.local_addr());
    let answering = tokio::spawn(answer(asked));

    // The node key is the TLS identity: with another key at that address there is no connection.
    let peer = b.node_id();
    let connected = a.connect(Some(peer), &[b.local_addr()]).await?;
    ensure!(connected.peer == peer);
    let wrong = a.connect(Some(key(3).id()), &[b.local_addr()]).await;
    match wrong {
        Ok(_) => bail!("a key that nobody has was accepted"),
        Err(error) => println!("a does not find a third node there: {error}"),
    }

    // One request, one answer, both whole messages on one stream.
    let answer = a.request(peer, b"are you there?".to_vec()).await?;
    println!("b answered: {}", String::from_utf8_lossy(&answer));

    b.shutdown().await;
    while let Some(event) = events.recv().await {
        if let Event::Disconnected { reason, .. } = event {
            println!("a lost b: {reason}");
            break;
        }
    }
    drop(b);
    answering.await?;
    Ok(())
}

async fn answer(mut events: Receiver<Event>) {
    while let Some(event) = events.recv().await {
        match event {
            Event::Connected { remote, .. } => println!("b was dialled from {remote}"),
            Event::Request {
                message, respond, ..
            } => {
                println!("b was asked: {}", String::from_utf8_lossy(&message));
                respond.send(b"I am.".to_vec());
            }
            _ => {}
        }
    }
}

fn endpoint(seed: u8) -> Result<(Endpoint, Receiver<Event>)> {
    let listen = "127.0.0.1:0".parse()?;
    Ok(Endpoint::bind(Config {
        listen,
        ..Config::new(key(seed))
    })?)
}

/// A key for a test: real ones come from `NodeKey::generate` and never leave their file.
fn key(seed: u8) -> NodeKey {
    NodeKey::from_seed(&Secret::new([seed; 32]))
}
