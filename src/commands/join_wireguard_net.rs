//! `grid join-wireguard-net NET [INVITE|-]`: joins a network, with an invite or by asking known peers.
//!
//! The invite is a secret: it comes through standard input, crosses the control socket in the request's
//! payload, and is wiped at both ends.

use std::io::{self, Write};
use std::time::Duration;

use grid_promises::core::{Command as Wish, CommandError, JoinWith};
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

/// Join a network, with an invite or by asking known peers
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The network
    net: NetworkName,

    /// The invite, or `-` to read it from standard input. Prefer `-`: what is on the command line
    /// stays in the shell's history, and an invite is a secret. Without it, known peers are asked
    /// for an open network of that name, and a network that was left is joined again
    #[arg(value_name = "INVITE|-")]
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
    /// The invite itself; none to ask known peers.
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
        if let Some(invite) = &request.invite {
            check(invite, &request.net)?;
        }
        asking::ask_or_start(caller, &request)
    }
}

impl Request {
    fn rehearse(&self, caller: &Caller) -> Outcome {
        let mut rehearsal = Rehearsal::begin(caller.home())?;
        let listen_port = rehearsal.port(self.tunnel.port)?;
        let with = match &self.invite {
            Some(invite) => {
                let invite = Invite::from_text(invite.expose()).map_err(CommandError::from)?;
                JoinWith::Invite(Box::new(invite))
            }
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
            Some(invite) => {
                let invite = check(invite, &self.net)?;
                joining::check_contract(node, &invite.charter.contract)?;
                JoinWith::Invite(Box::new(invite))
            }
        };
        let (net, tunnel) = (&self.net, &self.tunnel);
        let interface = tunnel.interface();
        let prepared =
            joining::prepare(node, net, interface.clone(), tunnel.port, tunnel.adopt).await?;
        let (listen_port, _reservation) = prepared;
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
        let mut networks = status.networks.iter();
        let network = networks.find(|network| network.name == net.as_str());
        let Some(network) = network else {
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

/// Reads an invite and checks it, before anything is done with it.
fn check(invite: &SecretText, net: &NetworkName) -> Outcome<Invite> {
    let read = || {
        let invite = Invite::from_text(invite.expose())?;
        invite.check(net, moment::now())?;
        Ok(invite)
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
