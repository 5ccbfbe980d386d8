//! Ledgers merge: nodes that were told the same hold the same, in whatever order they were told.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use grid_keys::NodeId;
use grid_promises::Timestamp;
use grid_promises::limits::{QUIET_TIME, SPARE_USES};
use grid_promises::network::ledger::{Item, Ledger, Merged};
use grid_promises::network::statement::{Kind, peek_kind};
use grid_promises::network::view::View;
use proptest::prelude::*;
use proptest::sample::subsequence;

use crate::common::exchange::{assert_sound, settle};
use crate::common::story::{network, people, plain, wild};
use crate::common::{DAY, HOUR, INVITES, MINUTE, Net, Node, SECOND, T0, key};

/// When statements are merged, unless a law says otherwise: after the last of them was made.
const NOW: Timestamp = T0.after(HOUR).after(HOUR);

/// Statements of one network, verified.
struct Pool {
    net: Net,
    items: Vec<Item>,
}

/// Without admissions by name and dismissals, and with nodes that keep the admission that they came by.
static PLAIN: LazyLock<Pool> = LazyLock::new(|| {
    let net = network();
    let bytes = plain(&net);
    pool(net, &bytes)
});

static WILD: LazyLock<Pool> = LazyLock::new(|| {
    let net = network();
    let bytes = wild(&net);
    pool(net, &bytes)
});

fn pool(net: Net, bytes: &[Vec<u8>]) -> Pool {
    let empty = net.ledger();
    let verify = |bytes: &Vec<u8>| empty.verify(bytes).unwrap();
    Pool {
        items: bytes.iter().map(verify).collect(),
        net,
    }
}

/// The laws speak of every kind that is state.
#[test]
fn every_kind_of_state_occurs_in_the_story() {
    let told: BTreeSet<_> = plain(&network())
        .iter()
        .map(|bytes| peek_kind(bytes))
        .collect();
    for kind in Kind::ALL.iter().filter(|kind| kind.is_state()) {
        assert!(told.contains(&Some(*kind as u8)), "{kind:?}");
    }
}

impl Pool {
    /// A ledger that was told these, in this order, at this time.
    fn ledger(&self, order: &[usize], now: Timestamp) -> Ledger {
        let mut ledger = self.net.ledger();
        tell(
            &mut ledger,
            order.iter().map(|at| self.items[*at].clone()),
            now,
        );
        ledger
    }

    /// Some of the statements, in the pool's order.
    fn some(&self) -> impl Strategy<Value = Vec<usize>> + use<> {
        let count = self.items.len();
        subsequence((0..count).collect::<Vec<_>>(), 0..=count)
    }
}

fn tell(ledger: &mut Ledger, items: impl IntoIterator<Item = Item>, now: Timestamp) {
    for item in items {
        let before = ledger.root();
        let result = ledger.insert(item, now);
        if !matches!(result, Ok(Merged::New)) {
            assert_eq!(ledger.root(), before, "{result:?} changed the ledger");
        }
    }
}

/// Everything that `from` holds goes into `into`, acts first, as nodes send it.
fn merge(into: &Ledger, from: &Ledger, now: Timestamp) -> Ledger {
    let mut merged = into.clone();
    for bytes in from.statements() {
        let _ = merged.insert_bytes(bytes, now);
    }
    merged
}

/// A list, and the same in two other orders with some of it twice.
fn orders(some: impl Strategy<Value = Vec<usize>>) -> impl Strategy<Value = [Vec<usize>; 2]> {
    some.prop_flat_map(|list| {
        let doubled = [list.clone(), list.clone()].concat();
        (Just(list).prop_shuffle(), Just(doubled).prop_shuffle())
    })
    .prop_map(|(a, b)| [a, b])
}

