//! `grid invite NET`: prints an invite to a network. Whoever has it can join, so it is wiped wherever it
//! was.

use std::io::{self, Write};

use grid_promises::core::{Command as Wish, Reply};
use grid_promises::limits::MAX_USES;
use grid_promises::network::invite::Invite;
use grid_promises::network::name::NetworkName;
use grid_promises::texts::{self, Promise};
use serde::{Deserialize, Serialize};

use crate::advice;
use crate::command::{Caller, Command, Report, Served, asking};
use crate::console::output;
use crate::exit::Outcome;
use crate::node::host_port::HostPort;
use crate::node::joining::unexpected;
use crate::node::{NodeHandle, Progress};
use crate::values::duration::Span;
use crate::values::secret::SecretText;
use crate::values::text;

/// Print an invite to a network, and nothing else
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The network
    net: NetworkName,

    /// How long it is valid: 30s, 10m, 24h, 7d
    #[arg(long, value_name = "TIME", default_value = "24h")]
    expires: Span,

    /// How many nodes may join with it
    #[arg(long, default_value_t = 1,
          value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_USES)))]
    uses: u32,

    /// Where joiners should try to reach this node first
    #[arg(long, value_name = "HOST:PORT")]
    endpoint: Vec<String>,
}

/// What the server is asked.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    #[serde(with = "text")]
    net: NetworkName,
    #[serde(with = "text")]
    expires: Span,
    uses: u32,
    #[serde(with = "text::list")]
    endpoints: Vec<HostPort>,
}

/// The invite.
#[derive(Debug, Serialize, Deserialize)]
pub struct InviteReport {
    invite: SecretText,
    /// By which it is listed and closed.
    #[serde(default)]
    id: String,
    /// Whether this node is an owner, and can close it.
    #[serde(default)]
    owner: bool,
}

impl Report for InviteReport {
    fn show(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "{}", self.invite.expose())
    }
}

impl Command for Args {
    fn run(self, caller: &Caller) -> Outcome {
        let endpoints = self.endpoint.iter().map(|place| place.parse());
        let request = Request {
            net: self.net,
            expires: self.expires,
            uses: self.uses,
            endpoints: endpoints.collect::<Result<_, _>>()?,
        };
        if caller.wants_json() {
            return asking::ask(caller, &request);
        }
        let report = asking::report_of(caller, &request)?;
        caller.show(&report)?;
        let hint = advice::shows_and_closes(&request.net, &report.id, report.owner);
        output::say(&hint);
        Ok(())
    }
}

impl Served for Request {
    const PROMISE: Promise = texts::INVITE;
    type Report = InviteReport;
    const WAITS: bool = true;

    async fn handle(self, node: &NodeHandle, _: &Progress) -> Outcome<InviteReport> {
        let mut endpoints = Vec::new();
        for place in &self.endpoints {
            endpoints.extend(place.resolve().await?);
        }
        let status = node.status().await?;
        let network = status.network(self.net.as_str());
        let owner = network.is_some_and(|network| network.owner);
        let wish = Wish::Invite {
            name: self.net,
            life: self.expires.get(),
            uses: self.uses,
            endpoints,
        };
        match node.command(wish, None).await? {
            Reply::Invite(mut invite) => Ok(InviteReport {
                id: Invite::from_text(&invite)
                    .map(|invite| invite.key.id().to_string())
                    .unwrap_or_default(),
                invite: SecretText::new(std::mem::take(&mut *invite)),
                owner,
            }),
            _ => Err(unexpected()),
        }
    }
}
