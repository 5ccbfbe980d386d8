//! What a module is, in JSON and in a sentence: for the commands that show modules.

use std::fmt::Write as _;

use grid_promises::ContentId;
use grid_promises::modules::{Descriptor, ModuleKind};
use serde::Serialize;

/// A module, as JSON.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum ModuleReport {
    /// What its descriptor says.
    Known {
        /// What it may ask this node for.
        calls: Vec<String>,
        /// The content id of its code.
        code: String,
        /// The content id of its descriptor.
        id: String,
        /// `builtin`, `wasm` or `exec`.
        kind: &'static str,
        /// The content id of its promise.
        promise: String,
        /// Whether the same call always has the same answer.
        pure: bool,
    },
    /// Its descriptor is not here.
    Missing {
        /// The content id of its descriptor.
        id: String,
    },
}

impl ModuleReport {
    /// What a descriptor says, if it is here.
    #[must_use]
    pub fn of(id: &ContentId, module: Option<&Descriptor>) -> Self {
        let id = id.to_string();
        let Some(module) = module else {
            return Self::Missing { id };
        };
        let kind = match module.kind() {
            ModuleKind::Builtin => "builtin",
            ModuleKind::Wasm => "wasm",
            ModuleKind::Exec { .. } => "exec",
        };
        Self::Known {
            calls: module
                .calls()
                .iter()
                .map(|call| call.as_str().to_owned())
                .collect(),
            code: module.code().to_string(),
            id,
            kind,
            promise: module.promise().to_string(),
            pure: module.is_pure(),
        }
    }
}

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
