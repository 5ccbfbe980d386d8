//! Everything that a node wants done.
//!
//! The set is closed, and the order in the queue is the order in which effects are carried out: a
//! claim is on disk before WireGuard is configured with it and before anybody is told of it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use ipnet::IpNet;
use zeroize::Zeroizing;

use crate::content_id::ContentId;
use crate::core::error::CommandError;
use crate::core::expulsion::Expulsion;
use crate::core::input::{ReplyTo, RequestId, Ticket};
use crate::core::record::{Change, WrittenTime};
use crate::core::status::{Elsewhere, InviteStatus};
use crate::network::accept::Objection;
use crate::network::act::{ActId, Action};
use crate::network::code::Code;
use crate::network::ids::NetworkId;
use crate::network::judgement::Reason;
use crate::network::name::{Label, NetworkName};
use crate::time::Timestamp;
use grid_keys::NodeId;
use grid_keys::{PresharedKey, WgPublicKey, WgSecretKey};

/// What is to be done.
#[allow(missing_docs)] // Fields are named for what they are.
#[derive(Debug, PartialEq)]
pub enum Effect {
    /// Dial a node. Answered by `Connected` or `ConnectFailed`.
    Connect {
        /// Whom; the connection is refused if another key answers.
        peer: NodeId,
        /// Where to try, best first.
        addrs: Vec<SocketAddr>,
    },
    /// These are the nodes that this one knows, in place of those that it knew before: they find a place among the
    /// connections whatever strangers do.
    Know(BTreeSet<NodeId>),
    /// Close the connection to a node, if there is one.
    Disconnect { peer: NodeId, why: Parting },
    /// Ask a node. Answered by one `Response`.
    Request {
        id: RequestId,
        peer: NodeId,
        /// The encoded message.
        message: Vec<u8>,
    },
    /// Answer a node's request.
    Respond {
        to: ReplyTo,
        /// The encoded message.
        message: Vec<u8>,
    },
    /// Make a change on disk durable.
    Store {
        network: NetworkId,
        /// The folder's name.
        name: NetworkName,
        change: Change,
    },
    /// Write that down of the time. May be lost.
    WriteTime(WrittenTime),
    /// Bring WireGuard to this state; take the interface down if `None`.
    Configure {
        network: NetworkId,
        /// The interface's name.
        name: NetworkName,
        /// The wanted state.
        tunnel: Option<Box<Tunnel>>,
    },
    /// Ask a judge. Answered by one [`Judged`](crate::core::Input::Judged).
    Judge {
        network: NetworkId,
        /// The content id of its code.
        judge: ContentId,
        /// The encoded [`Records`](crate::network::records::Records).
        records: Vec<u8>,
    },
    /// A command came to its end.
    Done {
        ticket: Ticket,
        outcome: Result<Reply, CommandError>,
    },
    /// Something that people should be able to read in the log.
    Notice(Notice),
}

/// Why this node closes a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parting {
    /// Nothing is shared any more.
    NotNeeded,
    /// The node was revoked.
    Revoked,
    /// The node sent what no correct node sends.
    Misbehaved,
}

/// The wanted state of one WireGuard interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tunnel {
    /// This node's key.
    pub private_key: WgSecretKey,
    /// The UDP port.
    pub listen_port: u16,
    /// This node's addresses, with the lengths of the network's prefixes.
    pub addresses: BTreeSet<IpNet>,
    /// Prefixes beyond the network's own that lead into the interface.
    pub routes: BTreeSet<IpNet>,
    /// The peers.
    pub peers: BTreeMap<WgPublicKey, TunnelPeer>,
}

/// The wanted state of one WireGuard peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TunnelPeer {
    /// The key that both derive.
    pub preshared_key: PresharedKey,
    /// Where to send first; `None` leaves what WireGuard learned.
    pub endpoint: Option<SocketAddr>,
    /// What it is believed to answer for.
    pub allowed_ips: BTreeSet<IpNet>,
    /// Seconds between keepalives; 0 for none.
    pub keepalive: u16,
}

