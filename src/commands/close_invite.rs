//! `grid close-invite NET INVITE`: as an owner, lets nobody else in by an invite.

use std::io::{self, Write};

use grid_promises::core::{Command as Wish, CommandError, Reply};
use grid_promises::network::invite::Invite;
use grid_promises::network::name::NetworkName;
use grid_promises::texts::{self, Promise};
use serde::{Deserialize, Serialize};

use crate::command::departures::{self, Decision, DepartureOptions, Departures, Withdrawing};
use crate::command::named::{self, Names};
use crate::command::{Caller, Command, Report, Served};
use crate::console::handing_over;
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

    /// The invite: its id or the beginning of it, as `grid invites` lists it; or `-` to read the invite itself from
    /// standard input
    #[arg(value_name = "INVITE|-")]
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
    /// Whether it was closed before.
    #[serde(default)]
    pub already: bool,
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
        departures::show(self, &[], out)
    }
}

impl Decision for ClosedReport {
    fn decided(&self) -> String {
        let (net, invite) = (&self.net, named::short(&self.invite));
        let is = match (self.already, self.departures.dry_run) {
            (true, _) => "was closed already",
            (false, true) => "would be closed",
            (false, false) => "is closed",
        };
        format!("the invite {invite} to \"{net}\" {is}")
    }

    fn follows(&self) -> Vec<String> {
        let why = "as nobody who counts had seen them use it";
        self.departures.in_words(&self.net, why)
    }
}

impl Command for Args {
    fn run(mut self, caller: &Caller) -> Outcome {
        if self.invite == "-" {
            let text = handing_over::invite()?;
            let invite = Invite::from_text(text.expose()).map_err(CommandError::from)?;
            self.invite = invite.key.id().to_string();
        }
        self.ask(caller)
    }
}

impl Withdrawing for Args {
    fn departures(&mut self) -> &mut DepartureOptions {
        &mut self.departures
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
        let dry_run = self.departures.dry_run;
        let report = |already: bool, invite, departures| ClosedReport {
            changed: !already && !dry_run,
            already,
            net: self.net.to_string(),
            invite,
            departures,
        };
        match node.command(wish, None).await? {
            Reply::Unchanged => Ok(report(true, self.invite.clone(), Departures::none(dry_run))),
            Reply::Closed { invite, affected } => Ok(report(
                false,
                invite.to_string(),
                Departures::new(dry_run, &names, &affected).kept_by(&self.departures),
            )),
            _ => Err(unexpected()),
        }
    }
}
