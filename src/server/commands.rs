//! What the commands of people do on the server.

#[cfg(feature = "modules")]
mod fetching;
pub(super) mod joining;
#[cfg(feature = "modules")]
mod routes;

use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::Parser as _;
use grid_keys::NodeId;
use grid_promises::core::{Command as Wish, Reply};
use grid_promises::network::accept::Action;
use grid_promises::network::name::NetworkName;
use grid_promises::{Message, Timestamp, texts};
use ipnet::IpNet;
use serde::Serialize;
use tokio::sync::mpsc;
use zeroize::Zeroizing;

use super::context::Context;
use super::driver::Event;
use super::host;
use crate::cli::args::{self, Cli, Command};
use crate::control::answer::{
    ChangedReport, ConfigReport, ExchangedReport, InviteReport, StatusReport,
};
use crate::exit::{Exit, Failure, Outcome};
use crate::store::{KnownPeer, Store, WG_QUICK};
use crate::wg_quick;

/// A command's result.
pub(super) struct Answer {
    /// JSON. May be an invite: wiped when dropped.
    pub payload: Zeroizing<Vec<u8>>,
    /// Whether the server ends after it.
    pub stop: bool,
}

/// Where a command says how it is going.
pub(super) type Progress = mpsc::Sender<String>;

/// How long looking up a host name may take.
const LOOKUP: Duration = Duration::from_secs(10);

/// Does what a message asks.
///
/// # Errors
/// Why not.
pub(super) async fn keep(
    context: &Context,
    message: &Message,
    progress: &Progress,
) -> Outcome<Answer> {
    // No subcommand: other commands ask for it.
    #[cfg(feature = "modules")]
    if message.promise == texts::FETCH.id() {
        return fetching::fetch(context, message, progress).await;
    }
    #[cfg(feature = "modules")]
    if message.promise == texts::ROUTES.id() {
        return routes::routes(context, message).await;
    }
    match read(message)? {
        Command::StopServer(_) => stop(),
        Command::Status(status) => report(context, status.net).await,
        Command::CreateWireguardNet(create) => joining::create(context, create, progress).await,
        Command::JoinWireguardNet(join) => {
            joining::join(context, join, &message.payload, progress).await
        }
        Command::LeaveWireguardNet(leave) => self::leave(context, leave.net).await,
        Command::Invite(invite) => self::invite(context, invite).await,
        Command::Accept(accept) => self::accept(context, accept).await,
        Command::Reject(reject) => {
            let what = describe(&reject.prefix, reject.from.as_deref());
            let rule = rule(reject.net, Action::Reject, reject.prefix, reject.from);
            let changed = context.command(rule, None).await?;
            changed_answer(&changed, format!("{what} is rejected"))
        }
        #[cfg(feature = "modules")]
        Command::AppointJudge(appoint) => appoint_judge(context, appoint).await,
        Command::Promise(promise) => self::promise(context, promise).await,
        Command::Withdraw(promise) => {
            let text = format!("this node does not promise {} any more", promise.prefix);
            let (name, prefix) = (promise.net, promise.prefix);
            let reply = context
                .command(Wish::Withdraw { name, prefix }, None)
                .await?;
            changed_answer(&reply, text)
        }
        Command::Revoke(revoke) => self::revoke(context, revoke).await,
        Command::ExchangeKeys(exchange) => exchange_keys(context, &exchange.peer).await,
        Command::CreateConfig(config) => create_config(context, config).await,
        _ => Err(Failure::usage("that is not for a server to do")),
    }
}

/// The command that a message asks for.
fn read(message: &Message) -> Outcome<Command> {
    let promise = texts::by_id(&message.promise).ok_or_else(|| {
        Failure::usage(format!(
            "this server knows no promise {}; it is of another version than the command line",
            message.promise
        ))
    })?;
    let words = message
        .args
        .iter()
        .map(|word| std::str::from_utf8(word).map(str::to_owned));
    let words: Result<Vec<String>, _> = words.collect();
    let words = words.map_err(|_| Failure::usage("the command is not text"))?;
    let all = ["grid", promise.name]
        .into_iter()
        .map(str::to_owned)
        .chain(words);
    let cli = Cli::try_parse_from(all).map_err(|error| Failure::usage(error.to_string()))?;
    cli.command
        .ok_or_else(|| Failure::usage("the command is missing"))
}

fn answer(report: &impl Serialize) -> Outcome<Answer> {
    let mut payload = Zeroizing::new(Vec::with_capacity(4096));
    serde_json::to_writer(&mut *payload, report)
        .map_err(|error| Failure::failed(format!("the answer cannot be written: {error}")))?;
    Ok(Answer {
        payload,
        stop: false,
    })
}

fn changed_answer(reply: &Reply, text: String) -> Outcome<Answer> {
    answer(&ChangedReport {
        changed: !matches!(reply, Reply::Unchanged),
        text,
        stopping: false,
    })
}

fn stop() -> Outcome<Answer> {
    let report = ChangedReport {
        changed: true,
        text: "the server stopped".to_owned(),
        stopping: true,
    };
    Ok(Answer {
        stop: true,
        ..answer(&report)?
    })
}