proptest! {
    #[test]
    fn the_order_of_arrival_does_not_matter([a, b] in orders(PLAIN.some())) {
        let (a, b) = (PLAIN.ledger(&a, NOW), PLAIN.ledger(&b, NOW));
        prop_assert_eq!(a.root(), b.root());
        prop_assert_eq!(a.index(), b.index());
        for later in [0, 1, 5, 9, 20] {
            let now = NOW.after(later * DAY);
            prop_assert_eq!(View::of(&a, now), View::of(&b, now));
            assert_sound(&a, now);
        }
    }

    #[test]
    fn ledgers_merge_like_sets(a in PLAIN.some(), b in PLAIN.some(), c in PLAIN.some()) {
        let [a, b, c] = [a, b, c].map(|list| PLAIN.ledger(&list, NOW));
        let both = merge(&a, &b, NOW);
        prop_assert_eq!(both.root(), merge(&b, &a, NOW).root());
        prop_assert_eq!(both.root(), merge(&both, &b, NOW).root());
        prop_assert_eq!(merge(&a, &a, NOW).root(), a.root());
        let left = merge(&both, &c, NOW);
        let right = merge(&a, &merge(&b, &c, NOW), NOW);
        prop_assert_eq!(left.root(), right.root());
        prop_assert_eq!(View::of(&left, NOW), View::of(&right, NOW));
    }

    /// What owners did can come after what it is about, and can turn out not to count. Only who speaks has to be
    /// known: what an owner did before its appointment came is told again.
    #[test]
    fn what_counts_does_not_depend_on_the_order([a, b] in orders(WILD.some())) {
        let told = |list: Vec<usize>| {
            let mut ledger = WILD.ledger(&list, NOW);
            let acts = list.iter().map(|at| WILD.items[*at].clone());
            let acts: Vec<Item> = acts.filter(|item| matches!(item, Item::Act(_))).collect();
            tell(&mut ledger, acts, NOW);
            ledger
        };
        let (a, b) = (told(a), told(b));
        prop_assert_eq!(a.root(), b.root());
        for later in [0, 1, 5, 9] {
            let now = NOW.after(later * DAY);
            prop_assert_eq!(View::of(&a, now), View::of(&b, now));
            assert_sound(&a, now);
        }
    }

    #[test]
    fn exchanging_differences_makes_ledgers_equal(a in WILD.some(), b in WILD.some()) {
        for (first, second) in [(&a, &b), (&b, &a)] {
            let mut one = WILD.ledger(first, NOW);
            let mut other = WILD.ledger(second, NOW);
            let rounds = settle(&mut one, &mut other, NOW);
            prop_assert!(rounds <= 3, "{rounds} rounds");
            prop_assert_eq!(View::of(&one, NOW), View::of(&other, NOW));
            assert_sound(&one, NOW);
        }
    }

    /// Where no statement is void in one order and valid in another, one exchange is enough, and it
    /// ends where a merge does.
    #[test]
    fn one_exchange_is_a_merge(a in PLAIN.some(), b in PLAIN.some()) {
        let (a, b) = (PLAIN.ledger(&a, NOW), PLAIN.ledger(&b, NOW));
        let (mut one, mut other) = (a.clone(), b.clone());
        let rounds = settle(&mut one, &mut other, NOW);
        prop_assert!(rounds <= 2, "{rounds} rounds");
        prop_assert_eq!(one.root(), merge(&a, &b, NOW).root());
    }

    /// Five ledgers in a row that each exchange with the next: twice through is enough for all.
    #[test]
    fn what_one_node_knows_reaches_all(lists in prop::array::uniform5(WILD.some())) {
        let mut ledgers = lists.map(|list| WILD.ledger(&list, NOW));
        let mut passes = 0;
        while !ledgers.windows(2).all(|pair| pair[0].root() == pair[1].root()) {
            passes += 1;
            prop_assert!(passes <= 6, "no end of exchanging");
            for at in 0..4 {
                let (left, right) = ledgers.split_at_mut(at + 1);
                settle(&mut left[at], &mut right[0], NOW);
            }
        }
    }

    #[test]
    fn verifying_with_what_is_known_changes_nothing(list in WILD.some()) {
        let mut by_bytes = WILD.net.ledger();
        let mut by_items = WILD.net.ledger();
        for at in list {
            let item = &WILD.items[at];
            let one = by_bytes.insert_bytes(item.bytes(), NOW);
            let other = by_items.insert(item.clone(), NOW);
            prop_assert_eq!(one, other);
            prop_assert_eq!(by_bytes.knows(item.bytes()), by_items.knows(item.bytes()));
        }
        prop_assert_eq!(by_bytes.root(), by_items.root());
        for at in 0..WILD.items.len() {
            let bytes = WILD.items[at].bytes();
            let held = by_bytes.statements().any(|statement| statement == bytes);
            prop_assert_eq!(by_bytes.knows(bytes), held);
        }
    }
}

/// Promises of one node that lapse at other times than their numbers say, as after a clock that was
/// put right.
static LAPSING: LazyLock<Pool> = LazyLock::new(|| {
    let net = network();
    let mut bytes = Vec::new();
    for (n, node) in people(&net).iter().enumerate() {
        for sequence in 1..=5u64 {
            let days = (sequence * 5 + u64::try_from(n).unwrap() * 3) % 11;
            let issued = T0.after(DAY * u32::try_from(days).unwrap());
            let node = node.at(sequence, issued);
            // Seen by one who may have been forgotten when it counts.
            let witness = key([8, 1, 0][n % 3]);
            let witness = if witness.id() == node.id() {
                key(0)
            } else {
                witness
            };
            bytes.push(if witness.id() == node.id() {
                node.bytes()
            } else {
                let receipt = net.receipt(&witness, &node, T0, issued);
                node.carrying(&[receipt]).bytes()
            });
        }
    }
    let acts = [net.revoke(&net.admitted(1)), net.revoke(&net.admitted(6))];
    bytes.extend(acts.iter().map(|r| r.bytes().to_vec()));
    pool(net, &bytes)
});

