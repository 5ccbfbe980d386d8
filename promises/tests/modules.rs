//! Modules as objects, from outside: what obeys the rules has one encoding, everything else is
//! refused by name, and tables merge by stated laws.
// Helpers of tests may panic as the tests do.
#![allow(clippy::panic, clippy::unwrap_used)]

#[path = "modules/adoption.rs"]
mod adoption;
#[path = "modules/descriptors.rs"]
mod descriptors;
#[path = "common/module_seeds.rs"]
mod kit;
#[path = "modules/manifests.rs"]
mod manifests;
#[path = "modules/tables.rs"]
mod tables;
#[path = "modules/vectors.rs"]
mod vectors;

use grid_promises::ContentId;
use grid_promises::content_id::HashCode;
use grid_promises::modules::{Descriptor, Manifest, ObjectError, SymbolTable};
use proptest::prelude::*;

fn any_id() -> impl Strategy<Value = ContentId> {
    let code = prop_oneof![
        Just(HashCode::Sha2_256),
        Just(HashCode::Sha2_512),
        Just(HashCode::Blake3)
    ];
    (code, any::<[u8; 4]>()).prop_map(|(code, bytes)| ContentId::with(code, &bytes))
}

/// Whether the bytes were refused as damaged, and not for a rule or a version.
fn is_damage<E>(error: Option<&ObjectError>, whole: &E) -> bool
where
    E: std::fmt::Debug,
{
    let damage = matches!(error, Some(ObjectError::Encoding { .. }));
    assert!(damage, "{whole:?}");
    damage
}

/// Who is sent one sort of object for another must notice.
#[test]
fn no_object_is_of_two_sorts() {
    for (name, bytes) in kit::pinned() {
        let sorts = [
            ("descriptor", Descriptor::decode(&bytes).is_ok()),
            ("table", SymbolTable::decode(&bytes).is_ok()),
            ("manifest", Manifest::decode(&bytes).is_ok()),
        ];
        for (sort, read) in sorts {
            assert_eq!(read, name.starts_with(sort), "{name} as a {sort}");
        }
    }
}
