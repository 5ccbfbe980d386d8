//! Who may decide, compared with what the rules say word for word, over random histories: owners that know a
//! part of what others did, forks, thieves, and dismissals that race.
#![allow(clippy::panic, clippy::unwrap_used)]

mod common;
#[path = "authority/room.rs"]
mod room;
#[path = "authority/rules.rs"]
mod rules;

use std::collections::{BTreeMap, BTreeSet};

use common::{T0, charter, key};
use grid_promises::network::act::{Act, ActId, Action, OfficeId};
use grid_promises::network::authority::Authority;
use grid_promises::network::{Charter, NetworkId};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng};
use rules::Rules;

/// A history of acts, of which each owner knew some.
struct History {
    network: NetworkId,
    charter: Charter,
    acts: BTreeMap<ActId, Act>,
    /// The points of each office's chain that somebody may go on from.
    points: BTreeMap<OfficeId, Vec<ActId>>,
    holders: BTreeMap<OfficeId, grid_keys::NodeId>,
    rng: ChaCha8Rng,
}

impl History {
    /// A network with a recovery key and two founding owners.
    fn new(seed: u64) -> Self {
        let network = NetworkId(grid_promises::ContentId::of(b"network"));
        let mut charter = charter();
        charter.recovery = Some(key(900).id());
        charter.owners = vec![key(901).id(), key(902).id()];
        let mut history = Self {
            network,
            acts: BTreeMap::new(),
            points: BTreeMap::new(),
            holders: BTreeMap::new(),
            rng: ChaCha8Rng::seed_from_u64(seed),
            charter,
        };
        for n in [900, 901, 902] {
            let holder = key(n).id();
            history.open(OfficeId::founding(&network, &holder), holder);
        }
        history
    }

    fn open(&mut self, office: OfficeId, holder: grid_keys::NodeId) {
        self.points.insert(office, vec![office.0]);
        self.holders.insert(office, holder);
    }

    fn below(&mut self, count: usize) -> usize {
        usize::try_from(self.rng.next_u64() % count as u64).unwrap()
    }

    fn pick<T: Copy>(&mut self, items: &[T]) -> T {
        let at = self.below(items.len());
        items[at]
    }

    fn office(&mut self) -> OfficeId {
        let offices: Vec<OfficeId> = self.points.keys().copied().collect();
        self.pick(&offices)
    }

    /// The last act of an office, or in one of five cases any: a restored backup, or a thief.
    fn point(&mut self, office: &OfficeId) -> ActId {
        let points = self.points[office].clone();
        match self.below(5) {
            0 => self.pick(&points),
            _ => *points.last().unwrap(),
        }
    }

    fn step(&mut self) {
        let office = self.office();
        let previous = self.point(&office);
        let number = self.acts.get(&previous).map_or(0, |act| act.number) + 1;
        // A number that is wrong is no act of the chain.
        let number = if self.below(40) == 0 {
            number + 1
        } else {
            number
        };
        let owner = match self.below(40) {
            0 => key(903).id(),
            _ => self.holders[&office],
        };
        let action = self.action(&office);
        let act = Act {
            network: self.network,
            owner,
            office,
            number,
            previous,
            action,
            issued: T0,
        };
        let id = act.act_id();
        self.points.get_mut(&office).unwrap().push(id);
        match act.action {
            Action::Appoint { node }
            | Action::Dismiss {
                heir: Some(node), ..
            } => self.open(OfficeId(id), node),
            _ => {}
        }
        self.acts.insert(id, act);
    }

    fn action(&mut self, own: &OfficeId) -> Action {
        let n = u16::try_from(self.below(20)).unwrap();
        let node = key(1000 + n).id();
        match self.below(8) {
            0..3 => Action::Appoint { node },
            3..6 => {
                let office = self.office();
                if office == *own {
                    return Action::Appoint { node };
                }
                let points = self.points[&office].clone();
                let cut = self.pick(&points);
                let heir = (self.below(3) == 0).then_some(node);
                Action::Dismiss { office, cut, heir }
            }
            6 => Action::Revoke { node },
            _ => {
                let known: Vec<ActId> = self.acts.keys().copied().collect();
                let over = match known.as_slice() {
                    [] => Vec::new(),
                    some => vec![self.pick(some)],
                };
                let nodes = vec![node];
                Action::Admit { nodes, over }
            }
        }
    }

