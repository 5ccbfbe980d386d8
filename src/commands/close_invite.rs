//! `grid close-invite NET INVITE`: as an owner, lets nobody else in by an invite.

use std::io::{self, Write};

use grid_promises::core::{Command as Wish, Reply};
use grid_promises::network::name::NetworkName;
use grid_promises::texts::{self, Promise};
use serde::{Deserialize, Serialize};

use crate::command::departures::{DepartureOptions, Departures, Withdrawing};
use crate::command::named::Names;
use crate::command::{Caller, Command, Report, Served};
use crate::console::output;
use crate::exit::Outcome;
use crate::node::joining::unexpected;
use crate::node::{NodeHandle, Progress};
use crate::values::text;

/// Let nobody else in by an invite (owners only)
#[derive(Clone, Debug, clap::Args, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Args {
    /// The network
    #[serde(with = "text")]
    net: NetworkName,

    /// The invite: its id or the beginning of it, as `grid invites` lists it
    invite: String,

    /// Who goes with it.
    #[command(flatten)]
    departures: DepartureOptions,
}

/// An invite that admits nobody else.
#[derive(Debug, Serialize, Deserialize)]
pub struct ClosedReport {
    /// Whether anything changed.
    pub changed: bool,
    /// The network.
    pub net: String,
    /// The invite.
    pub invite: String,
    /// Members that nobody who counts had seen use it go.
    #[serde(flatten)]
    pub departures: Departures,
}

impl Report for ClosedReport {
    fn show(&self, out: &mut dyn Write) -> io::Result<()> {
        let (net, invite) = (&self.net, &self.invite);
        let is = match (self.departures.dry_run, self.changed) {
            (true, _) => "would be closed",
            (false, true) => "is closed",
            (false, false) => "is closed (already so)",
        };
        writeln!(out, "the invite {invite} to \"{net}\" {is}")?;
        self.departures
            .show(out, "as nobody who counts had seen them use it")
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

    fn foretell(&self, plan: &ClosedReport) {
        if let Some(gone) = plan.departures.gone() {
            output::say(&format!("these go: {gone}"));
        }
    }
}

impl Served for Args {
    const PROMISE: Promise = texts::CLOSE_INVITE;
    type Report = ClosedReport;
    const WAITS: bool = true;

    async fn handle(self, node: &NodeHandle, _: &Progress) -> Outcome<ClosedReport> {
        let names = Names::of(node, &self.net).await?;
        let wish = Wish::CloseInvite {
            name: self.net.clone(),
            invite: self.invite.clone(),
            keep: self.departures.keep(),
            only_say: self.departures.dry_run,
        };
        let report = |changed, invite, departures| ClosedReport {
            changed,
            net: self.net.to_string(),
            invite,
            departures,
        };
        let options = &self.departures;
        match node.command(wish, None).await? {
            Reply::Unchanged => Ok(report(
                false,
                self.invite.clone(),
                Departures::none(options),
            )),
            Reply::Closed { invite, affected } => Ok(report(
                !options.dry_run,
                invite.to_string(),
                Departures::new(options, &names, &affected),
            )),
            _ => Err(unexpected()),
        }
    }
}
