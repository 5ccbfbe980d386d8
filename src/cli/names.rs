//! `--list`: the names that this node knows, and the promises that they stand for.

use std::fmt::Write as _;

use grid_promises::ContentId;
use grid_promises::modules::{Descriptor, ModuleKind};
use serde_json::{Value, json};

use super::args::Global;
use super::output;
use crate::exit::Outcome;
use crate::home::Home;
use crate::store::Store;
use crate::symbols::{self, Symbols};

/// `--list`: the names, and the promises that they stand for.
pub(super) fn list(home: &Home, global: &Global) -> Outcome {
    let symbols = symbols::open(home, &Store::look(home).config()?)?;
    show_names(&symbols, global.json, |_, module| {
        module.map_or_else(
            || "its module is not here".to_owned(),
            |module| module.promise().to_string(),
        )
    })
}

/// Shows names in columns, the last of which is of the caller's choice.
pub(super) fn show_names(
    symbols: &Symbols,
    is_json: bool,
    column: impl Fn(&ContentId, Option<&Descriptor>) -> String,
) -> Outcome {
    let mut rows = Vec::new();
    for (name, id) in symbols.table().names() {
        rows.push((name.as_str(), id, symbols.descriptor(id)?));
    }
    if is_json {
        let names: Vec<Value> = rows
            .iter()
            .map(|(name, id, module)| {
                let module = module.as_ref().map_or_else(
                    || json!({ "id": id.to_string() }),
                    |module| module_json(id, module),
                );
                json!({ "name": name, "module": module })
            })
            .collect();
        let report = json!({ "table": symbols.id().to_string(), "names": names });
        return output::print(&format!("{report}\n"));
    }
    let width = rows.iter().map(|(name, ..)| name.len()).max().unwrap_or(0);
    let mut text = String::new();
    for (name, id, module) in rows {
        let _ = writeln!(text, "{name:width$}  {}", column(id, module.as_ref()));
    }
    output::print(&text)
}

/// A module, for programs.
pub(super) fn module_json(id: &ContentId, module: &Descriptor) -> Value {
    json!({
        "id": id.to_string(),
        "kind": kind(module),
        "promise": module.promise().to_string(),
        "code": module.code().to_string(),
        "calls": module.calls().iter().map(|call| call.as_str()).collect::<Vec<_>>(),
        "pure": module.is_pure(),
    })
}

/// What sort of module it is, in a word.
pub(super) const fn kind(module: &Descriptor) -> &'static str {
    match module.kind() {
        ModuleKind::Builtin => "builtin",
        ModuleKind::Wasm => "wasm",
        ModuleKind::Exec { .. } => "exec",
    }
}
