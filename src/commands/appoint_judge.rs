//! `grid appoint-judge NET MODULE|none`: has a module judge what members promise, beside the rules; or
//! dismisses it.

use std::io::{self, Write};

use grid_modules::call::Found;
use grid_promises::ContentId;
use grid_promises::core::Command as Wish;
use grid_promises::modules::ModuleKind;
use grid_promises::network::history::{Decision, Moment};
use grid_promises::network::name::NetworkName;
use grid_promises::texts::{self, Promise};
use serde::{Deserialize, Serialize};

use super::fetch;
use crate::advice;
use crate::command::changed::ChangedReport;
use crate::command::decisions::{self, RowReport};
use crate::command::{Caller, Command, Report, Served, asking, judging};
use crate::exit::{Failure, Outcome};
use crate::node::{NodeHandle, Progress};
use crate::store::Store;
use crate::symbols;
use crate::values::{moment, text};

/// The word for no judge.
const NONE: &str = "none";

/// Appoint a module to judge members' promises in addition to the rules, or dismiss it
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The network
    net: NetworkName,

    /// A module that keeps the promise `judge`: its name or the content id of its code; `none`
    /// dismisses the judge
    #[arg(value_name = "MODULE|none")]
    module: String,

    /// Show what it would decide about the current promises, and change nothing
    #[arg(long)]
    dry_run: bool,
}

/// What the server is asked.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    #[serde(with = "text")]
    net: NetworkName,
    /// The content id of the judge's code.
    #[serde(with = "text::option")]
    judge: Option<ContentId>,
}

/// What would be decided.
#[derive(Debug, Serialize)]
struct RehearsedReport {
    network: String,
    verdicts: Vec<RowReport>,
    #[serde(skip)]
    table: String,
}

impl Report for RehearsedReport {
    fn show(&self, out: &mut dyn Write) -> io::Result<()> {
        write!(out, "{}, if it were so\n{}", self.network, self.table)
    }
}

impl Command for Args {
    fn run(self, caller: &Caller) -> Outcome {
        let judge = match self.module.as_str() {
            NONE => None,
            module => {
                let id = code_of(caller, module)?;
                let fetch = |id: &ContentId| fetch::object(caller, id);
                judging::can_judge(caller.home(), &id, &fetch).map_err(|why| {
                    Failure::failed(format!(
                        "\"{module}\" cannot be a judge: {why}; nothing was changed"
                    ))
                })?;
                Some(id)
            }
        };
        let net = self.net;
        if self.dry_run {
            return rehearse(caller, &net, judge);
        }
        asking::ask(caller, &Request { net, judge })
    }
}

impl Served for Request {
    const PROMISE: Promise = texts::APPOINT_JUDGE;
    type Report = ChangedReport;

    async fn handle(self, node: &NodeHandle, _: &Progress) -> Outcome<ChangedReport> {
        let (net, judge) = (self.net, self.judge);
        let text = match judge {
            None => format!("\"{net}\" has no judge"),
            Some(id) => format!(
                "{id} judges what is promised in \"{net}\"; {}",
                advice::replay_shows(&net)
            ),
        };
        let reply = node
            .command(Wish::SetJudge { name: net, judge }, None)
            .await?;
        Ok(ChangedReport::of(&reply, text))
    }
}

/// Shows what another judge, or none, would decide about what is promised now.
fn rehearse(caller: &Caller, net: &NetworkName, judge: Option<ContentId>) -> Outcome {
    let home = caller.home();
    let stood = decisions::stood_at(home, net, moment::now())?.decision;
    let fetch = |id: &ContentId| fetch::object(caller, id);
    let opinions = judge
        .map(|id| judging::opinions(home, &id, &stood, &fetch))
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
    let rows: Vec<_> = decisions::verdicts(&would.decision, Some(&stood.lines)).collect();
    caller.show(&RehearsedReport {
        network: net.to_string(),
        verdicts: rows.iter().map(decisions::Row::now).collect(),
        table: decisions::table(&rows, "now it is"),
    })
}

/// The code that a name or a content id stands for.
fn code_of(caller: &Caller, module: &str) -> Outcome<ContentId> {
    if let Ok(id) = module.parse() {
        return Ok(id);
    }
    let config = Store::look(caller.home()).config()?;
    let fetch = |id: &ContentId| fetch::object(caller, id);
    let found =
        Found::find(symbols::open(caller.home(), &config)?, module, &fetch)?.ok_or_else(|| {
            Failure::usage(format!(
                "no module is called \"{module}\"; {}",
                advice::lists_names_or_publishes(module)
            ))
        })?;
    match found.module.kind() {
        ModuleKind::Wasm => Ok(*found.module.code()),
        _ => Err(Failure::failed(format!(
            "\"{module}\" cannot be a judge: a judge is a module in WebAssembly; nothing was changed"
        ))),
    }
}
