//! Replays the fuzz corpus, so that every run tests what a fuzzer once found.
#![allow(clippy::panic, clippy::unwrap_used)]

use std::path::Path;

// Public for the fuzz crate.
#[allow(unreachable_pub)]
#[path = "../../fuzz/src/net.rs"]
mod net;
#[path = "../../fuzz/replay.rs"]
mod replay;

#[test]
fn every_file_of_the_corpus_passes() {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz");
    replay::replay(&fuzz, "net", net::TARGETS);
}
