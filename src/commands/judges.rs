//! Judges that a person names, and what they say about a decision. Their code is fetched if it is not here.

use grid_modules::call::Found;
use grid_promises::ContentId;
use grid_promises::modules::ModuleKind;
use grid_promises::network::history::Decision;
use grid_promises::network::judgement::Opinions;

use super::fetch;
use crate::advice;
use crate::command::{Caller, judging};
use crate::exit::{Failure, Outcome};
use crate::store::Store;
use crate::symbols;

/// The code of the judge with a name or a content id.
///
/// # Errors
/// There is none, it cannot be fetched, or it is no judge. Nothing was changed.
pub(super) fn judge_code(caller: &Caller, module: &str) -> Outcome<ContentId> {
    let id = match module.parse() {
        Ok(id) => id,
        Err(_) => code_of(caller, module)?,
    };
    let fetch = |id: &ContentId| fetch::object(caller, id);
    judging::can_judge(caller.home(), &id, &fetch).map_err(|why| {
        Failure::failed(format!(
            "\"{module}\" cannot be a judge: {why}; nothing was changed"
        ))
    })?;
    Ok(id)
}

fn code_of(caller: &Caller, name: &str) -> Outcome<ContentId> {
    let config = Store::look(caller.home()).config()?;
    let fetch = |id: &ContentId| fetch::object(caller, id);
    let symbols = symbols::open(caller.home(), &config)?;
    let found = Found::find(symbols, name, &fetch)?.ok_or_else(|| {
        Failure::usage(format!(
            "no module is called \"{name}\"; {}",
            advice::lists_names_or_publishes(name)
        ))
    })?;
    match found.module.kind() {
        ModuleKind::Wasm => Ok(*found.module.code()),
        _ => Err(Failure::failed(format!(
            "\"{name}\" cannot be a judge: a judge is a module in WebAssembly; nothing was changed"
        ))),
    }
}

/// What a judge says about the records of a decision.
///
/// # Errors
/// It cannot be fetched, or does not answer.
pub(super) fn judge_opinions(
    caller: &Caller,
    id: &ContentId,
    decision: &Decision,
) -> Result<Opinions, String> {
    let fetch = |id: &ContentId| fetch::object(caller, id);
    judging::opinions(caller.home(), id, decision, &fetch)
}
