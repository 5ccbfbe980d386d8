//! `create-wireguard-net` and `join-wireguard-net`: everything is checked before anything changes,
//! and nobody is told that it works before another member answered through WireGuard.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use grid_promises::core::{Command as Wish, CommandError, JoinWith, Reply};
use grid_promises::network::charter::NetworkId;
use grid_promises::network::invite::{Invite, InviteError};
use grid_promises::network::name::NetworkName;
use grid_promises::{ContentId, Timestamp, texts};
use tokio::time::{Instant, sleep};

use super::super::context::{Context, Reservation};
use super::super::driver::Event;
use super::{Answer, Progress, answer, unexpected};
use crate::cli::args::{Create, Join, TunnelOptions};
use crate::control::answer::JoinedReport;
use crate::control::waiting;
use crate::exit::{Exit, Failure, Outcome};

/// How often it is looked whether a member answered.
const LOOK: Duration = Duration::from_millis(20);
/// How long a member is given at least, however long joining took.
const AT_LEAST: Duration = Duration::from_secs(1);

/// Founds a network.
pub(super) async fn create(
    context: &Context,
    create: Create,
    progress: &Progress,
) -> Outcome<Answer> {
    check_contract(context, &texts::JOIN_WIREGUARD_NET.id())?;
    let (listen_port, _reservation) = prepare(context, &create.net, &create.tunnel).await?;
    let wish = Wish::Create {
        name: create.net.clone(),
        ipv4: create.ipv4,
        admission: create.admission.into(),
        listen_port,
    };
    let deadline = Instant::now() + AT_LEAST;
    let reply = context
        .command(wish, Some(create.tunnel.interface()))
        .await?;
    finish(context, create.net, listen_port, reply, deadline, progress).await
}

/// Joins a network.
pub(super) async fn join(
    context: &Context,
    join: Join,
    payload: &[u8],
    progress: &Progress,
) -> Outcome<Answer> {
    let deadline = Instant::now() + join.wait;
    let with = match &join.invite {
        None => {
            check_contract(context, &texts::JOIN_WIREGUARD_NET.id())?;
            JoinWith::Peers
        }
        Some(_) => {
            let invite = check_invite(&join.net, payload)?;
            check_contract(context, &invite.charter.contract)?;
            JoinWith::Invite(Box::new(invite))
        }
    };
    let (listen_port, _reservation) = prepare(context, &join.net, &join.tunnel).await?;
    let wish = Wish::Join {
        name: join.net.clone(),
        with,
        listen_port,
        wait: join.wait,
    };
    let joined = context.command(wish, Some(join.tunnel.interface()));
    let what = waiting::for_members(&join.net);
    let reply = with_patience(joined, progress.clone(), what).await?;
    finish(context, join.net, listen_port, reply, deadline, progress).await
}

/// Reads an invite and checks it, before anything is done with it.
///
/// # Errors
/// What is wrong with it.
fn check_invite(net: &NetworkName, payload: &[u8]) -> Outcome<Invite> {
    let read = || {
        let text = std::str::from_utf8(payload).map_err(|_| InviteError::NotAnInvite)?;
        let invite = Invite::from_text(text)?;
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        invite.check(net, Timestamp(since.map_or(0, |since| since.as_secs())))?;
        Ok(invite)
    };
    read().map_err(|error: InviteError| CommandError::from(error).into())
}

/// A network whose members promise what this node does not take part in is not joined.
///
/// # Errors
/// This node does not.
pub(in super::super) fn check_contract(context: &Context, contract: &ContentId) -> Outcome {
    if context.config.takes_part_in(contract) {
        return Ok(());
    }
    let name = texts::by_id(contract).map_or("a promise unknown to this version", |p| p.name);
    Err(Failure::refused(format!(
        "the members of this network promise {contract} ({name}), which is not in the accept list \
         of {}; read it, and add it there if you agree",
        context.home.config().display()
    )))
}

