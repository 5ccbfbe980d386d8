//! What decides about promises: everything that a verdict may depend on, as one value.
//!
//! Records hold what the live members promise and what this node says of itself: its rules, the
//! prefixes that it is connected to, its other networks. They hold no time, no measurement and no
//! secret. So the same records give the same verdicts, on any machine and at any later time, and a
//! judge ([`judgement`](super::judgement)) is shown nothing else.
//!
//! On the wire: `[1, here, [member, ...]]`. `here` is `[network, ipv4, ipv6, own, [rule, ...],
//! [prefix, ...], [[network, ipv4, ipv6], ...]]`: the network and its ranges, this node, its rules
//! (oldest first), its connected prefixes, its other networks. A rule is `[accepts, prefix]`, with
//! `node` as a third element if it is about one. A member is `[node, label, address, address,
//! node | null, [prefix, ...]]`. Lists are ascending, each entry once, but for the rules.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use minicbor::{Decode, Encode};

use crate::cbor::Bounds;
use crate::content_id::ContentId;
use crate::limits::{MAX_MEMBERS, MAX_PREFIXES};
use crate::network::ids::NetworkId;
use crate::network::ledger::Ledger;
use crate::network::name::Label;
use crate::network::rules::{Action, LocalFacts, Rule};
use crate::network::view::{MemberView, Presence, View};
use crate::object::{self, ObjectError, Version};
use crate::wire;
use grid_keys::NodeId;

/// Everything that verdicts about the promises in one network depend on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Records {
    /// What this node says.
    pub here: Here,
    /// What the live members but for this node promise.
    pub members: BTreeMap<NodeId, Promised>,
}

/// What a node says of itself and of its network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Here {
    /// The network that is judged.
    pub network: NetworkId,
    /// Its IPv4 range.
    pub ipv4: Ipv4Net,
    /// Its IPv6 prefix.
    pub ipv6: Ipv6Net,
    /// This node.
    pub own: NodeId,
    /// Its rules, oldest first.
    pub rules: Vec<Rule>,
    /// Prefixes that are directly connected here.
    pub connected: BTreeSet<IpNet>,
    /// The ranges of this node's other networks.
    pub others: BTreeMap<NetworkId, (Ipv4Net, Ipv6Net)>,
}

/// What one member promises.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Promised {
    /// What it calls itself.
    pub label: Label,
    /// The IPv4 address that it claims.
    pub ipv4: Ipv4Addr,
    /// Its IPv6 address.
    pub ipv6: Ipv6Addr,
    /// Who holds that IPv4 address, where that is another.
    pub held_by: Option<NodeId>,
    /// Further prefixes, ascending.
    pub prefixes: Vec<IpNet>,
}

impl Promised {
    /// How many of [`all`](Self::all), at its beginning, are addresses of the member's own.
    pub const OWN: usize = 2;

    /// Everything that it promises: its two addresses, then the further prefixes, ascending.
    pub fn all(&self) -> impl Iterator<Item = IpNet> {
        let own = [
            Ipv4Net::from(self.ipv4).into(),
            Ipv6Net::from(self.ipv6).into(),
        ];
        own.into_iter().chain(self.prefixes.iter().copied())
    }
}

