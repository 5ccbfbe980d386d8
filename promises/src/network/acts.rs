//! The acts of a network's owners that a node holds: a set with room for [`MAX_ACTS`].
//!
//! Where there are more, those that count go before those that do not, then those nearer to the top, then the
//! earlier ones of each chain: nobody's flood pushes out what its seniors did. What was dropped and turns out
//! to matter comes back, because each owner keeps what it did itself, and offers it again.

use std::collections::{BTreeMap, BTreeSet};

use crate::limits::MAX_ACTS;
use crate::network::act::{Act, ActId, Action, OfficeId};
use crate::network::authority::{Authority, Tree};
use crate::network::charter::Charter;
use crate::network::statement::{Signed, StatementError};
use crate::time::Timestamp;
use grid_keys::{NodeId, NodeKey};

/// The acts of one network.
#[derive(Clone, Debug)]
pub struct Acts {
    charter: Signed<Charter>,
    room: usize,
    acts: BTreeMap<ActId, Signed<Act>>,
    authority: Authority,
    /// How far from the top each office is that is known.
    depths: BTreeMap<OfficeId, u32>,
    /// An act of the recovery key that is none of these, because what it follows on is not known.
    ahead: Option<Signed<Act>>,
    /// Whose acts are kept in any case: those of the node that holds this set.
    own: Option<NodeId>,
    /// What that node did first, as many acts as there is room for: a thief of its key signs after it did.
    precious: BTreeSet<ActId>,
    /// Those of them, and those by which that node came to be an owner, for which there is no room.
    aside: BTreeMap<ActId, Signed<Act>>,
    /// How often all of them were looked at.
    #[cfg(test)]
    looks: usize,
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
            depths: BTreeMap::new(),
            ahead: None,
            own: None,
            precious: BTreeSet::new(),
            aside: BTreeMap::new(),
            #[cfg(test)]
            looks: 0,
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

    /// All of them, so that nobody acts before it was appointed: those nearer to the top first, then the earlier ones of
    /// each chain.
    pub fn in_order(&self) -> impl Iterator<Item = (ActId, &Signed<Act>)> {
        let place = |office: &OfficeId| self.depths.get(office).copied().unwrap_or(u32::MAX);
        let mut all: Vec<_> = self.acts.iter().map(|(id, act)| (*id, act)).collect();
        all.sort_by_key(|(id, act)| (place(&act.office), act.number, *id));
        all.into_iter()
    }

    /// Keeps the last act of the recovery key in mind, so that what is signed by that key follows on it. By itself it
    /// would say too much: of an owner whom it dismisses nothing counts as long as the acts up to the cut are not known.
    pub fn go_on_from(&mut self, act: Signed<Act>) {
        let recovery = self.charter.recovery;
        let office = recovery.map(|key| OfficeId::founding(&self.charter.network(), &key));
        let is_its = Some(act.owner) == recovery && Some(act.office) == office;
        let is_later = |known: &Signed<Act>| act.number > known.number;
        if is_its && self.ahead.as_ref().is_none_or(is_later) {
            self.ahead = Some(act);
        }
    }

    /// Further acts of an office, in this order, signed by its holder: after the last one of its chain that is known.
    ///
    /// # Errors
    /// One of them breaks its own rules, or the chain is as long as a chain can be.
    pub fn signed(
        &self,
        office: &OfficeId,
        key: &NodeKey,
        actions: Vec<Action>,
        issued: Timestamp,
    ) -> Result<Vec<Signed<Act>>, StatementError> {
        let ahead = self.ahead.as_ref().filter(|act| act.office == *office);
        let ahead = ahead.map(|act| (act.number, act.act_id()));
        let (mut number, mut previous) = self.head(office).max(ahead.unwrap_or((0, office.0)));
        let mut acts = Vec::with_capacity(actions.len());
        for action in actions {
            number = number.saturating_add(1);
            let act = Act {
                network: self.charter.network(),
                owner: key.id(),
                office: *office,
                number,
                previous,
                action,
                issued,
            };
            previous = act.act_id();
            acts.push(Signed::sign(act, key)?);
        }
        Ok(acts)
    }

