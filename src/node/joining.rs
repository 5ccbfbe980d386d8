//! The steps that founding and joining a network share. Everything is checked before anything changes, and
//! success is reported only once another member has answered through WireGuard.

use std::io::{self, Write};
use std::num::NonZeroU16;
use std::time::Duration;

use grid_promises::core::{CommandError, Ranges, Reply};
use grid_promises::network::charter::NetworkId;
use grid_promises::network::name::NetworkName;
use grid_promises::{ContentId, texts};
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};

use super::handle::{NodeHandle, Reservation};
use super::service::Progress;
use super::status::NetworkReport;
use crate::advice;
use crate::control::waiting;
use crate::exit::{Exit, Failure, Outcome};
use crate::store::InterfaceOptions;

/// How often WireGuard is checked for an answer.
const LOOK: Duration = Duration::from_millis(20);
/// How often it is asked whether this node is still to wait: where there are thousands of members, that takes a while.
const ASK: Duration = Duration::from_millis(500);
/// How long a member is given at least, however long joining took.
pub const AT_LEAST: Duration = Duration::from_secs(1);

/// The network that was founded or joined.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinedReport {
    /// The network's name.
    pub network: String,
    /// Its id.
    pub id: String,
    /// The interface.
    pub interface: String,
    /// Who runs WireGuard.
    pub backend: String,
    /// The UDP port of its WireGuard.
    pub listen_port: u16,
    /// This node's addresses with the lengths of the network's prefixes.
    pub addresses: Vec<String>,
    /// How nodes become members: `invite`, `approve` or `open`.
    #[serde(default)]
    pub admission: String,
    /// How many other members there are.
    pub members: usize,
    /// How many of them answered through WireGuard so far.
    pub answering: usize,
}

impl JoinedReport {
    /// Writes what a person is told; `how` says whether the network was founded or joined.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn show(&self, how: &str, out: &mut dyn Write) -> io::Result<()> {
        let others = match self.members {
            // Somebody let it in, unless it is back in a network of its own.
            0 if how == "joined" => format!(
                "none was reached yet, and it goes on looking for them: {}",
                advice::shows_how_it_goes(&self.network)
            ),
            0 => format!("no other members yet; {}", self.next()),
            1 if self.answering == 1 => "1 other member, and it answers".to_owned(),
            1 => "1 other member, and it does not answer so far".to_owned(),
            many => format!("{many} other members, {} answer so far", self.answering),
        };
        write!(
            out,
            "{how} \"{}\" as {}\n  id         {}\n  interface  {} ({}, UDP {})\n  members    {others}\n",
            self.network,
            self.addresses.join(" and "),
            self.id,
            self.interface,
            self.backend,
            self.listen_port,
        )
    }
}

impl JoinedReport {
    /// How others come in.
    fn next(&self) -> String {
        match self.admission.as_str() {
            "approve" => advice::asks_there(&self.network),
            "open" => advice::joins_there(&self.network),
            _ => advice::invites().to_owned(),
        }
    }
}

/// Which ranges a network may have, by what a person says of public ones.
#[must_use]
pub const fn ranges(allow_public: bool) -> Ranges {
    if allow_public {
        Ranges::Any
    } else {
        Ranges::Private
    }
}

/// A network whose members promise what this node does not take part in is not joined.
///
/// # Errors
/// This node does not take part in it.
pub fn check_contract(node: &NodeHandle, contract: &ContentId) -> Outcome {
    if node.takes_part_in(contract) {
        return Ok(());
    }
    let name = texts::by_id(contract).map_or("a promise unknown to this version", |p| p.name);
    Err(Failure::refused(format!(
        "the members of this network promise {contract} ({name}), which is not in the accept list \
         of {}; read it, and add it there if you agree",
        node.home().config().display()
    )))
}

/// Checks what could be in the way on this machine, and chooses the port. `waits_at` is the port of a network of that
/// name that is about to be replaced.
///
/// # Errors
/// What is in the way.
pub async fn prepare(
    node: &NodeHandle,
    net: &NetworkName,
    interface: InterfaceOptions,
    port: Option<NonZeroU16>,
    adopt: bool,
    waits_at: Option<u16>,
) -> Outcome<(u16, Reservation)> {
    let mut taken = node.taken().await?;
    taken.ports.retain(|port| Some(*port) != waits_at);
    if let Some(error) = taken.broken.get(net.as_str()) {
        return Err(Failure::refused(format!(
            "there is a network \"{net}\" that could not be started: {error}; move {} away to use \
             the name anew",
            node.home().nets().join(net.as_str()).display()
        )));
    }
    // Its own interface of that name would be called a stranger's.
    if waits_at.is_none() && taken.names.iter().any(|name| name == net) {
        return Err(CommandError::NameTaken(net.clone()).into());
    }
    node.check_interface(net.clone(), interface, adopt).await?;
    node.reserve(port, &taken)
}

