//! `grid replay NET`: shows what was decided about promises at a time, and decides it again.

use std::io::{self, Write};

use grid_promises::Timestamp;
use grid_promises::network::history::{Decision, Lines, Moment};
use grid_promises::network::name::NetworkName;
use serde::Serialize;

use super::judge_opinions;
use crate::command::decisions::{self, Row, RowReport};
use crate::command::{Caller, Command, Report};
use crate::exit::{Failure, Outcome};
use crate::values::moment;

/// Show what was decided about promises at a given time, and decide it again
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The network
    net: NetworkName,

    /// When: 2026-11-21T20:15:00Z (UTC), or how long ago, such as 10m [default: now]
    #[arg(long, value_name = "TIME", value_parser = moment::parse)]
    at: Option<Timestamp>,
}

impl Command for Args {
    fn run(self, caller: &Caller) -> Outcome {
        let at = self.at.unwrap_or_else(moment::now);
        let stood = decisions::stood_at(caller.home(), &self.net, at)?;
        let again = decide_again(caller, &stood.decision);
        caller.show(&ReplayReport::of(
            &self.net,
            at,
            &stood,
            again.as_ref().ok(),
        ))?;
        match again {
            Ok(again) if again == stood.decision.lines => Ok(()),
            Ok(_) => Err(Failure::failed(
                "decided again, it comes to something else: another version of this program decided \
                 otherwise, or this is a bug",
            )),
            Err(why) => Err(Failure::failed(format!(
                "it cannot be decided again: {why}"
            ))),
        }
    }
}

/// Decides again, with the judge of that time if there was one.
fn decide_again(caller: &Caller, decision: &Decision) -> Result<Lines, String> {
    if let Some(why) = &decision.failure {
        return Err(format!(
            "the judge failed then ({why}); its earlier verdicts stood"
        ));
    }
    let opinions = decision
        .judge
        .map(|id| judge_opinions(caller, &id, decision));
    Ok(decision.decide_again(opinions.transpose()?.as_ref()))
}

/// A decision, and what it comes to now.
#[derive(Debug, Serialize)]
struct ReplayReport {
    at: u64,
    decided: u64,
    failure: Option<String>,
    judge: Option<String>,
    network: String,
    records: String,
    rules: Vec<String>,
    /// Whether it comes to the same; nothing if it cannot be decided again.
    same: Option<bool>,
    until: Option<u64>,
    verdicts: Vec<RowReport>,
    #[serde(skip)]
    table: String,
}

impl ReplayReport {
    fn of(net: &NetworkName, at: Timestamp, stood: &Moment, again: Option<&Lines>) -> Self {
        let decision = &stood.decision;
        let rows: Vec<_> = decisions::verdicts(decision, again).collect();
        Self {
            at: at.0,
            decided: decision.at.0,
            failure: decision.failure.as_ref().map(ToString::to_string),
            judge: decision.judge.map(|judge| judge.to_string()),
            network: net.to_string(),
            records: decision.records.id().to_string(),
            rules: decision
                .records
                .here
                .rules
                .iter()
                .map(ToString::to_string)
                .collect(),
            same: again.map(|again| *again == decision.lines),
            until: stood.until.map(|until| until.0),
            verdicts: rows.iter().map(Row::again).collect(),
            table: decisions::table(&rows, "decided again it is"),
        }
    }
}

impl Report for ReplayReport {
    fn show(&self, out: &mut dyn Write) -> io::Result<()> {
        let time = |seconds| moment::format(Timestamp(seconds));
        writeln!(out, "{} at {}", self.network, time(self.at))?;
        let until = match self.until {
            Some(until) => format!("stood until {}", time(until)),
            None => "stands".to_owned(),
        };
        let mut rows = vec![("decided", format!("{}, {until}", time(self.decided)))];
        rows.push(("records", self.records.clone()));
        rows.extend(self.judge.iter().map(|judge| ("judge", judge.clone())));
        rows.extend(self.failure.iter().map(|why| ("failure", why.clone())));
        rows.extend(self.rules.iter().map(|rule| ("rule", rule.clone())));
        for (name, value) in rows {
            writeln!(out, "  {name:9}  {value}")?;
        }
        out.write_all(self.table.as_bytes())?;
        if self.same == Some(true) {
            writeln!(out, "  decided again from these records: the same")?;
        }
        Ok(())
    }
}
