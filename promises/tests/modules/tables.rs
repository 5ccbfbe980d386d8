//! Symbol tables: one encoding each, a history, and every way not to be one.

use std::collections::BTreeMap;

use grid_promises::ContentId;
use grid_promises::cbor;
use grid_promises::content_id::HashCode;
use grid_promises::modules::table::{SymbolTable, TableError, TableFull};
use grid_promises::modules::{ModuleName, NameError, ObjectError, TableDiff};
use proptest::prelude::*;

use crate::kit::{RawTable, first_table, id, name, raw_table};
use crate::{any_id, is_damage};

/// Few names and few modules, so that tables have things in common.
pub(crate) fn some_names() -> impl Strategy<Value = BTreeMap<ModuleName, ContentId>> {
    let entry = (0u8..8, 0u32..4).prop_map(|(n, module)| (name(&format!("n{n}")), id(module)));
    prop::collection::vec(entry, 0..10).prop_map(BTreeMap::from_iter)
}

/// A table of those, with some history.
pub(crate) fn some_table() -> impl Strategy<Value = SymbolTable> {
    (some_names(), any::<bool>()).prop_map(|(names, later)| {
        let table = SymbolTable::first(names).unwrap();
        let before = SymbolTable::first(BTreeMap::from([(name("x"), id(9))])).unwrap();
        if later {
            before.back_to(&table).unwrap()
        } else {
            table
        }
    })
}

fn any_table() -> impl Strategy<Value = SymbolTable> {
    let any_name = "[a-z0-9]([-.a-z0-9]{0,61}[a-z0-9])?".prop_map(|text| name(&text));
    let names = prop::collection::btree_map(any_name, any_id(), 0..60);
    (names, prop::option::of(some_names())).prop_map(|(names, before)| {
        let table = SymbolTable::first(names).unwrap();
        let before = before.and_then(|names| SymbolTable::first(names).unwrap().back_to(&table));
        before.unwrap_or(table)
    })
}

/// What a diff says, done to what it starts from.
fn apply(names: &mut BTreeMap<ModuleName, ContentId>, diff: &TableDiff) {
    for (name, id) in &diff.removed {
        assert_eq!(names.remove(name), Some(*id));
    }
    for (name, id) in &diff.added {
        assert_eq!(names.insert(name.clone(), *id), None);
    }
    for (name, (from, to)) in &diff.changed {
        assert_ne!(from, to);
        assert_eq!(names.insert(name.clone(), *to), Some(*from));
    }
}

proptest! {
    #[test]
    fn a_table_reads_back(table in any_table()) {
        let bytes = table.encode();
        let read = SymbolTable::decode(&bytes);
        prop_assert_eq!(read.as_ref(), Ok(&table));
        prop_assert_eq!(read.map(|read| read.encode()), Ok(bytes.clone()));
        prop_assert_eq!(table.id(), ContentId::of(&bytes));
    }

    #[test]
    fn what_was_cut_or_goes_on_is_refused(
        table in any_table(), at in any::<prop::sample::Index>(), more in any::<u8>(),
    ) {
        let bytes = table.encode();
        let cut = SymbolTable::decode(&bytes[..at.index(bytes.len())]);
        let longer = SymbolTable::decode(&[&bytes[..], &[more]].concat());
        for result in [cut, longer] {
            prop_assert!(matches!(
                result,
                Err(TableError::Object(ObjectError::Encoding { .. }))
            ), "{result:?}");
        }
    }

    #[test]
    fn altered_bytes_are_another_table_or_none(
        table in any_table(), at in any::<prop::sample::Index>(), flip in 1u8..,
    ) {
        let mut bytes = table.encode();
        let at = at.index(bytes.len());
        bytes[at] ^= flip;
        if let Ok(other) = SymbolTable::decode(&bytes) {
            prop_assert_ne!(&other, &table);
            prop_assert_eq!(other.encode(), bytes);
        }
    }

    /// A history of changes against a plain map, each table leading to the one before it.
    #[test]
    fn changes_do_what_they_do_to_a_map(steps in prop::collection::vec((0u8..8, 0u32..5), 0..30)) {
        let mut table = SymbolTable::new();
        let mut model = BTreeMap::new();
        for (n, module) in steps {
            let text = format!("n{n}");
            let before = model.clone();
            let next = if module == 4 {
                model.remove(&name(&text));
                table.without(&text)
            } else {
                model.insert(name(&text), id(module));
                table.with(name(&text), id(module)).unwrap()
            };
            prop_assert_eq!(next.is_some(), before != model);
            if let Some(next) = next {
                prop_assert_eq!(next.previous(), Some(&table.id()));
                table = next;
            }
            prop_assert_eq!(table.names(), &model);
            prop_assert_eq!(table.get(&text), model.get(&name(&text)));
            prop_assert_eq!(SymbolTable::decode(&table.encode()), Ok(table.clone()));
        }
    }

    #[test]
    fn a_diff_leads_from_one_to_the_other(a in some_table(), b in some_table()) {
        let diff = a.diff(&b);
        let mut names = a.names().clone();
        apply(&mut names, &diff);
        prop_assert_eq!(&names, b.names());
        prop_assert_eq!(diff.is_empty(), a.names() == b.names());
        // And the other way round.
        let back = b.diff(&a);
        prop_assert_eq!(&back.added, &diff.removed);
        prop_assert_eq!(&back.removed, &diff.added);
        let turned = diff.changed.into_iter().map(|(name, (from, to))| (name, (to, from)));
        prop_assert_eq!(back.changed, turned.collect::<BTreeMap<_, _>>());
    }

    #[test]
    fn going_back_is_a_step_in_the_history(now in some_table(), older in some_table()) {
        match now.back_to(&older) {
            None => prop_assert_eq!(now.names(), older.names()),
            Some(next) => {
                prop_assert_eq!(next.names(), older.names());
                prop_assert_eq!(next.previous(), Some(&now.id()));
                let undone = next.back_to(&now).unwrap();
                prop_assert_eq!(undone.names(), now.names());
            }
        }
    }
}