async fn report(context: &Context, net: Option<NetworkName>) -> Outcome<Answer> {
    let observed = context.tunnels.observe().await;
    // The driver takes its events in order: the answer knows of these.
    let _ = context.events.send(Event::Observed(observed)).await;
    let mut status: StatusReport = context.ask(Event::Status).await?;
    if let Some(net) = net {
        status.only(&net)?;
    }
    answer(&status)
}

async fn leave(context: &Context, net: NetworkName) -> Outcome<Answer> {
    let reply = context
        .command(Wish::Leave { name: net.clone() }, None)
        .await?;
    context.tunnels.settled().await;
    let told = match reply {
        Reply::Left { told } => told,
        _ => 0,
    };
    let stop =
        context.background && !context.is_joining() && context.taken().await?.names.is_empty();
    let mut text = format!(
        "left \"{net}\"; {told} member{} confirmed it; \
         `grid join-wireguard-net {net}` joins it again",
        if told == 1 { "" } else { "s" }
    );
    if stop {
        text.push_str("; it was the last network, so the server in the background ends");
    }
    let report = ChangedReport {
        changed: true,
        text,
        stopping: stop,
    };
    Ok(Answer {
        stop,
        ..answer(&report)?
    })
}

async fn invite(context: &Context, invite: args::Invite) -> Outcome<Answer> {
    let mut endpoints = Vec::new();
    for endpoint in &invite.endpoint {
        endpoints.extend(resolve(endpoint).await?);
    }
    let wish = Wish::Invite {
        name: invite.net,
        life: invite.expires,
        uses: invite.uses,
        endpoints,
    };
    match context.command(wish, None).await? {
        Reply::Invite(invite) => answer(&InviteReport {
            invite: invite.to_string(),
        }),
        _ => Err(unexpected()),
    }
}

async fn accept(context: &Context, accept: args::Accept) -> Outcome<Answer> {
    match (args::prefix(&accept.what), accept.from) {
        (Ok(prefix), Some(from)) => {
            let mut text = format!("{} is accepted", describe(&prefix, Some(&from)));
            if prefix.prefix_len() == 0 {
                text.push_str(
                    "; once it promises that, what this machine has no nearer route for goes through it",
                );
            }
            let rule = rule(accept.net, Action::Accept, prefix, Some(from));
            let reply = context.command(rule, None).await?;
            changed_answer(&reply, text)
        }
        (Ok(prefix), None) => Err(Failure::usage(format!(
            "whose promise of {prefix} is to be accepted? `grid accept {} {prefix} --from NODE` \
             (`grid status {0}` lists the nodes)",
            accept.net
        ))),
        (Err(why), Some(_)) => Err(Failure::usage(format!("{}: {why}", accept.what))),
        (Err(_), None) => {
            let text = format!("{} is admitted to \"{}\"", accept.what, accept.net);
            let wish = Wish::Approve {
                name: accept.net,
                node: accept.what,
            };
            changed_answer(&context.command(wish, None).await?, text)
        }
    }
}

#[cfg(feature = "modules")]
async fn appoint_judge(context: &Context, appoint: args::AppointJudge) -> Outcome<Answer> {
    let net = appoint.net;
    let (judge, text) = match appoint.module.as_str() {
        "none" => (None, format!("\"{net}\" has no judge")),
        id => {
            let judge = id.parse().map_err(|error| {
                Failure::usage(format!("\"{id}\" is not a content id: {error}"))
            })?;
            let text = format!(
                "{id} judges what is promised in \"{net}\"; `grid replay {net}` shows what it decides"
            );
            (Some(judge), text)
        }
    };
    let wish = Wish::SetJudge { name: net, judge };
    changed_answer(&context.command(wish, None).await?, text)
}

fn rule(name: NetworkName, action: Action, prefix: IpNet, from: Option<String>) -> Wish {
    Wish::SetRule {
        name,
        action,
        prefix,
        from,
    }
}

fn describe(prefix: &IpNet, from: Option<&str>) -> String {
    match from {
        Some(from) => format!("{prefix} from {from}"),
        None => format!("{prefix} from anybody"),
    }
}

async fn revoke(context: &Context, revoke: args::Revoke) -> Outcome<Answer> {
    let wish = Wish::Revoke {
        name: revoke.net.clone(),
        node: revoke.node,
    };
    let reply = context.command(wish, None).await?;
    let Reply::Revoked { node, kept } = &reply else {
        return changed_answer(&reply, "nothing had to be revoked".to_owned());
    };
    let mut text = format!("{node} is revoked from \"{}\"", revoke.net);
    if !kept.is_empty() {
        let names: Vec<String> = kept.iter().map(ToString::to_string).collect();
        text.push_str(&format!(
            "; {} stay, admitted by name, though they came in through it",
            names.join(", ")
        ));
    }
    changed_answer(&reply, text)
}

