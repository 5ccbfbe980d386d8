//! The acts of a network's owners that a node holds: a set with room for [`MAX_ACTS`].
//!
//! Where there are more, those that count go before those that do not, then those nearer to the top, then the
//! earlier ones of each chain: nobody's flood pushes out what its seniors did. What was dropped and turns out
//! to matter comes back, because each owner keeps what it did itself, and offers it again.

use std::collections::{BTreeMap, BTreeSet};

use crate::limits::MAX_ACTS;
use crate::network::act::{Act, ActId, OfficeId};
use crate::network::authority::{Authority, Tree};
use crate::network::charter::Charter;
use crate::network::statement::Signed;

/// The acts of one network.
#[derive(Clone, Debug)]
pub struct Acts {
    charter: Signed<Charter>,
    room: usize,
    acts: BTreeMap<ActId, Signed<Act>>,
    authority: Authority,
}

/// What came of acts that were to be merged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Merged {
    /// Those that are held now and were not before.
    pub new: BTreeSet<ActId>,
    /// Those of an office that is not known (yet), or not of its holder.
    pub strange: BTreeSet<ActId>,
    /// Those for which there is no room, and those that lost their room to others.
    pub dropped: BTreeSet<ActId>,
}

impl Acts {
    /// No acts yet.
    #[must_use]
    pub fn new(charter: Signed<Charter>) -> Self {
        Self::with_room(charter, MAX_ACTS)
    }

    /// The same with another room, for tests: all nodes of a network have to have the same.
    #[must_use]
    pub fn with_room(charter: Signed<Charter>, room: usize) -> Self {
        let mut acts = Self {
            charter,
            room,
            acts: BTreeMap::new(),
            authority: Authority::default(),
        };
        acts.decide(&acts.tree());
        acts
    }

    /// What follows from them.
    #[must_use]
    pub const fn authority(&self) -> &Authority {
        &self.authority
    }

    /// All of them.
    #[must_use]
    pub const fn held(&self) -> &BTreeMap<ActId, Signed<Act>> {
        &self.acts
    }

    /// Merges acts, in whatever order they are given.
    pub fn merge(&mut self, acts: impl IntoIterator<Item = Signed<Act>>) -> Merged {
        let mut merged = Merged::default();
        for act in acts {
            let id = act.act_id();
            if act.network == self.charter.network() && !self.acts.contains_key(&id) {
                merged.new.insert(id);
                self.acts.insert(id, act);
            }
        }
        if merged.new.is_empty() {
            return merged;
        }
        let tree = self.tree();
        merged.strange = self.take(|act| !tree.is_by_the_holder(act));
        // Whoever is strange to the tree has no place in it.
        self.decide(&tree);
        if self.acts.len() > self.room {
            merged.dropped = self.make_room(&tree);
            self.decide(&self.tree());
        }
        merged.new.retain(|id| self.acts.contains_key(id));
        merged
    }

    fn tree(&self) -> Tree {
        Tree::of(&self.charter.network(), &self.charter, &self.bodies())
    }

    fn bodies(&self) -> BTreeMap<ActId, &Act> {
        let bodies = self.acts.iter();
        bodies.map(|(id, act)| (*id, act.body())).collect()
    }

    fn decide(&mut self, tree: &Tree) {
        self.authority = Authority::in_tree(tree, &self.bodies());
    }

    /// Takes out those of which something is true.
    fn take(&mut self, which: impl Fn(&Act) -> bool) -> BTreeSet<ActId> {
        let out: BTreeSet<ActId> = self
            .acts
            .iter()
            .filter(|(_, act)| which(act))
            .map(|(id, _)| *id)
            .collect();
        self.acts.retain(|id, _| !out.contains(id));
        out
    }

    /// Keeps the best of them, and of these the ones that still hang together.
    fn make_room(&mut self, tree: &Tree) -> BTreeSet<ActId> {
        let depth = |office: &OfficeId| tree.places().get(office).map_or(u32::MAX, |p| p.depth);
        let rank = |id: &ActId, act: &Act| {
            let matters = self.authority.counts(id) || self.authority.leads_to_a_cut(id);
            (!matters, depth(&act.office), act.number, *id)
        };
        let mut ranked: Vec<_> = self.acts.iter().map(|(id, act)| rank(id, act)).collect();
        ranked.sort_unstable();
        ranked.truncate(self.room);
        // From the top down, so that what something hangs on is decided before it.
        ranked.sort_unstable_by_key(|(_, depth, number, id)| (*depth, *number, *id));
        let mut kept = BTreeSet::new();
        for (_, _, number, id) in ranked {
            let Some(act) = self.acts.get(&id) else {
                continue;
            };
            let is_made = kept.contains(&act.office.0) || !self.acts.contains_key(&act.office.0);
            let follows = number == 1 || kept.contains(&act.previous);
            if is_made && follows {
                kept.insert(id);
            }
        }
        let out = self.acts.keys().copied().filter(|id| !kept.contains(id));
        let out: BTreeSet<ActId> = out.collect();
        self.acts.retain(|id, _| kept.contains(id));
        out
    }
}
