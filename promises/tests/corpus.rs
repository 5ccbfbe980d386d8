//! Replays the fuzz corpus: what a fuzzer found once is tested on every run.
// A test reads files; the crate must not. Helpers of tests may panic as the tests do.
#![allow(clippy::disallowed_methods, clippy::panic, clippy::unwrap_used)]

use std::fs;
use std::panic;
use std::path::{Path, PathBuf};

#[path = "common/judging_seeds.rs"]
mod judging_seeds;
#[path = "common/mod.rs"]
mod kit;
#[path = "common/module_seeds.rs"]
mod module_seeds;
// Public for the fuzz crate.
#[allow(unreachable_pub)]
#[path = "../../fuzz/src/dispatch.rs"]
mod dispatch;
#[allow(unreachable_pub)]
#[path = "../../fuzz/src/judging.rs"]
mod judging;
#[allow(unreachable_pub)]
#[path = "../../fuzz/src/modules.rs"]
mod modules;
#[allow(unreachable_pub)]
#[path = "../../fuzz/src/promises.rs"]
mod promises;
#[allow(unreachable_pub)]
#[path = "../../fuzz/src/statements.rs"]
mod statements;

/// Every target, with the module that has its body.
fn targets() -> impl Iterator<Item = (&'static str, promises::Target)> {
    let of = |module, targets: &'static [promises::Target]| {
        targets.iter().map(move |target| (module, *target))
    };
    of("promises", promises::TARGETS)
        .chain(of("statements", statements::TARGETS))
        .chain(of("dispatch", dispatch::TARGETS))
        .chain(of("judging", judging::TARGETS))
        .chain(of("modules", modules::TARGETS))
}

/// The inputs that the kits make.
fn seeds() -> impl Iterator<Item = kit::seeds::Seed> {
    let kits = [
        kit::seeds::seeds(),
        module_seeds::seeds(),
        judging_seeds::seeds(),
    ];
    kits.into_iter().flatten()
}

fn fuzz_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz")
}

/// The files of a target's corpus, sorted by name.
fn corpus(target: &str) -> Vec<PathBuf> {
    let folder = fuzz_folder().join("corpus").join(target);
    let entries = fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("no corpus at {}: {error}", folder.display()));
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(
        !files.is_empty(),
        "the corpus at {} is empty",
        folder.display()
    );
    files
}

#[test]
fn every_file_of_the_corpus_passes() {
    let mut failed = Vec::new();
    for (_, (name, target)) in targets() {
        for file in corpus(name) {
            let data = fs::read(&file).unwrap();
            if panic::catch_unwind(|| target(&data)).is_err() {
                failed.push(format!("{name}: {}", file.display()));
            }
        }
    }
    assert!(
        failed.is_empty(),
        "the targets failed on:\n{}",
        failed.join("\n")
    );
}

/// A corpus is a handful of meaningful files, not what a night of fuzzing leaves behind.
#[test]
fn the_corpus_is_small() {
    for (_, (name, _)) in targets() {
        let files = corpus(name);
        assert!(
            files.len() < 100,
            "{name} has {} files: minimise it",
            files.len()
        );
        for file in files {
            let length = fs::metadata(&file).unwrap().len();
            assert!(length <= 16 * 1024, "{} has {length} bytes", file.display());
        }
    }
}

/// A target that is listed can be fuzzed, under the same name.
#[test]
fn every_target_has_its_fuzzer() {
    let manifest = fs::read_to_string(fuzz_folder().join("Cargo.toml")).unwrap();
    for (module, (name, _)) in targets() {
        let source = fuzz_folder()
            .join("fuzz_targets")
            .join(format!("{name}.rs"));
        let body = fs::read_to_string(&source)
            .unwrap_or_else(|error| panic!("{}: {error}", source.display()));
        assert!(
            body.contains(&format!("{module}::{name}(data)")),
            "{}",
            source.display()
        );
        assert!(
            manifest.contains(&format!("name = \"{name}\"")),
            "{name} is not in the manifest"
        );
    }
}

/// The seeds for statements and modules are what the kits make of them, so that they still reach what
/// they are named for when the wire format has changed.
#[test]
fn the_seeds_are_those_of_the_kit() {
    for (target, name, bytes) in seeds() {
        let file = fuzz_folder().join("corpus").join(target).join(&name);
        let committed = fs::read(&file).unwrap_or_default();
        assert!(
            committed == bytes && file.exists(),
            "{} is out of date; `cargo test -p grid-promises --test corpus -- --ignored` writes it",
            file.display()
        );
    }
}

#[test]
#[ignore = "writes the seeds into fuzz/corpus"]
fn write_the_seeds() {
    for (target, name, bytes) in seeds() {
        let folder = fuzz_folder().join("corpus").join(target);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(name), bytes).unwrap();
    }
}
