//! Why a command was not carried out: what and why. What to do about it is for the program to say, which
//! knows its own commands.

use std::net::Ipv4Addr;

use ipnet::{IpNet, Ipv4Net};

use crate::content_id::ContentId;
use crate::core::expulsion::Expulsion;
use crate::core::mesh::expected::MOST as MOST_CODES;
use crate::limits::{INVITE_MAX_LIFE, MAX_ACTS, MAX_PREFIXES};
use crate::network::admission::AdmissionError;
use crate::network::carried::CarriedError;
use crate::network::charter::AdmissionRule;
use crate::network::code::Code;
use crate::network::invite::InviteError;
use crate::network::name::NetworkName;
use crate::network::statement::StatementError;
use grid_keys::NodeId;

/// What kind of failure it is, for exit codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureKind {
    /// It did not work.
    Failed,
    /// It was asked for in a way that cannot work.
    Usage,
    /// A promise or a rule forbids it.
    Refused,
    /// It took too long.
    TimedOut,
}

/// Why a command was not carried out. Unless the text says otherwise, nothing was changed.
#[allow(missing_docs)] // Fields are named for what they are.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// The node is in no network of that name.
    #[error("this node is not in a network \"{0}\"")]
    NoSuchNetwork(NetworkName),
    /// The name is taken.
    #[error("this node is already in a network \"{0}\"")]
    NameTaken(NetworkName),
    /// The invite cannot be used.
    #[error(transparent)]
    Invite(#[from] InviteError),
    /// The invite does not admit this node.
    #[error(transparent)]
    Admission(#[from] AdmissionError),
    /// The statement that it takes cannot be made.
    #[error(transparent)]
    Statement(#[from] StatementError),
    /// The network's range overlaps what this machine is connected to.
    #[error(
        "the network's range {range} overlaps {connected}, which this machine is connected to; \
         joining would cut one of them off"
    )]
    RangeConnected { range: IpNet, connected: IpNet },
    /// The members of the network make a promise that this program does not know.
    #[error(
        "the members of \"{name}\" make the promise {contract}, which this version of grid does not \
         keep; a newer one may"
    )]
    OtherContract {
        name: NetworkName,
        /// The promise in its charter.
        contract: ContentId,
    },
    /// The network's range is not a private one, and nobody said that it may be.
    #[error(
        "the range of \"{name}\", {range}, is not a private one: this machine could no longer reach those who have \
         its addresses on the internet, and members would answer in their place"
    )]
    PublicRange { name: NetworkName, range: Ipv4Net },
    /// The range overlaps that of another network of this node.
    #[error("the range {range} overlaps that of the network \"{other}\", which this node is in")]
    RangeTaken { range: Ipv4Net, other: NetworkName },
    /// The range cannot be a network's.
    #[error("{range} cannot be a network's range: {why}")]
    BadRange { range: Ipv4Net, why: &'static str },
    /// The range has no free address.
    #[error("every address of {0} is held; the network needs a wider range or fewer members")]
    RangeFull(Ipv4Net),
    /// The invite was used by others before.
    #[error("this invite has been used up by others; ask for a new one")]
    InviteSpent,
    /// Owners put this node out.
    #[error("{why}")]
    PutOut {
        name: NetworkName,
        /// This node.
        node: NodeId,
        why: Expulsion,
    },
    /// No known peer has such a network.
    #[error("no peer that could be reached has an open network \"{0}\"")]
    NobodyHasIt(NetworkName),
    /// Peers have different networks of that name.
    #[error("the peers know {count} different networks \"{name}\"; an invite names one of them")]
    Ambiguous { name: NetworkName, count: usize },
    /// There is nobody to ask.
    #[error("this node knows no peers to ask for \"{0}\"")]
    NoPeers(NetworkName),
    /// Nobody answered in time. The node stays in the network and keeps trying.
    #[error(
        "no member of \"{0}\" answered in time; this node has claimed an address and keeps trying in \
         the background"
    )]
    NobodyAnswered(NetworkName),
    /// An owner has to admit this node. The node keeps asking.
    #[error(
        "an owner of \"{name}\" has to admit this node, whose code is {code} ({node}); it keeps asking in the background"
    )]
    WaitsForOwner {
        name: NetworkName,
        node: NodeId,
        /// By which an owner admits it.
        code: Code,
    },
    /// Only an owner can do it.
    #[error("only an owner of \"{0}\" can do this, and this node is not an owner")]
    NotAnOwner(NetworkName),
    /// The network does not admit in that way.
    #[error("\"{0}\" has no invites: an owner accepts each node")]
    NoInvites(NetworkName),
    /// An invite would be valid for longer than any may be.
    #[error("an invite lives for at most {} days", INVITE_MAX_LIFE.as_secs() / 86_400)]
    InviteLife,
    /// Nothing leads into it that a person could carry.
    #[error(
        "\"{name}\" admits by {rule}: only where owners accept each node is there an admission to carry"
    )]
    NoApproval {
        name: NetworkName,
        rule: AdmissionRule,
    },
    /// Its owners do not admit newcomers by name, only those again that they put out.
    #[error("no owner put {} out of \"{name}\", and newcomers are admitted there by {rule}", node.short())]
    WasNotPutOut {
        name: NetworkName,
        node: NodeId,
        rule: AdmissionRule,
    },
    /// An owner is no member by admission, so that a revocation has no effect on it.
    #[error("{} is an owner of \"{name}\", and cannot be revoked before it is dismissed", node.short())]
    IsAnOwner {
        name: NetworkName,
        node: NodeId,
        /// Whether a recovery key is above it.
        under_key: bool,
    },
    /// Only members are appointed.
    #[error("{} is no member of \"{name}\"", node.short())]
    IsNoMember { name: NetworkName, node: NodeId },
    /// Only owners are dismissed.
    #[error("{} is no owner of \"{name}\"", node.short())]
    IsNoOwner { name: NetworkName, node: NodeId },
    /// An owner is dismissed by one that is above it.
    #[error(
        "{} is not below this node among the owners of \"{name}\": only who is above it can dismiss it", node.short()
    )]
    NotSenior {
        name: NetworkName,
        node: NodeId,
        /// Whether a recovery key is above it.
        under_key: bool,
    },
    /// Who is the only owner does not leave by mistake.
    #[error(
        "this node is the only owner of \"{name}\": until it joins again, nobody can revoke or appoint{}",
        if *under_key { ", but with the recovery key" } else { "" }
    )]
    OnlyOwner {
        name: NetworkName,
        /// Whether a recovery key can make another.
        under_key: bool,
    },
    /// Nobody ends its own office.
    #[error("this node cannot dismiss itself in \"{0}\": only who is above it can")]
    DismissesItself(NetworkName),
    /// Its charter names no recovery key.
    #[error(
        "\"{0}\" has no recovery key: it was founded without one, and nobody is above its founder"
    )]
    NoRecoveryKey(NetworkName),
    /// Its charter names another.
    #[error("this is not the recovery key of \"{0}\"")]
    OtherRecoveryKey(NetworkName),
    /// No such invite.
    #[error("no invite to \"{name}\" that this node knows is called \"{invite}\"")]
    NoSuchInvite {
        name: NetworkName,
        /// What was asked for.
        invite: String,
    },
    /// A dismissal that keeps all acts of an owner cannot: only one branch of them is kept.
    #[error(
        "{} of owners would become void, {} among them, because the acts of {node} have several branches or are not all \
         known here; nothing was changed",
        counted(*acts, "act"),
        counted(*revocations, "revocation")
    )]
    LosesActs {
        name: NetworkName,
        node: NodeId,
        acts: usize,
        revocations: usize,
    },
    /// More than one such invite.
    #[error("the ids of {count} invites to \"{name}\" begin with \"{invite}\": give more of it")]
    AmbiguousInvite {
        name: NetworkName,
        /// What was asked for.
        invite: String,
        /// How many there are.
        count: usize,
    },
    /// Nothing of the kind was done, or more than one thing.
    #[error(
        "that owner did {} that is called {act}",
        if *is_ambiguous { "more than one thing" } else { "nothing" }
    )]
    NoSuchAct {
        name: NetworkName,
        /// What was asked for.
        act: String,
        is_ambiguous: bool,
    },
    /// Who is revoked cannot be kept.
    #[error("{} cannot be kept: it is the one to be revoked", .0.short())]
    KeepsTheRevoked(NodeId),
    /// What owners did fills the network's room for it.
    #[error(
        "there is no room in \"{0}\" for more that its owners do: nodes keep the first {MAX_ACTS} acts; nothing was changed"
    )]
    NoRoomForActs(NetworkName),
    /// This node is not a member (yet, or any longer).
    #[error("this node is not a member of \"{0}\" at present")]
    NotAMember(NetworkName),
    /// No such node.
    #[error("no node of \"{name}\" is called \"{node}\"")]
    NoSuchNode {
        name: NetworkName,
        /// What was asked for.
        node: String,
    },
    /// Some nodes' ids begin so, but it is too short to name one.
    #[error(
        "\"{node}\" is too short for the beginning of a node id, which has {least} letters or more"
    )]
    TooShort {
        /// What was asked for.
        node: String,
        /// Letters from which on it names one.
        least: usize,
    },
    /// More than one such node.
    #[error("\"{node}\" is the name of {count} nodes; use the node id, or the beginning of it")]
    AmbiguousNode {
        /// What was asked for.
        node: String,
        /// How many there are.
        count: usize,
    },
    /// More than one node of that name waits, or was here.
    #[error(
        "\"{label}\" is what {count} nodes call themselves, with the codes {}; accept the code that the right one shows",
        listed(codes)
    )]
    AmbiguousApplicant {
        /// What was asked for.
        label: String,
        /// How many there are.
        count: usize,
        /// The codes of some of them.
        codes: Vec<Code>,
    },
    /// The admission that a person carries cannot be used.
    #[error(transparent)]
    Carried(#[from] CarriedError),
    /// An admission to carry names a key.
    #[error(
        "no node asks with the code {0}, and an admission to carry needs its node id; nothing was changed"
    )]
    NeedsKey(Code),
    /// No more codes are kept.
    #[error(
        "this node keeps {MOST_CODES} accepted codes of \"{0}\" already, whose nodes have not asked; each is kept for an hour"
    )]
    TooManyCodes(NetworkName),
    /// Nothing of the kind was promised.
    #[error("{prefix} was not promised")]
    NotPromised { prefix: IpNet },
    /// The prefix cannot be promised.
    #[error("{prefix} cannot be promised: {why}")]
    CannotPromise { prefix: IpNet, why: Unpromisable },
    /// A rule that can never accept anything.
    #[error("a rule cannot accept {prefix}: {why}")]
    CannotAccept { prefix: IpNet, why: Unacceptable },
    /// The node cannot revoke itself.
    #[error("that is this node")]
    Oneself(NetworkName),
    /// The address does not belong to this machine, or nobody could reach it.
    #[error("this node knows no address of its own that a joiner could reach")]
    NoEndpoint,
    /// What the command would change has to outlive a crash, and cannot be written down.
    #[error("nothing was changed, as it has to outlive a crash: {0}")]
    Unwritable(String),
    /// The node's IPv4 address was lost to another and there is no other.
    #[error("{0} is held by another node")]
    AddressHeld(Ipv4Addr),
}

