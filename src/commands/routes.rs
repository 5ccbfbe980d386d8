//! `grid routes`: who takes messages under which promise, and how often they kept it. The server knows; if
//! none runs, the file that the last one left does. From the command line the server also learns what came
//! of a call that a person made here.

use std::fmt::Write as _;
use std::io::{self, Write};

use grid_modules::call::Found;
use grid_modules::dispatch::report::{Names, RouteReport, RoutesReport, report};
use grid_modules::dispatch::saved::RoutesFile;
use grid_promises::ContentId;
use grid_promises::texts::{self, Promise};
use serde::{Deserialize, Serialize};

use crate::command::{Caller, Command, Report, Served, served};
use crate::console::output;
use crate::control::client::Client;
use crate::control::request;
use crate::exit::{Failure, Outcome};
use crate::home::Home;
use crate::node::{NodeHandle, Progress};
use crate::store::Store;
use crate::symbols;
use crate::values::{moment, text};

/// How much of a content id or a node is shown where there is a name or many columns, in characters.
const SHORT: usize = 12;

/// Show who handles messages under which promise, and how often they kept it
#[derive(Debug, clap::Args)]
pub struct Args {}

/// What the server is asked, and may learn first.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    came: Option<Came>,
}

/// What came of a call.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Came {
    #[serde(with = "text")]
    promise: ContentId,
    /// The code of the module that was called.
    #[serde(with = "text")]
    module: ContentId,
    is_kept: bool,
}

impl Command for Args {
    fn run(self, caller: &Caller) -> Outcome {
        let known = match Client::connect(caller.home())? {
            Some(mut client) => served::call(&mut client, &Request::default(), output::say)?.report,
            None => saved(caller.home())?,
        };
        if known.routes.is_empty() && !caller.wants_json() {
            output::say("nothing is known yet: this fills when messages come");
        }
        caller.show(&known)
    }
}

impl Report for RoutesReport {
    fn show(&self, out: &mut dyn Write) -> io::Result<()> {
        out.write_all(tree(self, moment::now().0).as_bytes())
    }
}

impl Served for Request {
    const PROMISE: Promise = texts::ROUTES;
    type Report = RoutesReport;

    async fn handle(self, node: &NodeHandle, _: &Progress) -> Outcome<RoutesReport> {
        let dispatcher = node.dispatcher().clone();
        if let Some(came) = self.came {
            dispatcher.count(came.promise, came.module, came.is_kept);
            // Nobody waits for more.
            return Ok(RoutesReport::default());
        }
        let report = tokio::task::spawn_blocking(move || dispatcher.report());
        let report = report.await;
        let report = report.map_err(|_| Failure::failed("the tree could not be read"))?;
        Ok(report?)
    }
}

/// Tells a server that runs what came of a call that a person made here. It costs a message on a local
/// socket; without a server nothing is recorded.
pub fn count(home: &Home, found: &Found<'_>) {
    let Some(is_kept) = found.kept.get() else {
        return;
    };
    let came = Some(Came {
        promise: *found.module.promise(),
        module: *found.module.code(),
        is_kept,
    });
    if let Ok(Some(client)) = Client::try_connect(home)
        && let Ok(message) = request::encode(Request::PROMISE.id(), &Request { came })
    {
        client.tell(&message);
    }
}

fn saved(home: &Home) -> Outcome<RoutesReport> {
    let symbols = symbols::open(home, &Store::look(home).config()?)?;
    let routes = RoutesFile::of(&home.cache()).read().map_err(|error| {
        Failure::failed(format!(
            "cache/routes cannot be read: {error}; the next server sets it aside and learns anew"
        ))
    })?;
    let routes = routes.unwrap_or_default();
    Ok(report(&routes, &Names::of(&symbols), moment::now()))
}

/// The tree as an indented list: promise, module, arguments, and below each who was there.
fn tree(known: &RoutesReport, now: u64) -> String {
    let mut text = String::new();
    let mut above: Vec<String> = Vec::new();
    for route in &known.routes {
        let place = place(route);
        let shared = above.iter().zip(&place).take_while(|(a, b)| a == b).count();
        for (depth, segment) in place.iter().enumerate().skip(shared) {
            let _ = writeln!(text, "{:1$}{segment}", "", depth * 2);
        }
        let _ = writeln!(text, "{:1$}{2}", "", place.len() * 2, who(route, now));
        above = place;
    }
    text
}

fn place(route: &RouteReport) -> Vec<String> {
    let id = short(&route.promise);
    let promise = match &route.name {
        Some(name) => format!("{name} ({id})"),
        None => id,
    };
    let mut place = vec![promise];
    if !route.any_module {
        place.push(match &route.module {
            Some(module) => format!("module {}", short(module)),
            None => "no module".to_owned(),
        });
    }
    place.extend(route.args.iter().map(|arg| format!("\"{arg}\"")));
    place
}

fn who(route: &RouteReport, now: u64) -> String {
    let sign = if route.accepts { '+' } else { '-' };
    let name = match &route.target_name {
        Some(name) if route.kind != "builtin" => format!("{name} ({})", short(&route.target)),
        Some(name) => name.clone(),
        None => short(&route.target),
    };
    let mut text = format!("{sign} {} {name}", route.kind);
    if let Some(until) = route.rejected_until {
        let _ = write!(text, "  rejected, for {} s more", until.saturating_sub(now));
    }
    if route.accepts || route.kept + route.broken > 0 {
        let _ = write!(
            text,
            "  kept {}, broken {}, strength {}%",
            route.kept, route.broken, route.strength
        );
    }
    if route.demoted {
        text.push_str(", asked last");
    }
    let _ = write!(text, "  used {} s ago", now.saturating_sub(route.last_used));
    text
}

/// The end of an id: the ids of one kind all begin alike.
fn short(id: &str) -> String {
    match id.len().checked_sub(SHORT).and_then(|at| id.get(at..)) {
        Some(end) if !end.is_empty() && end.len() < id.len() => format!("..{end}"),
        _ => id.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(args: &[&str], accepts: bool) -> RouteReport {
        RouteReport {
            promise: format!("bafkrei{}", "a".repeat(52)),
            name: Some("hello".to_owned()),
            any_module: args.is_empty(),
            module: None,
            args: args.iter().map(|arg| (*arg).to_owned()).collect(),
            kind: "module".to_owned(),
            target: format!("bafkrei{}", "b".repeat(52)),
            target_name: Some("hello".to_owned()),
            accepts,
            rejected_until: (!accepts).then_some(700),
            kept: u32::from(accepts),
            broken: 0,
            strength: 53,
            demoted: false,
            last_used: 90,
        }
    }

    #[test]
    fn what_is_known_is_an_indented_list() {
        let known = RoutesReport {
            routes: vec![route(&[], true), route(&["a", "b"], false)],
        };
        let expected = "\
hello (..aaaaaaaaaaaa)
  + module hello (..bbbbbbbbbbbb)  kept 1, broken 0, strength 53%  used 10 s ago
  no module
    \"a\"
      \"b\"
        - module hello (..bbbbbbbbbbbb)  rejected, for 600 s more  used 10 s ago
";
        assert_eq!(tree(&known, 100), expected);
    }
}
