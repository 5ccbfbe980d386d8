//! `grid join-wireguard-net NET [INVITE|ADMISSION|-]`: joins a network, with an invite, with an admission that an owner
//! printed, or by asking known peers.
//!
//! An invite is a secret: it comes through standard input, crosses the control socket in the request's
//! payload, and is wiped at both ends.

use std::io::{self, Write};
use std::time::Duration;

use grid_promises::core::{Command as Wish, CommandError, JoinWith};
use grid_promises::network::carried::{self, Carried};
use grid_promises::network::invite::{Invite, InviteError};
use grid_promises::network::name::NetworkName;
use grid_promises::texts::{self, Promise};
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};

use crate::command::served::PATIENCE;
use crate::command::tunnel_options::TunnelOptions;
use crate::command::{Caller, Command, Report, Served, asking};
use crate::console::{handing_over, output};
use crate::control::waiting;
use crate::exit::{Exit, Failure, Outcome};
use crate::node::joining::{self, JoinedReport, ranges};
use crate::node::{NodeHandle, Progress};
use crate::rehearsal::{Rehearsal, WATCHED};
use crate::values::duration::Span;
use crate::values::secret::SecretText;
use crate::values::{moment, text};

/// Join a network, with an invite or an admission, or by asking known peers
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The network
    net: NetworkName,

    /// The invite, or `-` to read it from standard input. Prefer `-`: what is on the command line
    /// stays in the shell's history, and an invite is a secret. An admission that `grid accept --print`
    /// printed goes in the same way. Without either, known peers are asked for a network of that name that
    /// needs no invite, and a network that was left is joined again
    #[arg(value_name = "INVITE|ADMISSION|-")]
    invite: Option<SecretText>,

    /// How long to wait for other members: 30s, 10m
    #[arg(long, value_name = "TIME", default_value = "30s")]
    wait: Span,

    /// Join a network whose IPv4 range others have on the internet
    #[arg(long)]
    allow_public: bool,

    /// How this node runs WireGuard.
    #[command(flatten)]
    tunnel: TunnelOptions,
}

/// What the server is asked.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    #[serde(with = "text")]
    net: NetworkName,
    /// The invite or the admission itself; none to ask known peers.
    invite: Option<SecretText>,
    #[serde(with = "text")]
    wait: Span,
    #[serde(default)]
    allow_public: bool,
    tunnel: TunnelOptions,
}

/// The network that was joined.
#[derive(Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Joined(JoinedReport);

impl Report for Joined {
    fn show(&self, out: &mut dyn Write) -> io::Result<()> {
        self.0.show("joined", out)
    }
}

impl Command for Args {
    fn run(self, caller: &Caller) -> Outcome {
        let request = Request {
            net: self.net,
            invite: self.invite.map(handing_over::take).transpose()?,
            wait: self.wait,
            allow_public: self.allow_public,
            tunnel: self.tunnel,
        };
        if request.tunnel.dry_run {
            return request.rehearse(caller);
        }
        // Before a server is started for what cannot be.
        if let Some(text) = &request.invite {
            read(text, &request.net)?;
        }
        asking::ask_or_start(caller, &request)
    }
}

impl Request {
    fn rehearse(&self, caller: &Caller) -> Outcome {
        let mut rehearsal = Rehearsal::begin(caller.home())?;
        let listen_port = rehearsal.port(self.tunnel.port)?;
        let with = match &self.invite {
            Some(text) => read(text, &self.net)?,
            None => JoinWith::Peers,
        };
        let wish = Wish::Join {
            name: self.net.clone(),
            with,
            ranges: ranges(self.allow_public),
            listen_port,
            wait: WATCHED,
        };
        match rehearsal.carry_out(wish) {
            // In a rehearsal nobody ever answers.
            Err(error) if rehearsal.wants(&self.net) && error.exit == Exit::TimedOut => {}
            other => other?,
        }
        if !rehearsal.wants(&self.net) {
            return Err(Failure::failed(format!(
                "what joining \"{}\" changes depends on its members, and a dry run asks nobody",
                self.net
            )));
        }
        output::say(
            "the address below is the first candidate; another is taken if a member holds it, and the \
             members are added as peers",
        );
        let interface = self.tunnel.interface();
        caller.show(&rehearsal.plan(&self.net, &interface, self.tunnel.adopt)?)
    }
}

impl Served for Request {
    const PROMISE: Promise = texts::JOIN_WIREGUARD_NET;
    type Report = Joined;

    fn patience(&self) -> Duration {
        PATIENCE + self.wait.get()
    }

