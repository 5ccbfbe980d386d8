//! Adopting a peer's names: the laws of the merge, and what a person is told.

use std::collections::{BTreeMap, BTreeSet};

use grid_promises::ContentId;
use grid_promises::modules::table::TableFull;
use grid_promises::modules::{Adoption, Choice, Conflict, ModuleName, SymbolTable, adopt};
use proptest::prelude::*;

use crate::kit::{id, name};
use crate::tables::some_table;

type Names = BTreeMap<ModuleName, ContentId>;

/// The names after adopting all of another table's.
fn union(mine: &SymbolTable, theirs: &SymbolTable) -> SymbolTable {
    let adoption = adopt(mine, theirs, Choice::All).unwrap();
    adoption.next.unwrap_or_else(|| mine.clone())
}

/// Some of the names that the tables of these tests have, and one that none has, in any order.
fn chosen() -> impl Strategy<Value = Vec<ModuleName>> {
    let n = prop_oneof![0u8..8, Just(99)];
    prop::collection::vec(n.prop_map(|n| name(&format!("n{n}"))), 0..12)
}

/// Each wanted name is in one list, the lists are ascending, and they say what happened.
fn assert_accounted(
    mine: &SymbolTable,
    theirs: &SymbolTable,
    wanted: &BTreeSet<ModuleName>,
    adoption: &Adoption,
) {
    let after: &Names = adoption
        .next
        .as_ref()
        .map_or(mine.names(), SymbolTable::names);
    let mut expected = mine.names().clone();
    let mut listed = Vec::new();
    for (name, id) in &adoption.adopted {
        assert_eq!(mine.get(name.as_str()), None);
        expected.insert(name.clone(), *id);
        listed.push(name);
    }
    for (conflicts, replaced) in [(&adoption.replaced, true), (&adoption.conflicts, false)] {
        assert!(conflicts.is_sorted_by(|a, b| a.name < b.name));
        for Conflict {
            name,
            mine: own,
            theirs: other,
        } in conflicts
        {
            assert_eq!(mine.get(name.as_str()), Some(own));
            assert_eq!(theirs.get(name.as_str()), Some(other));
            assert_ne!(own, other);
            if replaced {
                expected.insert(name.clone(), *other);
            }
            listed.push(name);
        }
    }
    for name in &adoption.same {
        assert_eq!(mine.get(name.as_str()), theirs.get(name.as_str()));
        listed.push(name);
    }
    for name in &adoption.unknown {
        assert_eq!(theirs.get(name.as_str()), None);
        listed.push(name);
    }
    assert!(adoption.same.is_sorted() && adoption.unknown.is_sorted());
    assert_eq!(after, &expected);
    assert_eq!(listed.len(), wanted.len());
    assert_eq!(
        listed.into_iter().cloned().collect::<BTreeSet<_>>(),
        *wanted
    );
    if let Some(next) = &adoption.next {
        assert_eq!(next.previous(), Some(&mine.id()));
        assert_ne!(next.names(), mine.names());
    }
}

