//! Everything that can happen to a node.
//!
//! The set is closed: what is not here cannot influence the core. Time and entropy are arguments of
//! [`Core::handle`](crate::core::Core::handle), not inputs.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use ipnet::{IpNet, Ipv4Net};

use crate::content_id::ContentId;
use crate::core::error::CommandError;
use crate::core::record::{NetworkRecord, WrittenTime};
use crate::network::address;
use crate::network::carried::Carried;
use crate::network::charter::AdmissionRule;
use crate::network::code::Code;
use crate::network::ids::NetworkId;
use crate::network::invite::Invite;
use crate::network::name::NetworkName;
use crate::network::recovery::RecoveryKey;
use crate::network::rules::Action;
use crate::time::Timestamp;
use grid_keys::NodeId;
use grid_keys::WgPublicKey;

/// Names a request of this node, until its response comes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RequestId(pub u64);

/// Names a request of another node that waits for this node's response. Made by the driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ReplyTo(pub u64);

/// Names a command that waits for its outcome. Made by the driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(pub u64);

/// What happened.
#[allow(missing_docs)] // Fields are named for what they are.
#[derive(Debug)]
pub enum Input {
    /// The moment that [`Core::next_timer`](crate::core::Core::next_timer) named has come.
    Tick,
    /// The node starts. Given before anything else; without it, the machine's clock goes with the timers.
    Start {
        /// What the machine's clock shows.
        shown: Timestamp,
        /// What this node wrote down of the time.
        written: WrittenTime,
    },
    /// What the machine's clock shows; given when it did not go on as timers do.
    Clock { shown: Timestamp },
    /// A network was found on disk. Given once for each, before anything else but the start.
    Restore(Box<NetworkRecord>),
    /// A node that a person made a peer of this one, or that was one before the restart.
    KnownPeer {
        node: NodeId,
        /// Where its QUIC was reached.
        addrs: Vec<SocketAddr>,
    },
    /// What the host is like; given at start and whenever it changes.
    Host(HostFacts),
    /// Whether what this node decides can be written down; at first it can. While it cannot, this node decides
    /// nothing of its own accord, and lives by what it wrote down before.
    Memory { works: bool },
    /// The program is about to end: what waits to be stored is stored now.
    Stop,
    /// A connection to this node stands.
    Connected {
        /// Who is at its other end, proved by TLS.
        peer: NodeId,
        /// Where its packets come from.
        remote: SocketAddr,
        /// Whether this node dialled.
        outgoing: bool,
    },
    /// The connection to this node is gone.
    Disconnected {
        /// Who was at its other end.
        peer: NodeId,
    },
    /// A [`Connect`](crate::core::Effect::Connect) came to nothing.
    ConnectFailed { peer: NodeId },
    /// Another node asks. Answered by exactly one [`Respond`](crate::core::Effect::Respond).
    Request {
        peer: NodeId,
        /// The message, as received.
        message: Vec<u8>,
        /// What to answer to.
        reply: ReplyTo,
    },
    /// The answer to a [`Request`](crate::core::Effect::Request), or that there is none.
    Response {
        request: RequestId,
        /// The message as received; `None` when the stream, the connection or the time ran out.
        message: Option<Vec<u8>>,
    },
    /// What WireGuard measured.
    Tunnel {
        /// The network whose interface it is.
        network: NetworkId,
        /// Every peer of the interface.
        peers: BTreeMap<WgPublicKey, PeerObservation>,
    },
    /// What a judge answered to a [`Judge`](crate::core::Effect::Judge).
    Judged {
        network: NetworkId,
        /// Which judge: the content id of its code.
        judge: ContentId,
        /// Its answer as it gave it, or why there is none.
        answer: Result<Vec<u8>, String>,
    },
    /// A person wants something. Answered by exactly one [`Done`](crate::core::Effect::Done).
    Command {
        command: Box<Command>,
        /// What to answer to.
        ticket: Ticket,
    },
}

/// What the core needs to know of the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostFacts {
    /// Addresses of this machine that others may reach: no loopback, no link-local, none of the
    /// grid's own interfaces.
    pub addresses: BTreeSet<IpAddr>,
    /// Directly connected prefixes, without those of the grid's own interfaces.
    pub connected: BTreeSet<IpNet>,
    /// Where a person said that this node's QUIC can be reached.
    pub fixed_quic: Vec<SocketAddr>,
    /// Where this node's QUIC listens: for `0.0.0.0` at all IPv4 addresses, for `[::]` at all of both
    /// families.
    pub quic: SocketAddr,
}