#[test]
fn the_history_is_part_of_the_id() {
    let first = first_table();
    assert_eq!(first.previous(), None);
    let next = first.with(name("hello"), id(1)).unwrap().unwrap();
    let back = next.without("hello").unwrap();
    assert_eq!(back.names(), first.names());
    assert_ne!(back.id(), first.id());
    assert_eq!(back.previous(), Some(&next.id()));
    assert!(first.diff(&back).is_empty());
}

/// Names differ in their last bytes only, and all ids are of the longest sort.
#[test]
fn the_limits_are_met_exactly() {
    let longest = ContentId::with(HashCode::Sha2_512, b"");
    let entry = |n: usize| (name(&format!("{}{n:05}", "x".repeat(58))), longest);
    let names: BTreeMap<_, _> = (0..SymbolTable::MAX_NAMES).map(entry).collect();
    let mut raw = RawTable {
        version: 1,
        previous: Some(longest),
        names: names
            .iter()
            .map(|(name, id)| (name.to_string(), *id))
            .collect(),
    };
    let bytes = cbor::encode(&raw);
    assert!(bytes.len() <= SymbolTable::MAX_LEN);
    assert!(
        bytes.len() + 100 > SymbolTable::MAX_LEN,
        "the bound has slack: {}",
        bytes.len()
    );
    let full = SymbolTable::decode(&bytes).unwrap();
    assert_eq!(full.names(), &names);
    assert_eq!(full.encode(), bytes);

    // Full: what is there can change, but there is no room for more.
    let error = TableFull { names: 16_385 };
    assert_eq!(full.with(name("one-more"), id(1)), Err(error));
    assert!(
        full.with(entry(7).0, id(1))
            .is_ok_and(|next| next.is_some())
    );
    let more: BTreeMap<_, _> = (0..=SymbolTable::MAX_NAMES).map(entry).collect();
    assert_eq!(SymbolTable::first(more), Err(error));
    raw.names = (0..=SymbolTable::MAX_NAMES)
        .map(|n| (format!("{n:05}"), id(1)))
        .collect();
    assert_eq!(
        SymbolTable::decode(&cbor::encode(&raw)),
        Err(TableError::Full(error))
    );
}

#[test]
fn each_rule_has_its_error() {
    use TableError as E;
    let refusal = |names: &[&str]| SymbolTable::decode(&raw_table(names)).unwrap_err();
    assert!(SymbolTable::decode(&raw_table(["a", "b"])).is_ok());
    assert_eq!(refusal(&["a", "c", "b"]), E::Order { index: 2 });
    assert_eq!(refusal(&["a", "a"]), E::Order { index: 1 });
    // By bytes, not by length.
    assert!(SymbolTable::decode(&raw_table(["aa", "b"])).is_ok());
    assert_eq!(refusal(&["b", "aa"]), E::Order { index: 1 });
    for (bad, source) in [
        ("", NameError::Empty),
        ("..", NameError::Begins { found: '.' }),
        ("a/b", NameError::Character { found: '/' }),
        (&id(1).to_string(), NameError::ContentId),
    ] {
        assert_eq!(refusal(&[bad]), E::Name { index: 0, source });
    }
}

#[test]
fn another_version_is_named_and_another_shape_refused() {
    let table = |version| {
        cbor::encode(&RawTable {
            version,
            previous: None,
            names: vec![],
        })
    };
    assert_eq!(table(1), [0x83, 0x01, 0xf6, 0x80]);
    assert_eq!(SymbolTable::decode(&table(1)), Ok(SymbolTable::new()));
    let newer = ObjectError::Version {
        sort: "symbol table",
        found: 2,
    };
    assert_eq!(
        SymbolTable::decode(&table(2)),
        Err(TableError::Object(newer))
    );
    for bytes in [
        &[0x82, 0x01, 0xf6][..],
        &[0x82, 0x01, 0x80],
        &[0x84, 0x01, 0xf6, 0x80, 0xf6],
        &[0x83, 0x01, 0x80, 0x80],
        &[0x83, 0x01, 0xf6, 0xa0],
        &[0x83, 0x01, 0xf6, 0x81, 0x61, 0x61],
        &[0x83, 0x01, 0xf6, 0x81, 0x82, 0x61, 0x61, 0xf6],
        &[0x83, 0x01, 0xf6, 0x81, 0x82, 0x41, 0x61, 0xf6],
    ] {
        let error = SymbolTable::decode(bytes).unwrap_err();
        let object = match &error {
            TableError::Object(object) => Some(object),
            _ => None,
        };
        assert!(is_damage(object, &error));
    }
}
