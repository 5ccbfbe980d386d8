//! `grid accept NET PREFIX --from NODE`: accepts a prefix that a node promises; `grid accept NET CODE|NODE`, as
//! an owner: admits a node that asked, or one that will.

use std::io::{self, Write};

use grid_promises::core::{Command as Wish, Reply};
use grid_promises::network::accept::{Action, Rule};
use grid_promises::network::name::NetworkName;
use grid_promises::texts::{self, Promise};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::advice;
use crate::command::changed::ChangedReport;
use crate::command::named::Names;
use crate::command::raised::RaisedReport;
use crate::command::{Caller, Command, Report, Served, asking};
use crate::exit::{Failure, Outcome};
use crate::node::joining::unexpected;
use crate::node::{NodeHandle, Progress};
use crate::values::prefix::Prefix;
use crate::values::text;

/// Accept a prefix that a node promises; or, as an owner, admit a node that asks to join
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The network
    net: NetworkName,

    /// The prefix to accept; or, if this node is an owner, the node to admit: by the code that it shows, its id,
    /// or its name, if no other node has it. A code can be accepted before the node asks, and is kept for an hour
    #[arg(value_name = "PREFIX|CODE|NODE")]
    what: String,

    /// The node that promises it: its id, the beginning of its id, or its name
    #[arg(long, value_name = "NODE")]
    from: Option<String>,

    /// Print the admission of a node, for a person to carry to it: `grid join-wireguard-net NET -` there takes it.
    /// It is no secret, and no other node can use it. A node that does not ask is named by its id
    #[arg(long, conflicts_with = "from")]
    print: bool,

    /// Say who would be admitted, and who would be back with it, and change nothing
    #[arg(long, conflicts_with_all = ["from", "print"])]
    dry_run: bool,
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
    Node {
        node: String,
        #[serde(default)]
        dry_run: bool,
    },
    /// And print the admission.
    Print(String),
}

/// What holds now, or the admission.
#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Accepted {
    /// An admission to carry.
    Printed {
        /// Its text.
        admission: String,
    },
    /// A node that is admitted.
    Raised(Box<RaisedReport>),
    /// What holds now.
    Changed(ChangedReport),
}

impl Report for Accepted {
    fn show(&self, out: &mut dyn Write) -> io::Result<()> {
        match self {
            Self::Printed { admission } => writeln!(out, "{admission}"),
            Self::Raised(report) => report.show(out),
            Self::Changed(report) => report.show(out),
        }
    }
}

impl Command for Args {
    fn run(self, caller: &Caller) -> Outcome {
        let what = match (self.what.parse::<Prefix>(), self.from) {
            (Ok(prefix), None) if self.print => {
                return Err(Failure::usage(format!(
                    "{prefix} is a prefix: --print is for the admission of a node"
                )));
            }
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
            (Err(_), None) if self.print => What::Print(self.what),
            (Err(_), None) => What::Node {
                node: self.what,
                dry_run: self.dry_run,
            },
        };
        let net = self.net;
        asking::ask(caller, &Request { net, what })
    }
}

impl Served for Request {
    const PROMISE: Promise = texts::ACCEPT;
    type Report = Accepted;

    async fn handle(self, node: &NodeHandle, _: &Progress) -> Outcome<Accepted> {
        let name = self.net;
        match self.what {
            What::Prefix { prefix, from } => {
                let prefix = prefix.net();
                let promised = promised_by(node, &name, &from).await?;
                let text = accepted(prefix, &from, promised.as_deref());
                let wish = Wish::SetRule {
                    name: name.clone(),
                    action: Action::Accept,
                    prefix,
                    from: Some(from),
                };
                let reply = node.command(wish, None).await?;
                Ok(Accepted::Changed(ChangedReport::of(&reply, text)))
            }
            What::Node {
                node: whom,
                dry_run,
            } => admit(node, name, whom, dry_run).await,
            What::Print(whom) => {
                let wish = Wish::PrintAdmission { name, node: whom };
                match node.command(wish, None).await? {
                    Reply::Admission(admission) => Ok(Accepted::Printed { admission }),
                    _ => Err(unexpected()),
                }
            }
        }
    }
}

