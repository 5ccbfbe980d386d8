//! What a build without modules says to those who call one.

use std::ffi::OsString;
use std::process::ExitCode;

use grid_promises::texts;

use crate::advice;
use crate::command::Caller;
use crate::exit::{Failure, Outcome};

/// A module, called by its name.
///
/// # Errors
/// Always.
pub fn call(_: &Caller, words: &[OsString]) -> Outcome<ExitCode> {
    let name = words.first().map(|name| name.to_string_lossy());
    Err(absent(name.as_deref().unwrap_or_default()))
}

/// `--show` of a name that is none of a promise.
///
/// # Errors
/// Always.
pub fn show(_: &Caller, name: &str) -> Outcome {
    Err(absent(name))
}

/// Why there is no such name. A promise that people can call and that is no command of this build is
/// about modules.
fn absent(name: &str) -> Failure {
    Failure::usage(if texts::commands().any(|promise| promise.name == name) {
        format!(
            "\"{name}\" is about modules, and this build of grid has none (it was built without its \
             feature `modules`)"
        )
    } else {
        format!(
            "there is no \"{name}\"; {}, and this build of grid has no modules, which would have \
             other names",
            advice::lists_the_promises()
        )
    })
}
