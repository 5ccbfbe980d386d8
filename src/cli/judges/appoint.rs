//! Appointing a judge, and asking one.

use grid_modules::call::Found;
use grid_modules::judge::{self, Judge};
use grid_modules::objects::Cache as _;
use grid_promises::modules::ModuleKind;
use grid_promises::network::history::{Decision, Moment};
use grid_promises::network::judgement::{self, Opinions};
use grid_promises::network::name::NetworkName;
use grid_promises::{ContentId, Timestamp};
use serde_json::json;

use super::super::args::{AppointJudge, Command, Global};
use super::super::{calling, output, peers, render};
use super::{stood_at, table, verdicts};
use crate::exit::{Failure, Outcome};
use crate::home::Home;
use crate::store::Store;
use crate::symbols;

/// The word for no judge.
const NONE: &str = "none";

/// `appoint-judge`.
pub(in crate::cli) fn appoint(home: &Home, global: &Global, appoint: AppointJudge) -> Outcome {
    let judge = match appoint.module.as_str() {
        NONE => None,
        module => {
            let id = code_of(home, global, module)?;
            can_judge(home, global, &id).map_err(|why| {
                let why = format!("\"{module}\" cannot be a judge: {why}; nothing was changed");
                Failure::failed(why)
            })?;
            Some(id)
        }
    };
    if appoint.dry_run {
        return rehearse(home, global, &appoint.net, judge);
    }
    let module = judge.map_or_else(|| NONE.to_owned(), |id| id.to_string());
    let command = AppointJudge { module, ..appoint };
    calling::call(home, global, Command::AppointJudge(command))
}

/// Shows what another judge, or none, would decide about what is promised now.
fn rehearse(home: &Home, global: &Global, net: &NetworkName, judge: Option<ContentId>) -> Outcome {
    let stood = stood_at(home, net, Timestamp(render::now()))?.decision;
    let opinions = judge
        .map(|id| opinions(home, global, &id, &stood))
        .transpose();
    let opinions = opinions.map_err(|why| {
        Failure::failed(format!("it says nothing about what is promised now: {why}"))
    })?;
    let lines = stood.decide_again(opinions.as_ref());
    let would = Moment {
        decision: Decision {
            judge,
            failure: None,
            lines,
            ..stood.clone()
        },
        until: None,
    };
    let rows: Vec<_> = verdicts(&would.decision, Some(&stood.lines)).collect();
    if global.json {
        let json = rows.iter().map(|row| row.json("now")).collect::<Vec<_>>();
        return output::print(&format!(
            "{}\n",
            json!({ "network": net.as_str(), "verdicts": json })
        ));
    }
    output::print(&format!(
        "{net}, if it were so\n{}",
        table(rows, "now it is")
    ))
}

/// The code that a name or a content id stands for.
fn code_of(home: &Home, global: &Global, module: &str) -> Outcome<ContentId> {
    if let Ok(id) = module.parse() {
        return Ok(id);
    }
    let config = Store::look(home).config()?;
    let fetch = |id: &ContentId| peers::fetch(home, global, id);
    let found = Found::find(symbols::open(home, &config)?, module, &fetch)?.ok_or_else(|| {
        Failure::usage(format!(
            "no module is called \"{module}\"; `grid symbols` lists those that are, `grid publish \
             {module} FILE` makes one"
        ))
    })?;
    match found.module.kind() {
        ModuleKind::Wasm => Ok(*found.module.code()),
        _ => Err(Failure::failed(format!(
            "\"{module}\" cannot be a judge: a judge is a module in WebAssembly; nothing was changed"
        ))),
    }
}

/// Looks whether code is that of a judge; fetches what is not here.
fn can_judge(home: &Home, global: &Global, id: &ContentId) -> Result<(), String> {
    let config = Store::look(home)
        .config()
        .map_err(|error| error.to_string())?;
    let symbols = symbols::open(home, &config).map_err(|failure| failure.text)?;
    let local = symbols.local();
    let here = || local.get(id).map_err(|error| error.to_string());
    let object = match here()? {
        Some(object) => object,
        None => {
            peers::fetch(home, global, id).map_err(|failure| failure.text)?;
            here()?.ok_or_else(|| format!("its code {id} is not here"))?
        }
    };
    judge::check(&object).map(drop)
}

/// What a judge says about the records of a decision.
pub(super) fn opinions(
    home: &Home,
    global: &Global,
    id: &ContentId,
    decision: &Decision,
) -> Result<Opinions, String> {
    can_judge(home, global, id)?;
    let config = Store::look(home)
        .config()
        .map_err(|error| error.to_string())?;
    let symbols = symbols::open(home, &config).map_err(|failure| failure.text)?;
    let engine = judge::engine(&home.cache())?;
    let said = Judge::load(&engine, &*symbols.local(), id)?.ask(&decision.records.encode())?;
    judgement::read(&said, &decision.records).map_err(|error| error.to_string())
}
