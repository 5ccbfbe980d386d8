//! Modules as objects: descriptors, symbol tables and their merge, manifests and progress.
//!
//! The targets `table` and `manifest` read a first byte: 0 says that the rest is an object as it
//! travels, another number that the rest is a script.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use grid_promises::ContentId;
use grid_promises::modules::chunks::{CHUNK_LEN, ChunkError};
use grid_promises::modules::descriptor::{builtin_name, builtin_object};
use grid_promises::modules::{
    Choice, Descriptor, Manifest, ManifestBuilder, ModuleKind, ModuleName, Progress, Protocol,
    SymbolTable, adopt,
};

use crate::promises::Target;

/// All targets of this file.
pub const TARGETS: &[Target] = &[
    ("descriptor", descriptor),
    ("table", table),
    ("manifest", manifest),
];

/// A descriptor obeys its rules, can be made from its parts, and is nothing else.
pub fn descriptor(data: &[u8]) {
    if let Some(name) = builtin_name(data) {
        assert_eq!(builtin_object(&name), data);
    }
    let Ok(descriptor) = Descriptor::decode(data) else {
        return;
    };
    assert_eq!(descriptor.encode(), data);
    assert_eq!(descriptor.id(), ContentId::of(data));
    assert!(data.len() <= Descriptor::MAX_LEN);
    assert!(descriptor.calls().len() <= Descriptor::MAX_CALLS);
    if let ModuleKind::Exec { platform, protocol } = descriptor.kind() {
        assert_eq!(
            platform.as_str(),
            format!("{}/{}", platform.os(), platform.arch())
        );
        assert!(*protocol == Protocol::Framed || descriptor.calls().is_empty());
    }
    let (promise, kind, code) = (descriptor.promise(), descriptor.kind(), descriptor.code());
    let made = Descriptor::new(*promise, kind.clone(), *code)
        .with_calls(descriptor.calls().iter().cloned())
        .map(|made| match descriptor.is_pure() {
            true => made.promising_purity(),
            false => made,
        });
    assert_eq!(made, Ok(descriptor));
    assert!(SymbolTable::decode(data).is_err() && Manifest::decode(data).is_err());
}

/// A table that is read can be changed, compared and merged; a script of changes does what it does to
/// plain maps.
pub fn table(data: &[u8]) {
    match data.split_first() {
        Some((0, rest)) => read_table(rest),
        Some((_, script)) => change_tables(script),
        None => {}
    }
}

fn read_table(data: &[u8]) {
    let Ok(table) = SymbolTable::decode(data) else {
        return;
    };
    assert_eq!(table.encode(), data);
    assert_eq!(table.id(), ContentId::of(data));
    assert!(table.names().len() <= SymbolTable::MAX_NAMES);
    assert!(Descriptor::decode(data).is_err() && Manifest::decode(data).is_err());
    // Adopted by one that has nothing, it is all there; by itself, nothing is new.
    let empty = SymbolTable::new();
    assert!(table.diff(&table).is_empty());
    assert_eq!(empty.diff(&table).added, *table.names());
    let taken = adopt(&empty, &table, Choice::All).map(|adoption| adoption.next);
    match taken {
        Ok(Some(taken)) => assert_eq!(taken.names(), table.names()),
        Ok(None) => assert!(table.names().is_empty()),
        Err(full) => panic!("{full}"),
    }
    let again = adopt(&table, &table, Choice::All);
    assert!(again.is_ok_and(|adoption| adoption.next.is_none()));
    for (name, id) in table.names() {
        assert_eq!(name.as_str().parse().as_ref(), Ok(name));
        assert_eq!(table.get(name.as_str()), Some(id));
        assert_eq!(table.with(name.clone(), *id), Ok(None));
    }
    if let Some((name, id)) = table.names().first_key_value() {
        let without = table.without(name.as_str()).unwrap_or_default();
        assert_eq!(without.previous(), Some(&table.id()));
        let with = without.with(name.clone(), *id).ok().flatten();
        assert!(with.is_some_and(|with| with.names() == table.names()));
    }
}

/// A table, and a plain map that the same is done to.
#[derive(Default)]
struct Both {
    table: SymbolTable,
    map: BTreeMap<ModuleName, ContentId>,
}

/// Two of them; what a script does to tables it does to maps. A step is two bytes.
fn change_tables(script: &[u8]) {
    let (mut mine, mut theirs) = (Both::default(), Both::default());
    let mut chosen: Vec<ModuleName> = Vec::new();
    for step in script.chunks_exact(2).take(64) {
        let Ok(name) = format!("n{}", step[1] % 16).parse::<ModuleName>() else {
            return;
        };
        match step[0] % 8 {
            3 => std::mem::swap(&mut mine, &mut theirs),
            5 => chosen.push(name),
            what => change(&mut mine, &theirs, &chosen, what, (name, step[1])),
        }
        assert_eq!(mine.table.names(), &mine.map);
    }
    for both in [mine, theirs] {
        assert_eq!(SymbolTable::decode(&both.table.encode()), Ok(both.table));
    }
}

