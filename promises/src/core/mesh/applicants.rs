//! Admission by an owner: which nodes asked for it, and which were admitted.

use std::collections::BTreeMap;

use crate::core::effect::{Notice, Reply};
use crate::core::error::CommandError;
use crate::core::local::Local;
use crate::core::mesh::roster::{Roster, pick};
use crate::core::step::Queue;
use crate::network::admission::{Admission, AdmissionRequest, Direct, Link, RawLink};
use crate::network::charter::AdmissionRule;
use crate::network::name::Label;
use crate::network::statement::Signed;
use crate::time::Timestamp;
use grid_keys::NodeId;

/// Nodes that may wait for an owner at once.
const MAX_ASKING: usize = 32;

/// The nodes that asked this one to be admitted.
#[derive(Debug, Default)]
pub(crate) struct Applicants {
    asking: BTreeMap<NodeId, Label>,
    approved: BTreeMap<NodeId, Approved>,
}

/// A node that was admitted, and may not have heard of it.
#[derive(Debug)]
struct Approved {
    /// What it called itself when it asked here.
    label: Option<Label>,
    admission: Admission,
}

impl Applicants {
    /// The nodes that no owner has admitted yet.
    pub(crate) const fn asking(&self) -> &BTreeMap<NodeId, Label> {
        &self.asking
    }

    pub(crate) fn approved(&self, node: &NodeId) -> Option<&Admission> {
        self.approved.get(node).map(|approved| &approved.admission)
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
        let known = self.asking.contains_key(&node);
        if !known && self.asking.len() >= MAX_ASKING {
            return false;
        }
        self.asking.insert(node, label.clone());
        if is_owner && !known {
            let name = roster.name().clone();
            effects.notice(Notice::AdmissionAsked { name, node, label });
        }
        true
    }

    /// Admits a node that asked; this node signs as an owner.
    pub(crate) fn approve(
        &mut self,
        node: &str,
        roster: &Roster,
        local: &Local,
        now: Timestamp,
    ) -> Result<Reply, CommandError> {
        let rule = roster.charter().admission;
        if rule != AdmissionRule::Approve {
            return Err(CommandError::NoApproval {
                name: roster.name().clone(),
                rule,
            });
        }
        // Those who are in too: a name that one of them has does not say who is meant.
        let mut known: BTreeMap<NodeId, String> = roster.labels().collect();
        let approved = self.approved.iter();
        let approved = approved.filter_map(|(id, approved)| Some((id, approved.label.as_ref()?)));
        let asking = self.asking.iter();
        known.extend(
            approved
                .chain(asking)
                .map(|(id, label)| (*id, label.as_str().to_owned())),
        );
        let node = pick(roster.name(), node, known.into_iter().collect())?;
        if roster.is_revoked(&node) {
            return Err(CommandError::WasRevoked);
        }
        let is_in = roster.is_member(&node) || self.approved.contains_key(&node);
        if is_in && !self.asking.contains_key(&node) {
            return Ok(Reply::Unchanged);
        }
        let direct = Direct {
            network: roster.id(),
            owner: local.id(),
            node,
            issued: now,
        };
        let link = Link::Direct(Signed::sign(direct, local.key())?);
        let admission = Admission::default().extended(link);
        admission.verify(roster.charter(), &node)?;
        self.admit(node, admission);
        Ok(Reply::Changed)
    }

    /// Takes in an admission by another owner, for those who asked through this node.
    pub(crate) fn hand_on(&mut self, raw: &[RawLink], roster: &Roster) {
        let asking: Vec<NodeId> = self.asking.keys().copied().collect();
        for node in asking {
            if let Ok(admission) = Admission::decode(raw, roster.charter(), &node) {
                self.admit(node, admission);
            }
        }
    }

    fn admit(&mut self, node: NodeId, admission: Admission) {
        let label = self.asking.remove(&node);
        self.approved.insert(node, Approved { label, admission });
    }
}
