//! `grid appoint-owner NET NODE`: as an owner, makes a member an owner below this one.

use grid_promises::core::Command as Wish;
use grid_promises::network::name::NetworkName;
use grid_promises::texts::{self, Promise};
use serde::{Deserialize, Serialize};

use crate::command::changed::ChangedReport;
use crate::command::{Caller, Command, Served, asking};
use crate::exit::Outcome;
use crate::node::{NodeHandle, Progress};
use crate::values::text;

/// Make a member an owner too (owners only)
#[derive(Debug, clap::Args, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Args {
    /// The network
    #[serde(with = "text")]
    net: NetworkName,

    /// The member: its id, the beginning of it, or its name
    node: String,
}

impl Command for Args {
    fn run(self, caller: &Caller) -> Outcome {
        asking::ask(caller, &self)
    }
}

impl Served for Args {
    const PROMISE: Promise = texts::APPOINT_OWNER;
    type Report = ChangedReport;

    async fn handle(self, node: &NodeHandle, _: &Progress) -> Outcome<ChangedReport> {
        let text = format!("{} is an owner of \"{}\"", self.node, self.net);
        let wish = Wish::Appoint {
            name: self.net,
            node: self.node,
        };
        let reply = node.command(wish, None).await?;
        Ok(ChangedReport::of(&reply, text))
    }
}
