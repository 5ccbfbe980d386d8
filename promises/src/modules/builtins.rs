//! The modules that are part of this program: one for each subcommand, with its descriptor, its
//! promise text and the object that stands for its code.

use std::collections::BTreeMap;

use crate::ContentId;
use crate::texts;

use super::descriptor::{Descriptor, builtin_object};
use super::name::ModuleName;
use super::table::SymbolTable;

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

/// The objects of the built-in modules beside their promise texts: for each its descriptor and the object
/// that stands for its code, and the first symbol table.
#[must_use]
pub fn objects() -> Vec<Vec<u8>> {
    let mut names = BTreeMap::new();
    let mut objects = Vec::new();
    for (name, module) in modules() {
        objects.push(builtin_object(&name));
        let descriptor = module.encode();
        names.insert(name, ContentId::of(&descriptor));
        objects.push(descriptor);
    }
    objects.push(first(names).encode());
    objects
}

/// The descriptor of a built-in module.
#[must_use]
pub fn descriptor(name: &str) -> Option<Descriptor> {
    let mut modules = modules().filter(|(other, _)| other.as_str() == name);
    modules.next().map(|(_, module)| module)
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

    #[test]
    fn every_subcommand_is_a_module_and_its_objects_are_here() {
        let names = names();
        let objects: BTreeMap<_, _> = objects()
            .into_iter()
            .map(|bytes| (ContentId::of(&bytes), bytes))
            .collect();
        assert_eq!(names.len(), texts::commands().count());
        assert_eq!(*table().names(), names);
        assert!(objects.contains_key(&table().id()));
        for (name, id) in names {
            let module = Descriptor::decode(&objects[&id]).unwrap();
            assert_eq!(Some(&module), descriptor(name.as_str()).as_ref());
            assert!(objects.contains_key(module.code()), "{name}");
            let promise = texts::by_id(module.promise()).unwrap();
            assert_eq!(promise.name, name.as_str());
            assert!(is_builtin(name.as_str()));
        }
        assert!(!is_builtin("fetch"));
    }
}
