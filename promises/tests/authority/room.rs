//! Sets of acts that are larger than the room for them.

use std::collections::BTreeSet;

use grid_keys::NodeKey;
use grid_promises::network::act::{Act, ActId, Action, OfficeId};
use grid_promises::network::acts::Acts;
use grid_promises::network::statement::Signed;
use grid_promises::network::{Charter, NetworkId};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng};

use crate::common::{T0, charter, key};

const ROOM: usize = 40;

/// A network whose founder, node 0, is under a recovery key.
struct Play {
    charter: Signed<Charter>,
    rng: ChaCha8Rng,
}

impl Play {
    fn new(seed: u64) -> Self {
        let mut charter = charter();
        charter.recovery = Some(key(900).id());
        Self {
            charter: Signed::sign(charter, &key(0)).unwrap(),
            rng: ChaCha8Rng::seed_from_u64(seed),
        }
    }

    /// A network whose charter names several owners, the first of whom is node 0.
    fn with_owners(count: u16) -> Self {
        let mut charter = charter();
        charter.recovery = Some(key(900).id());
        charter.owners = (0..count).map(|n| key(n).id()).collect();
        charter.owners.sort_unstable();
        Self {
            charter: Signed::sign(charter, &key(0)).unwrap(),
            rng: ChaCha8Rng::seed_from_u64(0),
        }
    }

    fn network(&self) -> NetworkId {
        self.charter.network()
    }

    fn founding(&self, holder: &NodeKey) -> OfficeId {
        OfficeId::founding(&self.network(), &holder.id())
    }

    fn below(&mut self, count: usize) -> usize {
        usize::try_from(self.rng.next_u64() % count as u64).unwrap()
    }

    fn shuffle<T>(&mut self, items: &mut [T]) {
        for at in (1..items.len()).rev() {
            let other = self.below(at + 1);
            items.swap(at, other);
        }
    }

    fn act(
        &self,
        by: &NodeKey,
        office: OfficeId,
        after: Option<&Signed<Act>>,
        action: Action,
    ) -> Signed<Act> {
        let act = Act {
            network: self.network(),
            owner: by.id(),
            office,
            number: after.map_or(1, |act| act.number + 1),
            previous: after.map_or(office.0, |act| act.act_id()),
            action,
            issued: T0,
        };
        Signed::sign(act, by).unwrap()
    }

    /// An act that admits or revokes somebody.
    fn harmless(&mut self) -> Action {
        let node = key(1000 + u16::try_from(self.below(200)).unwrap()).id();
        match self.below(2) {
            0 => Action::Revoke { node },
            _ => Action::Admit {
                nodes: vec![node],
                over: vec![],
            },
        }
    }
}

/// What an honest founder and the owner B that it appointed did, what a thief with the founder's key did, and
/// the recovery key's cut.
struct Flood {
    honest: Vec<Signed<Act>>,
    of_b: Vec<Signed<Act>>,
    evil: Vec<Signed<Act>>,
    cut: Signed<Act>,
}

fn flood(play: &mut Play) -> Flood {
    let (founder, b, recovery) = (key(0), key(1), key(900));
    let office = play.founding(&founder);
    let mut honest: Vec<Signed<Act>> = Vec::new();
    for at in 0..12 {
        let action = match at {
            2 => Action::Appoint { node: b.id() },
            _ => play.harmless(),
        };
        honest.push(play.act(&founder, office, honest.last(), action));
    }
    let office_of_b = OfficeId(honest[2].act_id());
    let mut of_b: Vec<Signed<Act>> = Vec::new();
    for _ in 0..6 {
        let action = play.harmless();
        of_b.push(play.act(&b, office_of_b, of_b.last(), action));
    }
    let mut evil = Vec::new();
    for _ in 0..5 * ROOM {
        let at = play.below(honest.len() + 1);
        let after = honest.get(at).cloned();
        let action = match play.below(4) {
            0 => Action::Dismiss {
                office: office_of_b,
                cut: office_of_b.0,
                heir: None,
            },
            1 => Action::Appoint {
                node: key(2000 + u16::try_from(play.below(500)).unwrap()).id(),
            },
            _ => play.harmless(),
        };
        evil.push(play.act(&founder, office, after.as_ref(), action));
    }
    let cut = Action::Dismiss {
        office,
        cut: honest[9].act_id(),
        heir: None,
    };
    let cut = play.act(&recovery, play.founding(&recovery), None, cut);
    Flood {
        honest,
        of_b,
        evil,
        cut,
    }
}

fn counted(acts: &Acts) -> BTreeSet<ActId> {
    let held = acts.held().keys().copied();
    held.filter(|id| acts.authority().counts(id)).collect()
}

/// Each tells all of what it holds, so many times.
fn all_tell_all(nodes: &mut [Acts], rounds: usize) {
    for _ in 0..rounds {
        for from in 0..nodes.len() {
            let offer: Vec<_> = nodes[from].held().values().cloned().collect();
            for to in &mut *nodes {
                to.merge(offer.clone());
            }
        }
    }
}

