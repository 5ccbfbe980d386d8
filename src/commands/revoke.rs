//! `grid revoke NET NODE`: as an owner, withdraws a node's admission and those of all that came from it.

use std::io::{self, Write};

use grid_promises::core::{Command as Wish, Reply};
use grid_promises::network::name::NetworkName;
use grid_promises::texts::{self, Promise};
use serde::{Deserialize, Serialize};

use crate::advice;
use crate::command::keep_options::KeepOptions;
use crate::command::named::{Named, Names};
use crate::command::{Caller, Command, Report, Served, asking};
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

    /// Who stays that came in by it.
    #[command(flatten)]
    keep: KeepOptions,

    /// Say who would go with it, and change nothing
    #[arg(long)]
    #[serde(default)]
    dry_run: bool,
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
    /// Members that came from it, and go with it.
    pub gone: Vec<Named>,
    /// Those that came from it and stay, admitted by name.
    pub kept: Vec<Named>,
    /// Whether this is only what would follow.
    pub dry_run: bool,
}

impl Report for RevokedReport {
    fn show(&self, out: &mut dyn Write) -> io::Result<()> {
        let (net, node) = (&self.net, &self.node);
        match (self.changed, self.dry_run) {
            (_, true) => writeln!(out, "{node} would be revoked from \"{net}\"")?,
            (true, false) => writeln!(out, "{node} is revoked from \"{net}\"")?,
            (false, false) => writeln!(out, "{node} is revoked from \"{net}\" (already so)")?,
        }
        if !self.gone.is_empty() {
            writeln!(
                out,
                "gone with it, as they came from it: {}",
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
                output::say(&advice::go_with_it(
                    &self.net,
                    &self.node,
                    &Named::list(&plan.gone),
                ));
            }
        }
        asking::ask(caller, &self)
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
            keep: self.keep.keep(),
            only_say: self.dry_run,
        };
        let report = |changed, node, gone, kept| RevokedReport {
            changed,
            net: self.net.to_string(),
            node,
            gone,
            kept,
            dry_run: self.dry_run,
        };
        match node.command(wish, None).await? {
            Reply::Unchanged => Ok(report(false, self.node, Vec::new(), Vec::new())),
            Reply::Revoked { node, gone, kept } => Ok(report(
                !self.dry_run,
                node.to_string(),
                names.of_all(&gone),
                names.of_all(&kept),
            )),
            _ => Err(unexpected()),
        }
    }
}
