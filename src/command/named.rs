//! Nodes as people know them: what they call themselves beside their ids.

use std::collections::BTreeMap;

use grid_keys::NodeId;
use grid_promises::network::name::NetworkName;
use serde::{Deserialize, Serialize};

use crate::exit::Outcome;
use crate::node::NodeHandle;

/// A node as people know it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Named {
    /// Its id.
    pub node: String,
    /// What it calls itself; empty if that is not known.
    pub name: String,
    /// Whether it is this node.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub own: bool,
}

impl Named {
    /// These nodes in a word each, with commas.
    #[must_use]
    pub fn list(nodes: &[Self]) -> String {
        let names = nodes.iter().map(Self::word);
        names.collect::<Vec<_>>().join(", ")
    }

    /// Its name, or the beginning of its id where that is not known.
    #[must_use]
    pub fn word(&self) -> &str {
        match self.name.as_str() {
            _ if self.own => "this node",
            "" => short(&self.node),
            name => name,
        }
    }

    /// Its name and the beginning of its id: a name is what its node says.
    #[must_use]
    pub fn in_full(&self) -> String {
        match self.name.as_str() {
            "" => short(&self.node).to_owned(),
            name => format!("{name} ({})", short(&self.node)),
        }
    }
}

/// The beginning of an id, which commands take for it.
#[must_use]
pub fn short(id: &str) -> &str {
    id.get(..10).unwrap_or(id)
}

/// What the nodes of a network call themselves.
#[derive(Debug)]
pub struct Names {
    own: String,
    labels: BTreeMap<String, String>,
}

impl Names {
    /// Those that this node knows now, members or not.
    ///
    /// # Errors
    /// The server is about to end.
    pub async fn of(node: &NodeHandle, net: &NetworkName) -> Outcome<Self> {
        let status = node.status().await?;
        let networks = status.networks.into_iter();
        let labels = networks
            .filter(|network| network.name == net.as_str())
            .flat_map(|network| network.labels);
        Ok(Self {
            own: status.node,
            labels: labels.collect(),
        })
    }

    /// These nodes with their names.
    #[must_use]
    pub fn of_all(&self, nodes: &[NodeId]) -> Vec<Named> {
        nodes.iter().map(|node| self.of_one(*node)).collect()
    }

    /// Whether a node is this one.
    #[must_use]
    pub fn is_own(&self, node: &NodeId) -> bool {
        node.to_string() == self.own
    }

    /// A node with its name.
    #[must_use]
    pub fn of_one(&self, node: NodeId) -> Named {
        self.named(node.to_string())
    }

    /// The node that a person named so, if only one is.
    #[must_use]
    pub fn called(&self, text: &str) -> Named {
        let is_meant = |(node, name): &(&String, &String)| *name == text || node.starts_with(text);
        let mut found = self.labels.iter().filter(is_meant);
        match (found.next(), found.next()) {
            (Some((node, _)), None) => self.named(node.clone()),
            _ => self.named(text.to_owned()),
        }
    }

    fn named(&self, node: String) -> Named {
        Named {
            name: self.labels.get(&node).cloned().unwrap_or_default(),
            own: node == self.own,
            node,
        }
    }
}
