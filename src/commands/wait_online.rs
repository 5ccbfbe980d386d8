//! `grid wait-online`: waits until the addresses of this node's networks are on their interfaces. It looks
//! at what the server says, again and again; no peer has to be reachable.

use std::io::{self, Write};
use std::thread::sleep;
use std::time::{Duration, Instant};

use grid_promises::network::name::NetworkName;
use serde::Serialize;

use super::status;
use crate::advice;
use crate::command::{Caller, Command, Report, served};
use crate::console::output;
use crate::control::client::Client;
use crate::exit::{Exit, Failure, Outcome};
use crate::home::Home;
use crate::node::status::{NetworkReport, StatusReport};
use crate::values::duration::Span;

/// How often is looked.
const LOOK: Duration = Duration::from_millis(100);

/// Wait until the addresses of this node's networks are up
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only this network; this node need not be in it yet
    net: Option<NetworkName>,

    /// How long to wait: 30s, 10m
    #[arg(long, value_name = "TIME", default_value = "30s")]
    timeout: Span,
}

/// The networks that are up.
#[derive(Debug, Serialize)]
struct OnlineReport {
    networks: Vec<Up>,
}

#[derive(Debug, Serialize)]
struct Up {
    addresses: Vec<String>,
    interface: String,
    name: String,
}

impl Report for OnlineReport {
    fn show(&self, out: &mut dyn Write) -> io::Result<()> {
        for network in &self.networks {
            writeln!(out, "{}  {}", network.name, network.addresses.join("  "))?;
        }
        Ok(())
    }
}

impl Command for Args {
    fn run(self, caller: &Caller) -> Outcome {
        let until = Instant::now() + self.timeout.get();
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match look(caller.home(), self.net.as_ref(), left.max(LOOK))? {
                Seen::Online(report) => return show(caller, report),
                Seen::NotYet(failure) if left.is_zero() => {
                    let seconds = self.timeout.get().as_secs();
                    return Err(Failure::new(
                        failure.exit,
                        format!("not online after {seconds} s: {}", failure.text),
                    ));
                }
                Seen::NotYet(_) => sleep(LOOK.min(left)),
            }
        }
    }
}

/// What a look at the server comes to.
enum Seen {
    /// All is up that is waited for.
    Online(StatusReport),
    /// Why it is not, if waiting may help.
    NotYet(Failure),
}

/// Looks at what the server says.
///
/// # Errors
/// What does not come right by waiting: the server may not be talked to, or does not understand this
/// program.
fn look(home: &Home, net: Option<&NetworkName>, limit: Duration) -> Outcome<Seen> {
    let mut client = match Client::try_connect(home) {
        Ok(Some(client)) => client,
        Ok(None) => {
            return Ok(Seen::NotYet(Failure::new(
                Exit::NoServer,
                format!(
                    "no server is running for {}; {}",
                    home.path().display(),
                    advice::runs_a_server()
                ),
            )));
        }
        // Whoever listens there may take connections later.
        Err(failure) if failure.exit == Exit::TimedOut => return Ok(Seen::NotYet(failure)),
        Err(failure) => return Err(failure),
    };
    let status = status::Args::of(net.cloned());
    let report = match served::call_within(&mut client, &status, limit, |_| {}) {
        Ok(answered) => answered.report,
        Err(failure) => {
            return match failure.exit {
                Exit::Usage | Exit::Refused => Err(failure),
                // It is ending, and another one may follow.
                Exit::NoServer => Ok(Seen::NotYet(failure)),
                _ => Ok(Seen::NotYet(late(failure))),
            };
        }
    };
    // Of a network that was asked for everything is awaited, also an owner.
    let missing = match net {
        Some(_) => report.networks.iter().find(|network| !network.up),
        None => report.down().next(),
    };
    Ok(match missing {
        Some(network) => Seen::NotYet(late(Failure::failed(why(network)))),
        None if net.is_some() && report.networks.is_empty() => {
            Seen::NotYet(late(Failure::failed(report.in_a_line())))
        }
        None => Seen::Online(report),
    })
}

fn why(network: &NetworkReport) -> String {
    let name = &network.name;
    match (&network.problem, &network.why) {
        (Some(problem), _) => format!("\"{name}\" is not up: {problem}"),
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

fn show(caller: &Caller, report: StatusReport) -> Outcome {
    for broken in &report.broken {
        output::say(&format!(
            "{} was not started: {}",
            broken.name, broken.error
        ));
    }
    let up = report.networks.into_iter().filter(|network| network.up);
    caller.show(&OnlineReport {
        networks: up
            .map(|network| Up {
                addresses: network.addresses,
                interface: network.interface,
                name: network.name,
            })
            .collect(),
    })
}