impl Default for HostFacts {
    /// A machine without addresses.
    fn default() -> Self {
        Self {
            addresses: BTreeSet::new(),
            connected: BTreeSet::new(),
            fixed_quic: Vec::new(),
            quic: SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), 0),
        }
    }
}

impl HostFacts {
    /// The addresses at which this node's QUIC can be reached without a NAT.
    pub(crate) fn local_quic(&self) -> impl Iterator<Item = SocketAddr> {
        let listens_at = |ip: &&IpAddr| match self.quic.ip() {
            IpAddr::V4(Ipv4Addr::UNSPECIFIED) => ip.is_ipv4(),
            IpAddr::V6(Ipv6Addr::UNSPECIFIED) => true,
            one => one == **ip,
        };
        let port = self.quic.port();
        let at = self.addresses.iter().filter(listens_at);
        at.map(move |ip| SocketAddr::new(*ip, port))
    }
}

/// What WireGuard measured about one peer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PeerObservation {
    /// When the last handshake was completed.
    pub latest_handshake: Option<Timestamp>,
    /// Where its packets come from.
    pub endpoint: Option<SocketAddr>,
    /// Bytes received.
    pub rx_bytes: u64,
    /// Bytes sent.
    pub tx_bytes: u64,
}

/// What a person wants.
#[allow(missing_docs)] // Fields are named for what they are.
#[derive(Debug)]
pub enum Command {
    /// Found a network and join it.
    Create {
        name: NetworkName,
        /// Its IPv4 range; a random one that is not connected here if `None`.
        ipv4: Option<Ipv4Net>,
        /// Which ranges it may have.
        ranges: Ranges,
        /// How nodes become members.
        admission: AdmissionRule,
        /// The public half of the key that is above every owner.
        recovery: Option<NodeId>,
        /// The port that its WireGuard listens on.
        listen_port: u16,
    },
    /// Join a network.
    Join {
        name: NetworkName,
        with: JoinWith,
        /// Which ranges it may have.
        ranges: Ranges,
        /// The port that its WireGuard listens on.
        listen_port: u16,
        /// How long to wait for another node before the command is answered.
        wait: Duration,
    },
    /// Withdraw the promise and forget the network, but for what is needed to join it again.
    Leave {
        name: NetworkName,
        /// Also as the only owner that others have.
        anyway: bool,
    },
    /// Make an invite.
    Invite {
        name: NetworkName,
        /// How long it can be used.
        life: Duration,
        uses: u32,
        /// Where joiners should look for this node, before its own addresses.
        endpoints: Vec<SocketAddr>,
    },
    /// Promise to route a prefix.
    Promise { name: NetworkName, prefix: IpNet },
    /// Take that promise back.
    Withdraw { name: NetworkName, prefix: IpNet },
    /// Accept or reject promises of others.
    SetRule {
        name: NetworkName,
        /// `accept` or `reject`, the prefix.
        action: Action,
        prefix: IpNet,
        /// Whose: a node id, the unique beginning of one, or a label; everybody's if `None`, which
        /// only a rejection may say.
        from: Option<String>,
    },
    /// Appoint a judge of what members promise, or dismiss it.
    SetJudge {
        name: NetworkName,
        /// The content id of its code; `None` for no judge.
        judge: Option<ContentId>,
    },
    /// Admit a node by an owner's signature: one that asked or, by its id or code, one that will.
    Approve {
        name: NetworkName,
        /// A node id, the unique beginning of one, a code, or a label.
        node: String,
        /// Only say who would be back with it.
        only_say: bool,
    },
    /// Forget a code that was accepted before its node asked.
    ForgetCode { name: NetworkName, code: Code },
    /// The same for one node, as text to carry to it.
    PrintAdmission {
        name: NetworkName,
        /// As of [`Approve`](Self::Approve); of a node that does not ask, its id.
        node: String,
    },
    /// Make a member an owner, below this node.
    Appoint {
        name: NetworkName,
        /// A node id, the unique beginning of one, or a label.
        node: String,
        /// Only say who would be back with it.
        only_say: bool,
    },
    /// End the offices of an owner below this node.
    Dismiss {
        name: NetworkName,
        dismissal: Dismissal,
    },
    /// Make this node an owner, with the key that is above every owner.
    Recover { name: NetworkName, key: RecoveryKey },
    /// Say what the owners did.
    Acts { name: NetworkName },
    /// Say which invites there are.
    Invites { name: NetworkName },
    /// Close an invite.
    CloseInvite {
        name: NetworkName,
        /// Its id, or the unique beginning of it.
        invite: String,
        /// Who stays all the same.
        keep: Keep,
        /// Only say what would follow.
        only_say: bool,
    },
    /// Withdraw a node's admission, and those of all that came from it.
    Revoke {
        name: NetworkName,
        /// A node id, the unique beginning of one, or a label.
        node: String,
        /// Who stays all the same.
        keep: Keep,
        /// Only say what would follow.
        only_say: bool,
    },
}

