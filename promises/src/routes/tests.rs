//! The tree against a naive model: a flat list, everything recomputed.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::content_id::ContentId;
use grid_keys::NodeId;

/// What the tree says of one target at one prefix, as a row of a list.
#[derive(Clone, Debug)]
struct Row {
    entry: Entry,
    turn: u64,
}

#[derive(Clone, Debug)]
struct Model {
    rows: Vec<Row>,
    turn: u64,
    limits: Limits,
}

/// A candidate as a value: target, depth, strength.
type Found = (Target, usize, Strength);

impl Model {
    const fn new(limits: Limits) -> Self {
        Self {
            rows: Vec::new(),
            turn: 0,
            limits,
        }
    }

    fn row(&mut self, prefix: &Prefix, target: &Target) -> Option<&mut Row> {
        let is = |row: &&mut Row| row.entry.prefix == *prefix && row.entry.target == *target;
        self.rows.iter_mut().find(is)
    }

    fn learn(&mut self, prefix: &Prefix, target: &Target, now: Timestamp, reject: bool) {
        if self.row(prefix, target).is_none() {
            let entry = Entry {
                prefix: prefix.clone(),
                target: target.clone(),
                accepted: false,
                rejected_until: None,
                kept: 0,
                broken: 0,
                strength: Strength::START,
                last_used: now,
            };
            self.rows.push(Row { entry, turn: 0 });
        }
        self.turn += 1;
        let turn = self.turn;
        let row = self.row(prefix, target).unwrap();
        row.turn = turn;
        row.entry.last_used = now;
        row.entry.accepted |= !reject;
        row.entry.rejected_until = reject.then(|| now.after(REJECTION_LIFETIME));
        let limits = *self.limits.0.get(target.class());
        self.shrink(&limits.each, |row| row.entry.target == *target);
        self.shrink(&limits.all, |row| {
            row.entry.target.class() == target.class()
        });
    }

    fn shrink(&mut self, quota: &Quota, of: impl Fn(&Row) -> bool) {
        loop {
            let rows = self.rows.iter().filter(|row| of(row));
            let bytes: usize = rows.clone().map(|row| row.entry.prefix.key().cost()).sum();
            let over = rows.clone().count() > quota.paths || bytes > quota.bytes;
            let oldest = rows.clone().map(|row| row.turn).min();
            if !over || rows.count() < 2 {
                return;
            }
            self.rows.retain(|row| Some(row.turn) != oldest);
        }
    }

    fn outcome(&mut self, prefix: &Prefix, target: &Target, now: Timestamp, kept: bool) -> bool {
        self.turn += 1;
        let turn = self.turn;
        match self.row(prefix, target) {
            Some(row) if row.entry.accepted => {
                row.turn = turn;
                row.entry.last_used = now;
                if kept {
                    row.entry.kept += 1;
                    row.entry.strength = row.entry.strength.kept();
                } else {
                    row.entry.broken += 1;
                    row.entry.strength = row.entry.strength.broken();
                }
                true
            }
            _ => false,
        }
    }

    fn prune(&mut self, now: Timestamp) -> usize {
        let before = self.rows.len();
        for row in &mut self.rows {
            row.entry.rejected_until.take_if(|until| *until <= now);
        }
        let says_something = |row: &Row| row.entry.accepted || row.entry.rejected_until.is_some();
        self.rows.retain(says_something);
        before - self.rows.len()
    }

    fn entries(&self) -> Vec<Entry> {
        let mut entries: Vec<Entry> = self.rows.iter().map(|row| row.entry.clone()).collect();
        entries.sort_by(|a, b| (&a.prefix, &a.target).cmp(&(&b.prefix, &b.target)));
        entries
    }

    /// The deepest row of a target on the way of a key that accepted, and that rejects.
    fn deepest(&self, key: Key<'_>, target: &Target, now: Timestamp) -> (Option<Found>, usize) {
        let rows = self.rows.iter().map(|row| &row.entry).filter(|entry| {
            let depth = entry.prefix.key().depth();
            entry.target == *target
                && depth <= key.depth()
                && entry.prefix.key() == key.prefix(depth)
        });
        let found = |entry: &Entry| {
            (
                entry.target.clone(),
                entry.prefix.key().depth(),
                entry.strength,
            )
        };
        let accepted = rows.clone().filter(|entry| entry.accepted).map(found);
        let rejected = rows
            .filter(|entry| entry.sign(now) == Sign::Rejects)
            .map(found);
        (
            accepted.max_by_key(|found| found.1),
            rejected.map(|found| found.1).max().unwrap_or(0),
        )
    }

