//! What a result costs that was computed before: `cargo bench -p grid-modules --bench memo`.
//!
//! Here with its file. What of it is computing the path and checking the value is in
//! `cargo bench -p grid-promises --bench dispatch -- memo_hit`.

#![allow(
    clippy::expect_used,
    reason = "a benchmark that cannot run has nothing else to say"
)]

use divan::{Bencher, black_box};
use grid_modules::CacheDir;
use grid_modules::memos::Memos;
use grid_promises::{ContentId, Message};

/// Lengths of results, in bytes.
const SIZES: [usize; 3] = [16, 1 << 10, 64 << 10];

fn main() {
    divan::main();
}

struct Place {
    _dir: tempfile::TempDir,
    memos: Memos,
}

fn place() -> Place {
    let dir = tempfile::tempdir().expect("a folder");
    let memos = Memos::of(&CacheDir::new(dir.path().join("cache")));
    Place { _dir: dir, memos }
}

fn call(whom: &str) -> Message {
    Message::new(ContentId::of(b"hello"))
        .module(ContentId::of(b"code"))
        .arg(whom)
}

fn result(length: usize) -> Message {
    Message::new(ContentId::of(b"hello")).payload(vec![7; length])
}

/// Its file is found, read, and compared with the call.
#[divan::bench(args = SIZES)]
fn hit(bencher: Bencher<'_, '_>, length: usize) {
    let place = place();
    let call = call("world");
    place.memos.keep(&call, &result(length));
    bencher.bench(|| place.memos.get(black_box(&call)).expect("it was kept"));
}

/// Nothing is known of the call.
#[divan::bench]
fn miss(bencher: Bencher<'_, '_>) {
    let place = place();
    place.memos.keep(&call("world"), &result(16));
    let call = call("moon");
    bencher.bench(|| assert!(place.memos.get(black_box(&call)).is_none()));
}

/// A new result is written.
#[divan::bench]
fn keep(bencher: Bencher<'_, '_>) {
    let place = place();
    let result = result(16);
    let mut number = 0_u64;
    bencher
        .with_inputs(|| {
            number += 1;
            call(&number.to_string())
        })
        .bench_local_refs(|call| place.memos.keep(call, &result));
}
