//! The promises that a node takes part in, and with whom, as the configuration lists them.

use std::fmt;
use std::str::FromStr;

use grid_keys::NodeId;
use grid_promises::ContentId;
use grid_promises::network::name::NetworkName;
use grid_promises::texts;

/// Whose messages this node handles under a promise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Who {
    /// The present members of this node's networks.
    Members,
    /// Whoever connects.
    Anybody,
    /// The present members of one network.
    Network(NetworkName),
    /// One node.
    Node(NodeId),
}

/// A text that names nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("that is neither \"members\" nor \"anybody\", a network's name or a node id")]
pub struct NotAWho;

impl FromStr for Who {
    type Err = NotAWho;

    fn from_str(text: &str) -> Result<Self, NotAWho> {
        match text {
            "members" => Ok(Self::Members),
            "anybody" => Ok(Self::Anybody),
            // No name of a network is as long as a node id.
            other => match (other.parse(), other.parse()) {
                (Ok(node), _) => Ok(Self::Node(node)),
                (_, Ok(network)) => Ok(Self::Network(network)),
                _ => Err(NotAWho),
            },
        }
    }
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Members => f.write_str("members"),
            Self::Anybody => f.write_str("anybody"),
            Self::Network(network) => f.write_str(network.as_str()),
            Self::Node(node) => node.fmt(f),
        }
    }
}

/// A promise that this node takes part in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// The promise.
    pub promise: ContentId,
    /// With whom. An empty list is nobody.
    pub with: Vec<Who>,
}

impl Accepted {
    /// With whom, unless a person says otherwise: members; anybody, for what the mesh cannot do without and for
    /// what a node publishes.
    #[must_use]
    pub fn usual(promise: ContentId) -> Self {
        let is_open = is_of_the_mesh(&promise) || promise == texts::FETCH.id();
        let with = if is_open { Who::Anybody } else { Who::Members };
        Self {
            promise,
            with: vec![with],
        }
    }

    /// Whether nobody said with whom, or the same.
    #[must_use]
    pub fn is_usual(&self) -> bool {
        *self == Self::usual(self.promise)
    }
}

/// Whether the mesh decides by itself what it answers to whom under a promise: a newcomer is nobody's member yet.
#[must_use]
pub fn is_of_the_mesh(promise: &ContentId) -> bool {
    [texts::JOIN_WIREGUARD_NET, texts::EXCHANGE_KEYS]
        .iter()
        .any(|own| own.id() == *promise)
}

#[cfg(test)]
mod tests {
    use super::*;
    use grid_keys::{NodeKey, Secret};

    #[test]
    fn who_is_meant_reads_as_it_is_written() {
        let node = NodeKey::from_seed(&Secret::new([7; 32])).id();
        for (text, who) in [
            ("members", Who::Members),
            ("anybody", Who::Anybody),
            ("foo", Who::Network("foo".parse().unwrap())),
            (&node.to_string(), Who::Node(node)),
        ] {
            assert_eq!(text.parse(), Ok(who.clone()));
            assert_eq!(who.to_string(), text);
        }
        for text in ["", "Members", "a b", &node.to_string()[..51]] {
            assert_eq!(text.parse::<Who>(), Err(NotAWho), "{text:?}");
        }
    }

    #[test]
    fn members_are_usual_and_the_mesh_and_what_is_published_are_open() {
        let with = |promise| Accepted::usual(promise).with;
        for open in [
            texts::JOIN_WIREGUARD_NET,
            texts::EXCHANGE_KEYS,
            texts::FETCH,
        ] {
            assert_eq!(with(open.id()), [Who::Anybody]);
        }
        for promise in [texts::FORWARD.id(), ContentId::of(b"I will")] {
            assert_eq!(with(promise), [Who::Members]);
        }
    }
}