/// Checks what could be in the way on this machine, and chooses the port.
///
/// # Errors
/// What is in the way.
pub(in super::super) async fn prepare(
    context: &Context,
    net: &NetworkName,
    options: &TunnelOptions,
) -> Outcome<(u16, Reservation)> {
    let taken = context.taken().await?;
    if let Some(error) = taken.broken.get(net.as_str()) {
        return Err(Failure::refused(format!(
            "there is a network \"{net}\" that could not be started: {error}; move {} away to use \
             the name anew",
            context.home.nets().join(net.as_str()).display()
        )));
    }
    // Its own interface of that name would be called a stranger's.
    if taken.names.iter().any(|name| name == net) {
        return Err(CommandError::NameTaken(net.clone()).into());
    }
    let interface = options.interface();
    let checked = context.tunnels.check(net.clone(), interface, options.adopt);
    checked.await?;
    context.reserve(options.port, &taken)
}

/// Waits until the interface is there and a member answers, and says how it went.
async fn finish(
    context: &Context,
    net: NetworkName,
    listen_port: u16,
    reply: Reply,
    deadline: Instant,
    progress: &Progress,
) -> Outcome<Answer> {
    let Reply::Joined {
        network,
        ipv4,
        ipv6,
        members,
    } = reply
    else {
        return Err(unexpected());
    };
    context.tunnels.settled().await;
    let about = context.tunnels.status(&network);
    if let Some(problem) = about.problem {
        return Err(Failure::failed(format!(
            "this node is in \"{net}\" now, but its interface could not be made: {problem}; it is \
             tried again every 30 seconds, `grid leave-wireguard-net {net}` ends it"
        )));
    }
    let answering = match members {
        0 => 0,
        _ => {
            let deadline = deadline.max(Instant::now() + AT_LEAST);
            let answered = with_patience(
                first_answer(context, network, deadline),
                progress.clone(),
                waiting::for_an_answer(&net),
            );
            match answered.await {
                0 => return Err(nobody_answered(context, &net, members).await),
                answering => answering,
            }
        }
    };
    answer(&JoinedReport {
        network: net.to_string(),
        id: network.to_string(),
        interface: net.to_string(),
        backend: about.backend.unwrap_or_default(),
        listen_port,
        addresses: vec![
            format!("{}/{}", ipv4.1, ipv4.0.prefix_len()),
            format!("{}/{}", ipv6.1, ipv6.0.prefix_len()),
        ],
        members,
        answering,
    })
}

/// Waits until a handshake with a member is complete; how many are then. 0: none until `deadline`.
async fn first_answer(context: &Context, network: NetworkId, deadline: Instant) -> usize {
    loop {
        let observed = context.tunnels.observe().await;
        let answering = observed.get(&network).map_or(0, |peers| {
            peers
                .values()
                .filter(|peer| peer.latest_handshake.is_some())
                .count()
        });
        if answering > 0 || Instant::now() >= deadline {
            // The core may choose another path by it.
            let _ = context.events.send(Event::Observed(observed)).await;
            return answering;
        }
        sleep(LOOK).await;
    }
}

/// Runs `work`, and says what it waits for if it takes long.
async fn with_patience<T>(work: impl Future<Output = T>, progress: Progress, what: String) -> T {
    tokio::pin!(work);
    tokio::select! {
        done = &mut work => return done,
        () = sleep(waiting::PATIENCE) => {}
    }
    // Whoever waited may have gone.
    let _ = progress.send(what).await;
    work.await
}

async fn nobody_answered(context: &Context, net: &NetworkName, members: usize) -> Failure {
    let tried: Vec<String> = match context.ask(Event::Status).await {
        Err(_) => Vec::new(),
        Ok(status) => status
            .networks
            .iter()
            .filter(|network| network.name == net.as_str())
            .flat_map(|network| &network.peers)
            .take(5)
            .map(|peer| match &peer.endpoint {
                Some(endpoint) => format!("{} at {endpoint}", peer.name),
                None => format!("{}, of which no endpoint is known", peer.name),
            })
            .collect(),
    };
    let text = format!(
        "this node is in \"{net}\" now, but none of the {members} other members answered through \
         WireGuard in time; tried: {}. It keeps trying: see `grid status {net}`; a firewall may \
         drop WireGuard's UDP packets",
        tried.join(", ")
    );
    Failure::new(Exit::TimedOut, text)
}