    /// The last act of an office's longest chain, and its number; the office itself if there is none.
    #[must_use]
    pub fn head(&self, office: &OfficeId) -> (u32, ActId) {
        let of_it = self.acts.iter().filter(|(_, act)| act.office == *office);
        let last = of_it.max_by_key(|(id, act)| (act.number, std::cmp::Reverse(**id)));
        last.map_or((0, office.0), |(id, act)| (act.number, *id))
    }

    /// The acts of each office that count: how many there are, and the last one; the last of each branch, if there is
    /// more than one. Where acts between two are not known, the later may follow on the earlier: that is no branch.
    #[must_use]
    pub fn chains(&self) -> BTreeMap<OfficeId, (usize, BTreeSet<ActId>)> {
        let mut chains: BTreeMap<OfficeId, BTreeMap<ActId, &Act>> = BTreeMap::new();
        for (id, act) in self.acts.iter().filter(|(id, _)| self.authority.counts(id)) {
            chains.entry(act.office).or_default().insert(*id, act);
        }
        let chains = chains.into_iter();
        let heads = chains.map(|(office, chain)| (office, (chain.len(), Self::heads_of(&chain))));
        heads.collect()
    }

    /// Those of an office's acts on which none follows, as far as that can be known.
    fn heads_of(chain: &BTreeMap<ActId, &Act>) -> BTreeSet<ActId> {
        let followed: BTreeSet<ActId> = chain.values().map(|act| act.previous).collect();
        let last = chain.iter().filter(|(id, _)| !followed.contains(*id));
        // How far back each is known without a gap, the shortest first.
        let back_to = |act| {
            let back =
                std::iter::successors(Some(act), |act: &&Act| chain.get(&act.previous).copied());
            back.last().map_or(1, |act| act.number)
        };
        let mut pieces: Vec<_> = last
            .map(|(id, act)| (back_to(*act), act.number, *id))
            .collect();
        pieces.sort_unstable_by(|one, other| other.cmp(one));
        // The branches, and how far back each is known with gaps.
        let mut branches: Vec<(u32, ActId)> = Vec::new();
        for (first, last, id) in pieces {
            match branches
                .iter_mut()
                .find(|(from, _)| last.saturating_add(1) < *from)
            {
                Some((from, _)) => *from = first,
                None => branches.push((first, id)),
            }
        }
        branches.into_iter().map(|(_, id)| id).collect()
    }

    /// The last acts that count, those of seniors first, but for at most so many.
    #[must_use]
    pub fn heads(&self, most: usize) -> Vec<ActId> {
        let place = |office: &OfficeId| self.depths.get(office).copied().unwrap_or(u32::MAX);
        let mut chains: Vec<_> = self.chains().into_iter().collect();
        chains.sort_by_key(|(office, _)| (place(office), *office));
        let heads = chains.into_iter().flat_map(|(_, (_, heads))| heads);
        heads.take(most).collect()
    }

    /// What shows that a node is an owner by an office: the appointment, those of the ones who appointed, and so on.
    pub fn line_of(&self, office: &OfficeId) -> impl Iterator<Item = &Signed<Act>> {
        let offices = self.authority.offices();
        let above = move |id: &OfficeId| offices.get(id).and_then(|office| office.place.above);
        std::iter::successors(Some(*office), above).filter_map(|id| self.acts.get(&id.0))
    }

    /// What shows that an owner admitted a node by name, and that it was one; nothing if none did.
    #[must_use]
    pub fn naming(&self, node: &NodeId) -> Vec<&Signed<Act>> {
        let revocations: Vec<&ActId> = self.authority.revocations_of(node).collect();
        let names = |act: &Act| match &act.action {
            Action::Admit { nodes, over } => {
                nodes.contains(node) && revocations.iter().all(|act| over.contains(act))
            }
            _ => false,
        };
        let counting = self.acts.iter().filter(|(id, _)| self.authority.counts(id));
        let Some(act) = counting.map(|(_, act)| act).find(|act| names(act)) else {
            return Vec::new();
        };
        std::iter::once(act)
            .chain(self.line_of(&act.office))
            .collect()
    }

    /// What shows that a node needs nobody else to be a member; nothing if that is the charter, or if it does.
    #[must_use]
    pub fn rooting(&self, node: &NodeId) -> Vec<&Signed<Act>> {
        let mut offices = self.authority.offices_of(node);
        match offices.next() {
            Some((office, _)) => self.line_of(office).collect(),
            None => self.naming(node),
        }
    }

