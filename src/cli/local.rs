//! Commands that need no server.

use std::path::Path;

use clap::CommandFactory as _;
use grid_promises::ContentId;
use grid_promises::texts::{self, Promise};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng as _;
use serde_json::json;
use zeroize::Zeroizing;

use super::args::Cli;
use super::output;
use crate::exit::{Failure, Outcome};
use crate::home::Home;
use crate::store::Store;

/// A promise of this version, by its name or its content id.
pub(super) fn promise(wanted: &str) -> Option<&'static Promise> {
    let by_id = || {
        wanted
            .parse::<ContentId>()
            .ok()
            .as_ref()
            .and_then(texts::by_id)
    };
    texts::by_name(wanted).or_else(by_id)
}

/// `generate-keys`.
pub(super) fn generate_keys(home: &Home, is_json: bool) -> Outcome {
    let mut seed = Zeroizing::new([0; 32]);
    getrandom::fill(&mut *seed)
        .map_err(|error| Failure::failed(format!("the system has no randomness: {error}")))?;
    let store = Store::open(home)?;
    let is_new = store.node_key()?.is_none();
    let key = store.node_key_or_new(&mut ChaCha20Rng::from_seed(*seed))?;
    if is_json {
        let report = json!({ "node": key.id().to_string(), "new": is_new });
        return output::print(&format!("{report}\n"));
    }
    output::print(&format!("{}\n", key.id()))
}

/// `man DIR`: one page for the program, one for each command.
pub(super) fn man(dir: &Path) -> Outcome {
    let failed = |error: std::io::Error| {
        Failure::failed(format!(
            "the manual pages cannot be written to {}: {error}",
            dir.display()
        ))
    };
    std::fs::create_dir_all(dir).map_err(failed)?;
    clap_mangen::generate_to(Cli::command(), dir).map_err(failed)
}

/// `completions SHELL`.
pub(super) fn completions(shell: clap_complete::Shell) -> Outcome {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "grid", &mut script);
    output::print_bytes(&script)
}
