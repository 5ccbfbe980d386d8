//! What a message costs before anybody handles it: its decoding and its dispatch.
//!
//! `cargo bench -p grid-promises --bench dispatch`. Each tree has 100,000 paths; a lookup has a
//! promise, a module and three arguments.
// A benchmark may stop at what cannot happen.
#![allow(clippy::unwrap_used, missing_docs)]

use divan::{Bencher, black_box};
use grid_keys::NodeId;
use grid_promises::routes::{Class, Key, Limits, Routes, Target};
use grid_promises::{ContentId, Envelope, Message, Timestamp, memo};

fn main() {
    divan::main();
}

const PATHS: u32 = 100_000;
const NOW: Timestamp = Timestamp(1_800_000_000);

/// The trees that are looked up in.
#[derive(Clone, Copy, Debug)]
enum Shape {
    /// 10 promises, 10 modules of each, 10 first arguments of these, and so on.
    Even,
    /// One promise and one module; 100,000 first arguments of 16 bytes with the same beginning.
    Wide,
    /// As `Even`, with three targets at each prefix and more at the shorter ones.
    Crowded,
}

const SHAPES: [Shape; 3] = [Shape::Even, Shape::Wide, Shape::Crowded];

fn id(name: &str, number: u32) -> ContentId {
    ContentId::of(format!("{name} {number}").as_bytes())
}

/// One of many targets: enough of each class for its quota.
fn target(number: u32) -> Target {
    match Class::ALL[number as usize % 3] {
        Class::Builtin => Target::builtin(&format!("builtin-{}", number / 3 % 20)),
        Class::Module => Target::Module(id("module", number / 3 % 20)),
        Class::Peer => Target::Peer(NodeId(
            *ContentId::of(&[(number / 3 % 50) as u8])
                .digest()
                .first_chunk()
                .unwrap(),
        )),
    }
}

/// The call with a number.
fn call(shape: Shape, number: u32) -> Message {
    let digit = |place: u32| number / 10u32.pow(place) % 10;
    let (promise, args) = match shape {
        Shape::Even | Shape::Crowded => {
            let args = [digit(2), digit(1), digit(0)].map(|digit| format!("argument-{digit}"));
            (id("promise", digit(4)), args)
        }
        Shape::Wide => (
            id("promise", 0),
            [format!("argument-{number:07}"), "b".into(), "c".into()],
        ),
    };
    let module = match shape {
        Shape::Wide => id("code", 0),
        _ => id("code", digit(3)),
    };
    let message = Message::new(promise).module(module);
    args.into_iter().fold(message, Message::arg)
}

fn tree(shape: Shape) -> Routes {
    let mut routes = Routes::new(limits());
    let calls = match shape {
        Shape::Crowded => PATHS / 4,
        _ => PATHS,
    };
    for number in 0..calls {
        let message = call(shape, number * (PATHS / calls));
        let key = Key::of(&message);
        routes.accepted(key, &target(number), NOW).unwrap();
        if matches!(shape, Shape::Crowded) {
            routes.accepted(key, &target(number + 1), NOW).unwrap();
            routes.accepted(key, &target(number + 2), NOW).unwrap();
            routes.kept(key, &target(number + 1), NOW);
            for extra in 0..4 {
                let short = key.prefix(2 + (extra as usize) % 2);
                routes
                    .accepted(short, &target(number * 4 + extra), NOW)
                    .unwrap();
            }
        }
    }
    routes
}

/// The standard limits, but that one class may fill the tree.
fn limits() -> Limits {
    let mut limits = Limits::STANDARD;
    for class in Class::ALL {
        let quota = limits.0.get_mut(class);
        quota.all.paths = 1 << 17;
        quota.all.bytes = 1 << 28;
        quota.each = quota.all;
    }
    limits
}

/// Calls all over the tree, in an order that jumps.
fn calls(shape: Shape) -> Vec<Message> {
    (0..8192u32)
        .map(|number| call(shape, number * 7919 % (PATHS / 4) * 4))
        .collect()
}