    /// Whether every act of others is among these.
    #[must_use]
    pub fn keeps_all_of(&self, others: &Self) -> bool {
        others.acts.keys().all(|id| self.acts.contains_key(id))
    }

    /// Keeps what this node does as an owner, and how it came to be one, also where there is no room for it: it comes back
    /// when there is, and with it to the others.
    pub fn belong_to(&mut self, node: NodeId) {
        self.own = Some(node);
    }

    /// What is kept without having room, for the disk.
    pub fn aside(&self) -> impl Iterator<Item = &Signed<Act>> {
        self.aside.values()
    }

    /// Merges acts, in whatever order they are given.
    pub fn merge(&mut self, acts: impl IntoIterator<Item = Signed<Act>>) -> Merged {
        let mut merged = Merged::default();
        let acts = acts.into_iter().map(|act| (act.act_id(), act));
        let mut acts: BTreeMap<ActId, Signed<Act>> = acts
            .filter(|(id, act)| {
                act.network == self.charter.network() && !self.acts.contains_key(id)
            })
            .collect();
        let strange = acts.iter().filter(|(_, act)| !self.may_hold(act, &acts));
        merged.strange = strange.map(|(id, _)| *id).collect();
        acts.retain(|id, _| !merged.strange.contains(id));
        // To find out what follows takes a look at all acts: nobody has that for a key of his own.
        if acts.is_empty() {
            return merged;
        }
        self.remember_own(&acts);
        acts.extend(std::mem::take(&mut self.aside));
        merged.new = acts.keys().copied().collect();
        self.acts.extend(acts);
        let tree = self.tree();
        let strange = self
            .acts
            .extract_if(.., |_, act| !tree.is_by_the_holder(act));
        merged.strange.extend(strange.map(|(id, _)| id));
        // Whoever is strange to the tree has no place in it.
        self.decide(&tree);
        if self.acts.len() > self.room {
            let mut own = self.line_of_own(&tree);
            own.extend(&self.precious);
            self.aside = self.make_room(&tree);
            merged.dropped = self.aside.keys().copied().collect();
            self.aside.retain(|id, _| own.contains(id));
            self.decide(&self.tree());
        }
        merged.new.retain(|id| self.acts.contains_key(id));
        merged
    }

    /// Whether an act may be by the holder of its office, as far as the appointment alone tells: one that is known, or is
    /// among these.
    fn may_hold(&self, act: &Act, among: &BTreeMap<ActId, Signed<Act>>) -> bool {
        let Charter {
            owners, recovery, ..
        } = self.charter.body();
        let is_founding = owners.contains(&act.owner) || *recovery == Some(act.owner);
        let appointment = self.acts.get(&act.office.0);
        let appointment = appointment.or_else(|| among.get(&act.office.0));
        let holder = appointment.and_then(|appointment| appointment.action.makes_owner());
        (is_founding && OfficeId::founding(&self.charter.network(), &act.owner) == act.office)
            || holder == Some(act.owner)
    }

    /// Notes which of these acts are this node's own, as long as it has done few.
    fn remember_own(&mut self, acts: &BTreeMap<ActId, Signed<Act>>) {
        let own = acts
            .iter()
            .filter(|(id, act)| Some(act.owner) == self.own && !self.precious.contains(id));
        let mut own: Vec<(u32, ActId)> = own.map(|(id, act)| (act.number, *id)).collect();
        own.sort_unstable();
        let left = self.room.saturating_sub(self.precious.len());
        self.precious
            .extend(own.into_iter().take(left).map(|(_, id)| id));
    }

    /// How this node came to be an owner, whether that counts at present or not: while it is not known what leads to a cut,
    /// nothing counts.
    fn line_of_own(&self, tree: &Tree) -> BTreeSet<ActId> {
        let places = tree.places();
        let own = places
            .iter()
            .filter(|(_, place)| Some(place.holder) == self.own);
        let above = |id: &OfficeId| places.get(id).and_then(|place| place.above);
        let line = own.flat_map(|(id, _)| std::iter::successors(Some(*id), above));
        line.map(|office| office.0).collect()
    }

    fn tree(&self) -> Tree {
        Tree::of(&self.charter.network(), &self.charter, &self.bodies())
    }

