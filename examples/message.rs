//! A message from its parts to its bytes and back.
//!
//! Run it with `cargo run --example message`.

#![allow(clippy::print_stdout)]

use anyhow::{Result, ensure};
use data_encoding::HEXLOWER;
use grid_keys::{NodeKey, Secret};
use grid_promises::{Message, texts};

fn main() -> Result<()> {
    // A key for a test: real ones come from `NodeKey::generate` and never leave their file.
    let key = NodeKey::from_seed(&Secret::new([1; 32]));

    // Every message begins with the id of the promise that it is made under.
    let mut sent = Message::new(texts::STATUS.id())
        .arg("foo")
        .payload("how is the network?");
    sent.sign(&key);
    let bytes = sent.encode();
    println!("promise  {} ({})", sent.promise, texts::STATUS.name);
    println!("message  {}", sent.id());
    println!("bytes    {} {}", bytes.len(), HEXLOWER.encode(&bytes));

    // The receiver bounds what it reads, and gets the very same message.
    let received = Message::decode(&bytes, &Message::BOUNDS)?;
    ensure!(received == sent && received.id() == sent.id());
    received.verify(&key.id())?;
    println!("signed   by {}", key.id());

    // One bit less and it is another message, which nobody signed.
    let mut damaged = received;
    damaged.payload.pop();
    match damaged.verify(&key.id()) {
        Ok(()) => anyhow::bail!("a damaged message passed for the original"),
        Err(error) => println!("damaged  {error}"),
    }

    // What is not a message is an ordinary event: an error that says what is wrong.
    match Message::decode(b"not a message", &Message::BOUNDS) {
        Ok(_) => anyhow::bail!("nonsense passed for a message"),
        Err(error) => println!("nonsense {error}"),
    }
    Ok(())
}
