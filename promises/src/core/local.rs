//! This node and its machine, as far as its networks need to know them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use ipnet::{Ipv4Net, Ipv6Net};

use crate::core::input::HostFacts;
use crate::network::ids::NetworkId;
use crate::network::name::Label;
use crate::network::rules::LocalFacts;
use grid_keys::{NodeId, NodeKey};

/// This node and its machine.
pub(crate) struct Local {
    key: NodeKey,
    id: NodeId,
    label: Label,
    host: HostFacts,
    facts: LocalFacts,
    /// Where others see this node's QUIC.
    seen_at: BTreeSet<SocketAddr>,
    /// Whether what this node decides can be written down.
    remembers: bool,
}

impl Local {
    pub(crate) fn new(key: NodeKey, label: Label) -> Self {
        Self {
            id: key.id(),
            key,
            label,
            host: HostFacts::default(),
            facts: LocalFacts::default(),
            seen_at: BTreeSet::new(),
            remembers: true,
        }
    }

    /// Whether what this node decides can be written down. While it cannot, it decides nothing.
    pub(crate) const fn remembers(&self) -> bool {
        self.remembers
    }

    /// Returns whether anything changed.
    pub(crate) const fn set_remembers(&mut self, remembers: bool) -> bool {
        let differs = self.remembers != remembers;
        self.remembers = remembers;
        differs
    }

    pub(crate) const fn key(&self) -> &NodeKey {
        &self.key
    }

    pub(crate) const fn id(&self) -> NodeId {
        self.id
    }

    pub(crate) const fn label(&self) -> &Label {
        &self.label
    }

    pub(crate) const fn host(&self) -> &HostFacts {
        &self.host
    }

    /// The machine's connected prefixes, and the ranges of all networks.
    pub(crate) const fn facts(&self) -> &LocalFacts {
        &self.facts
    }

    pub(crate) const fn seen_at(&self) -> &BTreeSet<SocketAddr> {
        &self.seen_at
    }

    /// Returns whether anything changed.
    pub(crate) fn set_host(&mut self, host: HostFacts) -> bool {
        let differs = self.host != host;
        self.host = host;
        differs
    }

    pub(crate) fn set_ranges(&mut self, ranges: BTreeMap<NetworkId, (Ipv4Net, Ipv6Net)>) {
        self.facts = LocalFacts {
            connected: self.host.connected.clone(),
            ranges,
        };
    }

    /// Whether that is news. When the last connection is gone, what was seen last is the best guess, and stays.
    pub(crate) fn would_change(&self, seen_at: &BTreeSet<SocketAddr>) -> bool {
        *seen_at != self.seen_at && !seen_at.is_empty()
    }

    pub(crate) fn set_seen_at(&mut self, seen_at: BTreeSet<SocketAddr>) {
        self.seen_at = seen_at;
    }

    /// Whether an address lies in the range of one of this node's networks.
    pub(crate) fn is_in_tunnel(&self, ip: &IpAddr) -> bool {
        self.facts.ranges.values().any(|(v4, v6)| match ip {
            IpAddr::V4(ip) => v4.contains(ip),
            IpAddr::V6(ip) => v6.contains(ip),
        })
    }

    /// Whether others see this node at an address that it does not have.
    pub(crate) fn is_natted(&self) -> bool {
        self.seen_at
            .iter()
            .any(|seen| !self.host.addresses.contains(&seen.ip()) && !seen.ip().is_loopback())
    }
}
