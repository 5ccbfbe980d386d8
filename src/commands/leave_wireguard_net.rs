//! `grid leave-wireguard-net NET`: withdraws this node's promise and takes the interface down.

use grid_promises::core::{Command as Wish, Reply};
use grid_promises::network::name::NetworkName;
use grid_promises::texts::{self, Promise};
use serde::{Deserialize, Serialize};

use crate::advice;
use crate::command::changed::ChangedReport;
use crate::command::{Caller, Command, Served, asking};
use crate::control::client::Client;
use crate::exit::{Failure, Outcome};
use crate::home::Home;
use crate::node::{NodeHandle, Progress};
use crate::rehearsal::{PlanReport, Rehearsal};
use crate::store::{Loaded, Store};
use crate::values::text;

/// Withdraw this node's promise and take the interface down
#[derive(Debug, clap::Args, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Args {
    /// The network
    #[serde(with = "text")]
    net: NetworkName,

    /// Leave even if this node is the only owner, so that nobody decides for the others
    #[arg(long)]
    #[serde(default)]
    force: bool,

    /// Print what would be changed on this machine, and change nothing
    #[arg(long)]
    #[serde(skip)]
    dry_run: bool,
}

impl Command for Args {
    fn run(self, caller: &Caller) -> Outcome {
        if self.dry_run {
            let mut rehearsal = Rehearsal::begin(caller.home())?;
            let (name, anyway) = (self.net.clone(), self.force);
            rehearsal.carry_out(Wish::Leave { name, anyway })?;
            let steps = vec!["remove the interface".to_owned()];
            return caller.show(&PlanReport::of(&self.net, steps));
        }
        match Client::connect(caller.home())? {
            Some(client) => asking::ask_through(client, caller, &self),
            None if has_left(caller.home(), &self.net)? => Err(Failure::failed(format!(
                "this node has left \"{}\" already; {}",
                self.net,
                advice::joins_again(&self.net)
            ))),
            None => Err(asking::no_server(caller)),
        }
    }
}

/// Whether the files say that this node left the network.
fn has_left(home: &Home, net: &NetworkName) -> Outcome<bool> {
    let networks = Store::look(home).networks()?;
    Ok(networks.iter().any(|loaded| match loaded {
        Loaded::Whole(stored) => stored.record.is_left() && stored.record.name() == net,
        Loaded::Broken { .. } => false,
    }))
}

impl Served for Args {
    const PROMISE: Promise = texts::LEAVE_WIREGUARD_NET;
    type Report = ChangedReport;
    const WAITS: bool = true;

    async fn handle(self, node: &NodeHandle, _: &Progress) -> Outcome<ChangedReport> {
        let net = self.net;
        let status = node.status().await?;
        let network = status.network(net.as_str());
        let was_expelled = network.is_some_and(|network| network.standing == "expelled");
        let wish = Wish::Leave {
            name: net.clone(),
            anyway: self.force,
        };
        let reply = node.command(wish, None).await?;
        node.settled().await;
        let told = match reply {
            Reply::Left { told } => told,
            _ => 0,
        };
        let stopping =
            node.is_in_background() && !node.is_joining() && node.taken().await?.names.is_empty();
        let mut text = format!(
            "left \"{net}\"; {told} member{} confirmed it",
            if told == 1 { "" } else { "s" },
        );
        // Who was put out is not let in by the name alone.
        if !was_expelled {
            text.push_str("; ");
            text.push_str(&advice::joins_again(&net));
        }
        if stopping {
            text.push_str("; it was the last network, so the server in the background ends");
        }
        Ok(ChangedReport {
            changed: true,
            text,
            stopping,
        })
    }

    fn ends_the_server(report: &ChangedReport) -> bool {
        report.stopping
    }
}