/// Waits until the interface is there and a member answers, at least until `deadline`.
///
/// # Errors
/// The interface could not be made, or no member answered. This node is in the network all the same.
pub async fn finish(
    node: &NodeHandle,
    net: NetworkName,
    listen_port: u16,
    reply: Reply,
    deadline: Instant,
    progress: &Progress,
) -> Outcome<JoinedReport> {
    let Reply::Joined {
        network, members, ..
    } = reply
    else {
        return Err(unexpected());
    };
    node.settled().await;
    let status = node.interface_status(&network);
    if let Some(problem) = status.problem {
        return Err(Failure::failed(format!(
            "this node is in \"{net}\" now, but its interface could not be made: {problem}; it is \
             tried again every 30 seconds, {}",
            advice::ends(&net)
        )));
    }
    let answering = match members {
        0 => 0,
        _ => {
            let deadline = deadline.max(Instant::now() + AT_LEAST);
            let answered = with_patience(
                first_answer(node, network, deadline),
                progress.clone(),
                waiting::for_an_answer(&net),
            );
            match answered.await? {
                0 => return Err(nobody_answered(node, &net, members).await),
                answering => answering,
            }
        }
    };
    // By now it may have moved to another address, as somebody else's claim to the first was older.
    let here = here(node, &network).await?;
    Ok(JoinedReport {
        network: net.to_string(),
        admission: here
            .as_ref()
            .map(|here| here.admission.clone())
            .unwrap_or_default(),
        id: network.to_string(),
        interface: net.to_string(),
        backend: status.backend.unwrap_or_default(),
        listen_port,
        addresses: here.map(|here| here.addresses).unwrap_or_default(),
        members,
        answering,
    })
}

/// What is to be said of a network by now. `None` if it was left meanwhile.
async fn here(node: &NodeHandle, network: &NetworkId) -> Outcome<Option<NetworkReport>> {
    let id = network.to_string();
    let networks = node.status().await?.networks;
    Ok(networks.into_iter().find(|here| here.id == id))
}

/// Waits until a handshake with a member is complete; how many are then. 0: none until `deadline`.
///
/// # Errors
/// This node was put out meanwhile: by somebody who had heard more than the member that let it in.
async fn first_answer(node: &NodeHandle, network: NetworkId, deadline: Instant) -> Outcome<usize> {
    let mut asked = Instant::now();
    loop {
        let observed = node.measure().await;
        let answering = observed.get(&network).map_or(0, |peers| {
            peers
                .values()
                .filter(|peer| peer.latest_handshake.is_some())
                .count()
        });
        if answering > 0 || Instant::now() >= deadline {
            // The core may choose another path by it.
            node.measured(observed).await;
            return Ok(answering);
        }
        if asked.elapsed() >= ASK {
            asked = Instant::now();
            put_out(here(node, &network).await?)?;
        }
        sleep(LOOK).await;
    }
}

/// Runs `work`, and says what it waits for if it takes long.
pub async fn with_patience<T>(
    work: impl Future<Output = T>,
    progress: Progress,
    what: String,
) -> T {
    tokio::pin!(work);
    tokio::select! {
        done = &mut work => return done,
        () = sleep(waiting::PATIENCE) => {}
    }
    // Whoever waited may have gone.
    let _ = progress.send(what).await;
    work.await
}

/// Whoever was put out waits for nobody.
fn put_out(here: Option<NetworkReport>) -> Outcome {
    match here {
        Some(here) if here.standing == "expelled" => Err(Failure::refused(format!(
            "\"{}\" was joined, and then a member that knows more put this node out: {}",
            here.name,
            here.why.as_deref().unwrap_or("it is no member")
        ))),
        _ => Ok(()),
    }
}

async fn nobody_answered(node: &NodeHandle, net: &NetworkName, members: usize) -> Failure {
    let status = node.status().await.unwrap_or_default();
    let contradicted = status.clock.and_then(|clock| clock.contradicted());
    let why = contradicted.unwrap_or_else(|| "a firewall may drop WireGuard's UDP packets".into());
    let network = status.network(net.as_str());
    let tried: Vec<String> = network
        .into_iter()
        .flat_map(|network| &network.peers)
        .take(5)
        .map(|peer| match &peer.endpoint {
            Some(endpoint) => format!("{} at {endpoint}", peer.name),
            None => format!("{}, of which no endpoint is known", peer.name),
        })
        .collect();
    let text = format!(
        "this node is in \"{net}\" now, but none of the {members} other members answered through \
         WireGuard in time; tried: {}. It keeps trying: {}; {why}",
        tried.join(", "),
        advice::see_status_of(net)
    );
    Failure::new(Exit::TimedOut, text)
}

/// The core answered what its command cannot come to.
#[must_use]
pub fn unexpected() -> Failure {
    Failure::failed("the server got an answer that it does not know; please report this")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_joined_and_reached_nobody_is_not_told_to_invite() {
        let report = JoinedReport {
            network: "foo".to_owned(),
            id: "bafy".to_owned(),
            interface: "foo".to_owned(),
            backend: "userspace".to_owned(),
            listen_port: 51820,
            addresses: vec!["10.9.0.1/16".to_owned()],
            admission: "invite".to_owned(),
            members: 0,
            answering: 0,
        };
        let shown = |how| {
            let mut out = Vec::new();
            report.show(how, &mut out).unwrap();
            String::from_utf8(out).unwrap()
        };
        let joined = shown("joined");
        assert!(joined.contains("none was reached yet"), "{joined}");
        assert!(joined.contains("`grid status foo`"), "{joined}");
        assert!(!joined.contains("invite"), "{joined}");
        assert!(shown("founded").contains("no other members yet; `grid invite`"));
    }

    #[test]
    fn who_was_put_out_waits_for_no_answer() {
        let here = |standing: &str| {
            Some(NetworkReport {
                name: "foo".to_owned(),
                standing: standing.to_owned(),
                why: Some("the invite was closed".to_owned()),
                ..NetworkReport::default()
            })
        };
        assert!(put_out(here("member")).is_ok());
        assert!(put_out(here("joining")).is_ok());
        assert!(put_out(None).is_ok());
        let failure = put_out(here("expelled")).unwrap_err();
        assert_eq!(failure.exit, Exit::Refused);
        assert!(
            failure.text.contains("the invite was closed"),
            "{failure:?}"
        );
    }
}