    async fn handle(self, node: &NodeHandle, progress: &Progress) -> Outcome<Joined> {
        let deadline = Instant::now() + self.wait.get();
        let with = match &self.invite {
            None => {
                joining::check_contract(node, &texts::JOIN_WIREGUARD_NET.id())?;
                JoinWith::Peers
            }
            Some(text) => {
                let with = read(text, &self.net)?;
                if let JoinWith::Invite(invite) = &with {
                    joining::check_contract(node, &invite.charter.contract)?;
                }
                if let JoinWith::Admission(admission) = &with {
                    let checked = admission.check(&self.net, &node.node());
                    checked.map_err(CommandError::from)?;
                    joining::check_contract(node, &admission.charter.contract)?;
                }
                with
            }
        };
        let (net, tunnel) = (&self.net, &self.tunnel);
        let interface = tunnel.interface();
        let waits_at = match &with {
            JoinWith::Admission(_) | JoinWith::Peers => waiting_at(node, net).await?,
            JoinWith::Invite(_) => None,
        };
        let goes_on = waits_at.filter(|_| matches!(with, JoinWith::Peers));
        let (port, adopt) = (tunnel.port, tunnel.adopt);
        let prepared = joining::prepare(node, net, interface.clone(), port, adopt, waits_at);
        let (listen_port, _reservation) = prepared.await?;
        let listen_port = goes_on.unwrap_or(listen_port);
        let wish = Wish::Join {
            name: self.net.clone(),
            with,
            ranges: ranges(self.allow_public),
            listen_port,
            wait: self.wait.get(),
        };
        let what = waiting::for_members(&self.net);
        let joined = node.command(wish, Some(interface));
        let joined = joining::with_patience(joined, progress.clone(), what);
        tokio::pin!(joined);
        let reply = tokio::select! {
            reply = &mut joined => reply,
            () = show_code(node, &self.net, progress) => joined.await,
        }?;
        let finished = joining::finish(node, self.net, listen_port, reply, deadline, progress);
        finished.await.map(Joined)
    }
}

/// Shows the code by which an owner admits this node, once it waits for that. Ends then, or if it is not to.
async fn show_code(node: &NodeHandle, net: &NetworkName, progress: &Progress) {
    loop {
        sleep(waiting::PATIENCE).await;
        let Ok(status) = node.status().await else {
            return;
        };
        let Some(network) = status.network(net.as_str()) else {
            // It is still being looked for.
            continue;
        };
        if let Some(code) = &network.code {
            // Whoever waited may have gone.
            let _ = progress
                .send(waiting::for_an_owner(net.as_str(), code))
                .await;
        }
        return;
    }
}

/// The port of a network of that name in which this node waits for an owner.
async fn waiting_at(node: &NodeHandle, net: &NetworkName) -> Outcome<Option<u16>> {
    let status = node.status().await?;
    let network = status.network(net.as_str());
    let waiting = network.filter(|network| network.code.is_some());
    Ok(waiting.map(|network| network.listen_port))
}

/// Reads an invite or an admission and checks it, before anything is done with it.
fn read(text: &SecretText, net: &NetworkName) -> Outcome<JoinWith> {
    let text = text.expose();
    if text.trim_start().starts_with(carried::PREFIX) {
        let admission = Carried::from_text(text).map_err(CommandError::from)?;
        return Ok(JoinWith::Admission(Box::new(admission)));
    }
    let read = || {
        let invite = Invite::from_text(text)?;
        invite.check(net, moment::now())?;
        Ok(JoinWith::Invite(Box::new(invite)))
    };
    read().map_err(|error: InviteError| CommandError::from(error).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::request;

    #[test]
    fn an_invite_is_in_the_payload_alone_and_never_shown() {
        let request = Request {
            net: "foo".parse().unwrap(),
            invite: Some("grid-invite-1.secret".parse().unwrap()),
            wait: "30s".parse().unwrap(),
            allow_public: false,
            tunnel: TunnelOptions::default(),
        };
        assert!(!format!("{request:?}").contains("secret"));
        let message = request::encode(Request::PROMISE.id(), &request).unwrap();
        assert!(
            !message
                .args
                .concat()
                .windows(6)
                .any(|word| word == b"secret")
        );
        assert!(message.payload.windows(6).any(|word| word == b"secret"));
        let read: Request = request::decode(&message).unwrap();
        assert_eq!(read.invite, request.invite);
        assert_eq!(read.net, request.net);
        assert_eq!(read.tunnel.interface(), request.tunnel.interface());
    }
}
