//! `grid appoint-judge NET MODULE|none`: has a module judge what members promise, in addition to the rules;
//! or dismisses it. A build without modules can only dismiss: without an answer from the judge, nobody is let
//! in.

use std::io::{self, Write};

use grid_promises::ContentId;
use grid_promises::core::Command as Wish;
use grid_promises::network::history::{Decision, Moment};
use grid_promises::network::name::NetworkName;
use grid_promises::texts::{self, Promise};
use serde::{Deserialize, Serialize};

use super::{judge_code, judge_opinions};
use crate::advice;
use crate::command::changed::ChangedReport;
use crate::command::decisions::{self, RowReport};
use crate::command::{Caller, Command, Report, Served, asking};
use crate::exit::{Failure, Outcome};
use crate::node::{NodeHandle, Progress};
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
    /// What the person called it.
    #[serde(default)]
    called: String,
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
        write!(out, "{}, with this judge\n{}", self.network, self.table)
    }
}

impl Command for Args {
    fn run(self, caller: &Caller) -> Outcome {
        let judge = match self.module.as_str() {
            NONE => None,
            module => Some(judge_code(caller, module)?),
        };
        let net = self.net;
        if self.dry_run {
            return rehearse(caller, &net, judge);
        }
        let called = self.module;
        asking::ask(caller, &Request { net, judge, called })
    }
}

impl Served for Request {
    const PROMISE: Promise = texts::APPOINT_JUDGE;
    type Report = ChangedReport;
    const WAITS: bool = true;

    async fn handle(self, node: &NodeHandle, _: &Progress) -> Outcome<ChangedReport> {
        let (net, judge) = (self.net, self.judge);
        let text = match judge {
            None => format!("\"{net}\" has no judge"),
            Some(id) => format!(
                "{} judges what is promised in \"{net}\"; {}",
                named(&self.called, &id),
                advice::replay_shows(&net)
            ),
        };
        let reply = node
            .command(Wish::SetJudge { name: net, judge }, None)
            .await?;
        Ok(ChangedReport::of(&reply, text))
    }
}

/// A judge by what the person called it, and by its id, which `status` and the rules show.
fn named(called: &str, id: &ContentId) -> String {
    let id = id.to_string();
    match called {
        "" => id,
        called if called == id => id,
        name => format!("{name} ({id})"),
    }
}

/// Shows what another judge, or none, would decide about what is promised now.
fn rehearse(caller: &Caller, net: &NetworkName, judge: Option<ContentId>) -> Outcome {
    let stood = decisions::stood_at(caller.home(), net, moment::now())?.decision;
    let opinions = judge
        .map(|id| judge_opinions(caller, &id, &stood))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_judge_is_named_as_it_was_and_by_its_id() {
        let id = ContentId::of(b"code");
        assert_eq!(named("gateways", &id), format!("gateways ({id})"));
        assert_eq!(named(&id.to_string(), &id), id.to_string());
    }
}