/// Admits a node, as an owner, or keeps its code.
async fn admit(
    node: &NodeHandle,
    name: NetworkName,
    whom: String,
    dry_run: bool,
) -> Outcome<Accepted> {
    let names = Names::of(node, &name).await?;
    let net = name.to_string();
    let wish = Wish::Approve {
        name,
        node: whom.clone(),
        only_say: dry_run,
    };
    let reply = node.command(wish, None).await?;
    let Reply::Expected(code) = reply else {
        let about = (whom.as_str(), "admitted to", net);
        let report = RaisedReport::of(&reply, about, dry_run, &names)?;
        return Ok(Accepted::Raised(Box::new(report)));
    };
    let status = node.status().await?;
    let network = status.network(&net).into_iter();
    let asking: Vec<String> = network
        .flat_map(|network| &network.asking)
        .map(|one| format!("{} with {}", one.name, one.code))
        .collect();
    let admits = if dry_run { "would admit" } else { "admits" };
    let mut text = format!(
        "no node asks with the code {code} yet; if one does within an hour, this node {admits} it to \"{net}\""
    );
    if !dry_run {
        text.push_str("; ");
        text.push_str(&advice::withdraws(&net, code));
    }
    if !asking.is_empty() {
        text.push_str("; asking now: ");
        text.push_str(&asking.join(", "));
    }
    Ok(Accepted::Changed(ChangedReport {
        changed: !dry_run,
        text,
        stopping: false,
    }))
}

/// What it means that a prefix is accepted from a member that promises these; `None` if that is not known.
fn accepted(prefix: IpNet, from: &str, promised: Option<&[IpNet]>) -> String {
    let rule = Rule {
        action: Action::Accept,
        prefix,
        from: None,
    };
    let mut text = format!("{prefix} from {from} is accepted");
    if let Some(promised) = promised
        && !promised.iter().any(|promised| rule.is_about(promised))
    {
        let promised: Vec<String> = promised.iter().map(IpNet::to_string).collect();
        text.push_str(" once it promises that; now it promises ");
        text.push_str(&promised.join(", "));
    }
    if prefix.prefix_len() == 0 {
        text.push_str("; what this machine has no nearer route for goes through it");
    }
    text
}

/// What a member promises, by its name, its id or the beginning of its id. `None`: there is not one such member.
async fn promised_by(
    node: &NodeHandle,
    net: &NetworkName,
    from: &str,
) -> Outcome<Option<Vec<IpNet>>> {
    let status = node.status().await?;
    let network = status.network(net.as_str()).into_iter();
    let mut peers = network
        .flat_map(|network| &network.peers)
        .filter(|peer| peer.name == from || peer.node.starts_with(from));
    let peer = peers.next();
    Ok(match peers.next() {
        None => peer.map(|peer| peer.promised.iter().flat_map(|p| p.parse()).collect()),
        Some(_) => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_promised_is_said_to_be_awaited() {
        let net = |text: &str| text.parse::<IpNet>().unwrap();
        let promised = [net("10.9.0.2/32"), net("192.168.7.0/24")];
        let text = |prefix: &str| accepted(net(prefix), "a", Some(&promised));
        let plain = "192.168.7.0/24 from a is accepted";
        assert_eq!(text("192.168.7.0/24"), plain);
        // A rule is about what lies inside its prefix too.
        assert_eq!(text("192.168.0.0/16"), "192.168.0.0/16 from a is accepted");
        assert_eq!(
            text("192.168.7.0/32"),
            "192.168.7.0/32 from a is accepted once it promises that; now it promises 10.9.0.2/32, 192.168.7.0/24"
        );
        assert!(text("0.0.0.0/0").contains("once it promises that"));
        assert_eq!(accepted(net("192.168.7.0/24"), "a", None), plain);
    }
}
