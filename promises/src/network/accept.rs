//! What this node believes of what others promise.
//!
//! A signature proves who promised, not who is entitled. A member's own addresses are accepted by
//! default. A subnet or a default route needs a local rule, and some things no rule can accept: what
//! overlaps the network's own range (another member's address) or another network of this node.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::network::charter::{Charter, NetworkId};
use crate::network::ledger::Ledger;
use crate::network::view::{Presence, View};
use crate::node_key::NodeId;

/// What a rule does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
    /// Believe promises inside the prefix.
    Accept,
    /// Do not.
    Reject,
}

/// One rule of this node. Of several that match, the last one counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rule {
    /// What it does.
    pub action: Action,
    /// Which promises: those of this prefix and of any inside it.
    pub prefix: IpNet,
    /// Whose; everybody's if `None`, which only a rejection may say.
    pub from: Option<NodeId>,
}

impl Rule {
    fn matches(&self, node: &NodeId, prefix: &IpNet) -> bool {
        self.from.is_none_or(|from| from == *node) && self.prefix.contains(prefix)
    }
}

/// What this node knows about itself that decides what it can believe.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LocalFacts {
    /// Prefixes that are directly connected here, without those of the grid's own interfaces.
    pub connected: BTreeSet<IpNet>,
    /// The ranges of this node's networks.
    pub ranges: BTreeMap<NetworkId, (Ipv4Net, Ipv6Net)>,
}

/// Why a promise is accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grounds {
    /// It is the member's own address.
    OwnAddress,
    /// A local rule says so.
    Rule,
}

/// Why a promise is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Objection {
    /// No rule accepts it, and it is more than an own address.
    NoRule,
    /// No rule accepts it, and it would take all traffic.
    DefaultRoute,
    /// No rule accepts it, and this node is connected to that prefix itself.
    Connected(IpNet),
    /// A local rule rejects it.
    Rule,
    /// It covers addresses of members.
    MemberAddresses,
    /// It overlaps another network of this node.
    OtherNetwork(NetworkId),
    /// Another member holds that address.
    HeldBy(NodeId),
    /// The same prefix was accepted from another member.
    RoutedBy(NodeId),
}

impl fmt::Display for Objection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoRule => f.write_str("no local rule accepts it"),
            Self::DefaultRoute => f.write_str("a default route needs a local rule"),
            Self::Connected(prefix) => write!(f, "this machine is itself connected to {prefix}"),
            Self::Rule => f.write_str("a local rule rejects it"),
            Self::MemberAddresses => f.write_str("it covers addresses of members"),
            Self::OtherNetwork(network) => {
                write!(
                    f,
                    "it overlaps this machine's network {}",
                    network.0.short()
                )
            }
            Self::HeldBy(node) => write!(f, "{} holds that address", node.short()),
            Self::RoutedBy(node) => write!(f, "it is routed by {}", node.short()),
        }
    }
}

/// What this node thinks of one promised prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The prefix.
    pub prefix: IpNet,
    /// Accepted or not, and why.
    pub verdict: Result<Grounds, Objection>,
}

/// Decides about everything that live members other than `own` promise.
#[must_use]
pub fn decide(
    ledger: &Ledger,
    view: &View,
    own: &NodeId,
    rules: &[Rule],
    facts: &LocalFacts,
) -> BTreeMap<NodeId, Vec<Verdict>> {
    let mut verdicts: BTreeMap<NodeId, Vec<Verdict>> = BTreeMap::new();
    let mut routed: BTreeMap<IpNet, NodeId> = BTreeMap::new();
    for (node, member) in &view.members {
        let Some(said) = ledger.members().get(node) else {
            continue;
        };
        if node == own || member.presence != Presence::Live {
            continue;
        }
        let promise = said.promise();
        let own_addresses = [
            IpNet::from(Ipv4Net::from(promise.ipv4.address)),
            Ipv6Net::from(promise.ipv6).into(),
        ];
        let mut list: Vec<Verdict> = own_addresses
            .into_iter()
            .map(|prefix| {
                let holder = match prefix {
                    IpNet::V4(v4) => view.addresses.get(&v4.addr()).copied(),
                    IpNet::V6(_) => Some(*node),
                };
                Verdict {
                    prefix,
                    verdict: decide_own(node, &prefix, holder, rules),
                }
            })
            .collect();
        for prefix in &promise.prefixes {
            let verdict = decide_wide(
                node,
                prefix,
                ledger.charter(),
                ledger.network(),
                rules,
                facts,
            )
            .and_then(|grounds| match routed.get(prefix) {
                Some(other) => Err(Objection::RoutedBy(*other)),
                None => {
                    routed.insert(*prefix, *node);
                    Ok(grounds)
                }
            });
            list.push(Verdict {
                prefix: *prefix,
                verdict,
            });
        }
        verdicts.insert(*node, list);
    }
    verdicts
}

fn decide_own(
    node: &NodeId,
    prefix: &IpNet,
    holder: Option<NodeId>,
    rules: &[Rule],
) -> Result<Grounds, Objection> {
    if let Some(holder) = holder
        && holder != *node
    {
        return Err(Objection::HeldBy(holder));
    }
    match rules.iter().rev().find(|rule| rule.matches(node, prefix)) {
        Some(Rule {
            action: Action::Reject,
            ..
        }) => Err(Objection::Rule),
        _ => Ok(Grounds::OwnAddress),
    }
}

fn decide_wide(
    node: &NodeId,
    prefix: &IpNet,
    charter: &Charter,
    network: NetworkId,
    rules: &[Rule],
    facts: &LocalFacts,
) -> Result<Grounds, Objection> {
    let default_route = prefix.prefix_len() == 0;
    // A default route covers every range and takes nothing from it: longer prefixes win.
    if !default_route {
        if overlaps(prefix, &charter.ipv4.into()) || overlaps(prefix, &charter.ipv6.into()) {
            return Err(Objection::MemberAddresses);
        }
        for (other, (ipv4, ipv6)) in &facts.ranges {
            if *other != network
                && (overlaps(prefix, &(*ipv4).into()) || overlaps(prefix, &(*ipv6).into()))
            {
                return Err(Objection::OtherNetwork(*other));
            }
        }
    }
    match rules
        .iter()
        .rev()
        .find(|rule| rule.matches(node, prefix))
        .map(|rule| rule.action)
    {
        Some(Action::Accept) => Ok(Grounds::Rule),
        Some(Action::Reject) => Err(Objection::Rule),
        None if default_route => Err(Objection::DefaultRoute),
        None => Err(facts
            .connected
            .iter()
            .find(|connected| overlaps(prefix, connected))
            .map_or(Objection::NoRule, |connected| {
                Objection::Connected(*connected)
            })),
    }
}

/// Whether two prefixes share an address.
#[must_use]
pub fn overlaps(a: &IpNet, b: &IpNet) -> bool {
    a.contains(b) || b.contains(a)
}
