//! `grid generate-keys`: makes this node's key if there is none, and prints the node id.

use std::io::{self, Write};

use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng as _;
use serde::Serialize;
use zeroize::Zeroizing;

use crate::command::{Caller, Command, Report};
use crate::exit::{Failure, Outcome};
use crate::store::Store;

/// Generate this node's key unless there is one, and print the node id
#[derive(Debug, clap::Args)]
pub struct Args {}

#[derive(Debug, Serialize)]
struct KeyReport {
    new: bool,
    node: String,
}

impl Report for KeyReport {
    fn show(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "{}", self.node)
    }
}

impl Command for Args {
    fn run(self, caller: &Caller) -> Outcome {
        let mut seed = Zeroizing::new([0; 32]);
        getrandom::fill(&mut *seed).map_err(|error| {
            Failure::failed(format!("cannot get randomness from the system: {error}"))
        })?;
        let store = Store::open(caller.home())?;
        let new = store.node_key()?.is_none();
        let key = store.node_key_or_new(&mut ChaCha20Rng::from_seed(*seed))?;
        caller.show(&KeyReport {
            new,
            node: key.id().to_string(),
        })
    }
}
