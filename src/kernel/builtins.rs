//! The modules that are part of this program: one for each subcommand, with its descriptor, its
//! promise text and the object that stands for its code.

use std::borrow::Cow;
use std::collections::BTreeMap;

use grid_promises::ContentId;
use grid_promises::modules::descriptor::builtin_object;
use grid_promises::modules::{Descriptor, ModuleName, SymbolTable};
use grid_promises::texts;

use crate::objects::Embedded;

/// The names of the built-in modules and the content ids of their descriptors: what the first symbol
/// table of a home is made of.
#[must_use]
pub fn names() -> BTreeMap<ModuleName, ContentId> {
    let modules = modules().map(|(name, module)| (name, module.id()));
    modules.collect()
}

/// The first symbol table of a home.
#[must_use]
pub fn table() -> SymbolTable {
    first(names())
}

fn first(names: BTreeMap<ModuleName, ContentId>) -> SymbolTable {
    // So few names always fit: a test says so.
    SymbolTable::first(names).unwrap_or_default()
}

/// Whether a name is that of a built-in module.
#[must_use]
pub fn is_builtin(name: &str) -> bool {
    texts::commands().any(|promise| promise.name == name)
}

/// The objects that come with the program: every promise text, the first symbol table, and for each
/// built-in module its descriptor and the object that stands for its code.
#[must_use]
pub fn embedded() -> Embedded {
    let texts = texts::ALL
        .iter()
        .map(|promise| Cow::Borrowed(promise.text.as_bytes()));
    let mut names = BTreeMap::new();
    let mut objects = Vec::new();
    for (name, module) in modules() {
        objects.push(builtin_object(&name));
        let descriptor = module.encode();
        names.insert(name, ContentId::of(&descriptor));
        objects.push(descriptor);
    }
    objects.push(first(names).encode());
    Embedded::new(texts.chain(objects.into_iter().map(Cow::Owned)))
}

fn modules() -> impl Iterator<Item = (ModuleName, Descriptor)> {
    texts::commands().filter_map(|promise| {
        // Every name of a subcommand is one of a module: a test says so.
        let name: ModuleName = promise.name.parse().ok()?;
        let module = Descriptor::builtin(promise.id(), &name);
        Some((name, module))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objects::Cache as _;

    #[test]
    fn every_subcommand_is_a_module_and_its_objects_are_here() {
        let (names, embedded) = (names(), embedded());
        assert_eq!(names.len(), texts::commands().count());
        assert_eq!(*table().names(), names);
        assert!(embedded.has(&table().id()).unwrap());
        for (name, id) in names {
            let object = embedded.get(&id).unwrap().unwrap();
            let module = Descriptor::decode(object.bytes().unwrap()).unwrap();
            assert!(embedded.has(module.code()).unwrap(), "{name}");
            let promise = texts::by_id(module.promise()).unwrap();
            assert_eq!(promise.name, name.as_str());
            assert!(is_builtin(name.as_str()));
        }
        assert!(!is_builtin("fetch"));
    }
}
