//! What a build without modules says to those who call one.

use std::ffi::OsString;
use std::process::ExitCode;

use grid_promises::network::history::Decision;
use grid_promises::network::judgement::Opinions;
use grid_promises::{ContentId, texts};

use crate::advice;
use crate::command::Caller;
use crate::console::plain::quoted;
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

/// The code of a judge: no build without modules can ask one.
///
/// # Errors
/// Always.
pub fn judge_code(_: &Caller, module: &str) -> Outcome<ContentId> {
    Err(Failure::usage(format!(
        "\"{module}\" cannot be appointed: a judge is a module, and this build of grid has none; nothing was \
         changed"
    )))
}

/// What a judge says about a decision: it cannot be asked.
///
/// # Errors
/// Always.
pub fn judge_opinions(_: &Caller, _: &ContentId, _: &Decision) -> Result<Opinions, String> {
    Err("this build of grid has no modules, so it cannot ask the judge".to_owned())
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
        let advice = advice::suggests(name).unwrap_or_else(|| {
            format!(
                "{}, and this build of grid has no modules, which would have other names",
                advice::lists_the_promises()
            )
        });
        format!("there is no \"{}\"; {advice}", quoted(name))
    })
}
