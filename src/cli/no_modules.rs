//! What a build without modules says to those who ask for one.

use std::ffi::OsString;
use std::process::ExitCode;

use crate::exit::{Failure, Outcome};

/// The commands that a build with modules has beside those of this one.
pub(super) const COMMANDS: [&str; 7] = [
    "adopt-symbols",
    "allow",
    "appoint-judge",
    "cas",
    "publish",
    "routes",
    "symbols",
];

/// A module, called by its name.
pub(super) fn call(words: &[OsString]) -> Outcome<ExitCode> {
    let name = words.first().map(|name| name.to_string_lossy());
    Err(absent(name.as_deref().unwrap_or_default()))
}

/// Why there is no such name.
pub(super) fn absent(name: &str) -> Failure {
    Failure::usage(if COMMANDS.contains(&name) {
        format!(
            "\"{name}\" is about modules, and this build of grid has none (it was built without its \
             feature `modules`)"
        )
    } else {
        format!(
            "there is no \"{name}\"; `grid --list` lists the promises, and this build of grid has no \
             modules, which would have other names"
        )
    })
}
