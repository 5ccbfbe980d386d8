//! `grid revoke NET NODE`: as an owner, withdraws a node's admission and those of all that came from it.

use std::io::{self, Write};

use grid_promises::core::{Command as Wish, Reply};
use grid_promises::network::name::NetworkName;
use grid_promises::texts::{self, Promise};
use serde::{Deserialize, Serialize};

use crate::advice;
use crate::command::departures::{DepartureOptions, Departures, Withdrawing};
use crate::command::named::Names;
use crate::command::{Caller, Command, Report, Served};
use crate::console::output;
use crate::exit::Outcome;
use crate::node::joining::unexpected;
use crate::node::{NodeHandle, Progress};
use crate::values::text;

/// Withdraw a node's admission, and those of all that came from it (owners only)
#[derive(Clone, Debug, clap::Args, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Args {
    /// The network
    #[serde(with = "text")]
    net: NetworkName,

    /// The node: its id, the beginning of it, or its name
    node: String,

    /// Who goes with it.
    #[command(flatten)]
    departures: DepartureOptions,
}

/// Who is out.
#[derive(Debug, Serialize, Deserialize)]
pub struct RevokedReport {
    /// Whether anything changed.
    pub changed: bool,
    /// The network.
    pub net: String,
    /// The node.
    pub node: String,
    /// Members that came from it go with it.
    #[serde(flatten)]
    pub departures: Departures,
}

impl Report for RevokedReport {
    fn show(&self, out: &mut dyn Write) -> io::Result<()> {
        let (net, node) = (&self.net, &self.node);
        let is = match (self.departures.dry_run, self.changed) {
            (true, _) => format!("would be revoked from \"{net}\""),
            (false, true) => format!("is revoked from \"{net}\""),
            (false, false) => format!("is revoked from \"{net}\" (already so)"),
        };
        writeln!(out, "{node} {is}")?;
        self.departures
            .show(out, "as they came from it or by its invite")
    }
}

impl Command for Args {
    fn run(self, caller: &Caller) -> Outcome {
        self.ask(caller)
    }
}

impl Withdrawing for Args {
    fn departures(&mut self) -> &mut DepartureOptions {
        &mut self.departures
    }

    fn foretell(&self, plan: &RevokedReport) {
        if let Some(gone) = plan.departures.gone() {
            output::say(&advice::go_with_it(&self.net, &self.node, &gone));
        }
    }
}

impl Served for Args {
    const PROMISE: Promise = texts::REVOKE;
    type Report = RevokedReport;
    const WAITS: bool = true;

    async fn handle(self, node: &NodeHandle, _: &Progress) -> Outcome<RevokedReport> {
        let names = Names::of(node, &self.net).await?;
        let wish = Wish::Revoke {
            name: self.net.clone(),
            node: self.node.clone(),
            keep: self.departures.keep(),
            only_say: self.departures.dry_run,
        };
        let report = |changed, node, departures| RevokedReport {
            changed,
            net: self.net.to_string(),
            node,
            departures,
        };
        let options = &self.departures;
        match node.command(wish, None).await? {
            Reply::Unchanged => Ok(report(false, self.node.clone(), Departures::none(options))),
            Reply::Revoked { node, affected } => Ok(report(
                !options.dry_run,
                node.to_string(),
                Departures::new(options, &names, &affected),
            )),
            _ => Err(unexpected()),
        }
    }
}
