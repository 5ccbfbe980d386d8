//! `grid owners NET`: shows who decides in a network.

use std::io::{self, Write};

use grid_promises::network::name::NetworkName;
use grid_promises::texts::{self, Promise};
use serde::{Deserialize, Serialize};

use crate::advice;
use crate::command::{Caller, Command, Report, Served, asking};
use crate::exit::Outcome;
use crate::node::status::OwnerReport;
use crate::node::{NodeHandle, Progress};
use crate::values::text;

/// Show who decides in a network
#[derive(Debug, clap::Args, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Args {
    /// The network
    #[serde(with = "text")]
    net: NetworkName,
}

/// Who decides.
#[derive(Debug, Serialize, Deserialize)]
pub struct OwnersReport {
    /// The network.
    pub net: String,
    /// Whether its charter names a recovery key.
    pub recovery_key: bool,
    /// Every office, ended ones too; seniors first.
    pub owners: Vec<OwnerReport>,
}

impl Report for OwnersReport {
    fn show(&self, out: &mut dyn Write) -> io::Result<()> {
        let word = |owner: &OwnerReport| match owner.name.as_str() {
            _ if owner.depth == 0 => "the recovery key".to_owned(),
            "" => owner.node.chars().take(10).collect(),
            name => name.to_owned(),
        };
        let width = self.owners.iter().map(|owner| word(owner).len()).max();
        let width = width.unwrap_or_default();
        for owner in &self.owners {
            let by = self
                .owners
                .iter()
                .find(|above| Some(&above.office) == owner.above.as_ref());
            let by = match (by, owner.since) {
                (Some(above), Some(_)) => format!("appointed by {}", word(above)),
                _ => "of the charter".to_owned(),
            };
            let count = owner.acts;
            let acts = if count == 1 { "act" } else { "acts" };
            let ended = if owner.live { "" } else { ", dismissed" };
            writeln!(out, "{:width$}  {by}, {count} {acts}{ended}", word(owner))?;
            if owner.heads.len() > 1 {
                writeln!(
                    out,
                    "{:width$}  TWO BRANCHES of its acts are known, as after a restored backup or a stolen key: {}",
                    "",
                    owner.heads.join(", ")
                )?;
            } else if let Some(last) = owner.heads.first() {
                writeln!(out, "{:width$}  last act {last}", "")?;
            }
        }
        if !self.recovery_key {
            writeln!(out, "{}", advice::has_no_recovery_key())?;
        }
        Ok(())
    }
}

impl Command for Args {
    fn run(self, caller: &Caller) -> Outcome {
        asking::ask(caller, &self)
    }
}

impl Served for Args {
    const PROMISE: Promise = texts::OWNERS;
    type Report = OwnersReport;

    async fn handle(self, node: &NodeHandle, _: &Progress) -> Outcome<OwnersReport> {
        let mut status = node.status().await?;
        status.only(&self.net)?;
        let network = status.networks.into_iter().next();
        let (recovery_key, owners) = network
            .map(|network| (network.recovery_key, network.owners))
            .unwrap_or_default();
        Ok(OwnersReport {
            net: self.net.to_string(),
            recovery_key,
            owners,
        })
    }
}
