//! `grid accept NET PREFIX --from NODE`: accepts a prefix that a node promises; `grid accept NET NODE`, as
//! an owner: admits a node that asked.

use grid_promises::core::Command as Wish;
use grid_promises::network::accept::Action;
use grid_promises::network::name::NetworkName;
use grid_promises::texts::{self, Promise};
use serde::{Deserialize, Serialize};

use crate::advice;
use crate::command::changed::ChangedReport;
use crate::command::{Caller, Command, Served, asking};
use crate::exit::{Failure, Outcome};
use crate::node::{NodeHandle, Progress};
use crate::values::prefix::Prefix;
use crate::values::text;

/// Accept a prefix that a node promises; or, as an owner, admit a node that asked to join
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The network
    net: NetworkName,

    /// The prefix to accept; or the node to admit, if this node is an owner
    #[arg(value_name = "PREFIX|NODE")]
    what: String,

    /// The node that promises it: its id, the beginning of its id, or its name
    #[arg(long, value_name = "NODE")]
    from: Option<String>,
}

/// What the server is asked.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    #[serde(with = "text")]
    net: NetworkName,
    what: What,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
enum What {
    Prefix {
        #[serde(with = "text")]
        prefix: Prefix,
        from: String,
    },
    Node(String),
}

impl Command for Args {
    fn run(self, caller: &Caller) -> Outcome {
        let what = match (self.what.parse::<Prefix>(), self.from) {
            (Ok(prefix), Some(from)) => What::Prefix { prefix, from },
            (Ok(prefix), None) => {
                return Err(Failure::usage(format!(
                    "say whose promise of {prefix} to accept: {}",
                    advice::accepts_from(&self.net, &prefix.net())
                )));
            }
            (Err(why), Some(_)) => {
                return Err(Failure::usage(format!("{}: {why}", self.what)));
            }
            (Err(_), None) => What::Node(self.what),
        };
        let net = self.net;
        asking::ask(caller, &Request { net, what })
    }
}

impl Served for Request {
    const PROMISE: Promise = texts::ACCEPT;
    type Report = ChangedReport;

    async fn handle(self, node: &NodeHandle, _: &Progress) -> Outcome<ChangedReport> {
        let name = self.net;
        let (wish, text) = match self.what {
            What::Prefix { prefix, from } => {
                let prefix = prefix.net();
                let mut text = format!("{prefix} from {from} is accepted");
                let promised = promised_by(node, &name, &from).await?;
                if promised
                    .as_ref()
                    .is_some_and(|promised| !promised.contains(&prefix.to_string()))
                {
                    text.push_str(&format!(
                        " once it promises that; now it promises {}",
                        promised.unwrap_or_default().join(", ")
                    ));
                }
                if prefix.prefix_len() == 0 {
                    text.push_str("; what this machine has no nearer route for goes through it");
                }
                let wish = Wish::SetRule {
                    name,
                    action: Action::Accept,
                    prefix,
                    from: Some(from),
                };
                (wish, text)
            }
            What::Node(node) => {
                let text = format!("{node} is admitted to \"{name}\"");
                (Wish::Approve { name, node }, text)
            }
        };
        let reply = node.command(wish, None).await?;
        Ok(ChangedReport::of(&reply, text))
    }
}

/// What a member promises, by its name, its id or the beginning of its id. `None`: there is not one such member.
async fn promised_by(
    node: &NodeHandle,
    net: &NetworkName,
    from: &str,
) -> Outcome<Option<Vec<String>>> {
    let status = node.status().await?;
    let networks = status
        .networks
        .iter()
        .filter(|network| network.name == net.as_str());
    let mut peers = networks
        .flat_map(|network| &network.peers)
        .filter(|peer| peer.name == from || peer.node.starts_with(from));
    let peer = peers.next();
    Ok(match peers.next() {
        None => peer.map(|peer| peer.promised.clone()),
        Some(_) => None,
    })
}
