//! `grid reject NET PREFIX [--from NODE]`: does not accept a prefix, from one node or from anybody.

use grid_promises::core::Command as Wish;
use grid_promises::network::accept::Action;
use grid_promises::network::name::NetworkName;
use grid_promises::texts::{self, Promise};
use serde::{Deserialize, Serialize};

use crate::command::changed::ChangedReport;
use crate::command::{Caller, Command, Served, asking};
use crate::exit::Outcome;
use crate::node::{NodeHandle, Progress};
use crate::values::prefix::Prefix;
use crate::values::text;

/// Reject a prefix, from one node or from anybody
#[derive(Debug, clap::Args, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Args {
    /// The network
    #[serde(with = "text")]
    net: NetworkName,

    /// The prefix
    #[serde(with = "text")]
    prefix: Prefix,

    /// The node that promises it [default: anybody]
    #[arg(long, value_name = "NODE")]
    from: Option<String>,
}

impl Command for Args {
    fn run(self, caller: &Caller) -> Outcome {
        asking::ask(caller, &self)
    }
}

impl Served for Args {
    const PROMISE: Promise = texts::REJECT;
    type Report = ChangedReport;

    async fn handle(self, node: &NodeHandle, _: &Progress) -> Outcome<ChangedReport> {
        let whom = self.from.as_deref().unwrap_or("anybody");
        let text = format!("{} from {whom} is rejected", self.prefix);
        let wish = Wish::SetRule {
            name: self.net,
            action: Action::Reject,
            prefix: self.prefix.net(),
            from: self.from,
        };
        let reply = node.command(wish, None).await?;
        Ok(ChangedReport::of(&reply, text))
    }
}
