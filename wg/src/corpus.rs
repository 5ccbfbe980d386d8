//! Replays the corpora of the fuzz targets.

use std::fmt::Debug;
use std::fs;
use std::path::Path;

/// Reads every file of a target's corpus: a `good` one must be accepted, a `bad` one refused. Files
/// that a fuzzer added have neither word in their names.
pub(crate) fn replay<T: Debug, E: Debug>(target: &str, read: impl Fn(&[u8]) -> Result<T, E>) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = 0;
    for entry in fs::read_dir(root.join("../fuzz/corpus").join(target)).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let result = read(&fs::read(&path).unwrap());
        assert!(
            !(name.starts_with("good") && result.is_err()),
            "{name}: {result:?}"
        );
        assert!(
            !(name.starts_with("bad") && result.is_ok()),
            "{name}: {result:?}"
        );
        files += 1;
    }
    assert!(files >= 6, "the corpus is there");
}
