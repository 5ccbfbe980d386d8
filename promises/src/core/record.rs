//! What a node keeps on disk about one network.
//!
//! Secrets are in fields of secret types; the driver writes each part to its own file.

use crate::content_id::ContentId;
use crate::network::act::ActId;
use crate::network::admission::RawLink;
use crate::network::charter::Charter;
use crate::network::code::Code;
use crate::network::history::NewEntry;
use crate::network::ids::NetworkId;
use crate::network::invite::Bootstrap;
use crate::network::name::NetworkName;
use crate::network::rules::Rule;
use crate::network::statement::Signed;
use crate::time::Timestamp;
use grid_keys::NodeId;
use grid_keys::Secret;
use grid_keys::WgSecretKey;

/// Everything about one network.
#[derive(Clone, Debug, PartialEq)]
pub struct NetworkRecord {
    /// The charter.
    pub charter: Signed<Charter>,
    /// The network's secret; `None` in networks that do not admit by invite.
    pub secret: Option<Secret<32>>,
    /// This node's WireGuard key; `None` in a network that it left.
    pub private_key: Option<WgSecretKey>,
    /// The port that its WireGuard listens on.
    pub listen_port: u16,
    /// How this node became a member; `None` while it waits for an owner.
    pub admission: Option<Vec<RawLink>>,
    /// This node's last promise, as signed. Holds its claim and its sequence number.
    pub promise: Option<Vec<u8>>,
    /// Statements of others, and revocations, as they were given to be kept: [sealed](crate::network::sealed), or as
    /// they were signed.
    pub statements: Vec<Vec<u8>>,
    /// Rules of acceptance, oldest first.
    pub rules: Vec<Rule>,
    /// The judge: the content id of its code.
    pub judge: Option<ContentId>,
    /// Codes that a person accepted before their nodes asked.
    pub expected: Vec<Expected>,
    /// Invites that this node made.
    pub issued: Vec<Issued>,
    /// Nodes to connect to while no member is known.
    pub bootstrap: Vec<Bootstrap>,
    /// Acts of owners that its invite named, and that have not come in.
    pub awaited: Vec<ActId>,
}

impl NetworkRecord {
    /// The network's name.
    #[must_use]
    pub fn name(&self) -> &NetworkName {
        &self.charter.name
    }

    /// The network.
    #[must_use]
    pub const fn network(&self) -> NetworkId {
        self.charter.network()
    }

    /// Whether this node left it.
    #[must_use]
    pub const fn is_left(&self) -> bool {
        self.private_key.is_none()
    }
}

/// A code that a person accepted, as an owner, before its node asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expected {
    /// The code.
    pub code: Code,
    /// When it is forgotten.
    pub until: Timestamp,
}

/// An invite that this node made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Issued {
    /// The public half of its key.
    pub invite: NodeId,
    /// How many nodes it may admit.
    pub uses: u32,
    /// When it was made.
    pub issued: Timestamp,
    /// When it can be used no longer.
    pub expires: Timestamp,
}

/// What a node writes down of the time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WrittenTime {
    /// What it believed last.
    pub believed: Option<Timestamp>,
    /// The latest time that the machine's clock has shown since this node made WireGuard keys.
    pub shown: Option<Timestamp>,
}

/// A change of what is on disk. Each is durable before the effects behind it are carried out.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// A new network, or one that was left and is joined again: write all of it, atomically.
    Network(Box<NetworkRecord>),
    /// This node has another WireGuard key.
    PrivateKey(WgSecretKey),
    /// This node's promise, as signed.
    Promise(Vec<u8>),
    /// How this node became a member.
    Admission(Vec<RawLink>),
    /// The statements of others, [sealed](crate::network::sealed). May be written late: they can be had again.
    Statements(Vec<Vec<u8>>),
    /// What decides about promises.
    Rules {
        /// Rules of acceptance, oldest first.
        rules: Vec<Rule>,
        /// The judge: the content id of its code.
        judge: Option<ContentId>,
    },
    /// The codes that a person accepted before their nodes asked.
    Expected(Vec<Expected>),
    /// The invites that this node made. May be lost: they hold all the same.
    Issued(Vec<Issued>),
    /// The acts of owners that have not come in.
    Awaited(Vec<ActId>),
    /// A decision, for the history: to be put behind those before. May be lost in a power cut.
    History(NewEntry),
    /// The network was left: wipe the WireGuard key, rules, history and statements; keep charter, secret,
    /// admission, last promise and these nodes, which are needed to join again.
    Left(Vec<Bootstrap>),
    /// The network is as if it had never been.
    Removed,
}