fn each<T>(bencher: Bencher<'_, '_>, shape: Shape, look_up: impl Fn(&Routes, Key<'_>) -> T) {
    let routes = tree(shape);
    assert!(routes.len() > 25_000, "{}", routes.len());
    let calls = calls(shape);
    let mut at = 0;
    bencher
        // A message that is dispatched was just decoded: it is in the cache, where the tree is not.
        .with_inputs(|| {
            at += 1;
            calls[at % calls.len()].clone()
        })
        .bench_local_refs(|message| look_up(&routes, Key::of(black_box(message))));
}

/// The first candidate, which is usually the only one that is asked. Calls all over the tree: most
/// of what a lookup touches is in no cache.
#[divan::bench(args = SHAPES, sample_count = 1000, sample_size = 64)]
fn dispatch(bencher: Bencher<'_, '_>, shape: Shape) {
    each(bencher, shape, |routes, key| {
        routes.dispatch(key, NOW).next().unwrap().depth
    });
}

/// The same for one call over and over: everything is in the cache.
#[divan::bench(args = SHAPES, sample_count = 1000, sample_size = 64)]
fn dispatch_again(bencher: Bencher<'_, '_>, shape: Shape) {
    let routes = tree(shape);
    let message = call(shape, 12_344);
    bencher.bench(|| {
        routes
            .dispatch(Key::of(black_box(&message)), NOW)
            .next()
            .unwrap()
            .depth
    });
}

/// All candidates, counted.
#[divan::bench(args = SHAPES, sample_count = 1000, sample_size = 16)]
fn dispatch_all(bencher: Bencher<'_, '_>, shape: Shape) {
    each(bencher, shape, |routes, key| {
        routes.dispatch(key, NOW).count()
    });
}

/// An envelope of 1 KiB, checked and taken apart without copying.
#[divan::bench]
fn envelope_decode(bencher: Bencher<'_, '_>) {
    let bytes = call(Shape::Even, 12_345).payload([7; 1024]).encode();
    bencher.bench(|| {
        Envelope::decode(black_box(&bytes), &Message::BOUNDS)
            .unwrap()
            .slots()
            .len()
    });
}

/// The same as a message of its own.
#[divan::bench]
fn message_decode(bencher: Bencher<'_, '_>) {
    let bytes = call(Shape::Even, 12_345).payload([7; 1024]).encode();
    bencher.bench(|| Message::decode(black_box(&bytes), &Message::BOUNDS).unwrap());
}

/// A promise was kept: counted, ranked, moved to the end of the order in which paths go.
#[divan::bench]
fn record_kept(bencher: Bencher<'_, '_>) {
    let mut routes = tree(Shape::Even);
    let message = call(Shape::Even, 12_345);
    bencher.bench_local(|| routes.kept(Key::of(black_box(&message)), &target(12_345), NOW));
}

/// A full tree that something new comes into: the oldest path goes.
#[divan::bench]
fn record_new_when_full(bencher: Bencher<'_, '_>) {
    let mut limits = limits();
    limits.0.peer.all.paths = PATHS as usize;
    let mut routes = Routes::new(limits);
    let peer = Target::Peer(NodeId([1; 32]));
    let mut number = 0;
    let mut next = || {
        number += 1;
        routes
            .accepted(Key::of(&call(Shape::Wide, number)), &peer, NOW)
            .unwrap();
        routes.len()
    };
    while next() < PATHS as usize {}
    bencher.bench_local(next);
}

/// The path of a memo, and its value read and checked: what a hit costs besides reading the file.
#[divan::bench]
fn memo_hit(bencher: Bencher<'_, '_>) {
    let message = call(Shape::Even, 12_345);
    let kept = memo::Memo::new(&message, call(Shape::Even, 1).payload([7; 1024])).encode();
    bencher.bench(|| {
        let path = memo::MemoPath::of(black_box(&message)).unwrap();
        (path, memo::Memo::decode_for(&message, &kept).unwrap())
    });
}

/// A whole tree written, and read again.
#[divan::bench(sample_count = 5, sample_size = 1)]
fn export(bencher: Bencher<'_, '_>) {
    let routes = tree(Shape::Even);
    bencher.bench(|| routes.export().len());
}

#[divan::bench(sample_count = 5, sample_size = 1)]
fn import(bencher: Bencher<'_, '_>) {
    let bytes = tree(Shape::Even).export();
    assert!(bytes.len() < 4 << 20, "{}", bytes.len());
    bencher.bench(|| Routes::import(&bytes, limits()).unwrap().len());
}
