//! A module in one sentence.

use std::fmt::Write as _;

use grid_promises::modules::{Descriptor, ModuleKind};

/// What a module is and asks for, as the end of a sentence.
#[must_use]
pub fn described(module: &Descriptor) -> String {
    let mut text = match module.kind() {
        ModuleKind::Builtin => "is part of this program".to_owned(),
        ModuleKind::Wasm => "is a WebAssembly module".to_owned(),
        ModuleKind::Exec { platform, .. } => format!("is an executable for {platform}"),
    };
    let calls: Vec<&str> = module.calls().iter().map(|call| call.as_str()).collect();
    match (calls.as_slice(), module.kind()) {
        ([], ModuleKind::Wasm) => text.push_str(" that asks nothing of this node"),
        ([], _) => {}
        _ => {
            let _ = write!(text, " that may ask this node for: {}", calls.join(", "));
        }
    }
    if module.is_pure() {
        text.push_str("; the same call always has the same answer");
    }
    text
}