/// What a command achieved.
#[allow(missing_docs)] // Fields are named for what they are.
#[derive(Debug, PartialEq)]
pub enum Reply {
    /// The network was founded or joined.
    Joined {
        network: NetworkId,
        /// Its IPv4 range and this node's address in it.
        ipv4: (ipnet::Ipv4Net, Ipv4Addr),
        /// Its IPv6 prefix and this node's address in it.
        ipv6: (ipnet::Ipv6Net, Ipv6Addr),
        /// How many other members there are.
        members: usize,
    },
    /// The network was left.
    Left {
        /// How many connected members were told and confirmed it.
        told: usize,
    },
    /// An invite, as text. Wiped when dropped.
    Invite(Zeroizing<String>),
    /// The admission of a node, as text to carry to it.
    Admission(String),
    /// What owners did, as far as it is known, and whether it counts; the latest first.
    Acts(Vec<(Undone, bool)>),
    /// The invites that are known; the latest first.
    Invites(Vec<InviteStatus>),
    /// An invite was closed, or would be.
    Closed {
        invite: NodeId,
        /// Members whose use of it nobody saw who counts go.
        affected: Affected,
    },
    /// It is so now.
    Changed,
    /// A node was admitted or appointed, or would be.
    Raised {
        node: NodeId,
        /// Those who came by it are back.
        affected: Affected,
    },
    /// Whoever asks with this code within an hour is admitted.
    Expected(Code),
    /// It was so already; nothing changed.
    Unchanged,
    /// An owner was dismissed, or would be.
    Dismissed {
        node: NodeId,
        /// The owner whose admission by name keeps it a member; `None` if it is no member any longer.
        named_by: Option<NodeId>,
        /// What counted and does not any longer; revocations first.
        void: Vec<Undone>,
        /// Members that came in by its word alone go.
        affected: Affected,
    },
    /// A node was revoked.
    Revoked {
        node: NodeId,
        /// The invite that it came by, if this closes it.
        closed: Option<NodeId>,
        /// Members that came from it go with it.
        affected: Affected,
    },
}

/// Whom an owner's acts affect beside the one they are about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Affected {
    /// Members that go.
    pub gone: Vec<NodeId>,
    /// Those that would go and stay, admitted by name.
    pub kept: Vec<NodeId>,
    /// Members that stay, and of whom the last evidence goes: until somebody has seen them again, anybody's claim to their
    /// address is as good as theirs.
    pub unseen: Vec<NodeId>,
    /// Nodes that were put out, or whose admission did not hold, and are members again.
    pub back: Vec<NodeId>,
}

/// An act of an owner, such as one that counts no longer.
#[allow(missing_docs)] // Fields are named for what they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Undone {
    pub act: ActId,
    pub owner: NodeId,
    pub action: Action,
    /// When its owner says that it did it.
    pub issued: Timestamp,
}

/// What people should be able to read in the log.
#[allow(missing_docs)] // Fields are named for what they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// A node became a member.
    MemberJoined {
        name: NetworkName,
        node: NodeId,
        /// What it calls itself.
        label: Label,
        address: Ipv4Addr,
    },
    /// A node is no longer a member.
    MemberGone {
        name: NetworkName,
        node: NodeId,
        why: Departure,
    },
    /// This node's address belongs to another, whose evidence is older; it takes the next one.
    AddressMoved {
        name: NetworkName,
        /// The address that was lost.
        from: Ipv4Addr,
        to: Ipv4Addr,
        /// Who holds the old one.
        holder: NodeId,
    },
    /// Another machine uses this node's key.
    KeyElsewhere {
        name: NetworkName,
        elsewhere: Elsewhere,
    },
    /// The machine's clock went back, so that members would take no handshake: this node has another WireGuard key.
    KeyRenewed { name: NetworkName },
    /// The range has no free address.
    RangeFull {
        name: NetworkName,
        range: ipnet::Ipv4Net,
    },
    /// This node is no longer a member.
    Expelled { name: NetworkName, why: Expulsion },
    /// A promise is not believed.
    PromiseRefused {
        name: NetworkName,
        node: NodeId,
        prefix: IpNet,
        objection: Objection,
    },
    /// The judge of a network did not speak; it will be asked again.
    JudgeFailed { name: NetworkName, why: Reason },
    /// A peer sent something that does not hold.
    BadMessage {
        peer: NodeId,
        /// What is wrong with it.
        why: String,
    },
    /// A node does not do what this one asked.
    Refused {
        peer: NodeId,
        /// Why, in its words.
        why: String,
    },
    /// A node asks to be admitted; an owner decides.
    AdmissionAsked {
        name: NetworkName,
        node: NodeId,
        /// What it calls itself.
        label: Label,
        /// The code that it shows too.
        code: Code,
    },
}

/// Why a node is no longer a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Departure {
    /// It did not renew its promise in time.
    Lapsed,
    /// It withdrew its promise.
    Left,
    /// An owner named it.
    Revoked,
    /// Its admission depended on somebody or something that is gone.
    NotAdmitted,
}

impl fmt::Display for Departure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Lapsed => "its promise lapsed",
            Self::Left => "it left",
            Self::Revoked => "it was revoked",
            Self::NotAdmitted => "its admission does not hold any longer",
        })
    }
}
