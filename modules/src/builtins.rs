//! The objects that come with the program: every promise text, the first symbol table, and for each
//! built-in module its descriptor and the object that stands for its code.

use std::borrow::Cow;

use grid_promises::modules::builtins;
use grid_promises::texts;

use crate::objects::Embedded;

/// These objects.
#[must_use]
pub fn embedded() -> Embedded {
    let texts = texts::ALL
        .iter()
        .map(|promise| Cow::Borrowed(promise.text.as_bytes()));
    Embedded::new(texts.chain(builtins::objects().into_iter().map(Cow::Owned)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objects::Cache as _;
    use grid_promises::modules::Descriptor;

    #[test]
    fn whatever_the_first_table_leads_to_is_here() {
        let (table, embedded) = (builtins::table(), embedded());
        assert!(embedded.has(&table.id()).unwrap());
        assert_eq!(table.names().len(), texts::commands().count());
        for (name, id) in table.names() {
            let object = embedded.get(id).unwrap().unwrap();
            let module = Descriptor::decode(object.bytes().unwrap()).unwrap();
            assert!(embedded.has(module.code()).unwrap(), "{name}");
            assert!(embedded.has(module.promise()).unwrap(), "{name}");
        }
    }
}
