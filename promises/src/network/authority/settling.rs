//! Which acts count, settled level by level from the top.

use std::collections::{BTreeMap, BTreeSet};

use super::tree::Tree;
use crate::network::act::{Act, ActId, Action, OfficeId};

/// What is settled so far.
#[derive(Debug, Default)]
pub(super) struct Settled {
    /// The acts that count.
    pub(super) counted: BTreeSet<ActId>,
    /// The acts on the way to a cut that a counting dismissal names.
    pub(super) to_cuts: BTreeSet<ActId>,
    /// Where each office that was ended is cut, by what ended it.
    pub(super) endings: BTreeMap<OfficeId, BTreeMap<ActId, ActId>>,
}

pub(super) fn settle(tree: &Tree, acts: &BTreeMap<ActId, &Act>) -> Settled {
    let mut chains: BTreeMap<OfficeId, Vec<(ActId, &Act)>> = BTreeMap::new();
    for (id, act) in acts.iter().filter(|(_, act)| tree.is_by_the_holder(act)) {
        chains.entry(act.office).or_default().push((*id, act));
    }
    let mut levels: BTreeMap<u32, Vec<OfficeId>> = BTreeMap::new();
    for (id, place) in tree.places() {
        levels.entry(place.depth).or_default().push(*id);
    }
    let mut settled = Settled::default();
    for id in levels.into_values().flatten() {
        // The charter's own are no acts.
        let is_made = acts
            .get(&id.0)
            .is_none_or(|_| settled.counted.contains(&id.0));
        if !is_made {
            continue;
        }
        for (act_id, act) in settled.count(&id, chains.remove(&id).unwrap_or_default()) {
            settled.counted.insert(act_id);
            if let Action::Dismiss { office, cut, .. } = act.action
                && tree.is_senior(&id, &office)
            {
                let endings = settled.endings.entry(office).or_default();
                endings.insert(act_id, cut);
            }
        }
    }
    settled
}

impl Settled {
    /// The acts of an office that count, its seniors being settled: those that lie on the way to every cut.
    fn count<'a>(
        &mut self,
        office: &OfficeId,
        mut chain: Vec<(ActId, &'a Act)>,
    ) -> Vec<(ActId, &'a Act)> {
        chain.sort_by_key(|(id, act)| (act.number, *id));
        let numbers: BTreeMap<ActId, u32> = chain.iter().map(|(id, a)| (*id, a.number)).collect();
        // Whatever says another number than its predecessor does is no act of the chain.
        chain.retain(|(_, act)| {
            numbers
                .get(&act.previous)
                .is_none_or(|number| number.checked_add(1) == Some(act.number))
        });
        let Some(endings) = self.endings.get(office) else {
            return chain;
        };
        let cuts: BTreeSet<ActId> = endings.values().copied().collect();
        // How many cuts each act leads to.
        let mut through: BTreeMap<ActId, usize> = cuts.iter().map(|cut| (*cut, 1)).collect();
        for (id, act) in chain.iter().rev() {
            if let Some(count) = through.get(id).copied() {
                *through.entry(act.previous).or_default() += count;
            }
        }
        let leads = |id: &ActId| through.contains_key(id);
        self.to_cuts
            .extend(chain.iter().map(|(id, _)| *id).filter(leads));
        // A way with something unknown on it does not reach the office, and counts for nothing.
        if through.get(&office.0).copied().unwrap_or_default() < cuts.len() {
            return Vec::new();
        }
        chain.retain(|(id, _)| through.get(id) == Some(&cuts.len()));
        chain
    }
}