/// One change. It makes a next table if and only if it changes the map.
fn change(
    mine: &mut Both,
    theirs: &Both,
    chosen: &[ModuleName],
    what: u8,
    (name, argument): (ModuleName, u8),
) {
    let Both { table, map } = mine;
    let all: Vec<ModuleName> = theirs.map.keys().cloned().collect();
    let replace = argument % 2 == 1;
    let next = match what {
        0 => {
            let id = ContentId::of(&[argument / 16]);
            map.insert(name.clone(), id);
            table.with(name, id)
        }
        1 | 2 => {
            map.remove(&name);
            Ok(table.without(name.as_str()))
        }
        4 => {
            merge(map, &theirs.map, &all, false);
            adopt(table, &theirs.table, Choice::All).map(|adoption| adoption.next)
        }
        6 => {
            merge(map, &theirs.map, chosen, replace);
            let names = chosen;
            let choice = Choice::Names { names, replace };
            adopt(table, &theirs.table, choice).map(|adoption| adoption.next)
        }
        _ => {
            map.clone_from(&theirs.map);
            Ok(table.back_to(&theirs.table))
        }
    };
    match next {
        Ok(None) => assert_eq!(table.names(), map),
        Ok(Some(next)) => {
            assert_eq!(next.previous(), Some(&table.id()));
            assert_ne!(next.names(), table.names());
            *table = next;
        }
        Err(full) => panic!("{full}"),
    }
}

fn merge(
    mine: &mut BTreeMap<ModuleName, ContentId>,
    theirs: &BTreeMap<ModuleName, ContentId>,
    names: &[ModuleName],
    replace: bool,
) {
    for name in names {
        if let Some(id) = theirs.get(name) {
            let own = mine.entry(name.clone()).or_insert(*id);
            if replace {
                *own = *id;
            }
        }
    }
}

/// A manifest covers its object; any slicing of an object gives one manifest, and damage is found in
/// its chunk; progress has a place for each chunk.
pub fn manifest(data: &[u8]) {
    match data.split_first() {
        Some((0, rest)) => read_manifest(rest),
        Some((1, script)) => slice_object(script),
        Some((_, rest)) => read_progress(rest),
        None => {}
    }
}

fn read_manifest(data: &[u8]) {
    let Ok(manifest) = Manifest::decode(data) else {
        return;
    };
    assert_eq!(manifest.encode(), data);
    assert_eq!(manifest.id(), ContentId::of(data));
    assert!(Descriptor::decode(data).is_err() && SymbolTable::decode(data).is_err());
    let count = manifest.chunk_count();
    let mut end = 0;
    for index in 0..count {
        let range = manifest.range_of(index).unwrap_or_default();
        assert!(range.start == end && range.end > end);
        assert!(range.end - end == CHUNK_LEN as u64 || index + 1 == count);
        assert!(manifest.chunk_id(index).is_some());
        assert!(manifest.verify_chunk(index, &[]).is_err());
        end = range.end;
    }
    assert_eq!(end, manifest.length());
    assert_eq!(manifest.range_of(count), None);
    let progress = Progress::new(&manifest);
    assert_eq!(
        Progress::decode(&progress.encode(), &manifest),
        Ok(progress)
    );
}

/// Three bytes of length, three that say where to flip a bit, then lengths of pieces.
fn slice_object(script: &[u8]) {
    let Some((&[a, b, c, d, e, f], cuts)) = script.split_first_chunk() else {
        return;
    };
    let number = |bytes: [u8; 3]| bytes.iter().fold(0, |n, byte| n << 8 | usize::from(*byte));
    let length = number([a, b, c]) % (3 * CHUNK_LEN + 3);
    let mut object: Vec<u8> = (0u8..251).cycle().take(length).collect();
    let Ok(manifest) = Manifest::of(&object) else {
        panic!("{length} bytes are too many");
    };
    let mut builder = ManifestBuilder::new();
    let mut rest = &object[..];
    for cut in cuts.chunks_exact(2).take(64) {
        // Up to a chunk and a quarter.
        let at = (usize::from(cut[0]) << 8 | usize::from(cut[1])) * 5;
        let (piece, later) = rest.split_at(at.min(rest.len()));
        assert_eq!(builder.update(piece), Ok(()));
        rest = later;
    }
    assert_eq!(builder.update(rest), Ok(()));
    assert_eq!(builder.finish(), manifest);
    if length == 0 {
        return;
    }
    let at = number([d, e, f]) % length;
    object[at] ^= 1 << (f % 8);
    for (index, chunk) in (0u32..).zip(object.chunks(CHUNK_LEN)) {
        let damaged = manifest
            .range_of(index)
            .is_some_and(|range| range.contains(&(at as u64)));
        let expected = match damaged {
            true => Err(ChunkError::Digest { index }),
            false => Ok(()),
        };
        assert_eq!(manifest.verify_chunk(index, chunk), expected);
    }
}

/// Progress of a fixed object of three chunks.
fn read_progress(data: &[u8]) {
    static MANIFEST: LazyLock<Manifest> = LazyLock::new(|| {
        let object: Vec<u8> = (0u8..251).cycle().take(600_000).collect();
        Manifest::of(&object).unwrap_or_else(|error| panic!("{error}"))
    });
    let Ok(mut progress) = Progress::decode(data, &MANIFEST) else {
        return;
    };
    assert_eq!(progress.encode(), data);
    assert_eq!(progress.manifest(), &MANIFEST.id());
    let missing: Vec<u32> = progress.missing().collect();
    assert_eq!(missing.len() + progress.chunks_here() as usize, 3);
    for index in missing {
        assert!(!progress.is_complete());
        assert_eq!(progress.mark(index), Ok(true));
    }
    assert!(progress.is_complete());
    assert_eq!(progress.bytes_here(), 600_000);
}
