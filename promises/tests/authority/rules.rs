//! The rules as they are written, one after the other, and as slow as that is.

use std::collections::{BTreeMap, BTreeSet};

use grid_keys::NodeId;
use grid_promises::limits::MAX_OFFICE_DEPTH;
use grid_promises::network::act::{Act, ActId, Action, OfficeId};
use grid_promises::network::{Charter, NetworkId};

pub(crate) struct Rules<'a> {
    acts: &'a BTreeMap<ActId, Act>,
    founding: BTreeMap<OfficeId, (NodeId, Option<OfficeId>)>,
    recovery: Option<OfficeId>,
    known: BTreeMap<ActId, bool>,
}

impl<'a> Rules<'a> {
    pub(crate) fn new(
        network: &NetworkId,
        charter: &Charter,
        acts: &'a BTreeMap<ActId, Act>,
    ) -> Self {
        let top = charter
            .recovery
            .map(|key| OfficeId::founding(network, &key));
        let mut founding: BTreeMap<_, _> = charter
            .owners
            .iter()
            .map(|owner| (OfficeId::founding(network, owner), (*owner, top)))
            .collect();
        if let (Some(top), Some(key)) = (top, charter.recovery) {
            founding.insert(top, (key, None));
        }
        Self {
            acts,
            founding,
            recovery: top,
            known: BTreeMap::new(),
        }
    }

    /// Who holds an office, and what is above it, whether it counts or not.
    fn place(&self, office: &OfficeId) -> Option<(NodeId, Option<OfficeId>)> {
        if let Some(place) = self.founding.get(office) {
            return Some(*place);
        }
        let act = self.acts.get(&office.0)?;
        let (owner, _) = self.place(&act.office)?;
        let holder = match &act.action {
            Action::Appoint { node } => *node,
            Action::Dismiss {
                office: ended,
                heir: Some(heir),
                ..
            } if self.is_senior(&act.office, ended) => *heir,
            _ => return None,
        };
        let may = owner == act.owner && self.depth(&act.office)? < MAX_OFFICE_DEPTH;
        may.then_some((holder, Some(act.office)))
    }

    fn above(&self, office: &OfficeId) -> Option<OfficeId> {
        self.place(office)?.1
    }

    fn depth(&self, office: &OfficeId) -> Option<u32> {
        match (self.founding.get(office), self.above(office)) {
            (Some((_, above)), _) => {
                Some(u32::from(self.recovery != Some(*office) || above.is_some()))
            }
            (None, Some(above)) => Some(1 + self.depth(&above)?),
            (None, None) => None,
        }
    }

    /// Rules 8 and 9.
    fn is_senior(&self, one: &OfficeId, other: &OfficeId) -> bool {
        let mut above = self.above(other);
        while let Some(office) = above {
            if self.has_the_place_of(one, &office) {
                return true;
            }
            above = self.above(&office);
        }
        false
    }

    fn has_the_place_of(&self, one: &OfficeId, office: &OfficeId) -> bool {
        if one == office {
            return true;
        }
        if self.place(one).is_none() {
            return false;
        }
        match self.acts.get(&one.0).map(|act| &act.action) {
            Some(Action::Dismiss { office: ended, .. }) => self.has_the_place_of(ended, office),
            _ => false,
        }
    }

    /// The holder of an office whose appointment counts.
    fn holder(&mut self, office: &OfficeId) -> Option<NodeId> {
        let (holder, _) = self.place(office)?;
        (self.founding.contains_key(office) || self.counts(&office.0)).then_some(holder)
    }

    /// Whether an act is one of its office's chain, as far as that is known.
    fn is_of_the_chain(&self, act: &Act) -> bool {
        match self.acts.get(&act.previous) {
            Some(previous) if previous.office == act.office && previous.owner == act.owner => {
                previous.number + 1 == act.number
            }
            _ => true,
        }
    }

    /// The acts of an owner from a cut back to its office; nothing if something on the way is unknown.
    fn path(&self, owner: &NodeId, office: &OfficeId, cut: &ActId) -> BTreeSet<ActId> {
        let mut path = BTreeSet::new();
        let mut at = *cut;
        while at != office.0 {
            match self.acts.get(&at) {
                Some(act)
                    if act.office == *office
                        && act.owner == *owner
                        && self.is_of_the_chain(act) =>
                {
                    path.insert(at);
                    at = act.previous;
                }
                _ => return BTreeSet::new(),
            }
        }
        path
    }

    /// Rule 10.
    pub(crate) fn counts(&mut self, id: &ActId) -> bool {
        if let Some(known) = self.known.get(id) {
            return *known;
        }
        let counts = self.decide(id);
        self.known.insert(*id, counts);
        counts
    }

    fn decide(&mut self, id: &ActId) -> bool {
        let Some(act) = self.acts.get(id) else {
            return false;
        };
        if self.holder(&act.office) != Some(act.owner) || !self.is_of_the_chain(act) {
            return false;
        }
        let acts = self.acts;
        for (by, dismissal) in acts {
            let Action::Dismiss { office, cut, .. } = &dismissal.action else {
                continue;
            };
            if *office == act.office
                && self.is_senior(&dismissal.office, office)
                && self.counts(by)
                && !self.path(&act.owner, office, cut).contains(id)
            {
                return false;
            }
        }
        true
    }
}
