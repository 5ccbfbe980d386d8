//! How long a call to code takes, once the code is loaded: `cargo bench -p grid-modules --bench execute`.

#![allow(
    clippy::expect_used,
    reason = "a benchmark that cannot run has nothing else to say"
)]

use std::sync::Arc;

use divan::Bencher;
use grid_modules::execute::native::{AllowList, Framed, Sealed};
use grid_modules::execute::wasm::{Settings, Wasm, WasmModule};
use grid_modules::execute::{Executor, Limits, NoObjects, Verdict, Verdicts};
use grid_promises::{ContentId, Message, texts};

const GUESTS: [&str; 3] = ["hello-c", "hello-rust", "hello-wat"];

fn main() {
    divan::main();
}

fn verdicts() -> Verdicts {
    Verdicts {
        accept: texts::ACCEPT_MESSAGE.id(),
        reject: texts::REJECT_MESSAGE.id(),
    }
}

fn guest(name: &str) -> Vec<u8> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/guests");
    std::fs::read(format!("{folder}/{name}.wasm")).expect("the guest is in the tree")
}

fn engine(compiled: Option<std::path::PathBuf>) -> Wasm {
    Wasm::new(Settings {
        limits: Limits::default(),
        verdicts: verdicts(),
        objects: Arc::new(NoObjects),
        compiled,
    })
    .expect("the engine starts")
}

fn load(engine: &Wasm, bytes: &[u8]) -> Arc<WasmModule> {
    engine
        .load(&ContentId::of(bytes), bytes)
        .expect("the guest loads")
}

fn hello() -> Message {
    Message::new(ContentId::of(b"hello")).arg("world")
}

fn accept_and_handle(code: &impl Executor, parms: &Message) -> Message {
    let verdict = code.accept(parms).expect("a verdict");
    assert!(matches!(verdict, Verdict::Accepted(_)));
    code.handle(parms, b"").expect("an answer")
}

/// Both entry points of a loaded module, each in an instance of its own.
#[divan::bench(args = GUESTS)]
fn warm_accept_and_handle(bencher: Bencher<'_, '_>, name: &str) {
    let engine = engine(None);
    let module = load(&engine, &guest(name));
    let parms = hello();
    bencher.bench(|| accept_and_handle(&*module, &parms));
}

/// The same on two threads at once.
#[divan::bench(args = GUESTS, threads = [2])]
fn warm_accept_and_handle_beside(bencher: Bencher<'_, '_>, name: &str) {
    let engine = engine(None);
    let module = load(&engine, &guest(name));
    let parms = hello();
    bencher.bench(|| accept_and_handle(&*module, &parms));
}

/// A module that was never compiled here.
#[divan::bench(args = GUESTS, sample_count = 20)]
fn compile(bencher: Bencher<'_, '_>, name: &str) {
    let bytes = guest(name);
    bencher
        .with_inputs(|| engine(None))
        .bench_refs(|engine| load(engine, &bytes));
}

/// A module that another process compiled.
#[divan::bench(args = GUESTS, sample_count = 20)]
fn load_compiled(bencher: Bencher<'_, '_>, name: &str) {
    let bytes = guest(name);
    let folder = tempfile::tempdir().expect("a folder");
    let compiled = || engine(Some(folder.path().join("compiled")));
    load(&compiled(), &bytes);
    bencher
        .with_inputs(compiled)
        .bench_refs(|engine| load(engine, &bytes));
}

/// An executable that gives back what it gets: one process per call, here a shell that becomes
/// `cat`.
#[divan::bench(sample_count = 50)]
fn framed_executable(bencher: Bencher<'_, '_>) {
    let script = b"#!/bin/sh\nexec cat\n";
    let id = ContentId::of(script);
    let allowed = AllowList::new([id]).check(&id).expect("it was just listed");
    let sealed = Sealed::new(allowed, script).expect("it can be sealed");
    let code = Framed::new(sealed, verdicts(), &Limits::default());
    let parms = hello();
    bencher.bench(|| code.handle(&parms, b"").expect("an answer"));
}
