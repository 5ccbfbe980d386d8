//! The objects of this layer, pinned: whoever changes one of these changes the protocol, and
//! `docs/wire.md` with it.

use grid_promises::modules::descriptor::builtin_code;
use grid_promises::modules::object::VERSION;
use grid_promises::modules::{
    CallName, Descriptor, Manifest, ModuleName, Platform, SymbolTable, chunks,
};

use crate::kit::{name, object, pinned};

const VECTORS: [(&str, &str); 7] = [
    (
        "descriptor-builtin",
        include_str!("../vectors/descriptor-builtin.hex"),
    ),
    (
        "descriptor-wasm",
        include_str!("../vectors/descriptor-wasm.hex"),
    ),
    (
        "descriptor-exec",
        include_str!("../vectors/descriptor-exec.hex"),
    ),
    ("table-first", include_str!("../vectors/table-first.hex")),
    ("table-next", include_str!("../vectors/table-next.hex")),
    ("manifest", include_str!("../vectors/manifest.hex")),
    ("progress", include_str!("../vectors/progress.hex")),
];

#[test]
fn objects_have_the_pinned_bytes() {
    let written: Vec<(&str, String)> = pinned()
        .into_iter()
        .map(|(name, bytes)| (name, data_encoding::HEXLOWER.encode(&bytes)))
        .collect();
    let vectors = VECTORS.map(|(name, hex)| (name, hex.trim_end().to_owned()));
    assert_eq!(written, vectors);
}

#[test]
fn derived_ids_are_pinned() {
    let manifest = Manifest::of(&object(600_000)).unwrap();
    let lines = [
        format!("builtin status {}", builtin_code(&name("status"))),
        format!("manifest {}", manifest.id()),
        format!("chunk 0 {}", manifest.chunk_id(0).unwrap()),
        format!("chunk 2 {}", manifest.chunk_id(2).unwrap()),
        String::new(),
    ];
    assert_eq!(lines.join("\n"), include_str!("../vectors/modules.txt"));
}

/// The page that describes the format names every vector and every bound.
#[test]
fn the_page_names_all_of_it() {
    let page = include_str!("../../../docs/wire.md");
    let (_, page) = page.split_once("\n## Modules\n").unwrap();
    for (name, _) in VECTORS {
        assert!(page.contains(&format!("`{name}.hex`")), "{name}");
    }
    let spaced = |number: u64| match number {
        0..10_000 => number.to_string(),
        _ => format!("{} {:03}", number / 1000, number % 1000),
    };
    for (what, number) in [
        ("version", VERSION),
        ("name", ModuleName::MAX_LEN as u64),
        ("call", CallName::MAX_LEN as u64),
        ("calls", Descriptor::MAX_CALLS as u64),
        ("descriptor", Descriptor::MAX_LEN as u64),
        ("platform", Platform::MAX_WORD as u64),
        ("names", SymbolTable::MAX_NAMES as u64),
        ("chunks", u64::from(chunks::MAX_CHUNKS)),
        ("chunk", chunks::CHUNK_LEN as u64),
    ] {
        let number = spaced(number);
        let found = page
            .split(|c: char| !c.is_ascii_alphanumeric() && c != ' ')
            .any(|words| format!(" {words} ").contains(&format!(" {number} ")));
        assert!(found, "{what}: {number}");
    }
}