fn counted(number: usize, what: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {what}{plural}")
}

fn listed(codes: &[Code]) -> String {
    let codes: Vec<String> = codes.iter().map(Code::to_string).collect();
    codes.join(", ")
}

/// Why a node cannot promise a prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unpromisable {
    /// Loopback, link-local, multicast and the like.
    #[error("packets to it are not routed")]
    NotRoutable,
    /// Its addresses belong to members.
    #[error("it overlaps the range of one of this node's networks")]
    OwnRange,
    /// As many as a promise can hold are promised already.
    #[error("a node promises at most {MAX_PREFIXES} prefixes")]
    TooMany,
}

/// Why a rule could never accept anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unacceptable {
    /// It names this node.
    #[error("this node needs no rule for what it promises itself")]
    FromItself,
    /// It names no node.
    #[error("a rule accepts from one node")]
    FromEverybody,
    /// It covers the network's own range, which no rule gives to another.
    #[error("it covers addresses of members, which only they can promise")]
    MemberAddresses,
}

impl CommandError {
    /// What kind of failure it is.
    #[must_use]
    pub const fn kind(&self) -> FailureKind {
        match self {
            Self::NobodyAnswered(_) | Self::WaitsForOwner { .. } => FailureKind::TimedOut,
            Self::Admission(_)
            | Self::Carried(CarriedError::NotAdmitted | CarriedError::OtherNode(_))
            | Self::RangeConnected { .. }
            | Self::OtherContract { .. }
            | Self::RangeTaken { .. }
            | Self::PublicRange { .. }
            | Self::InviteSpent
            | Self::PutOut { .. }
            | Self::NotAnOwner(_)
            | Self::NoInvites(_)
            | Self::NoApproval { .. }
            | Self::WasNotPutOut { .. }
            | Self::IsAnOwner { .. }
            | Self::NotSenior { .. }
            | Self::OnlyOwner { .. }
            | Self::DismissesItself(_)
            | Self::LosesActs { .. }
            | Self::NoRecoveryKey(_)
            | Self::OtherRecoveryKey(_)
            | Self::Invite(
                InviteError::Expired { .. }
                | InviteError::Future { .. }
                | InviteError::Admission(_),
            ) => FailureKind::Refused,
            Self::BadRange { .. }
            | Self::CannotPromise { .. }
            | Self::CannotAccept { .. }
            | Self::InviteLife
            | Self::Oneself(_)
            | Self::KeepsTheRevoked(_)
            | Self::AmbiguousNode { .. }
            | Self::AmbiguousInvite { .. }
            | Self::TooShort { .. }
            | Self::AmbiguousApplicant { .. }
            | Self::Ambiguous { .. }
            | Self::Carried(_)
            | Self::NeedsKey(_)
            | Self::Invite(_) => FailureKind::Usage,
            _ => FailureKind::Failed,
        }
    }
}
