//! What is known of the networks of a node, as `status` tells it and `--json` prints it.
//!
//! The fields that `docs/cli.md` names are stable; others may come.

use std::collections::BTreeMap;

use grid_promises::limits::CLOCK_SKEW;
use grid_promises::network::name::NetworkName;
use serde::{Deserialize, Serialize};

use crate::advice;
use crate::exit::{Failure, Outcome};
use crate::values::units::span;

/// The networks of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusReport {
    /// This node.
    pub node: String,
    /// The networks that this node is in, or tries to be.
    pub networks: Vec<NetworkReport>,
    /// Networks that this node left and can join again by name.
    pub left: Vec<String>,
    /// Networks that could not be started.
    pub broken: Vec<BrokenReport>,
    /// The folder of this node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub home: Option<String>,
    /// Why the home takes no changes, if it takes none: then nothing is done that would have to be written down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unwritable: Option<String>,
    /// What time it is; `None` without a server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock: Option<ClockReport>,
}

/// What time a node believes it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClockReport {
    /// What it believes, in Unix time.
    pub believed: u64,
    /// By how many seconds the machine's clock is ahead of that.
    pub ahead: i64,
    /// Whether members confirmed it, or the clock stood for a day.
    pub confirmed: bool,
    /// By how many seconds it is ahead of what connected members say, if nobody says what is believed.
    pub ahead_of_members: Option<i64>,
}

impl ClockReport {
    /// Whether the machine's clock is wrong.
    #[must_use]
    pub const fn is_wrong(&self) -> bool {
        self.ahead.unsigned_abs() > CLOCK_SKEW.as_secs()
    }

    /// What members say against the time that the node believes, and what to do; `None` if they do not.
    #[must_use]
    pub fn contradicted(&self) -> Option<String> {
        let ahead = self.ahead_of_members?;
        let way = if ahead > 0 { "earlier" } else { "later" };
        Some(format!(
            "members say that it is {} {way} than this machine's clock shows, and may refuse what this node promises; {}",
            span(ahead.unsigned_abs()),
            advice::sets_the_clock()
        ))
    }
}

impl StatusReport {
    /// The network of this name, if this node is in it.
    #[must_use]
    pub fn network(&self, name: &str) -> Option<&NetworkReport> {
        self.networks.iter().find(|network| network.name == name)
    }

    /// Leaves out all but one network.
    ///
    /// # Errors
    /// [`Exit::Failed`](crate::exit::Exit::Failed) when this node is not in it.
    pub fn only(&mut self, net: &NetworkName) -> Outcome {
        self.networks.retain(|network| network.name == net.as_str());
        self.broken.retain(|broken| broken.name == net.as_str());
        self.left.retain(|left| left == net.as_str());
        if !self.networks.is_empty() || !self.broken.is_empty() {
            return Ok(());
        }
        Err(Failure::failed(if self.left.is_empty() {
            format!(
                "this node is not in a network \"{net}\"; {}",
                advice::lists_those_it_is_in()
            )
        } else {
            format!("this node left \"{net}\"; {}", advice::joins_again(net))
        }))
    }

    /// The networks whose addresses are to be on an interface and are not.
    pub fn down(&self) -> impl Iterator<Item = &NetworkReport> {
        self.networks
            .iter()
            .filter(|network| network.is_due() && !network.up)
    }

    /// Which addresses are up and what is missing, in one line.
    #[must_use]
    pub fn in_a_line(&self) -> String {
        let network = |network: &NetworkReport| match (&network.problem, network.up) {
            (_, true) => format!("{} {}", network.name, network.addresses.join(" ")),
            (Some(problem), false) => format!("{} is down: {problem}", network.name),
            (None, false) => format!("{} is {}", network.name, network.standing),
        };
        let broken = |broken: &BrokenReport| format!("{} was not started", broken.name);
        let all: Vec<String> = self
            .networks
            .iter()
            .map(network)
            .chain(self.broken.iter().map(broken))
            .collect();
        if all.is_empty() {
            return "in no network".to_owned();
        }
        all.join("; ")
    }
}

/// A network that could not be started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BrokenReport {
    /// Its name.
    pub name: String,
    /// What is wrong with it.
    pub error: String,
}

