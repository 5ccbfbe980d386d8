//! Replays the fuzz corpus of what the program reads: what a fuzzer found once is tested on every run.
#![cfg(feature = "modules")]
#![allow(clippy::cast_possible_truncation, clippy::panic, clippy::unwrap_used)]

use std::path::Path;

// Public for the fuzz crate.
#[allow(unreachable_pub)]
#[path = "../fuzz/src/program.rs"]
mod program;
#[path = "../fuzz/replay.rs"]
mod replay;

#[test]
fn every_file_of_the_corpus_passes() {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    replay::replay(&fuzz, "program", program::TARGETS);
}