    fn targets(&self) -> BTreeSet<Target> {
        self.rows
            .iter()
            .map(|row| row.entry.target.clone())
            .collect()
    }

    fn dispatch(&self, key: Key<'_>, now: Timestamp) -> Vec<Found> {
        let found = self.targets().into_iter().filter_map(|target| {
            let (accepted, rejected) = self.deepest(key, &target, now);
            accepted.filter(|accepted| accepted.1 > rejected)
        });
        let mut found: Vec<Found> = found.collect();
        let sound: Vec<(Class, usize)> = found
            .iter()
            .filter(|(_, _, strength)| !strength.is_demoted())
            .map(|(target, depth, _)| (target.class(), *depth))
            .collect();
        found.sort_by_key(|(target, depth, strength)| {
            let class = target.class();
            let others = sound.iter().filter(|(other, _)| *other == class);
            let last = others.map(|(_, depth)| *depth).min();
            let demoted = strength.is_demoted();
            let place = last
                .filter(|_| demoted)
                .map_or(*depth, |last| last.min(*depth));
            let strength = Reverse(*strength);
            (
                Reverse(place),
                class,
                demoted,
                Reverse(*depth),
                strength,
                target.clone(),
            )
        });
        found
    }

    fn rejects(&self, key: Key<'_>, target: &Target, now: Timestamp) -> bool {
        let (accepted, rejected) = self.deepest(key, target, now);
        rejected > 0 && accepted.is_none_or(|accepted| accepted.1 <= rejected)
    }

    /// How many nodes a tree of these prefixes has.
    fn nodes(&self) -> usize {
        let mut nodes = BTreeSet::new();
        for row in &self.rows {
            for depth in 1..=row.entry.prefix.key().depth() {
                let Prefix {
                    promise,
                    module,
                    args,
                } = &row.entry.prefix;
                let args = args.get(..depth.saturating_sub(2)).unwrap().to_vec();
                nodes.insert((*promise, module.filter(|_| depth > 1), args));
            }
        }
        nodes.len()
    }
}

#[derive(Clone, Debug)]
enum Step {
    Accepted(Prefix, Target),
    Rejected(Prefix, Target),
    Kept(Prefix, Target, u8),
    Broken(Prefix, Target, u8),
    /// One that the tree has, by number.
    KeptThere(prop::sample::Index, u8),
    BrokenThere(prop::sample::Index, u8),
    Forget(Target),
    Prune,
    /// Written and read again.
    Restart,
    Wait(u16),
}

fn any_prefix() -> impl Strategy<Value = Prefix> {
    let arg = prop::sample::select(vec![vec![], b"a".to_vec(), b"b".to_vec(), vec![0xff; 200]]);
    let promise = prop::sample::select(vec![ContentId::of(b"1"), ContentId::of(b"2")]);
    let module = prop::option::weighted(0.3, Just(ContentId::of(b"code")));
    let rest = prop::option::weighted(0.9, (module, prop::collection::vec(arg, 0..4)));
    (promise, rest).prop_map(|(promise, rest)| match rest {
        None => Prefix {
            promise,
            module: None,
            args: vec![],
        },
        Some((module, args)) => Prefix {
            promise,
            module: Some(module),
            args,
        },
    })
}

fn all_targets() -> Vec<Target> {
    let module = |name: &str| Target::Module(ContentId::of(name.as_bytes()));
    let mut targets = vec![Target::builtin("x"), Target::builtin("y")];
    targets.extend(["m", "n"].map(module));
    targets.extend([3, 1, 2].map(|byte| Target::Peer(NodeId([byte; 32]))));
    targets
}

fn any_step() -> impl Strategy<Value = Step> {
    let target = || prop::sample::select(all_targets());
    let any_index = any::<prop::sample::Index>;
    prop_oneof![
        8 => (any_prefix(), target()).prop_map(|(at, target)| Step::Accepted(at, target)),
        4 => (any_prefix(), target()).prop_map(|(at, target)| Step::Rejected(at, target)),
        1 => (any_prefix(), target(), 1..4u8).prop_map(|(at, t, n)| Step::Kept(at, t, n)),
        1 => (any_prefix(), target(), 1..4u8).prop_map(|(at, t, n)| Step::Broken(at, t, n)),
        3 => (any_index(), 1..6u8).prop_map(|(at, n)| Step::KeptThere(at, n)),
        4 => (any_index(), 1..6u8).prop_map(|(at, n)| Step::BrokenThere(at, n)),
        1 => target().prop_map(Step::Forget),
        1 => Just(Step::Prune),
        1 => Just(Step::Restart),
        2 => (0..400u16).prop_map(Step::Wait),
    ]
}

