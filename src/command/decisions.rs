//! Past decisions about promises: which one stood at a time, and how its verdicts are shown.

use std::fmt::Write as _;

use grid_keys::NodeId;
use grid_promises::Timestamp;
use grid_promises::network::history::{self, Decision, HistoryError, Line, Lines, Moment};
use grid_promises::network::name::NetworkName;
use ipnet::IpNet;
use serde::Serialize;

use crate::advice;
use crate::exit::{Failure, Outcome};
use crate::home::Home;
use crate::store::Store;
use crate::values::moment;

/// What stood in a network at a moment.
///
/// # Errors
/// Nothing was decided yet, or it is not known any more.
pub fn stood_at(home: &Home, net: &NetworkName, at: Timestamp) -> Outcome<Moment> {
    let files = Store::look(home).history(net)?;
    let files: Vec<&[u8]> = files.iter().map(Vec::as_slice).collect();
    history::at(&files, at).map_err(|error| match error {
        HistoryError::Empty => Failure::failed(format!(
            "nothing was decided about promises in \"{net}\" yet; {}",
            advice::lists_the_networks()
        )),
        HistoryError::TooEarly { begins } => Failure::failed(format!(
            "what was decided in \"{net}\" at {} is no longer known: the history begins at {}",
            moment::format(at),
            moment::format(begins)
        )),
    })
}

/// One verdict, and what it is at another time or by other rules.
#[derive(Debug)]
pub struct Row<'a> {
    node: NodeId,
    name: &'a str,
    prefix: IpNet,
    line: &'a Line,
    other: Option<&'a Line>,
}

/// One verdict, as JSON.
#[derive(Debug, Serialize)]
pub struct RowReport {
    accepted: bool,
    /// What it is decided again.
    #[serde(skip_serializing_if = "Option::is_none")]
    again: Option<Option<LineReport>>,
    name: String,
    node: String,
    /// What it is now.
    #[serde(skip_serializing_if = "Option::is_none")]
    now: Option<Option<LineReport>>,
    prefix: String,
    why: String,
}

#[derive(Debug, Serialize)]
struct LineReport {
    accepted: bool,
    why: String,
}

impl Row<'_> {
    /// As JSON, with the other verdict as what it is decided again.
    #[must_use]
    pub fn again(&self) -> RowReport {
        RowReport {
            again: Some(self.other()),
            ..self.report()
        }
    }

    /// As JSON, with the other verdict as what it is now.
    #[must_use]
    pub fn now(&self) -> RowReport {
        RowReport {
            now: Some(self.other()),
            ..self.report()
        }
    }

    fn other(&self) -> Option<LineReport> {
        self.other.map(|line| LineReport {
            accepted: line.accepted,
            why: line.why.to_string(),
        })
    }

    fn report(&self) -> RowReport {
        RowReport {
            accepted: self.line.accepted,
            again: None,
            name: self.name.to_owned(),
            node: self.node.to_string(),
            now: None,
            prefix: self.prefix.to_string(),
            why: self.line.why.to_string(),
        }
    }
}

/// What a decision says of each promised prefix, beside what `others` say.
pub fn verdicts<'a>(
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
#[must_use]
pub fn table(rows: &[Row<'_>], words: &str) -> String {
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