proptest! {
    #[test]
    fn adopting_twice_is_adopting_once(a in some_table(), b in some_table()) {
        let once = union(&a, &b);
        prop_assert_eq!(adopt(&once, &b, Choice::All).unwrap().next, None);
        prop_assert_eq!(adopt(&a, &a, Choice::All).unwrap().next, None);
    }

    #[test]
    fn grouping_does_not_matter(a in some_table(), b in some_table(), c in some_table()) {
        let left = union(&union(&a, &b), &c);
        let right = union(&a, &union(&b, &c));
        prop_assert_eq!(left.names(), right.names());
    }

    #[test]
    fn the_empty_table_is_neutral(a in some_table()) {
        let empty = SymbolTable::new();
        prop_assert_eq!(adopt(&a, &empty, Choice::All).unwrap(), Adoption::default());
        let taken = union(&empty, &a);
        prop_assert_eq!(taken.names(), a.names());
    }

    #[test]
    fn the_history_of_the_peer_does_not_matter(a in some_table(), b in some_table()) {
        let bare = SymbolTable::first(b.names().clone()).unwrap();
        prop_assert_eq!(adopt(&a, &b, Choice::All), adopt(&a, &bare, Choice::All));
    }

    /// Whatever a peer has, without being asked to, a name of mine never changes.
    #[test]
    fn my_names_stay_mine(a in some_table(), b in some_table(), names in chosen()) {
        for choice in [Choice::All, Choice::Names { names: &names, replace: false }] {
            let adoption = adopt(&a, &b, choice).unwrap();
            prop_assert!(adoption.replaced.is_empty());
            let after = adoption.next.unwrap_or_else(|| a.clone());
            for (name, id) in a.names() {
                prop_assert_eq!(after.get(name.as_str()), Some(id));
            }
        }
    }

    #[test]
    fn every_name_is_accounted_for(
        a in some_table(), b in some_table(), names in chosen(), replace: bool,
    ) {
        let all = b.names().keys().cloned().collect();
        assert_accounted(&a, &b, &all, &adopt(&a, &b, Choice::All).unwrap());
        let wanted = names.iter().cloned().collect();
        let adoption = adopt(&a, &b, Choice::Names { names: &names, replace }).unwrap();
        assert_accounted(&a, &b, &wanted, &adoption);
        prop_assert!(!replace || adoption.conflicts.is_empty());
    }

    #[test]
    fn the_order_of_the_chosen_names_does_not_matter(
        a in some_table(), b in some_table(), replace: bool,
        (names, other) in chosen().prop_flat_map(|names| {
            let shuffled = Just(names.clone()).prop_shuffle();
            (Just(names), shuffled)
        }),
    ) {
        let adopted = |names: &[ModuleName]| adopt(&a, &b, Choice::Names { names, replace });
        prop_assert_eq!(adopted(&names), adopted(&other));
        let twice = [&names[..], &other[..]].concat();
        prop_assert_eq!(adopted(&names), adopted(&twice));
        // One after the other as well, but for the history.
        let one_by_one = names.iter().fold(a.clone(), |table, name| {
            let choice = Choice::Names { names: std::slice::from_ref(name), replace };
            adopt(&table, &b, choice).unwrap().next.unwrap_or(table)
        });
        let at_once = adopted(&names).unwrap().next.unwrap_or_else(|| a.clone());
        prop_assert_eq!(one_by_one.names(), at_once.names());
    }

    /// Naming all of them is taking all of them.
    #[test]
    fn all_names_are_all(a in some_table(), b in some_table()) {
        let names: Vec<ModuleName> = b.names().keys().cloned().collect();
        let named = adopt(&a, &b, Choice::Names { names: &names, replace: false });
        prop_assert_eq!(named, adopt(&a, &b, Choice::All));
    }
}

fn table(names: &[(&str, u32)]) -> SymbolTable {
    let entry = |(text, n): &(&str, u32)| (name(text), id(*n));
    SymbolTable::first(names.iter().map(entry).collect()).unwrap()
}

#[test]
fn a_clash_is_told_and_replaced_only_when_asked() {
    let mine = table(&[("hello", 1), ("status", 2)]);
    let theirs = table(&[("bye", 5), ("hello", 6), ("status", 2)]);
    let clash = Conflict {
        name: name("hello"),
        mine: id(1),
        theirs: id(6),
    };
    let all = adopt(&mine, &theirs, Choice::All).unwrap();
    assert_eq!(all.adopted, BTreeMap::from([(name("bye"), id(5))]));
    assert_eq!(all.conflicts, std::slice::from_ref(&clash));
    assert_eq!(all.same, [name("status")]);
    let next = all.next.unwrap();
    assert_eq!(next.get("hello"), Some(&id(1)));
    assert_eq!(next.get("bye"), Some(&id(5)));

    let names = [name("none"), name("hello")];
    let asked = |replace| {
        let choice = Choice::Names {
            names: &names,
            replace,
        };
        adopt(&mine, &theirs, choice).unwrap()
    };
    assert_eq!(asked(false).next, None);
    assert_eq!(asked(false).conflicts, std::slice::from_ref(&clash));
    assert_eq!(asked(true).unknown, [name("none")]);
    assert_eq!(asked(true).replaced, [clash]);
    let next = asked(true).next.unwrap();
    assert_eq!(next.names(), table(&[("hello", 6), ("status", 2)]).names());
}

/// The first one wins: the order in which tables are adopted is the person's choice.
#[test]
fn what_was_adopted_first_is_mine() {
    let (a, b) = (table(&[("hello", 1)]), table(&[("hello", 2)]));
    let mine = SymbolTable::new();
    assert_eq!(union(&union(&mine, &a), &b).names(), a.names());
    assert_eq!(union(&union(&mine, &b), &a).names(), b.names());
}

#[test]
fn a_table_that_would_be_too_large_is_not_made() {
    let numbered = |from: usize, to: usize| {
        let names = (from..to).map(|n| (name(&format!("n{n:05}")), id(1)));
        SymbolTable::first(names.collect()).unwrap()
    };
    let mine = numbered(0, 16_000);
    let names = mine.names().len() + 385;
    assert_eq!(
        adopt(&mine, &numbered(15_000, 16_385), Choice::All),
        Err(TableFull { names })
    );
    let full = adopt(&mine, &numbered(15_000, 16_384), Choice::All).unwrap();
    assert_eq!(full.next.unwrap().names().len(), SymbolTable::MAX_NAMES);
}