/// The tree and the model, told the same.
struct Pair {
    routes: Routes,
    model: Model,
    now: Timestamp,
}

impl Pair {
    fn step(&mut self, step: &Step) {
        let now = self.now;
        let Self { routes, model, .. } = self;
        let there = |model: &Model, at: &prop::sample::Index| {
            let row = model.rows.get(at.index(model.rows.len().max(1)))?;
            Some((row.entry.prefix.clone(), row.entry.target.clone()))
        };
        match step {
            Step::Accepted(at, target) => {
                assert_eq!(routes.accepted(at.key(), target, now), Ok(()));
                model.learn(at, target, now, false);
            }
            Step::Rejected(at, target) => {
                assert_eq!(routes.rejected(at.key(), target, now), Ok(()));
                model.learn(at, target, now, true);
            }
            Step::Kept(at, target, times) => self.outcomes(at, target, *times, true),
            Step::Broken(at, target, times) => self.outcomes(at, target, *times, false),
            Step::KeptThere(at, times) => {
                if let Some((at, target)) = there(model, at) {
                    self.outcomes(&at, &target, *times, true);
                }
            }
            Step::BrokenThere(at, times) => {
                if let Some((at, target)) = there(model, at) {
                    self.outcomes(&at, &target, *times, false);
                }
            }
            Step::Forget(target) => {
                let of = |row: &Row| row.entry.target == *target;
                let count = model.rows.iter().filter(|row| of(row)).count();
                model.rows.retain(|row| !of(row));
                assert_eq!(routes.forget_target(target), count);
            }
            Step::Prune => assert_eq!(routes.prune(now), model.prune(now)),
            Step::Restart => {
                let bytes = routes.export();
                *routes = Routes::import(&bytes, model.limits).unwrap();
                assert!(routes.export() == bytes);
            }
            Step::Wait(seconds) => self.now = now.after(Duration::from_secs(u64::from(*seconds))),
        }
    }

    fn outcomes(&mut self, at: &Prefix, target: &Target, times: u8, kept: bool) {
        for _ in 0..times {
            let done = match kept {
                true => self.routes.kept(at.key(), target, self.now),
                false => self.routes.broken(at.key(), target, self.now),
            };
            assert_eq!(done, self.model.outcome(at, target, self.now, kept));
        }
    }

    fn check(&self, keys: &[Prefix]) {
        let Self { routes, model, now } = self;
        assert_eq!(routes.len(), model.rows.len());
        assert!(routes.entries().eq(model.entries()));
        assert_eq!(routes.tree.len(), model.nodes());
        assert!(
            routes
                .targets
                .iter()
                .map(|(target, _)| target)
                .eq(&model.targets())
        );
        for key in keys {
            let found = routes.dispatch(key.key(), *now);
            let found = found.map(|found| (found.target.clone(), found.depth, found.strength));
            assert_eq!(found.collect::<Vec<_>>(), model.dispatch(key.key(), *now));
            for target in all_targets() {
                let rejects = routes.rejects(key.key(), &target, *now);
                assert_eq!(rejects, model.rejects(key.key(), &target, *now));
            }
        }
    }
}

fn quota(paths: usize, bytes: usize) -> Quota {
    Quota { paths, bytes }
}

