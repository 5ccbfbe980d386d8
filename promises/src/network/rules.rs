//! What decides here about the promises of others: the rules that a person gave, and what this machine
//! is connected to.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::network::ids::NetworkId;
use grid_keys::NodeId;

/// What a rule does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
    /// Believe promises inside the prefix.
    Accept,
    /// Do not.
    Reject,
}

/// One rule of this node. Of several that match, the last one counts. As text: `accept PREFIX from
/// NODE` or `reject PREFIX [from NODE]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rule {
    /// What it does.
    pub action: Action,
    /// Which promises: those of this prefix and of any inside it. To accept a default route accepts it
    /// alone: who sends what has no better way through a member does not mean to lose the ways it has. To
    /// reject one rejects every subnet too, but not the members' own addresses.
    pub prefix: IpNet,
    /// Whose; everybody's if `None`, which only a rejection may say.
    pub from: Option<NodeId>,
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = match self.action {
            Action::Accept => "accept",
            Action::Reject => "reject",
        };
        write!(f, "{word} {}", self.prefix)?;
        match self.from {
            Some(from) => write!(f, " from {from}"),
            None => Ok(()),
        }
    }
}

impl Rule {
    /// Whether it decides about promises of this prefix, by somebody whom it is about.
    #[must_use]
    pub fn is_about(&self, prefix: &IpNet) -> bool {
        match (self.action, self.prefix.prefix_len()) {
            (Action::Accept, 0) => self.prefix == *prefix,
            _ => self.prefix.contains(prefix),
        }
    }

    pub(crate) fn matches(&self, node: &NodeId, prefix: &IpNet) -> bool {
        self.is_about(prefix) && self.from.is_none_or(|from| from == *node)
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
