//! `grid revoke NET NODE`: as an owner, withdraws a node's admission and those of all that came from it.

use std::io::{self, Write};

use grid_promises::core::{Command as Wish, Reply};
use grid_promises::network::name::NetworkName;
use grid_promises::texts::{self, Promise};
use serde::{Deserialize, Serialize};

use crate::command::departures::{
    self, Decision, DepartureOptions, Departures, Tense, Withdrawing,
};
use crate::command::named::{self, Named, Names};
use crate::command::{Caller, Command, Report, Served};
use crate::exit::Outcome;
use crate::node::joining::unexpected;
use crate::node::{NodeHandle, Progress};
use crate::values::text;

/// Withdraw a node's admission, and those of all that came from it (owners only)
#[derive(Clone, Debug, clap::Args, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Args {
    /// The network
    #[serde(with = "text")]
    net: NetworkName,

    /// The node: its id, the beginning of it, or its name
    node: String,

    /// Who goes with it.
    #[command(flatten)]
    departures: DepartureOptions,
}

/// Who is out.
#[derive(Debug, Serialize, Deserialize)]
pub struct RevokedReport {
    /// Whether anything changed.
    pub changed: bool,
    /// Whether it was out before.
    #[serde(default)]
    pub already: bool,
    /// The network.
    pub net: String,
    /// The node.
    #[serde(flatten)]
    pub node: Named,
    /// The invite that it came by, if this closes it.
    #[serde(default)]
    pub closed: Option<String>,
    /// Members that came from it go with it.
    #[serde(flatten)]
    pub departures: Departures,
}

impl Report for RevokedReport {
    fn show(&self, out: &mut dyn Write) -> io::Result<()> {
        departures::show(self, &[], out)
    }
}

impl Decision for RevokedReport {
    fn tense(&self) -> Tense {
        self.departures.tense()
    }

    fn decided(&self) -> String {
        let (node, net) = (self.node.in_full(), &self.net);
        match (self.already, self.departures.dry_run) {
            (true, _) => format!("{node} was revoked from \"{net}\" already"),
            (false, true) => format!("{node} would be revoked from \"{net}\""),
            (false, false) => format!("{node} is revoked from \"{net}\""),
        }
    }

    fn follows(&self, tense: Tense) -> Vec<String> {
        let closed = self.closed.iter().map(|invite| {
            let invite = named::short(invite);
            let lets = tense.of("would let", "lets");
            format!("the invite {invite}, by which it came, {lets} nobody else in")
        });
        let why = "as they came from it or by its invite";
        let who = self.departures.in_words(&self.net, why, tense);
        closed.chain(who).collect()
    }
}

impl Command for Args {
    fn run(self, caller: &Caller) -> Outcome {
        self.ask(caller)
    }
}

impl Withdrawing for Args {
    fn departures(&mut self) -> &mut DepartureOptions {
        &mut self.departures
    }
}

impl Served for Args {
    const PROMISE: Promise = texts::REVOKE;
    type Report = RevokedReport;
    const WAITS: bool = true;

    async fn handle(self, node: &NodeHandle, _: &Progress) -> Outcome<RevokedReport> {
        let names = Names::of(node, &self.net).await?;
        let wish = Wish::Revoke {
            name: self.net.clone(),
            node: self.node.clone(),
            keep: self.departures.keep(),
            only_say: self.departures.dry_run,
        };
        let dry_run = self.departures.dry_run;
        let net = self.net.to_string();
        match node.command(wish, None).await? {
            Reply::Unchanged => Ok(RevokedReport {
                changed: false,
                already: true,
                net,
                node: names.called(&self.node),
                closed: None,
                departures: Departures::none(dry_run),
            }),
            Reply::Revoked {
                node,
                closed,
                affected,
            } => Ok(RevokedReport {
                changed: !dry_run,
                already: false,
                net,
                node: names.of_one(node),
                closed: closed.map(|invite| invite.to_string()),
                departures: Departures::new(dry_run, &names, &affected).kept_by(&self.departures),
            }),
            _ => Err(unexpected()),
        }
    }
}