    /// A part of the acts, as somebody may have them.
    fn some(&mut self) -> BTreeMap<ActId, Act> {
        let all = self.acts.clone();
        all.into_iter().filter(|_| self.below(10) < 8).collect()
    }
}

fn authority(history: &History, acts: &BTreeMap<ActId, Act>) -> Authority {
    let acts = acts.iter().map(|(id, act)| (*id, act)).collect();
    Authority::of(&history.network, &history.charter, &acts)
}

fn counted(authority: &Authority, acts: &BTreeMap<ActId, Act>) -> BTreeSet<ActId> {
    acts.keys()
        .copied()
        .filter(|id| authority.counts(id))
        .collect()
}

fn history(seed: u64) -> History {
    let mut history = History::new(seed);
    for _ in 0..40 {
        history.step();
    }
    history
}

#[test]
fn what_counts_is_what_the_rules_say() {
    let mut dismissed = 0;
    for seed in 0..10_000 {
        let mut history = history(seed);
        let acts = match seed % 2 {
            0 => history.acts.clone(),
            _ => history.some(),
        };
        let authority = authority(&history, &acts);
        let mut rules = Rules::new(&history.network, &history.charter, &acts);
        let expected: BTreeSet<ActId> =
            acts.keys().copied().filter(|id| rules.counts(id)).collect();
        assert_eq!(counted(&authority, &acts), expected, "seed {seed}");
        dismissed += authority
            .offices()
            .values()
            .filter(|office| !office.is_live())
            .count();
    }
    assert!(dismissed > 5_000, "the histories say little: {dismissed}");
}

#[test]
fn juniors_have_no_say_in_what_counts_of_their_seniors() {
    for seed in 0..1_000 {
        let history = history(seed);
        let whole = authority(&history, &history.acts);
        for id in whole.offices().keys() {
            let is_below = |other: &OfficeId| {
                let above = |id: &OfficeId| {
                    whole
                        .offices()
                        .get(id)
                        .and_then(|office| office.place.above)
                };
                std::iter::successors(above(other), above).any(|above| above == *id)
            };
            let mut acts = history.acts.clone();
            acts.retain(|_, act| !is_below(&act.office));
            let part = authority(&history, &acts);
            let of_it = |authority: &Authority| -> BTreeSet<ActId> {
                let own = acts.iter().filter(|(_, act)| act.office == *id);
                own.map(|(id, _)| *id)
                    .filter(|id| authority.counts(id))
                    .collect()
            };
            assert_eq!(of_it(&whole), of_it(&part), "seed {seed}");
        }
    }
}

#[test]
fn a_thief_changes_nothing_once_the_office_is_cut() {
    for seed in 0..2_000 {
        let mut history = history(seed);
        let whole = authority(&history, &history.acts);
        let before = counted(&whole, &history.acts);
        let ended: Vec<OfficeId> = whole
            .offices()
            .iter()
            .filter(|(_, office)| !office.is_live())
            .map(|(id, _)| *id)
            .collect();
        for office in ended {
            let points = history.points[&office].clone();
            let previous = history.pick(&points);
            let number = match history.acts.get(&previous) {
                Some(act) if previous != office.0 => act.number + 1,
                _ => 1,
            };
            let evil = Act {
                network: history.network,
                owner: history.holders[&office],
                office,
                number,
                previous,
                action: Action::Revoke {
                    node: key(999).id(),
                },
                issued: T0,
            };
            let mut acts = history.acts.clone();
            acts.insert(evil.act_id(), evil);
            let after = authority(&history, &acts);
            assert_eq!(counted(&after, &acts), before, "seed {seed}");
        }
    }
}