#[test]
fn a_flood_by_a_stolen_key_is_undone_by_one_cut() {
    for seed in 0..200 {
        let mut play = Play::new(seed);
        let Flood {
            honest,
            of_b,
            evil,
            cut,
        } = flood(&mut play);
        let before = honest[..10].to_vec();
        let mut truth = Acts::new(play.charter.clone());
        truth.merge([&before[..], &of_b, std::slice::from_ref(&cut)].concat());
        let truth = counted(&truth);
        assert_eq!(truth.len(), 17);

        let mut nodes = Vec::new();
        for n in 0..5 {
            let mut seen = [&honest[..], &of_b].concat();
            for act in &evil {
                if play.below(10) < 7 {
                    seen.push(act.clone());
                }
            }
            if n % 2 == 1 {
                play.shuffle(&mut seen);
            }
            let mut acts = Acts::with_room(play.charter.clone(), ROOM);
            // Owners have been there before the thief, and nobody else brings back what they did.
            if n < 2 {
                acts.belong_to(key(n).id());
                acts.merge([&honest[..10], &of_b].concat());
            }
            for some in seen.chunks(7) {
                acts.merge(some.to_vec());
                assert!(acts.held().len() <= ROOM);
            }
            nodes.push(acts);
        }
        nodes[2].merge([cut.clone()]);
        all_tell_all(&mut nodes, 6);
        for acts in &nodes {
            assert_eq!(counted(acts), truth, "seed {seed}");
        }
    }
}

/// A thief of one owner's key signs as many first acts as push out all that another owner of the same rank did.
#[test]
fn a_flood_by_one_owner_takes_nothing_from_another_for_good() {
    let play = Play::with_owners(2);
    let (founder, other, recovery) = (key(0), key(1), key(900));
    let chain = |by: &NodeKey, count: u16| {
        let mut chain: Vec<Signed<Act>> = Vec::new();
        for n in 0..count {
            let node = key(700 + n).id();
            let action = Action::Revoke { node };
            chain.push(play.act(by, play.founding(by), chain.last(), action));
        }
        chain
    };
    let honest = [chain(&founder, 10), chain(&other, 10)];
    let admits = |n: u16| Action::Admit {
        nodes: vec![key(2000 + n).id()],
        over: vec![],
    };
    let office = play.founding(&founder);
    let evil: Vec<_> = (0..100)
        .map(|n| play.act(&founder, office, None, admits(n)))
        .collect();
    let cut = Action::Dismiss {
        office,
        cut: honest[0][9].act_id(),
        heir: None,
    };
    let cut = play.act(&recovery, play.founding(&recovery), None, cut);
    let mut nodes = [0, 1, 2].map(|n| {
        let mut acts = Acts::with_room(play.charter.clone(), ROOM);
        acts.belong_to(key(n).id());
        acts.merge(honest.concat());
        for some in evil.chunks(30) {
            acts.merge(some.to_vec());
        }
        let lost = honest.iter().flatten();
        let lost = lost.filter(|act| !acts.held().contains_key(&act.act_id()));
        assert!(lost.count() > 10);
        acts
    });
    nodes[2].merge([cut.clone()]);
    all_tell_all(&mut nodes, 3);
    for acts in &nodes {
        let honest = honest.iter().flatten().chain([&cut]);
        let honest: BTreeSet<ActId> = honest.map(|act| act.act_id()).collect();
        assert_eq!(counted(acts), honest);
    }
}

#[test]
fn it_does_not_matter_in_which_parts_acts_arrive() {
    for seed in 0..1_000 {
        let mut play = Play::new(seed);
        let Flood {
            honest,
            of_b,
            mut evil,
            ..
        } = flood(&mut play);
        evil.truncate(60);
        let all = [honest, of_b, evil].concat();
        // Each with what it follows on: acts are offered in that order.
        let some = |play: &mut Play| -> Vec<Signed<Act>> {
            let mut ids = BTreeSet::new();
            for act in all.iter().rev() {
                let id = act.act_id();
                if ids.contains(&id) || play.below(10) < 6 {
                    ids.extend([id, act.previous, act.office.0]);
                }
            }
            let kept = all.iter().filter(|act| ids.contains(&act.act_id()));
            kept.cloned().collect()
        };
        let (one, other) = (some(&mut play), some(&mut play));
        let merged = |parts: &[&[Signed<Act>]]| {
            let mut acts = Acts::with_room(play.charter.clone(), ROOM);
            for part in parts {
                acts.merge(part.to_vec());
            }
            acts.held().keys().copied().collect::<BTreeSet<ActId>>()
        };
        let both = [&one[..], &other].concat();
        let at_once = merged(&[&both]);
        assert_eq!(merged(&[&one, &other, &one]), at_once, "seed {seed}");
        assert_eq!(merged(&[&other, &one, &other]), at_once, "seed {seed}");
    }
}