/// So small that both kinds of bounds are met, by each target and by the class.
fn small() -> Limits {
    let of = |all, each| ClassLimits { all, each };
    Limits(ByClass {
        builtin: of(quota(12, 100_000), quota(8, 100_000)),
        module: of(quota(100, 12_000), quota(100, 8_000)),
        peer: of(quota(14, 14_000), quota(6, 100_000)),
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn the_tree_says_what_the_model_says(
        limited: bool,
        steps in prop::collection::vec(any_step(), 0..120),
        keys in prop::collection::vec(any_prefix(), 1..8),
    ) {
        let limits = if limited { small() } else { Limits::STANDARD };
        let mut pair = Pair {
            routes: Routes::new(limits),
            model: Model::new(limits),
            now: Timestamp(1_000_000),
        };
        for step in &steps {
            pair.step(step);
            pair.check(&keys);
        }
    }
}

const NOW: Timestamp = Timestamp(1_000_000);

fn args(args: &[&str]) -> Vec<Vec<u8>> {
    args.iter().map(|arg| arg.as_bytes().to_vec()).collect()
}

fn peer(byte: u8) -> Target {
    Target::Peer(NodeId([byte; 32]))
}

fn order(routes: &Routes, key: Key<'_>, now: Timestamp) -> Vec<(Target, usize)> {
    let found = routes.dispatch(key, now);
    found
        .map(|found| (found.target.clone(), found.depth))
        .collect()
}

#[test]
fn a_longer_prefix_comes_first_then_the_class_then_the_strength() {
    let mut routes = Routes::default();
    let promise = ContentId::of(b"p");
    let module = Target::Module(ContentId::of(b"m"));
    let (x, y) = (Target::builtin("x"), Target::builtin("y"));
    let words = args(&["a", "b", "c"]);
    let key = Key::call(promise, None, &words);
    assert!(order(&routes, key, NOW).is_empty());
    for (depth, target) in [
        (2, &x),
        (2, &y),
        (1, &module),
        (2, &module),
        (2, &peer(1)),
        (4, &peer(2)),
    ] {
        routes.accepted(key.prefix(depth), target, NOW).unwrap();
    }
    assert!(routes.kept(key.prefix(2), &y, NOW));
    let expected = [(peer(2), 4), (y, 2), (x, 2), (module, 2), (peer(1), 2)];
    assert_eq!(order(&routes, key, NOW), expected);
    // Another module is another key, but under the same promise.
    let other = Key::call(promise, Some(promise), &words);
    assert_eq!(
        order(&routes, other, NOW),
        [(Target::Module(ContentId::of(b"m")), 1)]
    );
    assert!(order(&routes, Key::promise(ContentId::of(b"q")), NOW).is_empty());
}

#[test]
fn the_more_particular_knowledge_wins() {
    let mut routes = Routes::default();
    let words = args(&["a", "b", "c"]);
    let key = Key::call(ContentId::of(b"p"), None, &words);
    let x = Target::builtin("x");
    routes.accepted(key.prefix(3), &x, NOW).unwrap();
    // A rejection of the general says nothing against the particular.
    routes.rejected(key.prefix(2), &x, NOW).unwrap();
    assert_eq!(order(&routes, key, NOW), [(x.clone(), 3)]);
    assert!(routes.rejects(key.prefix(2), &x, NOW));
    // At the same prefix, and at a longer one, it counts, until it lapses.
    for depth in [3, 5] {
        routes.rejected(key.prefix(depth), &x, NOW).unwrap();
        assert!(order(&routes, key, NOW).is_empty());
        assert!(routes.rejects(key, &x, NOW));
        let later = NOW.after(REJECTION_LIFETIME);
        assert!(order(&routes, key, later.before(Duration::from_secs(1))).is_empty());
        assert_eq!(order(&routes, key, later), [(x.clone(), 3)]);
        routes.accepted(key.prefix(3), &x, NOW).unwrap();
    }
    // Renewed, it stands longer; accepted at the same prefix, it is over.
    let later = NOW.after(Duration::from_secs(300));
    routes.rejected(key.prefix(5), &x, later).unwrap();
    assert!(order(&routes, key, NOW.after(REJECTION_LIFETIME)).is_empty());
    routes.accepted(key.prefix(5), &x, later).unwrap();
    assert_eq!(order(&routes, key, later), [(x, 5)]);
}

#[test]
fn a_path_that_breaks_goes_behind_its_class_and_comes_back() {
    let mut routes = Routes::default();
    let words = args(&["a"]);
    let key = Key::call(ContentId::of(b"p"), None, &words);
    let x = Target::builtin("x");
    for (depth, target) in [(3, &peer(1)), (2, &x), (1, &peer(2))] {
        routes.accepted(key.prefix(depth), target, NOW).unwrap();
    }
    let at_first = [(peer(1), 3), (x.clone(), 2), (peer(2), 1)];
    assert_eq!(order(&routes, key, NOW), at_first);
    for _ in 0..3 {
        assert!(routes.broken(key, &peer(1), NOW));
    }
    assert_eq!(
        order(&routes, key, NOW),
        [(x.clone(), 2), (peer(2), 1), (peer(1), 3)]
    );
    // With no other of its class it has nobody to stand behind.
    routes.forget_target(&peer(2));
    assert_eq!(order(&routes, key, NOW), [(peer(1), 3), (x, 2)]);
    routes.accepted(key.prefix(1), &peer(2), NOW).unwrap();
    assert!(routes.kept(key, &peer(1), NOW));
    assert_eq!(order(&routes, key, NOW), at_first);
}

#[test]
fn what_came_of_an_unknown_path_is_not_recorded() {
    let mut routes = Routes::default();
    let key = Key::promise(ContentId::of(b"p"));
    let x = Target::builtin("x");
    assert!(!routes.kept(key, &x, NOW));
    routes.rejected(key, &x, NOW).unwrap();
    assert!(!routes.broken(key, &x, NOW));
    routes.accepted(key, &x, NOW).unwrap();
    assert!(routes.broken(key, &x, NOW));
    assert_eq!(routes.forget_target(&x), 1);
    assert!(!routes.kept(key, &x, NOW));
    assert!(routes.is_empty());
}

#[test]
fn what_is_beyond_the_bounds_is_refused_and_changes_nothing() {
    let mut routes = Routes::default();
    let many = vec![vec![]; Key::MAX_ARGS + 1];
    let long = vec![vec![0; Key::MAX_BYTES + 1]];
    let id = ContentId::of(b"p");
    let x = Target::builtin("x");
    let refused = routes.accepted(Key::call(id, None, &many), &x, NOW);
    assert_eq!(refused, Err(RouteError::TooManyArgs { found: 17 }));
    let refused = routes.rejected(Key::call(id, None, &long), &x, NOW);
    assert_eq!(refused, Err(RouteError::TooLong { found: 1025 }));
    for name in ["", &"n".repeat(65)] {
        let refused = routes.accepted(Key::promise(id), &Target::builtin(name), NOW);
        assert_eq!(refused, Err(RouteError::Name));
    }
    assert_eq!((routes.len(), routes.tree.len()), (0, 0));
    // A whole key that is too deep still finds what its prefix accepts.
    let key = Key::call(id, None, &many);
    routes.accepted(key.within_bounds(), &x, NOW).unwrap();
    assert_eq!(order(&routes, key, NOW), [(x, Key::MAX_DEPTH)]);
}

/// One peer that makes distinct keys without end has its own paths pushed out, and nobody else's.
#[test]
fn a_flood_costs_nobody_but_the_flooder() {
    let mut routes = Routes::default();
    let id = ContentId::of(b"p");
    let victims = [Target::builtin("x"), Target::Module(id), peer(1)];
    for target in &victims {
        routes.accepted(Key::promise(id), target, NOW).unwrap();
    }
    let each = Limits::STANDARD.0.peer.each;
    for number in 0..2 * each.paths {
        let words = [number.to_be_bytes().to_vec(), vec![0; number % 1000]];
        routes
            .accepted(Key::call(id, None, &words), &peer(66), NOW)
            .unwrap();
        assert!(routes.len() <= victims.len() + each.paths);
    }
    let held = routes
        .targets
        .of_target(routes.targets.find(&peer(66)).unwrap())
        .unwrap();
    assert!(!held.exceeds(&each));
    let found = order(&routes, Key::promise(id), NOW);
    assert_eq!(found, victims.map(|target| (target, 1)));
}

/// Many peers together fill the part of the peers, and the rest of the tree stays.
#[test]
fn many_flooders_cost_only_their_class() {
    let mut routes = Routes::new(small());
    let id = ContentId::of(b"p");
    let victims = [Target::builtin("x"), Target::Module(id)];
    for target in &victims {
        routes.accepted(Key::promise(id), target, NOW).unwrap();
    }
    for byte in 0..100 {
        routes.accepted(Key::promise(id), &peer(byte), NOW).unwrap();
    }
    let found = order(&routes, Key::promise(id), NOW);
    let peers = (86..100).map(peer);
    let expected = victims.into_iter().chain(peers).map(|target| (target, 1));
    assert_eq!(found, expected.collect::<Vec<_>>());
}

#[test]
fn nothing_is_shown_of_arguments() {
    let mut routes = Routes::default();
    let words = args(&["grid-invite-secret"]);
    let key = Key::call(ContentId::of(b"p"), None, &words);
    routes.accepted(key, &Target::builtin("x"), NOW).unwrap();
    assert!(!format!("{routes:?}").contains("secret"), "{routes:?}");
}

#[test]
fn the_standard_limits_are_those_that_are_documented() {
    assert_eq!(Limits::default().paths(), 131_072);
    assert_eq!(Limits::default().bytes(), 128 << 20);
}
