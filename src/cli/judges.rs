//! Judges on the command line: appointing one, and showing what was decided about promises and why.

#[cfg(feature = "modules")]
mod appoint;

use std::fmt::Write as _;

use grid_keys::NodeId;
#[cfg(not(feature = "modules"))]
use grid_promises::ContentId;
use grid_promises::Timestamp;
use grid_promises::network::history::{self, Decision, HistoryError, Line, Lines, Moment};
#[cfg(not(feature = "modules"))]
use grid_promises::network::judgement::Opinions;
use grid_promises::network::name::NetworkName;
use ipnet::IpNet;
use serde_json::{Value, json};

use super::args::{Global, Replay};
use super::{moment, output, render};
use crate::exit::{Failure, Outcome};
use crate::home::Home;
use crate::store::Store;

#[cfg(feature = "modules")]
pub(super) use appoint::appoint;
#[cfg(feature = "modules")]
use appoint::opinions;

/// What a judge says, in a build that cannot ask it.
#[cfg(not(feature = "modules"))]
fn opinions(_: &Home, _: &Global, _: &ContentId, _: &Decision) -> Result<Opinions, String> {
    Err("this build of grid has no modules, so it cannot ask the judge".to_owned())
}

/// `replay`.
pub(super) fn replay(home: &Home, global: &Global, replay: &Replay) -> Outcome {
    let net = &replay.net;
    let at = replay.at.unwrap_or(Timestamp(render::now()));
    let stood = stood_at(home, net, at)?;
    let again = decide_again(home, global, &stood.decision);
    let shown = Shown {
        net: net.as_str(),
        at,
        stood: &stood,
        again: again.as_ref().map_err(String::as_str),
    };
    let text = if global.json {
        format!("{}\n", shown.json())
    } else {
        shown.text()
    };
    output::print(&text)?;
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

/// What stood in a network at a moment.
fn stood_at(home: &Home, net: &NetworkName, at: Timestamp) -> Outcome<Moment> {
    let files = Store::look(home).history(net)?;
    let files: Vec<&[u8]> = files.iter().map(Vec::as_slice).collect();
    history::at(&files, at).map_err(|error| match error {
        HistoryError::Empty => Failure::failed(format!(
            "nothing was decided about promises in \"{net}\" yet; `grid status` lists the networks"
        )),
        HistoryError::TooEarly { begins } => Failure::failed(format!(
            "what was decided in \"{net}\" at {} is not known any more: the history begins at {}",
            moment::format(at),
            moment::format(begins)
        )),
    })
}

/// Decides again, with the judge of that time if there was one.
fn decide_again(home: &Home, global: &Global, decision: &Decision) -> Result<Lines, String> {
    if let Some(why) = &decision.failure {
        return Err(format!(
            "the judge did not speak then ({why}); what it had said before stood"
        ));
    }
    let opinions = decision
        .judge
        .map(|id| opinions(home, global, &id, decision));
    Ok(decision.decide_again(opinions.transpose()?.as_ref()))
}

/// A decision and what it comes to now, for people and for programs.
struct Shown<'a> {
    net: &'a str,
    at: Timestamp,
    stood: &'a Moment,
    again: Result<&'a Lines, &'a str>,
}

impl Shown<'_> {
    fn json(&self) -> Value {
        let decision = &self.stood.decision;
        let rows = verdicts(decision, self.again.ok());
        json!({
            "network": self.net,
            "at": self.at.0,
            "decided": decision.at.0,
            "until": self.stood.until.map(|until| until.0),
            "judge": decision.judge.map(|judge| judge.to_string()),
            "failure": decision.failure.as_ref().map(ToString::to_string),
            "rules": decision.records.here.rules.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "records": decision.records.id().to_string(),
            "verdicts": rows.map(|row| row.json("again")).collect::<Vec<_>>(),
            "same": self.again.ok().map(|again| *again == decision.lines),
        })
    }

    fn text(&self) -> String {
        let decision = &self.stood.decision;
        let mut text = format!("{} at {}\n", self.net, moment::format(self.at));
        let until = match self.stood.until {
            Some(until) => format!("stood until {}", moment::format(until)),
            None => "stands".to_owned(),
        };
        let mut rows = vec![(
            "decided",
            format!("{}, {until}", moment::format(decision.at)),
        )];
        rows.push(("records", decision.records.id().to_string()));
        rows.extend(decision.judge.map(|judge| ("judge", judge.to_string())));
        rows.extend(
            decision
                .failure
                .iter()
                .map(|why| ("failure", why.to_string())),
        );
        let rules = decision.records.here.rules.iter();
        rows.extend(rules.map(|rule| ("rule", rule.to_string())));
        for (name, value) in rows {
            let _ = writeln!(text, "  {name:9}  {value}");
        }
        let rows = verdicts(decision, self.again.ok()).collect();
        text.push_str(&table(rows, "decided again it is"));
        if self.again.is_ok_and(|again| *again == decision.lines) {
            text.push_str("  decided again from these records: the same\n");
        }
        text
    }
}

/// One verdict, and what it is at another time or by other rules.
struct Row<'a> {
    node: NodeId,
    name: &'a str,
    prefix: IpNet,
    line: &'a Line,
    other: Option<&'a Line>,
}

impl Row<'_> {
    fn json(&self, other: &str) -> Value {
        let mut row = json!({
            "node": self.node.to_string(),
            "name": self.name,
            "prefix": self.prefix.to_string(),
            "accepted": self.line.accepted,
            "why": self.line.why,
        });
        let line = self.other;
        row[other] = json!(line.map(|line| json!({ "accepted": line.accepted, "why": line.why })));
        row
    }
}

/// What a decision says of each promised prefix, beside what `others` say.
fn verdicts<'a>(
    decision: &'a Decision,
    others: Option<&'a Lines>,
) -> impl Iterator<Item = Row<'a>> {
    let members = decision.records.members.iter();
    members.flat_map(move |(node, promised)| {
        let others = others.and_then(|others| others.get(node));
        let lines = decision.lines.get(node).into_iter().flatten().enumerate();
        let row = move |(prefix, (index, line))| Row {
            node: *node,
            name: promised.label.as_str(),
            prefix,
            line,
            other: others.and_then(|others| others.get(index)),
        };
        promised.all().zip(lines).map(row)
    })
}

/// The verdicts, member by member. Where the other one differs, `words` say so.
fn table(rows: Vec<Row<'_>>, words: &str) -> String {
    let word = |line: &Line| if line.accepted { "accepted" } else { "refused" };
    let width = rows.iter().map(|row| row.prefix.to_string().len()).max();
    let width = width.unwrap_or(0);
    let mut text = String::new();
    let mut last = None;
    for row in rows {
        if last.replace(row.node) != Some(row.node) {
            let _ = writeln!(text, "  {} ({})", row.name, row.node.short());
        }
        let prefix = row.prefix.to_string();
        let _ = write!(
            text,
            "    {prefix:width$}  {:8}  {}",
            word(row.line),
            row.line.why
        );
        if let Some(other) = row.other.filter(|other| *other != row.line) {
            let _ = write!(text, "; {words} {}: {}", word(other), other.why);
        }
        text.push('\n');
    }
    if text.is_empty() {
        text.push_str("  no other members\n");
    }
    text
}