/// How an owner is dismissed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dismissal {
    /// Whom: a node id, the unique beginning of one, or a label.
    pub node: String,
    /// What of its acts counts.
    pub cut: Cut,
    /// Who decides in its place about those that it appointed. With the recovery key this node, if nobody is named.
    pub heir: Option<String>,
    /// The recovery key, if it is that key which dismisses and not an office of this node.
    pub recovery: Option<RecoveryKey>,
    /// Whether it stays a member.
    pub stays: bool,
    /// Who stays that came in by its word alone.
    pub keep: Keep,
    /// Whether what becomes void is done once more, by the office that dismisses.
    pub restate: bool,
    /// Only say what would follow.
    pub only_say: bool,
}

/// Up to where the acts of a dismissed owner count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cut {
    /// All that this node knows.
    Now,
    /// None.
    Nothing,
    /// Up to this one: its id in hexadecimal, or the unique beginning of it, of 4 characters or more.
    After(String),
}

/// Who stays when the node goes that they came in by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Keep {
    /// Nobody.
    Nobody,
    /// All of them.
    Guests,
    /// These: node ids, unique beginnings of ones, or labels.
    These(Vec<String>),
}

impl Command {
    /// Whether it is an act of an owner.
    #[must_use]
    pub const fn is_act(&self) -> bool {
        matches!(
            self,
            Self::Approve { .. }
                | Self::Appoint { .. }
                | Self::Dismiss { .. }
                | Self::Recover { .. }
                | Self::CloseInvite { .. }
                | Self::Revoke { .. }
        )
    }

    /// The network that it is about.
    #[must_use]
    pub const fn network(&self) -> &NetworkName {
        match self {
            Self::Create { name, .. }
            | Self::Join { name, .. }
            | Self::Leave { name, .. }
            | Self::Invite { name, .. }
            | Self::Promise { name, .. }
            | Self::Withdraw { name, .. }
            | Self::SetRule { name, .. }
            | Self::SetJudge { name, .. }
            | Self::Approve { name, .. }
            | Self::ForgetCode { name, .. }
            | Self::PrintAdmission { name, .. }
            | Self::Appoint { name, .. }
            | Self::Dismiss { name, .. }
            | Self::Recover { name, .. }
            | Self::Acts { name }
            | Self::Invites { name }
            | Self::CloseInvite { name, .. }
            | Self::Revoke { name, .. } => name,
        }
    }
}

/// Which ranges a network may have that a node founds or joins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ranges {
    /// Those that nobody has on the internet. With another, whoever is in the network cannot reach those who have
    /// it there, and a member answers in their place.
    #[default]
    Private,
    /// Any: a person said so.
    Any,
}

impl Ranges {
    /// Whether a network may have this range.
    ///
    /// # Errors
    /// [`CommandError::PublicRange`].
    pub fn check(self, name: &NetworkName, range: Ipv4Net) -> Result<(), CommandError> {
        match self {
            Self::Private if !address::is_private(range) => Err(CommandError::PublicRange {
                name: name.clone(),
                range,
            }),
            Self::Private | Self::Any => Ok(()),
        }
    }
}

/// What a node joins with.
#[derive(Debug)]
pub enum JoinWith {
    /// An invite.
    Invite(Box<Invite>),
    /// The admission of this node, which a person carried.
    Admission(Box<Carried>),
    /// Nothing: known peers are asked for a network of that name, and one that this node left is
    /// joined again.
    Peers,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quic_is_offered_where_it_listens() {
        let offered = |quic: &str| -> Vec<String> {
            let host = HostFacts {
                addresses: ["192.0.2.1", "198.51.100.1", "2001:db8::1"]
                    .map(|ip| ip.parse().unwrap())
                    .into(),
                quic: quic.parse().unwrap(),
                ..HostFacts::default()
            };
            host.local_quic().map(|addr| addr.to_string()).collect()
        };
        let v4 = ["192.0.2.1:7", "198.51.100.1:7"];
        assert_eq!(offered("[::]:7"), [v4[0], v4[1], "[2001:db8::1]:7"]);
        assert_eq!(offered("0.0.0.0:7"), v4);
        assert_eq!(offered("198.51.100.1:7"), ["198.51.100.1:7"]);
        assert!(offered("127.0.0.1:7").is_empty());
    }
}