/// One network.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkReport {
    /// Its name.
    pub name: String,
    /// The content id of its charter.
    pub id: String,
    /// The name of its WireGuard interface.
    pub interface: String,
    /// Who runs WireGuard, as a word of `--backend`; the wish (`auto`) until that is known.
    pub backend: String,
    /// Why that one.
    pub backend_reason: Option<String>,
    /// The network namespace that the interface is in, if not the server's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub netns: Option<String>,
    /// The UDP port of its WireGuard.
    pub listen_port: u16,
    /// This node's addresses, as far as they are on the interface, with the lengths of the network's
    /// prefixes.
    pub addresses: Vec<String>,
    /// Whether all addresses are on the interface that this host allows; the `hint` names the others.
    pub up: bool,
    /// This node's WireGuard public key.
    pub public_key: Option<String>,
    /// `joining`, `waiting`, `member` or `expelled`.
    pub standing: String,
    /// Why, where that needs a reason.
    pub why: Option<String>,
    /// How nodes become members.
    pub admission: String,
    /// Whether this node is an owner.
    pub owner: bool,
    /// Prefixes that this node promises to route.
    pub promised: Vec<String>,
    /// This node's rules, oldest first.
    pub rules: Vec<String>,
    /// Its judge: the content id of its code.
    pub judge: Option<String>,
    /// A name that stands for it here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub judge_name: Option<String>,
    /// Why the judge did not speak when it was asked last.
    pub judge_failure: Option<String>,
    /// Addresses that this node lost to others since it started.
    pub moves: Vec<MoveReport>,
    /// Whether the charter names a recovery key.
    #[serde(default)]
    pub recovery_key: bool,
    /// Who decides: every office whose appointment counts, seniors first.
    #[serde(default)]
    pub owners: Vec<OwnerReport>,
    /// The code by which an owner admits this node, while it waits for one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// Nodes that ask to be admitted.
    pub asking: Vec<AskingReport>,
    /// Codes that were accepted here before their nodes asked.
    #[serde(default)]
    pub expected: Vec<ExpectedReport>,
    /// Another machine that uses this node's key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub elsewhere: Option<ElsewhereReport>,
    /// How many acts of owners that this node's invite named have not come in.
    #[serde(default)]
    pub awaited: usize,
    /// Why statements that were written down may be missing since the start, and what that comes to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lack: Option<String>,
    /// The owners whose acts have two branches.
    #[serde(default)]
    pub forked: Vec<String>,
    /// Why the interface is not as it should be, or this node has no IPv4 address.
    pub problem: Option<String>,
    /// What on this machine keeps the interface from doing what it should.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// The other members.
    pub peers: Vec<PeerReport>,
    /// What nodes call themselves, members or not. For reports of the server, and in none.
    #[serde(skip)]
    pub labels: BTreeMap<String, String>,
}

impl NetworkReport {
    /// Whether this node is to have addresses here by itself: it does not wait for an owner, and was not
    /// put out.
    #[must_use]
    pub fn is_due(&self) -> bool {
        ["joining", "member"].contains(&self.standing.as_str())
    }
}

/// An owner, by one office.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnerReport {
    /// The node.
    pub node: String,
    /// What it calls itself; empty if that is not known.
    pub name: String,
    /// The office.
    pub office: String,
    /// How far it is from the top.
    pub depth: u32,
    /// The office that made it.
    pub above: Option<String>,
    /// When it was appointed, in Unix time, as its senior says; of the charter's own, none.
    pub since: Option<u64>,
    /// Whether nobody ended it.
    pub live: bool,
    /// How many of its acts count.
    pub acts: usize,
    /// The last of these; of each branch, if there is more than one.
    pub heads: Vec<String>,
}

/// An address that was lost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MoveReport {
    /// When, in Unix time.
    pub at: u64,
    /// The address that was lost.
    pub from: String,
    /// The new one.
    pub to: String,
    /// Who holds the old one.
    pub holder: String,
}

/// A machine that signs as this node, and is not this one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ElsewhereReport {
    /// When it was seen last, in Unix time.
    pub at: u64,
    /// Where it says that it can be reached, without where this node is.
    pub endpoints: Vec<String>,
    /// In a sentence, with what to do.
    pub why: String,
}

/// A node that asks to be admitted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AskingReport {
    /// The node.
    pub node: String,
    /// What it calls itself.
    pub name: String,
    /// Its code, which it shows too.
    #[serde(default)]
    pub code: String,
}

/// A code whose node is admitted once it asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExpectedReport {
    /// The code.
    pub code: String,
    /// Until when it is kept, in Unix time.
    pub until: u64,
}

/// Another member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerReport {
    /// The node.
    pub node: String,
    /// What it calls itself.
    pub name: String,
    /// Its own addresses in the network, whatever prefixes it promises.
    pub addresses: Vec<String>,
    /// Its WireGuard public key.
    pub public_key: String,
    /// Where packets for it go.
    pub endpoint: Option<String>,
    /// How that endpoint came to be known.
    pub path: String,
    /// What WireGuard routes to it.
    pub allowed_ips: Vec<String>,
    /// When the last handshake was completed, in Unix time.
    pub latest_handshake: Option<u64>,
    /// Bytes received from it.
    pub rx_bytes: u64,
    /// Bytes sent to it.
    pub tx_bytes: u64,
    /// The prefixes that it promises.
    pub promised: Vec<String>,
    /// Those that this node accepts.
    pub accepted: Vec<String>,
    /// Those that it does not, and why.
    pub refused: Vec<RefusedReport>,
    /// What was measured.
    pub kept: KeptReport,
    /// Until when its promise stands, in Unix time.
    pub expires: u64,
}

/// A promise that is not accepted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedReport {
    /// The prefix.
    pub prefix: String,
    /// Why not, in words.
    pub why: String,
}

/// What was kept of a member's promise, as measured here.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptReport {
    /// Whether its WireGuard answers; `null` while there is nothing to judge by.
    pub reachable: Option<bool>,
    /// When the last handshake was completed, in Unix time.
    pub latest_handshake: Option<u64>,
    /// Whether a QUIC connection to it stands.
    pub connected: bool,
}
