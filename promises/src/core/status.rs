//! What a person can ask about a network, as values.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::content_id::ContentId;
use crate::core::expulsion::Expulsion;
use crate::core::input::PeerObservation;
use crate::core::record::Expected;
use crate::network::accept::Verdict;
use crate::network::act::{ActId, OfficeId};
use crate::network::charter::AdmissionRule;
use crate::network::code::Code;
use crate::network::ids::NetworkId;
use crate::network::judgement::Reason;
use crate::network::name::{Label, NetworkName};
use crate::network::rules::Rule;
use crate::time::Timestamp;
use grid_keys::NodeId;
use grid_keys::WgPublicKey;

/// What time a node believes it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockStatus {
    /// What the machine's clock shows.
    pub shown: Timestamp,
    /// What the node believes; within five minutes of what is shown unless that clock is wrong.
    pub believed: Timestamp,
    /// Whether members confirmed it, or the clock stood for a day. Until then nothing is forgotten for good.
    pub is_confirmed: bool,
    /// What connected members say, if none says what is believed and it may be that which is wrong.
    pub said: Option<Timestamp>,
}

/// Where this node stands in a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OwnStanding {
    /// It looks for members and has claimed no address yet.
    Joining,
    /// It waits for an owner to admit it.
    Waiting,
    /// It is a member.
    Member,
    /// It is no longer a member.
    Expelled(Expulsion),
    /// It left; what is needed to join again is kept.
    Left,
}

/// A network as this node sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkStatus {
    /// Its name, and the interface's.
    pub name: NetworkName,
    /// Its id.
    pub network: NetworkId,
    /// How nodes become members.
    pub admission: AdmissionRule,
    /// Whether this node is an owner.
    pub owner: bool,
    /// Where this node stands.
    pub standing: OwnStanding,
    /// The UDP port of its WireGuard.
    pub listen_port: u16,
    /// This node's WireGuard public key.
    pub public_key: Option<WgPublicKey>,
    /// Its IPv4 range.
    pub ipv4_range: Ipv4Net,
    /// Its IPv6 prefix.
    pub ipv6_prefix: Ipv6Net,
    /// This node's IPv4 address, once it has claimed one.
    pub ipv4: Option<Ipv4Addr>,
    /// This node's IPv6 address.
    pub ipv6: Ipv6Addr,
    /// Addresses that this node lost to others since it started, oldest first.
    pub moves: Vec<AddressMove>,
    /// What this node promises beyond its addresses.
    pub promised: Vec<IpNet>,
    /// Its rules, oldest first.
    pub rules: Vec<Rule>,
    /// Its judge: the content id of its code.
    pub judge: Option<ContentId>,
    /// Why the judge did not speak when it was asked last.
    pub judge_failure: Option<Reason>,
    /// The other members, live ones.
    pub peers: Vec<PeerStatus>,
    /// Who decides.
    pub owners: Owners,
    /// The code by which an owner admits this node, while it waits for one.
    pub code: Option<Code>,
    /// Nodes that ask to be admitted.
    pub asking: BTreeMap<NodeId, Label>,
    /// Codes whose nodes are admitted once they ask.
    pub expected: Vec<Expected>,
    /// Where another machine uses this node's key, if one does.
    pub elsewhere: Option<Elsewhere>,
    /// How many acts of owners that this node's invite named have not come in.
    pub awaited: usize,
    /// What the nodes call themselves that promised something, members or not.
    pub labels: BTreeMap<NodeId, String>,
}

/// A machine that signs as this node, and is not this one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Elsewhere {
    /// When a promise of it was seen last.
    pub at: Timestamp,
    /// Where it says that it can be reached, without where this node is.
    pub endpoints: Vec<SocketAddr>,
    /// Whether it used the last sequence number: this key can promise nothing new.
    pub is_last: bool,
}

/// An invite to a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InviteStatus {
    /// The public half of its key.
    pub invite: NodeId,
    /// Who made it.
    pub issuer: NodeId,
    /// How many nodes it may admit.
    pub uses: u32,
    /// The nodes that used it, as their promises show.
    pub users: Vec<NodeId>,
    /// When it was made.
    pub issued: Timestamp,
    /// When it can be used no longer.
    pub expires: Timestamp,
    /// Whether an owner closed it.
    pub is_closed: bool,
    /// Why it lets nobody in, where that is because of who made it.
    pub void: Option<VoidInvite>,
}

/// Why an invite lets nobody in, whether or not it was closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VoidInvite {
    /// This node was revoked: who made it, or one by which that came.
    Revoked(NodeId),
    /// The same, and it was dismissed.
    Dismissed(NodeId),
    /// Who made it is no member, for another reason.
    NoMember(NodeId),
}

/// Who decides in a network.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Owners {
    /// The recovery key, if the charter names one.
    pub recovery: Option<NodeId>,
    /// Every office whose appointment counts, ended ones too.
    pub offices: Vec<OfficeStatus>,
}

/// One office.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OfficeStatus {
    /// Its id.
    pub office: OfficeId,
    /// Who holds it.
    pub holder: NodeId,
    /// What its holder calls itself, as far as that is known.
    pub label: Option<String>,
    /// How far it is from the top.
    pub depth: u32,
    /// The office that made it.
    pub above: Option<OfficeId>,
    /// When its holder was appointed, as the act says; `None` for those of the charter.
    pub since: Option<Timestamp>,
    /// Whether nobody ended it.
    pub is_live: bool,
    /// How many of its acts count.
    pub acts: usize,
    /// The last act of its chain; of each branch, if it was forked.
    pub heads: Vec<ActId>,
}

/// An address that was lost to another node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressMove {
    /// When this node gave it up.
    pub at: Timestamp,
    /// The address that was lost.
    pub from: Ipv4Addr,
    /// The new one.
    pub to: Ipv4Addr,
    /// Who holds the old one.
    pub holder: NodeId,
}

/// Another member as this node sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerStatus {
    /// The node.
    pub node: NodeId,
    /// What it calls itself.
    pub label: Label,
    /// Its WireGuard public key.
    pub public_key: WgPublicKey,
    /// Its IPv4 address; `None` if another node holds the one that it claims.
    pub ipv4: Option<Ipv4Addr>,
    /// Its IPv6 address.
    pub ipv6: Ipv6Addr,
    /// Until when its promise stands.
    pub expires: Timestamp,
    /// Whether a QUIC connection to it stands.
    pub connected: bool,
    /// Where this node sends first: the endpoint that it tries at present.
    pub endpoint: Option<SocketAddr>,
    /// Whether that endpoint is of the member's own making, or where it was seen.
    pub path: &'static str,
    /// What it promises and what this node thinks of each.
    pub verdicts: Vec<Verdict>,
    /// What WireGuard measured, as far as it was told.
    pub observed: Option<PeerObservation>,
}
