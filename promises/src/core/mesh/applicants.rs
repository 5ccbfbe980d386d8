//! Admission by an owner: which nodes asked for it.

use std::collections::BTreeMap;

use crate::core::effect::Notice;
use crate::core::mesh::roster::Roster;
use crate::core::step::Queue;
use crate::network::admission::AdmissionRequest;
use crate::network::name::Label;
use grid_keys::NodeId;

/// Nodes that may wait for an owner at once.
const MAX_ASKING: usize = 32;

/// The nodes that asked this one to be admitted, until they are members.
#[derive(Debug, Default)]
pub(crate) struct Applicants(BTreeMap<NodeId, Label>);

impl Applicants {
    /// What the nodes call themselves that asked, also those that were admitted and may not have heard of it.
    pub(crate) fn labels(&self) -> impl Iterator<Item = (NodeId, String)> {
        let labels = self.0.iter();
        labels.map(|(node, label)| (*node, label.as_str().to_owned()))
    }

    /// The nodes that no owner has admitted yet.
    pub(crate) fn asking(&self, roster: &Roster) -> BTreeMap<NodeId, Label> {
        let authority = roster.ledger().authority();
        let asking = self.0.iter();
        let asking = asking.filter(|(node, _)| !authority.is_rooted(node));
        asking.map(|(node, label)| (*node, label.clone())).collect()
    }

    /// Takes a request in; if this node is an owner, reports it once. Returns whether there was room.
    pub(crate) fn add(
        &mut self,
        request: &AdmissionRequest,
        is_owner: bool,
        roster: &Roster,
        effects: &mut Queue,
    ) -> bool {
        let (node, label) = (request.node, request.label.clone());
        let known = self.0.contains_key(&node);
        if !known && self.0.len() >= MAX_ASKING {
            return false;
        }
        self.0.insert(node, label.clone());
        if is_owner && !known {
            let name = roster.name().clone();
            effects.notice(Notice::AdmissionAsked { name, node, label });
        }
        true
    }

    /// Forgets those that are members.
    pub(crate) fn forget_members(&mut self, roster: &Roster) {
        self.0.retain(|node, _| !roster.is_member(node));
    }
}
