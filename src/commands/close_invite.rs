//! `grid close-invite NET INVITE`: as an owner, lets nobody else in by an invite.

use std::io::{self, Write};

use grid_promises::core::{Command as Wish, Reply};
use grid_promises::network::name::NetworkName;
use grid_promises::texts::{self, Promise};
use serde::{Deserialize, Serialize};

use crate::command::keep_options::KeepOptions;
use crate::command::named::{Named, Names};
use crate::command::{Caller, Command, Report, Served, asking};
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

    /// Who stays that came in by it.
    #[command(flatten)]
    keep: KeepOptions,

    /// Say who would go, and change nothing
    #[arg(long)]
    #[serde(default)]
    dry_run: bool,
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
    /// Members that nobody who counts had seen use it, and that go.
    pub gone: Vec<Named>,
    /// Those of them that stay, admitted by name.
    pub kept: Vec<Named>,
    /// Whether this is only what would follow.
    pub dry_run: bool,
}

impl Report for ClosedReport {
    fn show(&self, out: &mut dyn Write) -> io::Result<()> {
        let (net, invite) = (&self.net, &self.invite);
        match (self.changed, self.dry_run) {
            (_, true) => writeln!(out, "the invite {invite} to \"{net}\" would be closed")?,
            (true, false) => writeln!(out, "the invite {invite} to \"{net}\" is closed")?,
            (false, false) => {
                writeln!(
                    out,
                    "the invite {invite} to \"{net}\" is closed (already so)"
                )?;
            }
        }
        if !self.gone.is_empty() {
            writeln!(
                out,
                "gone, as nobody who counts had seen them use it: {}",
                Named::list(&self.gone)
            )?;
        }
        if !self.kept.is_empty() {
            writeln!(out, "kept, admitted by name: {}", Named::list(&self.kept))?;
        }
        Ok(())
    }
}

impl Command for Args {
    fn run(self, caller: &Caller) -> Outcome {
        if !self.dry_run {
            let plan = Self {
                dry_run: true,
                ..self.clone()
            };
            let plan = asking::report_of(caller, &plan)?;
            if !plan.gone.is_empty() {
                output::say(&format!("these go: {}", Named::list(&plan.gone)));
            }
        }
        asking::ask(caller, &self)
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
            keep: self.keep.keep(),
            only_say: self.dry_run,
        };
        let report = |changed, invite, gone, kept| ClosedReport {
            changed,
            net: self.net.to_string(),
            invite,
            gone,
            kept,
            dry_run: self.dry_run,
        };
        match node.command(wish, None).await? {
            Reply::Unchanged => Ok(report(false, self.invite, Vec::new(), Vec::new())),
            Reply::Closed { invite, gone, kept } => Ok(report(
                !self.dry_run,
                invite.to_string(),
                names.of_all(&gone),
                names.of_all(&kept),
            )),
            _ => Err(unexpected()),
        }
    }
}
