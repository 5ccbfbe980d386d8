//! `wait-online`: until the addresses of this node's networks are on their interfaces. It looks at what
//! the server says, again and again; no peer has to be reachable.

use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::json;

use super::args::{Global, WaitOnline};
use super::output;
use crate::control::answer::{NetworkReport, StatusReport};
use crate::control::client::Client;
use crate::exit::{Exit, Failure, Outcome};
use crate::home::Home;

/// How often is looked.
const LOOK: Duration = Duration::from_millis(100);

/// `wait-online`.
pub(super) fn wait(home: &Home, global: &Global, wait: &WaitOnline) -> Outcome {
    let until = Instant::now() + wait.timeout;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        match look(home, wait, left.max(LOOK)) {
            Ok(report) => return show(global, &report),
            Err(failure) if left.is_zero() => {
                let seconds = wait.timeout.as_secs();
                return Err(Failure::new(
                    failure.exit,
                    format!("not online after {seconds} s: {}", failure.text),
                ));
            }
            Err(_) => sleep(LOOK.min(left)),
        }
    }
}

/// What the server says, if all is up that is waited for.
fn look(home: &Home, wait: &WaitOnline, limit: Duration) -> Outcome<StatusReport> {
    let mut client = Client::connect(home)?.ok_or_else(|| {
        Failure::new(
            Exit::NoServer,
            format!("no server runs for {}", home.path().display()),
        )
    })?;
    let words: Vec<String> = wait.net.iter().map(ToString::to_string).collect();
    let answer = client
        .call("status", &words, &[], limit, |_| {})
        .map_err(late)?;
    let report: StatusReport = serde_json::from_slice(&answer)
        .map_err(|error| Failure::failed(format!("the server's answer cannot be read: {error}")))?;
    // Of a network that was asked for everything is awaited, also an owner.
    let missing = match &wait.net {
        Some(_) => report.networks.iter().find(|network| !network.is_up()),
        None => report.down().next(),
    };
    match missing {
        Some(network) => Err(late(Failure::failed(why(network)))),
        None if wait.net.is_some() && report.networks.is_empty() => {
            Err(late(Failure::failed(report.in_a_line())))
        }
        None => Ok(report),
    }
}

fn why(network: &NetworkReport) -> String {
    let name = &network.name;
    match (&network.problem, &network.why) {
        (Some(problem), _) => format!("the interface of \"{name}\" is not up: {problem}"),
        (None, Some(why)) => format!("\"{name}\" is {}: {why}", network.standing),
        (None, None) => format!(
            "the addresses of \"{name}\" are not up; this node is {} there",
            network.standing
        ),
    }
}

/// What may still come about has taken too long when the time is over.
fn late(failure: Failure) -> Failure {
    Failure {
        exit: Exit::TimedOut,
        ..failure
    }
}

fn show(global: &Global, report: &StatusReport) -> Outcome {
    for broken in &report.broken {
        output::say(&format!(
            "{} was not started: {}",
            broken.name, broken.error
        ));
    }
    let up = report.networks.iter().filter(|network| network.is_up());
    if global.json {
        let networks: Vec<_> = up
            .map(|network| json!({ "name": network.name, "interface": network.interface, "addresses": network.addresses }))
            .collect();
        return output::print(&format!("{}\n", json!({ "networks": networks })));
    }
    let lines: Vec<String> = up
        .map(|network| format!("{}  {}\n", network.name, network.addresses.join("  ")))
        .collect();
    output::print(&lines.concat())
}
