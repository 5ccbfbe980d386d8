//! Nodes as people know them: what they call themselves beside their ids.

use std::collections::BTreeMap;

use grid_keys::NodeId;
use grid_promises::network::act::OfficeId;
use grid_promises::network::name::NetworkName;
use serde::{Deserialize, Serialize};

use crate::exit::Outcome;
use crate::node::NodeHandle;
use crate::node::status::StatusReport;

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
#[derive(Debug, Default)]
pub struct Names {
    own: String,
    labels: BTreeMap<String, String>,
    /// Who holds each office.
    offices: BTreeMap<String, String>,
    /// The recovery key, if there is one.
    recovery: Option<String>,
}

impl Names {
    /// Those that this node knows now, members or not.
    ///
    /// # Errors
    /// The server is about to end.
    pub async fn of(node: &NodeHandle, net: &NetworkName) -> Outcome<Self> {
        Ok(Self::among(node.status().await?, net))
    }

    /// Those of a network in this status.
    #[must_use]
    pub fn among(status: StatusReport, net: &NetworkName) -> Self {
        let mut names = Self {
            own: status.node,
            ..Self::default()
        };
        let mut networks = status.networks.into_iter();
        if let Some(network) = networks.find(|network| network.name == net.as_str()) {
            let asking = network.asking.into_iter();
            names.labels = asking.map(|one| (one.node, one.name)).collect();
            names.labels.extend(network.labels);
            for office in network.owners {
                if office.depth == 0 {
                    names.recovery = Some(office.node.clone());
                }
                names.offices.insert(office.office, office.node);
            }
        }
        names
    }

    /// These, for a test.
    #[cfg(test)]
    pub fn new<'a>(own: &NodeId, labels: impl IntoIterator<Item = (NodeId, &'a str)>) -> Self {
        let labels = labels.into_iter();
        Self {
            own: own.to_string(),
            labels: labels
                .map(|(node, label)| (node.to_string(), label.to_owned()))
                .collect(),
            ..Self::default()
        }
    }

    /// The same, with who holds an office.
    #[cfg(test)]
    pub fn with_office(mut self, office: &OfficeId, holder: &NodeId) -> Self {
        let office = office.0.to_string();
        self.offices.insert(office, holder.to_string());
        self
    }

    /// The same, with a recovery key.
    #[cfg(test)]
    pub fn with_recovery_key(mut self, key: &NodeId) -> Self {
        self.recovery = Some(key.to_string());
        self
    }

    /// An owner in a word: a node, or the recovery key.
    #[must_use]
    pub fn owner(&self, owner: &NodeId) -> String {
        let named = self.of_one(*owner);
        if self.recovery.as_ref() == Some(&named.node) {
            return "the recovery key".to_owned();
        }
        named.word().to_owned()
    }

    /// Who holds an office, in a word; `None` if that is not known.
    #[must_use]
    pub fn holder(&self, office: &OfficeId) -> Option<String> {
        let holder = self.offices.get(&office.0.to_string())?;
        Some(self.named(holder.clone()).word().to_owned())
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
