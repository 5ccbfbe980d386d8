//! Replays the corpus of targets in the ordinary tests of a crate, which includes this file.

use std::fs;
use std::panic;
use std::path::Path;

/// A target: its name, and its body.
type Target<'a> = (&'a str, fn(&[u8]));

/// Calls every target with each file of its corpus. Fails when one panics, when a corpus is empty or
/// large, and when a target of `module` has no fuzzer of its name. `root` is the folder of `fuzz/`.
pub(crate) fn replay(root: &Path, module: &str, targets: &[Target<'_>]) {
    let manifest = fs::read_to_string(root.join("Cargo.toml")).unwrap();
    let mut failed = Vec::new();
    for (name, target) in targets {
        let fuzzer = root.join("fuzz_targets").join(format!("{name}.rs"));
        let fuzzer = fs::read_to_string(&fuzzer).unwrap();
        assert!(fuzzer.contains(&format!("{module}::{name}(data)")));
        assert!(manifest.contains(&format!("name = \"{name}\"")), "{name}");
        let corpus = fs::read_dir(root.join("corpus").join(name)).unwrap();
        let files: Vec<_> = corpus.map(|entry| entry.unwrap().path()).collect();
        assert!((1..100).contains(&files.len()), "{name}: {}", files.len());
        for file in files {
            let data = fs::read(&file).unwrap();
            assert!(data.len() <= 16 * 1024, "{} is long", file.display());
            if panic::catch_unwind(|| target(&data)).is_err() {
                failed.push(format!("{name}: {}", file.display()));
            }
        }
    }
    assert!(failed.is_empty(), "failed on:\n{}", failed.join("\n"));
}
