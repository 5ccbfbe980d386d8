//! What this node believes of what others promise.
//!
//! A signature proves who promised, not who is entitled. A member's own addresses are accepted by
//! default. A subnet or a default route needs a local rule, and some things no rule can accept: what
//! overlaps the network's own range (another member's address) or another network of this node.
//!
//! A network can have a judge ([`judgement`](super::judgement)): then what it says decides about
//! everything that no rule rejects, within the same bounds, and without its word nothing is accepted.

use std::collections::BTreeMap;
use std::fmt;

use ipnet::IpNet;

use crate::network::ids::NetworkId;
use crate::network::judgement::{Opinion, Opinions, Reason};
use crate::network::records::{Promised, Records};
use grid_keys::NodeId;

pub use crate::network::rules::{Action, LocalFacts, Rule};

/// Why a promise is accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Grounds {
    /// It is the member's own address.
    OwnAddress,
    /// A local rule says so.
    Rule,
    /// This node's judge says so, and why.
    Judge(Reason),
}

impl fmt::Display for Grounds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OwnAddress => f.write_str("it is the member's own address"),
            Self::Rule => f.write_str("a local rule accepts it"),
            Self::Judge(why) => write!(f, "the judge accepts it: {why}"),
        }
    }
}

/// Why a promise is not accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
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
    /// This node's judge refuses it, and why.
    Judge(Reason),
    /// This node's judge has not spoken about it.
    NotJudged,
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
            Self::Judge(why) => write!(f, "the judge refuses it: {why}"),
            Self::NotJudged => f.write_str("the judge has not spoken about it"),
        }
    }
}

/// What this node thinks of one promised prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The prefix.
    pub prefix: IpNet,
    /// Accepted or not, and why.
    pub verdict: Result<Grounds, Objection>,
}

/// What this node thinks of everything that each member promises, in the order of
/// [`Promised::all`](super::records::Promised::all).
pub type Verdicts = BTreeMap<NodeId, Vec<Verdict>>;

/// Decides about everything that the records say is promised. With `judge`, what a judge thinks: in a
/// network that has one, its opinion is needed besides.
///
/// Nothing else goes in: the same arguments give the same verdicts anywhere.
#[must_use]
pub fn decide(records: &Records, judge: Option<&Opinions>) -> Verdicts {
    let mut routed: BTreeMap<IpNet, NodeId> = BTreeMap::new();
    let mut verdicts = Verdicts::new();
    for (node, promised) in &records.members {
        let decide_one = |(index, prefix): (usize, IpNet)| {
            let said = judge.map(|judge| judge.get(&(*node, prefix)));
            let verdict = if index < Promised::OWN {
                decide_own(records, node, promised, &prefix, said)
            } else {
                decide_wide(records, node, &prefix, said).and_then(|grounds| {
                    let first = *routed.entry(prefix).or_insert(*node);
                    (first == *node)
                        .then_some(grounds)
                        .ok_or(Objection::RoutedBy(first))
                })
            };
            Verdict { prefix, verdict }
        };
        let list = promised.all().enumerate().map(decide_one).collect();
        verdicts.insert(*node, list);
    }
    verdicts
}

/// What a judge said about a prefix; `None` if there is none, `Some(None)` if it has not spoken.
type Said<'a> = Option<Option<&'a Opinion>>;

/// The rules that match, the last one first: it counts.
fn rules_about<'a>(
    records: &'a Records,
    node: &NodeId,
    prefix: &IpNet,
) -> impl Iterator<Item = &'a Rule> {
    let rules = records.here.rules.iter().rev();
    rules.filter(move |rule| rule.matches(node, prefix))
}

fn by_judge(said: Option<&Opinion>) -> Result<Grounds, Objection> {
    match said {
        None => Err(Objection::NotJudged),
        Some(Opinion { accepts: true, why }) => Ok(Grounds::Judge(why.clone())),
        Some(Opinion { why, .. }) => Err(Objection::Judge(why.clone())),
    }
}

fn decide_own(
    records: &Records,
    node: &NodeId,
    promised: &Promised,
    prefix: &IpNet,
    said: Said<'_>,
) -> Result<Grounds, Objection> {
    if let (IpNet::V4(_), Some(holder)) = (prefix, promised.held_by) {
        return Err(Objection::HeldBy(holder));
    }
    // A rule about everything is about routes: who gives up an exit does not mean to lose the members.
    let rule = rules_about(records, node, prefix).find(|rule| rule.prefix.prefix_len() != 0);
    match (rule.map(|rule| rule.action), said) {
        (Some(Action::Reject), _) => Err(Objection::Rule),
        (_, Some(said)) => by_judge(said),
        (_, None) => Ok(Grounds::OwnAddress),
    }
}

fn decide_wide(
    records: &Records,
    node: &NodeId,
    prefix: &IpNet,
    said: Said<'_>,
) -> Result<Grounds, Objection> {
    let here = &records.here;
    let default_route = prefix.prefix_len() == 0;
    // A default route covers every range and takes nothing from it: longer prefixes win.
    if !default_route {
        if overlaps(prefix, &here.ipv4.into()) || overlaps(prefix, &here.ipv6.into()) {
            return Err(Objection::MemberAddresses);
        }
        for (other, (ipv4, ipv6)) in &here.others {
            if overlaps(prefix, &(*ipv4).into()) || overlaps(prefix, &(*ipv6).into()) {
                return Err(Objection::OtherNetwork(*other));
            }
        }
    }
    let rule = rules_about(records, node, prefix).next();
    match (rule.map(|rule| rule.action), said) {
        (Some(Action::Reject), _) => Err(Objection::Rule),
        // All traffic is more than code may decide about.
        (None, _) if default_route => Err(Objection::DefaultRoute),
        (_, Some(said)) => by_judge(said),
        (Some(Action::Accept), None) => Ok(Grounds::Rule),
        (None, None) => Err(here
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