/// Bytes that are no records. Nothing was changed; the same bytes will fail again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordsError {
    /// Damaged, of another version, or something else.
    #[error(transparent)]
    Object(#[from] ObjectError),
    /// What should be ascending is not, a list is too long, or a name is none.
    #[error("the records are damaged: {0}")]
    Rules(&'static str),
}

impl Records {
    /// The longest encoding, in bytes: 10,000 rules and connected prefixes, and every member with all
    /// the prefixes that it may promise.
    pub const MAX_LEN: usize = (1 << 20) + MAX_MEMBERS * (256 + MAX_PREFIXES * 20);

    /// What the statements of a network, seen by `own`, come to.
    #[must_use]
    pub fn of(
        ledger: &Ledger,
        view: &View,
        own: &NodeId,
        rules: &[Rule],
        facts: &LocalFacts,
    ) -> Self {
        let charter = ledger.charter();
        let network = ledger.network();
        let promised = |(node, member): (&NodeId, &MemberView)| {
            let said = ledger.members().get(node)?.promise();
            // Whoever comes by the IPv6 address of another moves on with its next promise.
            let is_alone = view.has_ipv6(node, said.ipv6.address);
            let is_asked = node != own && member.presence == Presence::Live && is_alone;
            let holder = view.addresses.get(&said.ipv4.address).copied();
            is_asked.then(|| {
                let promised = Promised {
                    label: said.label.clone(),
                    ipv4: said.ipv4.address,
                    ipv6: said.ipv6.address,
                    held_by: holder.filter(|holder| holder != node),
                    prefixes: said.prefixes.clone(),
                };
                (*node, promised)
            })
        };
        let other = |(id, ranges): (&NetworkId, &(Ipv4Net, Ipv6Net))| (*id, *ranges);
        Self {
            here: Here {
                network,
                ipv4: charter.ipv4,
                ipv6: charter.ipv6,
                own: *own,
                rules: rules.to_vec(),
                connected: facts.connected.clone(),
                others: facts
                    .ranges
                    .iter()
                    .filter(|(id, _)| **id != network)
                    .map(other)
                    .collect(),
            },
            members: view.members.iter().filter_map(promised).collect(),
        }
    }

    /// What is to be decided, in the order in which a judge answers: node by node, of each what
    /// [`Promised::all`] lists.
    pub fn questions(&self) -> impl Iterator<Item = (NodeId, IpNet)> {
        let of = |(node, promised): (&NodeId, &Promised)| {
            let node = *node;
            promised
                .all()
                .map(move |prefix| (node, prefix))
                .collect::<Vec<_>>()
        };
        self.members.iter().flat_map(of)
    }

    /// The bytes: what a judge is shown.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        crate::cbor::encode(&Fields {
            version: Version,
            here: HereFields::of(&self.here),
            members: MemberFields::list(&self.members),
        })
    }

    /// Reads records that take up all of `bytes`.
    ///
    /// # Errors
    /// Not the encoding of records of this version.
    pub fn decode(bytes: &[u8]) -> Result<Self, RecordsError> {
        let bounds = Bounds::bytes(Self::MAX_LEN);
        let fields: Fields = object::read("list of records", bytes, &bounds)?;
        Ok(Self {
            here: fields.here.read()?,
            members: MemberFields::read_list(fields.members)?,
        })
    }

    /// The content id of the bytes: it names these records.
    #[must_use]
    pub fn id(&self) -> ContentId {
        ContentId::of(&self.encode())
    }
}

#[derive(Encode, Decode)]
struct Fields {
    #[n(0)]
    version: Version,
    #[n(1)]
    here: HereFields,
    #[n(2)]
    members: Vec<MemberFields>,
}

/// [`Here`] in CBOR.
#[derive(Encode, Decode)]
pub(super) struct HereFields {
    #[n(0)]
    network: NetworkId,
    #[cbor(n(1), with = "wire::ipv4_net")]
    ipv4: Ipv4Net,
    #[cbor(n(2), with = "wire::ipv6_net")]
    ipv6: Ipv6Net,
    #[n(3)]
    own: NodeId,
    #[n(4)]
    rules: Vec<RuleFields>,
    #[cbor(n(5), with = "wire::ip_nets")]
    connected: Vec<IpNet>,
    #[n(6)]
    others: Vec<OtherFields>,
}

#[derive(Encode, Decode)]
struct RuleFields {
    #[n(0)]
    is_accept: bool,
    #[cbor(n(1), with = "wire::ip_net")]
    prefix: IpNet,
    #[n(2)]
    from: Option<NodeId>,
}

#[derive(Encode, Decode)]
struct OtherFields {
    #[n(0)]
    network: NetworkId,
    #[cbor(n(1), with = "wire::ipv4_net")]
    ipv4: Ipv4Net,
    #[cbor(n(2), with = "wire::ipv6_net")]
    ipv6: Ipv6Net,
}