async fn exchange_keys(context: &Context, peer: &str) -> Outcome<Answer> {
    let (place, pin) = match peer.split_once('#') {
        Some((place, key)) => {
            let key: NodeId = key
                .parse()
                .map_err(|error| Failure::usage(format!("\"{key}\" is not a node id: {error}")))?;
            (place, Some(key))
        }
        None => (peer, None),
    };
    let addrs = resolve(place).await?;
    let connected = context
        .endpoint
        .connect(pin, &addrs)
        .await
        .map_err(|error| exchange_failure(place, &error))?;
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    // A connection that stood already says nothing about the place that was named.
    let is_there = addrs.contains(&connected.remote);
    let peer = KnownPeer {
        node: connected.peer,
        addresses: vec![connected.remote],
        since: Timestamp(since.map_or(0, |since| since.as_secs())),
        label: None,
    };
    context
        .ask(|answer| Event::KnownPeer(peer, answer))
        .await??;
    answer(&ExchangedReport {
        own: context.node().to_string(),
        peer: connected.peer.to_string(),
        address: connected.remote.to_string(),
        is_there,
        pinned: pin.is_some(),
    })
}

fn exchange_failure(place: &str, error: &grid_net::ConnectError) -> Failure {
    use grid_net::{AttemptError, ConnectError};
    match error {
        ConnectError::IdentityMismatch { found, .. } => Failure::refused(format!(
            "{place} is another node than the one that was named: {found}; no key was taken. \
             Check the address, and ask the person for the key again"
        )),
        ConnectError::Myself => Failure::usage(format!("{place} is this node itself")),
        ConnectError::Failed(attempts)
            if attempts
                .iter()
                .all(|(_, error)| *error == AttemptError::TimedOut) =>
        {
            Failure::new(
                Exit::TimedOut,
                format!(
                    "nothing answered at {place}; check the address, that the server runs there, \
                     and that its UDP port can be reached"
                ),
            )
        }
        error => Failure::failed(format!("no keys were exchanged with {place}: {error}")),
    }
}

async fn promise(context: &Context, promise: args::Prefix) -> Outcome<Answer> {
    let mut text = format!("this node promises {}", promise.prefix);
    let (name, prefix) = (promise.net, promise.prefix);
    let place = context.ask(|answer| Event::Place(name.clone(), answer));
    let place = place.await?.unwrap_or_default();
    let reply = context
        .command(Wish::Promise { name, prefix }, None)
        .await?;
    if let Some(missing) = host::cannot_keep(&prefix, &place) {
        text.push_str(&missing);
    }
    changed_answer(&reply, text)
}

async fn create_config(context: &Context, config: args::CreateConfig) -> Outcome<Answer> {
    let name = config.net.clone();
    let (tunnel, interface) = context
        .ask(|answer| Event::Tunnel(name, answer))
        .await?
        .ok_or_else(|| {
            Failure::failed(format!(
                "\"{}\" has no WireGuard configuration at present; `grid status` says why",
                config.net
            ))
        })?;
    let status = context.ask(Event::Status).await?;
    let network = status
        .networks
        .iter()
        .find(|network| network.name == config.net.as_str());
    let seen = network
        .map(|network| network.peers.iter())
        .into_iter()
        .flatten()
        .filter_map(|peer| {
            Some((
                peer.public_key.parse().ok()?,
                peer.endpoint.as_ref()?.parse().ok()?,
            ))
        })
        .collect();
    let text = wg_quick::render(config.net.as_str(), &tunnel, interface.routing.table, &seen);
    let path = config
        .output
        .unwrap_or_else(|| context.home.nets().join(config.net.as_str()).join(WG_QUICK));
    Store::look(&context.home).write_private(&path, text.as_bytes())?;
    answer(&ConfigReport {
        path: path.display().to_string(),
        peers: tunnel.peers.len(),
    })
}

/// The addresses of `HOST:PORT`.
async fn resolve(place: &str) -> Outcome<Vec<SocketAddr>> {
    if let Ok(address) = place.parse::<SocketAddr>()
        && address.port() != 0
    {
        return Ok(vec![address]);
    }
    if !place.rsplit_once(':').is_some_and(|(host, port)| {
        !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port != 0)
    }) {
        return Err(Failure::usage(format!(
            "\"{place}\" is not HOST:PORT (an IPv6 address stands in brackets: [2001:db8::1]:51821)"
        )));
    }
    let looked_up = tokio::time::timeout(LOOKUP, tokio::net::lookup_host(place)).await;
    let found: Vec<SocketAddr> = match looked_up {
        Ok(Ok(found)) => found.collect(),
        Ok(Err(error)) => {
            return Err(Failure::failed(format!(
                "{place} cannot be looked up: {error}"
            )));
        }
        Err(_) => {
            return Err(Failure::new(
                Exit::TimedOut,
                format!("{place} could not be looked up in time; try again, or give an address"),
            ));
        }
    };
    if found.is_empty() {
        return Err(Failure::failed(format!("{place} has no address")));
    }
    Ok(found)
}

fn unexpected() -> Failure {
    Failure::failed("the server came to an answer that it does not know; report it")
}