    fn bodies(&self) -> BTreeMap<ActId, &Act> {
        let bodies = self.acts.iter();
        bodies.map(|(id, act)| (*id, act.body())).collect()
    }

    fn decide(&mut self, tree: &Tree) {
        #[cfg(test)]
        {
            self.looks += 1;
        }
        self.authority = Authority::in_tree(tree, &self.bodies());
        let places = tree.places().iter();
        self.depths = places.map(|(id, place)| (*id, place.depth)).collect();
    }

    /// Keeps the best of them, and of these the ones that still hang together. Returns the others.
    fn make_room(&mut self, tree: &Tree) -> BTreeMap<ActId, Signed<Act>> {
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
        let out = self.acts.extract_if(.., |id, _| !kept.contains(id));
        out.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::charter::AdmissionRule;
    use crate::network::testing::{T0, charter, key};

    /// The heads of the founder's office, if these of its acts are known.
    fn heads<'a>(known: impl IntoIterator<Item = &'a Signed<Act>>) -> BTreeSet<ActId> {
        let mut acts = Acts::new(charter(AdmissionRule::Invite));
        acts.merge(known.into_iter().cloned());
        let chains = acts.chains().into_values();
        chains.flat_map(|(_, heads)| heads).collect()
    }

    #[test]
    fn a_gap_is_no_branch() {
        let charter = charter(AdmissionRule::Invite);
        let founder = key(1);
        let office = OfficeId::founding(&charter.network(), &founder.id());
        let revoke = |nodes: &[u8], after: &[Signed<Act>]| {
            let mut acts = Acts::new(charter.clone());
            acts.merge(after.iter().cloned());
            let nodes = nodes.iter().map(|node| Action::Revoke {
                node: key(*node).id(),
            });
            acts.signed(&office, &founder, nodes.collect(), T0).unwrap()
        };
        let chain = revoke(&[11, 12, 13, 14, 15], &[]);
        let id = |act: &Signed<Act>| act.act_id();
        let last = BTreeSet::from([id(&chain[4])]);
        // Whatever is missing.
        for missing in 0..16 {
            let known = chain.iter().enumerate();
            let known = known.filter(|(n, _)| *n == 4 || missing & (1 << n) == 0);
            assert_eq!(heads(known.map(|(_, act)| act)), last, "{missing:b}");
        }
        // The second and the third of another branch.
        let other = revoke(&[22, 23], &chain[..1]);
        let both = BTreeSet::from([id(&chain[4]), id(&other[1])]);
        assert_eq!(heads(chain.iter().chain(&other)), both);
        let gaps = [&chain[0], &chain[2], &chain[4], &other[1]];
        let found = heads(gaps);
        assert_eq!(found.len(), 2, "both are the third");
        assert!(found.contains(&id(&chain[4])));
    }

    /// What follows from all acts takes a look at all of them: nobody has that for a key of his own.
    #[test]
    fn an_act_of_nobody_costs_no_look_at_the_others() {
        let charter = charter(AdmissionRule::Invite);
        let mut acts = Acts::new(charter.clone());
        let revoke = |node: u8| Action::Revoke {
            node: key(node).id(),
        };
        let founding = |node: u8| OfficeId::founding(&charter.network(), &key(node).id());
        let appointment = Action::Appoint { node: key(2).id() };
        let appointment = acts
            .signed(&founding(1), &key(1), vec![appointment], T0)
            .unwrap();
        let second = OfficeId(appointment[0].act_id());
        let sign = |acts: &Acts, office, node| {
            let act = acts.signed(&office, &key(node), vec![revoke(9)], T0);
            act.unwrap().remove(0)
        };
        // Of an office of its own making, of one that is another's, and of an act that appoints nobody.
        let strange = [
            sign(&acts, founding(3), 3),
            sign(&acts, founding(1), 3),
            sign(&acts, second, 3),
        ];
        acts.merge(appointment);
        let own = sign(&acts, second, 2);
        acts.merge([own.clone()]);
        let looks = acts.looks;
        for act in strange
            .into_iter()
            .chain([sign(&acts, OfficeId(own.act_id()), 2)])
        {
            let merged = acts.merge([act.clone()]);
            assert_eq!(merged.strange, BTreeSet::from([act.act_id()]));
            assert!(merged.new.is_empty());
        }
        assert_eq!((acts.looks, acts.held().len()), (looks, 2));
    }
}
