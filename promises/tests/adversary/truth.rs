//! Which of the adversary's nodes really were let in, and by whom: what honest nodes may believe at most.

use std::collections::{BTreeMap, BTreeSet};

use grid_keys::NodeId;

/// Why a node of the adversary's may be a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Way {
    /// The founder let it in.
    Founder,
    /// A member did, by an invite.
    Guest { host: NodeId, invite: NodeId },
    /// An owner below the founder did, in whatever way.
    Owner,
}

/// What is the case.
#[derive(Debug, Default)]
pub struct Truth {
    ways: BTreeMap<NodeId, BTreeSet<Way>>,
    /// Whom the founder put out.
    pub revoked: BTreeSet<NodeId>,
    /// Who was in at some moment, so that not all may know yet that it is out.
    been: BTreeSet<NodeId>,
    /// How many nodes each invite admits.
    uses: BTreeMap<NodeId, usize>,
    /// Whether the owner below the founder used its office for anything. Until that is undone, all may be out whom it could
    /// name.
    pub owner_acted: bool,
    /// Whether the founder dismissed it.
    pub owner_is_dismissed: bool,
}

impl Truth {
    pub fn let_in(&mut self, node: NodeId, way: Way) {
        self.ways.entry(node).or_default().insert(way);
    }

    pub fn made_invite(&mut self, invite: NodeId, uses: u32) {
        self.uses.insert(invite, uses as usize);
    }

    /// Whether any rule can admit a node.
    pub fn may_be_in(&self, node: &NodeId) -> bool {
        self.is_in_by(node, &mut BTreeSet::new())
    }

    /// The same, where nothing may hang on any of these: sybils let one another in.
    fn is_in_by(&self, node: &NodeId, below: &mut BTreeSet<NodeId>) -> bool {
        if !below.insert(*node) {
            return false;
        }
        let ways = self.ways.get(node).into_iter().flatten();
        let is_in = ways.into_iter().any(|way| match way {
            // An owner can bring back whom the founder put out.
            Way::Owner => !self.owner_is_dismissed,
            _ if self.revoked.contains(node) => false,
            Way::Founder => true,
            Way::Guest { host, .. } => self.is_in_by(host, below),
        });
        below.remove(node);
        is_in
    }

    /// Takes note of who is in now.
    pub fn note(&mut self) {
        let now = self.ways.keys().filter(|node| self.may_be_in(node));
        let now: Vec<NodeId> = now.copied().collect();
        self.been.extend(now);
    }

    /// Whether a node was in at some moment of the run.
    pub fn was_in(&self, node: &NodeId) -> bool {
        self.been.contains(node)
    }

    /// The invite that a node came by, if that alone lets it in, and how many it admits.
    pub fn invite_of(&self, node: &NodeId) -> Option<(NodeId, usize)> {
        let ways = self.ways.get(node)?;
        match (ways.len(), ways.first()?) {
            (1, Way::Guest { invite, .. }) => Some((*invite, *self.uses.get(invite)?)),
            _ => None,
        }
    }

    /// Whether the members can differ from what they were by what an owner did.
    pub const fn is_at_risk(&self) -> bool {
        self.owner_acted && !self.owner_is_dismissed
    }
}
