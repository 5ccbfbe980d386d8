//! Judges on the command line: appointing one, and showing what was decided about promises and why.

use std::fmt::Write as _;

use grid_keys::NodeId;
use grid_promises::modules::ModuleKind;
use grid_promises::network::history::{self, Decision, HistoryError, Line, Lines, Moment};
use grid_promises::network::judgement::{self, Opinions};
use grid_promises::network::name::NetworkName;
use grid_promises::{ContentId, Timestamp};
use ipnet::IpNet;
use serde_json::{Value, json};

use super::args::{AppointJudge, Command, Global, Replay};
use super::{calling, moment, output, peers, render};
use crate::exit::{Failure, Outcome};
use crate::home::Home;
use crate::kernel::judging::{self, Judge};
use crate::kernel::running::Found;
use crate::kernel::symbols::Symbols;
use crate::objects::Cache as _;
use crate::store::Store;

/// The word for no judge.
const NONE: &str = "none";

/// `appoint-judge`.
pub(super) fn appoint(home: &Home, global: &Global, appoint: AppointJudge) -> Outcome {
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
    let found = Found::find(home, &config, module, &fetch)?.ok_or_else(|| {
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
    let symbols = Symbols::open(home, &config).map_err(|failure| failure.text)?;
    let local = symbols.local();
    let here = || local.get(id).map_err(|error| error.to_string());
    let object = match here()? {
        Some(object) => object,
        None => {
            peers::fetch(home, global, id).map_err(|failure| failure.text)?;
            here()?.ok_or_else(|| format!("its code {id} is not here"))?
        }
    };
    judging::check(&object).map(drop)
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

fn opinions(
    home: &Home,
    global: &Global,
    id: &ContentId,
    decision: &Decision,
) -> Result<Opinions, String> {
    can_judge(home, global, id)?;
    let config = Store::look(home)
        .config()
        .map_err(|error| error.to_string())?;
    let symbols = Symbols::open(home, &config).map_err(|failure| failure.text)?;
    let engine = judging::engine(home)?;
    let said = Judge::load(&engine, &*symbols.local(), id)?.ask(&decision.records.encode())?;
    judgement::read(&said, &decision.records).map_err(|error| error.to_string())
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