/// One member and what it promises, in CBOR.
#[derive(Encode, Decode)]
pub(super) struct MemberFields {
    #[n(0)]
    node: NodeId,
    #[n(1)]
    label: Label,
    #[cbor(n(2), with = "wire::ipv4_addr")]
    ipv4: Ipv4Addr,
    #[cbor(n(3), with = "wire::ipv6_addr")]
    ipv6: Ipv6Addr,
    #[n(4)]
    held_by: Option<NodeId>,
    #[cbor(n(5), with = "wire::ip_nets")]
    prefixes: Vec<IpNet>,
}

/// The form of a rule that travels: prefixes without host bits.
fn rule_fields(rule: &Rule) -> RuleFields {
    RuleFields {
        is_accept: rule.action == Action::Accept,
        prefix: rule.prefix,
        from: rule.from,
    }
}

impl HereFields {
    pub(super) fn of(here: &Here) -> Self {
        let other = |(network, (ipv4, ipv6)): (&NetworkId, &(Ipv4Net, Ipv6Net))| OtherFields {
            network: *network,
            ipv4: *ipv4,
            ipv6: *ipv6,
        };
        Self {
            network: here.network,
            ipv4: here.ipv4,
            ipv6: here.ipv6,
            own: here.own,
            rules: here.rules.iter().map(rule_fields).collect(),
            connected: here.connected.iter().copied().collect(),
            others: here.others.iter().map(other).collect(),
        }
    }

    pub(super) fn read(self) -> Result<Here, RecordsError> {
        ascending(&self.connected, "connected prefixes are not ascending")?;
        let networks: Vec<NetworkId> = self.others.iter().map(|other| other.network).collect();
        ascending(&networks, "other networks are not ascending")?;
        let rule = |rule: RuleFields| {
            let action = if rule.is_accept {
                Action::Accept
            } else {
                Action::Reject
            };
            Rule {
                action,
                prefix: rule.prefix,
                from: rule.from,
            }
        };
        Ok(Here {
            network: self.network,
            ipv4: self.ipv4,
            ipv6: self.ipv6,
            own: self.own,
            rules: self.rules.into_iter().map(rule).collect(),
            connected: self.connected.into_iter().collect(),
            others: self
                .others
                .into_iter()
                .map(|other| (other.network, (other.ipv4, other.ipv6)))
                .collect(),
        })
    }
}

impl MemberFields {
    pub(super) fn list(members: &BTreeMap<NodeId, Promised>) -> Vec<Self> {
        let fields = |(node, promised): (&NodeId, &Promised)| Self {
            node: *node,
            label: promised.label.clone(),
            ipv4: promised.ipv4,
            ipv6: promised.ipv6,
            held_by: promised.held_by,
            prefixes: promised.prefixes.clone(),
        };
        members.iter().map(fields).collect()
    }

    pub(super) fn read_list(list: Vec<Self>) -> Result<BTreeMap<NodeId, Promised>, RecordsError> {
        let nodes: Vec<NodeId> = list.iter().map(|member| member.node).collect();
        ascending(&nodes, "members are not ascending")?;
        list.into_iter().map(Self::read).collect()
    }

    fn read(self) -> Result<(NodeId, Promised), RecordsError> {
        ascending(&self.prefixes, "promised prefixes are not ascending")?;
        if self.prefixes.len() > MAX_PREFIXES {
            return Err(RecordsError::Rules("a member promises too many prefixes"));
        }
        if !self.label.is_valid() {
            return Err(RecordsError::Rules("a member has no good name"));
        }
        let promised = Promised {
            label: self.label,
            ipv4: self.ipv4,
            ipv6: self.ipv6,
            held_by: self.held_by,
            prefixes: self.prefixes,
        };
        Ok((self.node, promised))
    }
}

fn ascending<T: Ord>(list: &[T], otherwise: &'static str) -> Result<(), RecordsError> {
    if list.is_sorted_by(|a, b| a < b) {
        Ok(())
    } else {
        Err(RecordsError::Rules(otherwise))
    }
}
