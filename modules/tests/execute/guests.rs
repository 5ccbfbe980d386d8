//! The guests of `examples/guests`, as they are committed: they keep their promise, and they are
//! the bytes that are pinned.

use std::fs;

use grid_modules::execute::{Executor as _, Manifest, Verdict};
use grid_promises::{ContentId, texts};

use super::{call, engine, load, verdicts};

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/guests");
const NAMES: [&str; 3] = ["hello-c.wasm", "hello-rust.wasm", "hello-wat.wasm"];

/// The one that says something else.
const JUDGE: &str = "judge-rust.wasm";

fn guest(name: &str) -> Vec<u8> {
    fs::read(format!("{FOLDER}/{name}")).unwrap()
}

/// With GRID_BLESS=1, as `.ci/guests --bless` has it, what is built from the text form and the ids
/// are written, after a change of a source.
#[test]
fn they_are_the_pinned_bytes() {
    let bless = std::env::var_os("GRID_BLESS").is_some();
    let built = wat::parse_file(format!("{FOLDER}/hello.wat")).unwrap();
    if bless {
        fs::write(format!("{FOLDER}/hello-wat.wasm"), &built).unwrap();
    }
    assert!(built == guest("hello-wat.wasm"), "run .ci/guests --bless");
    let found: String = NAMES
        .iter()
        .chain(&[JUDGE])
        .map(|name| format!("{name} {}\n", ContentId::of(&guest(name))))
        .collect();
    if bless {
        fs::write(format!("{FOLDER}/IDS"), &found).unwrap();
    }
    let pinned = fs::read_to_string(format!("{FOLDER}/IDS")).unwrap();
    assert_eq!(found, pinned, "run .ci/guests --bless");
}

#[test]
fn the_judge_can_be_one() {
    let manifest = Manifest {
        promise: Some(texts::JUDGE.text.to_owned()),
        name: Some("judge-gateways".to_owned()),
        calls: Vec::new(),
        pure: true,
    };
    assert_eq!(Manifest::read(&guest(JUDGE)), Ok(manifest));
}

#[test]
fn each_says_what_it_promises() {
    let text = fs::read_to_string(format!("{FOLDER}/hello.md")).unwrap();
    for name in NAMES {
        let manifest = Manifest {
            promise: Some(text.clone()),
            name: Some("hello".to_owned()),
            calls: Vec::new(),
            pure: true,
        };
        assert_eq!(Manifest::read(&guest(name)), Ok(manifest), "{name}");
    }
}

#[test]
fn each_says_hello() {
    let engine = engine();
    let longest = "x".repeat(23);
    for name in NAMES {
        let module = load(&engine, &guest(name)).unwrap();
        for whom in [
            "world",
            "",
            "0123456789abcdef",
            "0123456789abcdefg",
            &longest,
        ] {
            for to_this_module in [false, true] {
                let mut parms = call(&[whom]);
                parms.module = to_this_module.then_some(*module.id());
                let verdict = module.accept(&parms).unwrap();
                assert!(
                    matches!(verdict, Verdict::Accepted(_)),
                    "{name}: {verdict:?}"
                );
                let answer = module.handle(&parms, b"").unwrap();
                assert_eq!(answer.promise, parms.promise, "{name}");
                assert_eq!(
                    answer.payload,
                    format!("hello, {whom}").as_bytes(),
                    "{name}"
                );
            }
        }
        for args in [&[][..], &["a", "b"]] {
            let Verdict::Rejected(answer) = module.accept(&call(args)).unwrap() else {
                panic!("{name} accepts {args:?}");
            };
            assert_eq!(answer.promise, verdicts().reject);
        }
    }
}
