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
}

impl Named {
    /// These nodes by their names, or their ids where those are not known, with commas.
    #[must_use]
    pub fn list(nodes: &[Self]) -> String {
        let names = nodes.iter().map(Self::word);
        names.collect::<Vec<_>>().join(", ")
    }

    /// Its name, or its id where that is not known.
    #[must_use]
    pub fn word(&self) -> &str {
        if self.name.is_empty() {
            &self.node
        } else {
            &self.name
        }
    }
}

/// What the members of a network call themselves.
#[derive(Debug)]
pub struct Names {
    own: String,
    names: BTreeMap<String, String>,
}

impl Names {
    /// Those that are members now.
    ///
    /// # Errors
    /// The server is about to end.
    pub async fn of(node: &NodeHandle, net: &NetworkName) -> Outcome<Self> {
        let status = node.status().await?;
        let networks = status.networks.into_iter();
        let peers = networks
            .filter(|network| network.name == net.as_str())
            .flat_map(|network| network.peers);
        Ok(Self {
            own: status.node,
            names: peers.map(|peer| (peer.node, peer.name)).collect(),
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
        let node = node.to_string();
        let name = self.names.get(&node).cloned().unwrap_or_default();
        Named { node, name }
    }
}
