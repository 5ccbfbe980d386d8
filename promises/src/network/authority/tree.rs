//! Where offices stand, whether or not their appointments count.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::limits::MAX_OFFICE_DEPTH;
use crate::network::act::{Act, ActId, Action, OfficeId};
use crate::network::charter::Charter;
use crate::network::ids::NetworkId;
use crate::time::Timestamp;
use grid_keys::NodeId;

/// Where one office stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Who holds it.
    pub holder: NodeId,
    /// How far it is from the recovery key, which has depth 0.
    pub depth: u32,
    /// The office that made it; `None` at the top.
    pub above: Option<OfficeId>,
    /// The office whose place it takes, if it is an heir's.
    pub in_place_of: Option<OfficeId>,
}

/// Every office that is known: made by the charter, or by an act of the holder of a known office. An heir's also
/// needs a dismissal by a senior: otherwise anybody with an office could make itself the heir of the top.
///
/// All of that is fixed by signatures and hashes, so that what arrives later changes no place.
#[derive(Debug)]
pub(crate) struct Tree {
    places: BTreeMap<OfficeId, Place>,
    /// When the network was founded.
    founded: Timestamp,
}

impl Tree {
    pub(crate) fn of(network: &NetworkId, charter: &Charter, acts: &BTreeMap<ActId, &Act>) -> Self {
        let mut tree = Self {
            places: founding(network, charter).collect(),
            founded: charter.created,
        };
        // By the office that an act has to wait for.
        let mut waiting: BTreeMap<OfficeId, Vec<ActId>> = BTreeMap::new();
        let mut ready: VecDeque<ActId> = acts.keys().copied().collect();
        while let Some(id) = ready.pop_front() {
            let Some(act) = acts.get(&id) else { continue };
            match tree.place(act) {
                Ok(Some(place)) => {
                    tree.places.insert(OfficeId(id), place);
                    ready.extend(waiting.remove(&OfficeId(id)).unwrap_or_default());
                }
                Ok(None) => {}
                Err(unknown) => waiting.entry(unknown).or_default().push(id),
            }
        }
        tree
    }

    /// The place of the office that an act makes, if it makes one.
    ///
    /// # Errors
    /// The office that has to be known first.
    fn place(&self, act: &Act) -> Result<Option<Place>, OfficeId> {
        let Some(holder) = act.action.makes_owner() else {
            return Ok(None);
        };
        let in_place_of = match act.action {
            Action::Dismiss { office, .. } => Some(office),
            _ => None,
        };
        let own = self.places.get(&act.office).ok_or(act.office)?;
        if own.holder != act.owner || own.depth >= MAX_OFFICE_DEPTH {
            return Ok(None);
        }
        if let Some(ended) = in_place_of {
            self.places.get(&ended).ok_or(ended)?;
            if !self.is_senior(&act.office, &ended) {
                return Ok(None);
            }
        }
        Ok(Some(Place {
            holder,
            depth: own.depth + 1,
            above: Some(act.office),
            in_place_of,
        }))
    }

    pub(crate) const fn places(&self) -> &BTreeMap<OfficeId, Place> {
        &self.places
    }

    pub(crate) const fn founded(&self) -> Timestamp {
        self.founded
    }

    /// Whether an act is signed by the holder of its office.
    pub(crate) fn is_by_the_holder(&self, act: &Act) -> bool {
        self.places
            .get(&act.office)
            .is_some_and(|place| place.holder == act.owner)
    }

    /// Whether one office may end another ([`is_senior`]).
    pub(crate) fn is_senior(&self, one: &OfficeId, other: &OfficeId) -> bool {
        is_senior(|id| self.places.get(id), one, other)
    }
}

/// Whether one office may end another: it is above it, or takes the place of one that is. A senior is always
/// nearer to the top: an heir stands directly under whoever ended the office, and that one was senior to it.
pub(super) fn is_senior<'a>(
    place: impl Fn(&OfficeId) -> Option<&'a Place>,
    one: &OfficeId,
    other: &OfficeId,
) -> bool {
    let taken = |id: &OfficeId| place(id).and_then(|place| place.in_place_of);
    let above = |id: &OfficeId| place(id).and_then(|place| place.above);
    let places: BTreeSet<OfficeId> = std::iter::successors(Some(*one), taken).collect();
    std::iter::successors(above(other), above).any(|office| places.contains(&office))
}

/// The offices that the charter makes: that of the recovery key, and those of the founding owners under it.
fn founding(network: &NetworkId, charter: &Charter) -> impl Iterator<Item = (OfficeId, Place)> {
    let id = |holder: &NodeId| OfficeId::founding(network, holder);
    let top = charter.recovery.as_ref().map(id);
    let recovery = charter.recovery.iter().map(|key| (key, 0, None));
    let owners = charter.owners.iter().map(move |owner| (owner, 1, top));
    recovery.chain(owners).map(move |(holder, depth, above)| {
        let place = Place {
            holder: *holder,
            depth,
            above,
            in_place_of: None,
        };
        (id(holder), place)
    })
}
