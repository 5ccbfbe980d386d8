//! `grid promise NET PREFIX`: promises to route a subnet for the other members.

use grid_promises::core::Command as Wish;
use grid_promises::network::name::NetworkName;
use grid_promises::texts::{self, Promise};
use serde::{Deserialize, Serialize};

use crate::command::changed::ChangedReport;
use crate::command::{Caller, Command, Served, asking};
use crate::exit::Outcome;
use crate::host;
use crate::node::{NodeHandle, Progress};
use crate::values::prefix::Prefix;
use crate::values::text;

/// Promise to route a subnet
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
    const PROMISE: Promise = texts::PROMISE;
    type Report = ChangedReport;

    async fn handle(self, node: &NodeHandle, _: &Progress) -> Outcome<ChangedReport> {
        let (name, prefix) = (self.net, self.prefix.net());
        let mut text = format!("this node promises {prefix}");
        let place = node.place(name.clone()).await?.unwrap_or_default();
        let wish = Wish::Promise { name, prefix };
        let reply = node.command(wish, None).await?;
        if let Some(missing) = host::cannot_keep(&prefix, &place) {
            text.push_str(&missing);
        }
        Ok(ChangedReport::of(&reply, text))
    }
}
