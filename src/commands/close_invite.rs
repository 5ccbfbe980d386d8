//! `grid close-invite NET INVITE`: as an owner, lets nobody else in by an invite.

use std::io::{self, Write};

use grid_promises::core::{Command as Wish, CommandError, Reply};
use grid_promises::network::invite::{Invite, InviteError};
use grid_promises::network::name::NetworkName;
use grid_promises::texts::{self, Promise};
use serde::{Deserialize, Serialize};

use crate::advice;
use crate::command::departures::{
    self, Decision, DepartureOptions, Departures, Tense, Withdrawing,
};
use crate::command::named::{self, Names};
use crate::command::{Caller, Command, Report, Served};
use crate::console::handing_over;
use crate::exit::{Failure, Outcome};
use crate::node::joining::unexpected;
use crate::node::{NodeHandle, Progress};
use crate::values::text;

/// Let nobody else in by an invite (owners only)
#[derive(Clone, Debug, clap::Args, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Args {
    /// The network
    #[serde(with = "text")]
    net: NetworkName,

    /// The invite: its id or the beginning of it, as `grid invites` lists it; or `-` to read the invite itself from
    /// standard input
    #[arg(value_name = "INVITE|-")]
    invite: String,

    /// The network that the invite is for, where it was read from standard input.
    #[arg(skip)]
    #[serde(default)]
    leads_to: Option<Target>,

    /// Who goes with it.
    #[command(flatten)]
    departures: DepartureOptions,
}

/// The network that an invite is for.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Target {
    #[serde(with = "text")]
    name: NetworkName,
    id: String,
}

impl Target {
    fn of(invite: &Invite) -> Self {
        Self {
            name: invite.charter.name.clone(),
            id: invite.charter.network().to_string(),
        }
    }

    /// Whether it is the network of this name and id. An id that is not known is that of no network here, which others
    /// say.
    ///
    /// # Errors
    /// It is another.
    fn check(&self, net: &NetworkName, id: Option<&str>) -> Outcome {
        if self.name != *net {
            let error = InviteError::OtherNetwork {
                invited: self.name.clone(),
                asked: net.clone(),
            };
            let closes = advice::closes_there(&self.name);
            return Err(Failure::usage(format!("{error}; {closes}")));
        }
        match id {
            Some(id) if id != self.id => Err(Failure::usage(format!(
                "this invite is for another network \"{net}\", whose id is {}; that of this node has the id {id}",
                self.id
            ))),
            _ => Ok(()),
        }
    }
}

/// An invite that admits nobody else.
#[derive(Debug, Serialize, Deserialize)]
pub struct ClosedReport {
    /// Whether anything changed.
    pub changed: bool,
    /// Whether it was closed before.
    #[serde(default)]
    pub already: bool,
    /// The network.
    pub net: String,
    /// The invite.
    pub invite: String,
    /// Members that nobody who counts had seen use it go.
    #[serde(flatten)]
    pub departures: Departures,
}

impl Report for ClosedReport {
    fn show(&self, out: &mut dyn Write) -> io::Result<()> {
        departures::show(self, &[], out)
    }
}

impl Decision for ClosedReport {
    fn tense(&self) -> Tense {
        self.departures.tense()
    }

    fn decided(&self) -> String {
        let (net, invite) = (&self.net, named::short(&self.invite));
        let is = match (self.already, self.departures.dry_run) {
            (true, _) => "was closed already",
            (false, true) => "would be closed",
            (false, false) => "is closed",
        };
        format!("the invite {invite} to \"{net}\" {is}")
    }

    fn follows(&self, tense: Tense) -> Vec<String> {
        let why = "as nobody who counts had seen them use it";
        self.departures.in_words(&self.net, why, tense)
    }
}

impl Command for Args {
    fn run(mut self, caller: &Caller) -> Outcome {
        if self.invite == "-" {
            let text = handing_over::invite()?;
            let invite = Invite::from_text(text.expose()).map_err(CommandError::from)?;
            self.leads_to = Some(Target::of(&invite));
            self.invite = invite.key.id().to_string();
        }
        self.ask(caller)
    }
}

impl Withdrawing for Args {
    fn departures(&mut self) -> &mut DepartureOptions {
        &mut self.departures
    }
}

impl Served for Args {
    const PROMISE: Promise = texts::CLOSE_INVITE;
    type Report = ClosedReport;
    const WAITS: bool = true;

    async fn handle(self, node: &NodeHandle, _: &Progress) -> Outcome<ClosedReport> {
        let status = node.status().await?;
        if let Some(target) = &self.leads_to {
            let here = status.network(self.net.as_str());
            target.check(&self.net, here.map(|network| network.id.as_str()))?;
        }
        let names = Names::among(status, &self.net);
        let wish = Wish::CloseInvite {
            name: self.net.clone(),
            invite: self.invite.clone(),
            keep: self.departures.keep(),
            only_say: self.departures.dry_run,
        };
        let dry_run = self.departures.dry_run;
        let report = |already: bool, invite, departures| ClosedReport {
            changed: !already && !dry_run,
            already,
            net: self.net.to_string(),
            invite,
            departures,
        };
        match node.command(wish, None).await? {
            Reply::Unchanged => Ok(report(true, self.invite.clone(), Departures::none(dry_run))),
            Reply::Closed { invite, affected } => Ok(report(
                false,
                invite.to_string(),
                Departures::new(dry_run, &names, &affected).kept_by(&self.departures),
            )),
            _ => Err(unexpected()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_invite_to_another_network_is_refused_by_name_and_by_id() {
        let target = Target {
            name: "pub".parse().unwrap(),
            id: "bafy1".to_owned(),
        };
        let refused = |net: &str, id| {
            let refused = target.check(&net.parse().unwrap(), id);
            refused.err().map(|failure| failure.text)
        };
        assert_eq!(
            refused("foo", Some("bafy2")).unwrap(),
            "this invite is for the network \"pub\", not \"foo\"; `grid close-invite pub -` closes it on an owner's node"
        );
        assert_eq!(
            refused("pub", Some("bafy2")).unwrap(),
            "this invite is for another network \"pub\", whose id is bafy1; that of this node has the id bafy2"
        );
        assert_eq!(refused("pub", Some("bafy1")), None);
        assert_eq!(refused("pub", None), None);
    }
}
