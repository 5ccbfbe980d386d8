//! `grid revoke NET NODE`: as an owner, withdraws a node's admission and what came in through it.

use grid_promises::core::{Command as Wish, Reply};
use grid_promises::network::name::NetworkName;
use grid_promises::texts::{self, Promise};
use serde::{Deserialize, Serialize};

use crate::command::changed::ChangedReport;
use crate::command::{Caller, Command, Served, asking};
use crate::exit::Outcome;
use crate::node::{NodeHandle, Progress};
use crate::values::text;

/// Withdraw a node's admission (owners only)
#[derive(Debug, clap::Args, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Args {
    /// The network
    #[serde(with = "text")]
    net: NetworkName,

    /// The node: its id, the beginning of it, or its name
    node: String,
}

impl Command for Args {
    fn run(self, caller: &Caller) -> Outcome {
        asking::ask(caller, &self)
    }
}

impl Served for Args {
    const PROMISE: Promise = texts::REVOKE;
    type Report = ChangedReport;
    const WAITS: bool = true;

    async fn handle(self, node: &NodeHandle, _: &Progress) -> Outcome<ChangedReport> {
        let wish = Wish::Revoke {
            name: self.net.clone(),
            node: self.node,
        };
        let reply = node.command(wish, None).await?;
        let Reply::Revoked { node, kept } = &reply else {
            return Ok(ChangedReport::of(&reply, "nothing had to be revoked"));
        };
        let mut text = format!("{node} is revoked from \"{}\"", self.net);
        if !kept.is_empty() {
            let names: Vec<String> = kept.iter().map(ToString::to_string).collect();
            text.push_str(&format!(
                "; {} stay, admitted by name, though they came in through it",
                names.join(", ")
            ));
        }
        Ok(ChangedReport::of(&reply, text))
    }
}
