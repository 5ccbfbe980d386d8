//! Judges on the command line: appointing one, and showing what was decided about promises and why.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use grid_promises::modules::ModuleKind;
use grid_promises::network::history::{self, Decision, HistoryError, Line, Lines, Moment};
use grid_promises::network::judgement::{self, Opinions};
use grid_promises::{ContentId, NodeId, Timestamp};
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
    let net = appoint.net;
    let module = match appoint.module.as_str() {
        NONE => NONE.to_owned(),
        module => {
            let id = code_of(home, global, module)?;
            can_judge(home, global, &id).map_err(|why| {
                let why = format!("\"{module}\" cannot be a judge: {why}; nothing was changed");
                Failure::failed(why)
            })?;
            id.to_string()
        }
    };
    let command = AppointJudge { net, module };
    calling::call(home, global, Command::AppointJudge(command))
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
    let files = Store::look(home).history(net)?;
    let files: Vec<&[u8]> = files.iter().map(Vec::as_slice).collect();
    let stood = history::at(&files, at).map_err(|error| match error {
        HistoryError::Empty => Failure::failed(format!(
            "nothing was decided about promises in \"{net}\" yet; `grid status` lists the networks"
        )),
        HistoryError::TooEarly { begins } => Failure::failed(format!(
            "what was decided in \"{net}\" at {} is not known any more: the history begins at {}",
            moment::format(at),
            moment::format(begins)
        )),
    })?;
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
    fn lines(&self) -> impl Iterator<Item = (NodeId, &str, IpNet, &Line, Option<&Line>)> {
        let Decision { records, lines, .. } = &self.stood.decision;
        let again = self.again.ok();
        records.members.iter().flat_map(move |(node, promised)| {
            let now = again.and_then(|again| again.get(node));
            let lines = lines.get(node).into_iter().flatten().enumerate();
            promised
                .all()
                .zip(lines)
                .map(move |(prefix, (index, line))| {
                    let now = now.and_then(|now| now.get(index));
                    (*node, promised.label.as_str(), prefix, line, now)
                })
        })
    }

    fn json(&self) -> Value {
        let decision = &self.stood.decision;
        let verdicts = self.lines().map(|(node, name, prefix, line, now)| {
            let now = now.map(|now| json!({ "accepted": now.accepted, "why": now.why }));
            json!({
                "node": node.to_string(),
                "name": name,
                "prefix": prefix.to_string(),
                "accepted": line.accepted,
                "why": line.why,
                "again": now,
            })
        });
        json!({
            "network": self.net,
            "at": self.at.0,
            "decided": decision.at.0,
            "until": self.stood.until.map(|until| until.0),
            "judge": decision.judge.map(|judge| judge.to_string()),
            "failure": decision.failure.as_ref().map(ToString::to_string),
            "rules": decision.records.here.rules.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "records": decision.records.id().to_string(),
            "verdicts": verdicts.collect::<Vec<_>>(),
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
        let mut groups: BTreeMap<(NodeId, &str), Vec<[String; 3]>> = BTreeMap::new();
        for (node, name, prefix, line, now) in self.lines() {
            let word = if line.accepted { "accepted" } else { "refused" };
            let mut why = line.why.clone();
            if let Some(now) = now.filter(|now| *now != line) {
                let word = if now.accepted { "accepted" } else { "refused" };
                let _ = write!(why, "; decided again it is {word}: {}", now.why);
            }
            let row = [prefix.to_string(), word.to_owned(), why];
            groups.entry((node, name)).or_default().push(row);
        }
        if groups.is_empty() {
            text.push_str("  no other members\n");
        }
        for ((node, name), rows) in groups {
            let _ = writeln!(text, "  {name} ({})", node.short());
            let width = rows.iter().map(|row| row[0].len()).max().unwrap_or(0);
            for [prefix, word, why] in rows {
                let _ = writeln!(text, "    {prefix:width$}  {word:8}  {why}");
            }
        }
        if self.again.is_ok_and(|again| *again == decision.lines) {
            text.push_str("  decided again from these records: the same\n");
        }
        text
    }
}
