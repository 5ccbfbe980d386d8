//! `grid reject NET PREFIX [--from NODE]`: does not accept a prefix, from one node or from anybody; `grid reject NET CODE`:
//! admits the node of an accepted code no longer.

use std::str::FromStr;

use grid_promises::core::Command as Wish;
use grid_promises::network::accept::Action;
use grid_promises::network::code::Code;
use grid_promises::network::name::NetworkName;
use grid_promises::texts::{self, Promise};
use serde::{Deserialize, Serialize};

use crate::command::changed::ChangedReport;
use crate::command::{Caller, Command, Served, asking};
use crate::exit::{Failure, Outcome};
use crate::node::{NodeHandle, Progress};
use crate::values::prefix::Prefix;
use crate::values::text;

/// Reject a prefix, from one node or from anybody; or take back a code that was accepted before its node asked
#[derive(Debug, clap::Args, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Args {
    /// The network
    #[serde(with = "text")]
    net: NetworkName,

    /// The prefix; or the code
    #[arg(value_name = "PREFIX|CODE")]
    what: What,

    /// The node that promises it [default: anybody]
    #[arg(long, value_name = "NODE")]
    from: Option<String>,
}

/// What is rejected.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
enum What {
    Prefix(#[serde(with = "text")] Prefix),
    Code(#[serde(with = "text")] Code),
}

impl FromStr for What {
    type Err = <Prefix as FromStr>::Err;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.parse() {
            Ok(code) => Ok(Self::Code(code)),
            Err(_) => text.parse().map(Self::Prefix),
        }
    }
}

impl Command for Args {
    fn run(self, caller: &Caller) -> Outcome {
        if let (What::Code(code), Some(_)) = (&self.what, &self.from) {
            return Err(Failure::usage(format!(
                "{code} is a code: --from is for a prefix"
            )));
        }
        asking::ask(caller, &self)
    }
}

impl Served for Args {
    const PROMISE: Promise = texts::REJECT;
    type Report = ChangedReport;

    async fn handle(self, node: &NodeHandle, _: &Progress) -> Outcome<ChangedReport> {
        let (wish, text) = match self.what {
            What::Prefix(prefix) => {
                let whom = self.from.as_deref().unwrap_or("anybody");
                let text = format!("{prefix} from {whom} is rejected");
                let wish = Wish::SetRule {
                    name: self.net,
                    action: Action::Reject,
                    prefix: prefix.net(),
                    from: self.from,
                };
                (wish, text)
            }
            What::Code(code) => {
                let name = self.net;
                let text = format!(
                    "whoever asks with the code {code} is not admitted to \"{name}\" by it"
                );
                (Wish::ForgetCode { name, code }, text)
            }
        };
        let reply = node.command(wish, None).await?;
        Ok(ChangedReport::of(&reply, text))
    }
}
