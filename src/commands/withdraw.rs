//! `grid withdraw NET PREFIX`: takes the promise to route a subnet back.

use grid_promises::core::Command as Wish;
use grid_promises::network::name::NetworkName;
use grid_promises::texts::{self, Promise};
use serde::{Deserialize, Serialize};

use crate::command::changed::ChangedReport;
use crate::command::{Caller, Command, Served, asking};
use crate::exit::Outcome;
use crate::node::{NodeHandle, Progress};
use crate::values::prefix::Prefix;
use crate::values::text;

/// Withdraw the promise to route a subnet
#[derive(Debug, clap::Args, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Args {
    /// The network
    #[serde(with = "text")]
    net: NetworkName,

    /// The prefix
    #[serde(with = "text")]
    prefix: Prefix,
}

impl Command for Args {
    fn run(self, caller: &Caller) -> Outcome {
        asking::ask(caller, &self)
    }
}

impl Served for Args {
    const PROMISE: Promise = texts::WITHDRAW;
    type Report = ChangedReport;

    async fn handle(self, node: &NodeHandle, _: &Progress) -> Outcome<ChangedReport> {
        let (name, prefix) = (self.net, self.prefix.net());
        let text = format!("this node no longer promises {prefix}");
        let reply = node.command(Wish::Withdraw { name, prefix }, None).await?;
        Ok(ChangedReport::of(&reply, text))
    }
}
