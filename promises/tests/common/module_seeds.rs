//! Fixed modules, tables and manifests for tests, and the seeds of the fuzz corpora made of them.
//!
//! The raw forms have the fields of the real ones and none of their rules, so that a test can write
//! what an encoder would not.
// Each test program uses a part of it; helpers of tests may panic as the tests do.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeMap;

use grid_promises::ContentId;
use grid_promises::cbor;
use grid_promises::content_id::HashCode;
use grid_promises::modules::chunks::CHUNK_LEN;
use grid_promises::modules::descriptor::Descriptor;
use grid_promises::modules::{Manifest, ModuleKind, ModuleName, Progress, Protocol, SymbolTable};
use minicbor::Encode;
use minicbor::bytes::ByteVec;

/// One input: its target, its name, its bytes.
pub type Seed = (&'static str, String, Vec<u8>);

/// All of them.
pub fn seeds() -> Vec<Seed> {
    let mut seeds = Vec::new();
    descriptors(&mut seeds);
    tables(&mut seeds);
    manifests(&mut seeds);
    seeds
}

/// The objects whose bytes are pinned, by the names of their vectors.
pub fn pinned() -> Vec<(&'static str, Vec<u8>)> {
    let first = first_table();
    let next = first.with(name("hello"), wasm().id()).unwrap().unwrap();
    let manifest = Manifest::of(&object(600_000)).unwrap();
    let mut progress = Progress::new(&manifest);
    progress.mark(0).unwrap();
    progress.mark(2).unwrap();
    vec![
        ("descriptor-builtin", builtin("status").encode()),
        ("descriptor-wasm", wasm().encode()),
        ("descriptor-exec", exec(Protocol::Framed).encode()),
        ("table-first", first.encode()),
        ("table-next", next.encode()),
        ("manifest", manifest.encode()),
        ("progress", progress.encode()),
    ]
}

pub fn name(text: &str) -> ModuleName {
    text.parse().unwrap()
}

/// Some id, another one for each number.
pub fn id(n: u32) -> ContentId {
    ContentId::of(&n.to_be_bytes())
}

pub fn builtin(text: &str) -> Descriptor {
    Descriptor::builtin(ContentId::of(b"a promise\n"), &name(text))
}

/// Pure, and wants two calls.
pub fn wasm() -> Descriptor {
    let promise = ContentId::of(b"I will say hello");
    let code = ContentId::of(b"\0asm\x01\0\0\0");
    let calls = ["fetch", "log"].map(|call| call.parse().unwrap());
    Descriptor::new(promise, ModuleKind::Wasm, code)
        .with_calls(calls)
        .unwrap()
        .promising_purity()
}

pub fn exec(protocol: Protocol) -> Descriptor {
    let kind = ModuleKind::Exec {
        platform: "linux/x86_64".parse().unwrap(),
        protocol,
    };
    let code = ContentId::with(HashCode::Blake3, b"#!/bin/sh\necho hello\n");
    Descriptor::new(ContentId::of(b"I will say hello"), kind, code)
}

/// Two built-in modules.
pub fn first_table() -> SymbolTable {
    let names = ["status", "invite"].map(|text| (name(text), builtin(text).id()));
    SymbolTable::first(BTreeMap::from(names)).unwrap()
}

/// An object in which no two chunks are equal.
pub fn object(length: usize) -> Vec<u8> {
    (0u8..251).cycle().take(length).collect()
}

/// A descriptor without its rules.
#[derive(Clone, Encode)]
pub struct RawDescriptor {
    #[n(0)]
    pub version: u64,
    #[n(1)]
    pub promise: ContentId,
    #[n(2)]
    pub kind: u64,
    #[n(3)]
    pub code: ContentId,
    #[n(4)]
    pub calls: Vec<String>,
    #[n(5)]
    pub pure: bool,
    #[n(6)]
    pub platform: Option<String>,
    #[n(7)]
    pub protocol: Option<u64>,
}

/// A WebAssembly module that wants nothing, changed.
pub fn raw_descriptor(change: impl FnOnce(&mut RawDescriptor)) -> Vec<u8> {
    let mut raw = RawDescriptor {
        version: 1,
        promise: id(1),
        kind: 1,
        code: id(2),
        calls: vec![],
        pure: false,
        platform: None,
        protocol: None,
    };
    change(&mut raw);
    cbor::encode(&raw)
}

/// Makes a raw descriptor one of an executable.
pub fn as_exec(raw: &mut RawDescriptor, platform: &str, protocol: u64) {
    raw.kind = 2;
    raw.platform = Some(platform.to_owned());
    raw.protocol = Some(protocol);
}

/// A table without its rules.
#[derive(Clone, Encode)]
pub struct RawTable {
    #[n(0)]
    pub version: u64,
    #[n(1)]
    pub previous: Option<ContentId>,
    #[n(2)]
    pub names: Vec<(String, ContentId)>,
}

/// A table with these names in this order.
pub fn raw_table<T: AsRef<str>>(names: impl IntoIterator<Item = T>) -> Vec<u8> {
    let entry = |(name, n): (T, u32)| (name.as_ref().to_owned(), id(n));
    cbor::encode(&RawTable {
        version: 1,
        previous: Some(id(0)),
        names: names.into_iter().zip(1..).map(entry).collect(),
    })
}

/// A manifest without its rules.
#[derive(Clone, Encode)]
pub struct RawManifest {
    #[n(0)]
    pub version: u64,
    #[n(1)]
    pub length: u64,
    #[n(2)]
    pub digests: ByteVec,
}

/// A manifest of this many bytes, with so many bytes of digests.
pub fn raw_manifest(length: u64, digests: usize) -> Vec<u8> {
    cbor::encode(&RawManifest {
        version: 1,
        length,
        digests: ByteVec::from(object(digests)),
    })
}

/// Whole, cut, followed by more, and of the next version.
fn variants(seeds: &mut Vec<Seed>, target: &'static str, mode: &[u8], bytes: &[u8]) {
    let mut add = |name: &str, bytes: &[u8]| {
        seeds.push((target, name.to_owned(), [mode, bytes].concat()));
    };
    let mut newer = bytes.to_vec();
    newer[1] = 2;
    add("good", bytes);
    add("cut", &bytes[..bytes.len() / 2]);
    add("trailing", &[bytes, &[0]].concat());
    add("newer", &newer);
    add("nothing", &[]);
}

fn descriptors(seeds: &mut Vec<Seed>) {
    variants(seeds, "descriptor", &[], &wasm().encode());
    let mut add = |name: &str, bytes: Vec<u8>| seeds.push(("descriptor", name.to_owned(), bytes));
    add("builtin", builtin("status").encode());
    add("framed", exec(Protocol::Framed).encode());
    add("plain", exec(Protocol::Plain).encode());
    add("builtin-object", b"grid builtin status\n".to_vec());
    add(
        "builtin-object-bad-name",
        b"grid builtin ../status\n".to_vec(),
    );
    let mut raw = |name: &str, change: fn(&mut RawDescriptor)| add(name, raw_descriptor(change));
    raw("unknown-kind", |d| d.kind = 3);
    raw("wasm-with-platform", |d| {
        d.platform = Some("linux/x86_64".to_owned())
    });
    raw("exec-without-platform", |d| d.kind = 2);
    raw("exec-without-protocol", |d| {
        (d.kind, d.platform) = (2, Some("linux/x86_64".to_owned()));
    });
    raw("bad-platform", |d| as_exec(d, "../../x86_64", 0));
    raw("unknown-protocol", |d| as_exec(d, "linux/x86_64", 2));
    raw("plain-with-calls", |d| {
        as_exec(d, "linux/x86_64", 1);
        d.calls = vec!["log".to_owned()];
    });
    raw("calls-unsorted", |d| {
        d.calls = ["log", "fetch"].map(str::to_owned).to_vec()
    });
    raw("calls-repeated", |d| {
        d.calls = ["log", "log"].map(str::to_owned).to_vec()
    });
    raw("call-bad-name", |d| d.calls = vec!["Log".to_owned()]);
    raw("calls-most", |d| {
        d.calls = (10..42).map(|n| format!("call-{n}")).collect()
    });
    raw("calls-too-many", |d| {
        d.calls = (10..43).map(|n| format!("call-{n}")).collect()
    });
}

/// Targets with more than one law read a first byte, which says what the rest is.
fn tables(seeds: &mut Vec<Seed>) {
    let pinned = pinned();
    variants(seeds, "table", &[0], &pinned[4].1);
    let mut add = |name: &str, mode: u8, bytes: &[u8]| {
        seeds.push(("table", name.to_owned(), [&[mode], bytes].concat()));
    };
    add("first", 0, &pinned[3].1);
    add("empty", 0, &SymbolTable::new().encode());
    add("unsorted", 0, &raw_table(["b", "a"]));
    add("repeated", 0, &raw_table(["a", "a"]));
    add("bad-name", 0, &raw_table(["a", "b/c"]));
    add("name-too-long", 0, &raw_table(["x".repeat(64)]));
    add("name-is-an-id", 0, &raw_table([id(1).to_string()]));
    add("many", 0, &raw_table((100..200).map(|n| n.to_string())));
    // Scripts: pairs of a step and an argument.
    add(
        "script",
        1,
        &[0, 1, 0, 2, 3, 0, 0, 9, 1, 1, 4, 0, 5, 255, 2, 0],
    );
    add(
        "script-conflicts",
        1,
        &[0, 1, 0, 17, 3, 0, 0, 33, 4, 0, 5, 3, 6, 3],
    );
    add("script-back", 1, &[0, 1, 0, 2, 0, 3, 2, 0, 1, 2, 2, 1]);
}

fn manifests(seeds: &mut Vec<Seed>) {
    let pinned = pinned();
    variants(seeds, "manifest", &[0], &pinned[5].1);
    let mut add = |name: &str, mode: u8, bytes: &[u8]| {
        seeds.push(("manifest", name.to_owned(), [&[mode], bytes].concat()));
    };
    add("of-nothing", 0, &Manifest::of(&[]).unwrap().encode());
    add("digest-missing", 0, &raw_manifest(600_000, 2 * 32));
    add("digest-more", 0, &raw_manifest(600_000, 4 * 32));
    add("digest-cut", 0, &raw_manifest(600_000, 3 * 32 - 1));
    add(
        "last-byte-of-a-chunk",
        0,
        &raw_manifest(CHUNK_LEN as u64, 32),
    );
    add(
        "first-byte-of-a-chunk",
        0,
        &raw_manifest(CHUNK_LEN as u64 + 1, 64),
    );
    add("too-large", 0, &raw_manifest((1 << 30) + 1, 32));
    add("end-of-numbers", 0, &raw_manifest(u64::MAX, 32));
    // A length in three bytes, a place to damage in three, then lengths of pieces in two.
    add(
        "slices",
        1,
        &[9, 0x27, 0xc0, 4, 0, 0, 255, 255, 0, 1, 0, 0, 4, 0],
    );
    add("one-chunk", 1, &[4, 0, 0, 3, 255, 255]);
    add("one-byte-more", 1, &[4, 0, 1, 4, 0, 0, 255, 255]);
    add("empty-object", 1, &[0; 6]);
    variants_of_progress(seeds, &pinned[6].1);
}

fn variants_of_progress(seeds: &mut Vec<Seed>, good: &[u8]) {
    let mut add = |name: &str, bytes: &[u8]| {
        let name = format!("progress-{name}");
        seeds.push(("manifest", name, [&[2], bytes].concat()));
    };
    let (head, bits) = good.split_at(good.len() - 1);
    add("good", good);
    add("complete", &[head, &[0b111]].concat());
    add("spare-bit", &[head, &[0b1000]].concat());
    add("cut", head);
    let mut longer = [head, bits, &[0]].concat();
    longer[head.len() - 1] += 1;
    add("too-many-bits", &longer);
    let mut other = good.to_vec();
    other[20] ^= 1;
    add("other-manifest", &other);
}
