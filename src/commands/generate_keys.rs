//! `grid generate-keys`: makes this node's key if there is none, and prints the node id; and says what a home is that
//! was made on another machine.

use std::io::{self, Write};

use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng as _;
use serde::Serialize;
use zeroize::Zeroizing;

use crate::advice;
use crate::command::{Caller, Command, Report};
use crate::console::output;
use crate::exit::{Failure, Outcome};
use crate::store::{ServerLock, Store};

/// Generate this node's key unless there is one, and print the node id
#[derive(Debug, clap::Args)]
pub struct Args {
    /// This home is a copy, as in a cloned image: make another node of it, which joins its networks again
    #[arg(long, conflicts_with = "moved")]
    new: bool,

    /// With --new: also where the home says that it was made on this machine, as after --moved by mistake
    #[arg(long, requires = "new")]
    force: bool,

    /// This home has moved here, as in a restored backup: the machine that it was made on is gone
    #[arg(long)]
    moved: bool,
}

#[derive(Debug, Serialize)]
struct KeyReport {
    new: bool,
    node: String,
    /// Networks of the home that this node is no longer in.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    join_again: Vec<String>,
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
        let mut entropy = ChaCha20Rng::from_seed(*seed);
        let store = Store::open(caller.home())?;
        if self.new && store.is_of_a_node()? {
            return renew(caller, &store, self.force, &mut entropy);
        }
        let new = store.node_key()?.is_none();
        let key = store.node_key_or_new(&mut entropy)?;
        if self.moved && store.take_over()? {
            output::say("this home is of this machine now; see that no other runs as this node");
        }
        caller.show(&KeyReport {
            new,
            node: key.id().to_string(),
            join_again: Vec::new(),
        })
    }
}

/// Makes another node of a home that is a copy.
fn renew(caller: &Caller, store: &Store, force: bool, entropy: &mut ChaCha20Rng) -> Outcome {
    let _lock = ServerLock::take(caller.home())?;
    let (key, join_again) = store.become_another(force, entropy)?;
    for net in &join_again {
        output::say(&format!(
            "this is another node now, and not in \"{net}\": {}",
            advice::invites_this_node(net)
        ));
    }
    caller.show(&KeyReport {
        new: true,
        node: key.id().to_string(),
        join_again,
    })
}