proptest! {
    #[test]
    fn when_a_node_prunes_does_not_matter(
        a in LAPSING.some(), b in LAPSING.some(), day in 0u32..25,
    ) {
        let last = T0.after(11 * DAY);
        let now = last.after(day * DAY);
        let (a, b) = (LAPSING.ledger(&a, last), LAPSING.ledger(&b, last));
        let pruned = |ledger: &Ledger| {
            let mut pruned = ledger.clone();
            let gone = pruned.prune(now);
            assert_eq!(pruned.index().len(), ledger.index().len() - gone.len());
            assert_eq!(View::of(ledger, now), View::of(&pruned, now));
            pruned
        };
        let late = pruned(&merge(&a, &b, now));
        let early = merge(&pruned(&a), &pruned(&b), now);
        prop_assert_eq!(late.root(), early.root());
        prop_assert_eq!(pruned(&late).root(), late.root());
    }
}

/// Forty users of an invite for one: without evidence, and with more and more of it.
static CROWD: LazyLock<Pool> = LazyLock::new(|| {
    let net = network();
    let founder = net.founder();
    let mut bytes = Vec::new();
    for n in 100..140 {
        let node = net.joined(&founder, INVITES, 1, n);
        bytes.push(node.bytes());
        for (sequence, minutes) in [(2, 50), (3, 20)] {
            let since = T0.after(MINUTE * (minutes + u32::from(n % 7)));
            let seen = node.carrying(&[net.receipt(&founder.key, &node, since, since)]);
            bytes.push(seen.at(sequence, T0.after(HOUR)).bytes());
        }
    }
    pool(net, &bytes)
});

/// The node of a statement in [`CROWD`].
fn user(at: usize) -> usize {
    at / 3
}

proptest! {
    /// Of too many uses the same ones are kept in every order, as long as no node loses evidence
    /// that it had.
    #[test]
    fn losers_are_dropped_alike([a, b] in orders(CROWD.some())) {
        let users: BTreeSet<usize> = a.iter().map(|at| user(*at)).collect();
        let (a, b) = (CROWD.ledger(&a, NOW), CROWD.ledger(&b, NOW));
        prop_assert_eq!(a.root(), b.root());
        prop_assert_eq!(a.members().len(), users.len().min(1 + SPARE_USES));
        prop_assert_eq!(View::of(&a, NOW), View::of(&b, NOW));
        prop_assert_eq!(View::of(&a, NOW).members.len(), users.len().min(1));
    }

    #[test]
    fn crowds_exchange_until_they_are_equal(a in CROWD.some(), b in CROWD.some()) {
        let (mut a, mut b) = (CROWD.ledger(&a, NOW), CROWD.ledger(&b, NOW));
        let merged = merge(&a, &b, NOW);
        let rounds = settle(&mut a, &mut b, NOW);
        prop_assert!(rounds <= 2, "{rounds} rounds");
        prop_assert_eq!(a.root(), merged.root());
    }
}

/// A node that drops the evidence it had: it loses its place among too many uses of an invite, or
/// another one does, by the order of arrival. None of them is a member, and an exchange heals it.
#[test]
fn a_node_that_drops_its_evidence_may_change_who_is_kept_of_the_losers() {
    let net = network();
    let founder = net.founder();
    let seen = |n: u16, minutes: u32| {
        let node = net.joined(&founder, INVITES, 1, n);
        let since = T0.after(MINUTE * minutes);
        node.carrying(&[net.receipt(&founder.key, &node, since, since)])
            .at(1, since)
    };
    let others: Vec<Node> = (100..117).map(|n| seen(n, u32::from(n - 99))).collect();
    let good = seen(200, 0);
    let bare = good.carrying(&[]).at(2, T0.after(HOUR));
    let told = |order: &[&Node]| {
        let mut ledger = net.ledger();
        for node in order {
            let _ = ledger.insert_bytes(&node.bytes(), NOW);
        }
        ledger
    };
    let all: Vec<&Node> = others.iter().collect();
    let first = told(&[&[&good, &bare][..], &all].concat());
    let last = told(&[&all[..], &[&good, &bare]].concat());
    assert_ne!(first.root(), last.root());
    let winner = |ledger: &Ledger| -> Vec<NodeId> {
        View::of(ledger, NOW).members.keys().copied().collect()
    };
    assert_eq!(winner(&first), winner(&last));
    let (mut one, mut other) = (first, last);
    assert!(settle(&mut one, &mut other, NOW) <= 2);
}

#[test]
fn a_pruned_ledger_is_one_that_was_never_told() {
    let net = network();
    let old = net.admitted(1);
    let new = net.admitted(2).at(1, T0.after(DAY));
    let now = old.body.expires.after(QUIET_TIME).after(SECOND);
    let mut ledger = net.ledger_of([&old, &new]);
    assert_eq!(ledger.prune(now.before(SECOND)), []);
    assert_eq!(ledger.prune(now), [old.id()]);
    assert_eq!(ledger.root(), net.ledger_of([&new]).root());
    assert!(!ledger.knows(&old.bytes()));
}
