//! `grid appoint-owner NET NODE`: as an owner, makes a member an owner below this one.

use grid_promises::core::Command as Wish;
use grid_promises::network::name::NetworkName;
use grid_promises::texts::{self, Promise};
use serde::{Deserialize, Serialize};

use crate::command::named::Names;
use crate::command::raised::RaisedReport;
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

    /// Say who would be back with it, and change nothing
    #[arg(long)]
    #[serde(default)]
    dry_run: bool,
}

impl Command for Args {
    fn run(self, caller: &Caller) -> Outcome {
        asking::ask(caller, &self)
    }
}

impl Served for Args {
    const PROMISE: Promise = texts::APPOINT_OWNER;
    type Report = RaisedReport;

    async fn handle(self, node: &NodeHandle, _: &Progress) -> Outcome<RaisedReport> {
        let names = Names::of(node, &self.net).await?;
        let about = (self.node.as_str(), "an owner of", self.net.to_string());
        let wish = Wish::Appoint {
            name: self.net,
            node: self.node.clone(),
            only_say: self.dry_run,
        };
        let reply = node.command(wish, None).await?;
        RaisedReport::of(&reply, about, self.dry_run, &names)
    }
}
