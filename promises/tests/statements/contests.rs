//! Who holds an address when two members claim it, and for how long.

use std::net::Ipv4Addr;

use grid_promises::Timestamp;
use grid_promises::limits::{QUIET_TIME, RECEIPT_LIFETIME};
use grid_promises::network::evidence::Evidence;
use grid_promises::network::receipt::Receipt;
use grid_promises::network::statement::{Signed, StatementError};
use grid_promises::network::view::{MemberView, Presence, View};
use minicbor::bytes::ByteVec;

use crate::common::{DAY, HOUR, INVITES, MINUTE, Net, Node, SECOND, T0, forge, key};

/// An address that every node has among its candidates: the range has 14.
const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 7, 0, 5);

struct Scene {
    net: Net,
    founder: Node,
    /// Two members that claim [`ADDRESS`].
    a: Node,
    b: Node,
    /// A member that claims another one.
    witness: Node,
}

fn scene() -> Scene {
    let net = Net::crowded();
    let other = |node: Node, last| node.claiming(&net, Ipv4Addr::new(10, 7, 0, last));
    let witness = other(net.admitted(3), 2);
    Scene {
        founder: other(net.founder(), 1),
        a: net.admitted(1).claiming(&net, ADDRESS),
        b: net.admitted(2).claiming(&net, ADDRESS),
        // The founder has seen it since the beginning, so that its word counts from then on.
        witness: witness.carrying(&[net.receipt(&key(0), &witness, T0, T0)]),
        net,
    }
}

impl Scene {
    /// The view of the founder, the witness and these, which does not depend on the order.
    fn view(&self, nodes: &[&Node], now: Timestamp) -> View {
        let mut all = vec![&self.founder, &self.witness];
        all.extend(nodes);
        let of = |nodes: &[&Node]| {
            let mut ledger = self.net.ledger();
            for node in nodes {
                ledger.insert_bytes(&node.bytes(), now).unwrap();
            }
            View::of(&ledger, now)
        };
        let view = of(&all);
        all.reverse();
        assert_eq!(of(&all), view, "the order of arrival matters");
        view
    }

    /// `node` with a receipt of `witness` that it had its address since `since`.
    fn seen(&self, node: &Node, witness: u16, since: Timestamp) -> Node {
        self.seen_at(node, witness, since, since)
    }

    fn seen_at(&self, node: &Node, witness: u16, since: Timestamp, issued: Timestamp) -> Node {
        let receipt = self.net.receipt(&key(witness), node, since, issued);
        node.carrying(&[receipt]).at(node.body.sequence, issued)
    }
}

fn of<'a>(view: &'a View, node: &Node) -> &'a MemberView {
    view.members.get(&node.id()).unwrap()
}

/// Asserts that one of two has the address and the other has not, and knows who has.
#[track_caller]
fn assert_holds(view: &View, winner: &Node, loser: &Node) {
    assert_eq!(view.addresses.get(&ADDRESS), Some(&winner.id()));
    assert_eq!(of(view, winner).ipv4, Some(ADDRESS));
    assert_eq!(of(view, winner).lost_to, None);
    assert_eq!(of(view, loser).ipv4, None);
    assert_eq!(of(view, loser).lost_to, Some(winner.id()));
}

#[test]
fn without_evidence_the_hash_decides() {
    let scene = scene();
    let view = scene.view(&[&scene.a, &scene.b], T0);
    let (winner, loser) = if view.addresses[&ADDRESS] == scene.a.id() {
        (&scene.a, &scene.b)
    } else {
        (&scene.b, &scene.a)
    };
    assert_holds(&view, winner, loser);
    // A later promise, a higher number or an earlier time of its own change nothing.
    let louder = loser.at(99, T0.before(MINUTE)).called("louder");
    assert_holds(&scene.view(&[winner, &louder], T0), winner, loser);
    let backdated = loser.at(99, T0.before(HOUR));
    assert!(
        scene
            .net
            .ledger()
            .insert_bytes(&backdated.bytes(), T0)
            .is_err()
    );
    // Each of two can win.
    let wins = (10..40).filter(|n| {
        let rival = scene.net.admitted(*n).claiming(&scene.net, ADDRESS);
        scene.view(&[&scene.a, &rival], T0).addresses[&ADDRESS] == scene.a.id()
    });
    let wins = wins.count();
    assert!((3..=27).contains(&wins), "{wins} of 30");
}

#[test]
fn the_older_evidence_wins() {
    let scene = scene();
    let now = T0.after(HOUR);
    for (a, b) in [(&scene.a, &scene.b), (&scene.b, &scene.a)] {
        let late = scene.seen(a, 3, T0.after(30 * MINUTE));
        assert_holds(&scene.view(&[&late, b], now), a, b);
        let early = scene.seen(b, 3, T0.after(MINUTE));
        assert_holds(&scene.view(&[&late, &early], now), b, a);
        // Any member is as good a witness as an owner.
        let by_owner = scene.seen(a, 0, T0.after(SECOND));
        assert_holds(&scene.view(&[&by_owner, &early], now), a, b);
    }
}

#[test]
fn what_a_node_says_of_itself_is_no_evidence() {
    let scene = scene();
    let now = T0.after(HOUR);
    let honest = scene.seen(&scene.a, 3, T0.after(30 * MINUTE));
    let mut own = scene
        .net
        .receipt_body(&scene.b.key, &scene.b, Timestamp(0), T0);
    let by_itself = forge(&own, &scene.b.key);
    own.witness = key(3).id();
    let in_anothers_name = forge(&own, &scene.b.key);
    for bytes in [by_itself, in_anothers_name] {
        let hostile = scene
            .b
            .with(|body| body.receipts = vec![ByteVec::from(bytes)]);
        assert_holds(&scene.view(&[&honest, &hostile], now), &scene.a, &scene.b);
    }
}

#[test]
fn strangers_and_those_who_are_out_are_no_witnesses() {
    let scene = scene();
    let now = T0.after(HOUR);
    let honest = scene.seen(&scene.a, 3, T0.after(30 * MINUTE));
    let hostile = scene.seen(&scene.b, 77, T0);
    assert_holds(&scene.view(&[&honest, &hostile], now), &scene.a, &scene.b);
    // The stranger becomes a member, and counts.
    let member = scene
        .net
        .admitted(77)
        .claiming(&scene.net, [10, 7, 0, 9].into());
    let member = scene.seen(&member, 0, T0);
    let view = scene.view(&[&honest, &hostile, &member], now);
    assert_holds(&view, &scene.b, &scene.a);
    // It is revoked, and counts no longer.
    let mut ledger = scene
        .net
        .ledger_of([&scene.witness, &honest, &hostile, &member]);
    ledger
        .insert_bytes(scene.net.revoke(&member).bytes(), now)
        .unwrap();
    assert_holds(&View::of(&ledger, now), &scene.a, &scene.b);
    // One that lost its invite to another has never been a member.
    let first = scene.net.joined(&scene.founder, INVITES, 1, 20);
    let first = scene.seen(&first.claiming(&scene.net, [10, 7, 0, 10].into()), 0, T0);
    let loser = scene.net.joined(&scene.founder, INVITES, 1, 21);
    let loser = loser.claiming(&scene.net, [10, 7, 0, 11].into());
    let by_loser = scene.seen(&scene.b, 21, T0);
    let view = scene.view(&[&honest, &by_loser, &first, &loser], now);
    assert!(view.refused.contains_key(&loser.id()));
    assert_holds(&view, &scene.a, &scene.b);
    // An owner counts before it has spoken itself.
    let ledger = scene
        .net
        .ledger_of([&scene.seen(&scene.a, 0, T0), &scene.b]);
    assert_holds(&View::of(&ledger, T0), &scene.a, &scene.b);
}

#[test]
fn accomplices_who_came_late_cannot_date_each_other_back() {
    let scene = scene();
    let now = T0.after(HOUR);
    let honest = scene.seen(&scene.a, 3, T0.after(10 * MINUTE));
    // Two identities of one person: the founder saw both join after half an hour.
    let accomplice = scene
        .net
        .admitted(4)
        .claiming(&scene.net, [10, 7, 0, 9].into());
    let joined = T0.after(30 * MINUTE);
    let unseen = scene.view(&[&honest, &scene.seen(&scene.b, 4, T0), &accomplice], now);
    assert_holds(&unseen, &scene.a, &scene.b);
    let seen = scene.seen(&accomplice, 0, joined);
    let view = scene.view(&[&honest, &scene.seen(&scene.b, 4, T0), &seen], now);
    assert_holds(&view, &scene.a, &scene.b);
    // They count from when they were seen on.
    let late = scene.seen(&scene.a, 3, T0.after(40 * MINUTE));
    let view = scene.view(&[&late, &scene.seen(&scene.b, 4, T0), &seen], now);
    assert_holds(&view, &scene.b, &scene.a);
}

/// A witness counts as long as its own promise does, whether a ledger was pruned or not.
#[test]
fn a_forgotten_witness_counts_no_longer() {
    let scene = scene();
    let forgotten = T0.after(DAY + QUIET_TIME);
    // The witness spoke once, and signed for `a` a day before it was forgotten.
    let since = forgotten.before(DAY);
    let a = scene.seen(&scene.a, 3, since);
    let b = scene.seen(&scene.b, 0, since.after(HOUR));
    let ledger = scene.net.ledger_of([&scene.witness, &a, &b]);
    assert_holds(&View::of(&ledger, forgotten), &a, &b);
    let now = forgotten.after(SECOND);
    assert_holds(&View::of(&ledger, now), &b, &a);
    let mut pruned = ledger.clone();
    assert_eq!(pruned.prune(now), [scene.witness.id()]);
    assert_eq!(View::of(&pruned, now), View::of(&ledger, now));
}

/// A member's word is worth what the word of those is worth who vouched for it.
#[test]
fn standing_is_handed_down_a_chain() {
    let scene = scene();
    let first = scene.seen(&scene.net.admitted(10), 0, T0.after(20 * MINUTE));
    let second = scene.net.joined(&first, INVITES, 1, 11);
    // Its host says that it was there from the beginning, when the host was not there itself.
    let second = scene.seen_at(&second, 10, T0, T0.after(30 * MINUTE));
    let third = scene.seen_at(
        &scene.net.joined(&second, INVITES + 1, 1, 12),
        11,
        T0,
        T0.after(30 * MINUTE),
    );
    // One whom nobody vouched for saw it earlier; that is no standing.
    let stranger = scene.seen_at(&scene.net.admitted(13), 11, T0, T0.after(30 * MINUTE));
    let ledger = scene
        .net
        .ledger_of([&scene.founder, &first, &second, &third, &stranger]);
    let evidence = Evidence::of(&ledger, T0.after(HOUR));
    let since = |node: &Node| evidence.member_since(&node.id());
    assert_eq!(since(&scene.founder), Some(T0));
    for node in [&first, &second, &third] {
        assert_eq!(since(node), Some(T0.after(20 * MINUTE)));
    }
    assert_eq!(since(&stranger), None);
}

/// Members who all vouch for one another cost no more than others: the work grows with the number
/// of receipts.
#[test]
fn a_circle_of_witnesses_has_no_standing_of_its_own() {
    let net = Net::new(grid_promises::network::AdmissionRule::Invite);
    let founder = net.founder();
    let mut circle = Vec::new();
    for group in 0..20 {
        let ids: Vec<u16> = (0..6).map(|n| 100 + group * 10 + n).collect();
        for last in &ids {
            // By way of all the others, who say that it was there from the beginning.
            let others = ids.iter().filter(|n| *n != last);
            let node = others
                .clone()
                .chain([last])
                .fold(founder.clone(), |issuer, n| {
                    net.joined(&issuer, INVITES + *n, 5, *n)
                });
            let receipts: Vec<_> = others
                .take(4)
                .map(|witness| net.receipt(&key(*witness), &node, T0, T0))
                .collect();
            circle.push(node.carrying(&receipts));
        }
    }
    let ledger = net.ledger_of(circle.iter().chain([&founder]));
    let view = View::of(&ledger, T0);
    assert_eq!(view.members.len(), 121);
    let evidence = Evidence::of(&ledger, T0);
    assert!(
        circle
            .iter()
            .all(|node| evidence.member_since(&node.id()).is_none())
    );
    // One of them is seen by the founder, late, and lends that to all of its group.
    let late = T0.after(HOUR);
    let mut ledger = ledger;
    let seen = circle[0].carrying(&[net.receipt(&founder.key, &circle[0], late, late)]);
    ledger
        .insert_bytes(&seen.at(2, late).bytes(), late)
        .unwrap();
    let evidence = Evidence::of(&ledger, late);
    let standing: Vec<_> = circle
        .iter()
        .filter_map(|n| evidence.member_since(&n.id()))
        .collect();
    assert_eq!(standing, [late; 6]);
}

#[test]
fn a_receipt_speaks_for_eight_days() {
    let scene = scene();
    let end = T0.after(RECEIPT_LIFETIME);
    let old = scene.seen(&scene.a, 3, T0).at(2, end);
    let new = scene
        .seen_at(&scene.b, 3, T0.after(DAY), T0.after(DAY))
        .at(2, end);
    let fresh = Scene {
        founder: scene.founder.at(2, end),
        witness: scene.witness.at(2, end),
        ..self::scene()
    };
    assert_holds(&fresh.view(&[&old, &new], end), &scene.a, &scene.b);
    let after = end.after(SECOND);
    assert_holds(&fresh.view(&[&old, &new], after), &scene.b, &scene.a);
}

#[test]
fn a_receipt_speaks_for_the_address_that_it_names() {
    let scene = scene();
    let now = T0.after(HOUR);
    let honest = scene.seen(&scene.a, 3, T0.after(30 * MINUTE));
    let elsewhere = scene.b.claiming(&scene.net, [10, 7, 0, 9].into());
    let receipt = scene.net.receipt(&key(3), &elsewhere, T0, T0);
    let moved = scene.b.carrying(&[receipt]);
    assert_holds(&scene.view(&[&honest, &moved], now), &scene.a, &scene.b);
}

/// Nobody can have seen a claim before the network was founded, and the founder's is as old as it.
#[test]
fn the_founders_claim_is_the_oldest() {
    let scene = scene();
    let now = T0.after(HOUR);
    let founder = scene.founder.claiming(&scene.net, ADDRESS).at(2, now);
    for since in [Timestamp(0), T0, T0.after(SECOND)] {
        for n in 10..20 {
            let rival = scene.net.admitted(n).claiming(&scene.net, ADDRESS);
            let rival = scene.seen_at(&rival, 3, since, now);
            let view = scene.view(&[&founder, &rival], now);
            assert_eq!(view.addresses[&ADDRESS], founder.id());
        }
    }
}

#[test]
fn a_lapsed_members_address_stays_reserved() {
    let scene = scene();
    let lapses = T0.after(DAY);
    let free = lapses.after(QUIET_TIME);
    let a = scene.seen(&scene.a, 3, T0);
    let at = |now: Timestamp| {
        let mut ledger = scene.net.ledger_of([&scene.founder, &scene.witness, &a]);
        // The rival and the witness renew, the founder and `a` do not.
        let witness = scene.witness.at(2, now);
        ledger.insert_bytes(&witness.bytes(), now).unwrap();
        let rival = scene.b.at(2, now);
        ledger.insert_bytes(&rival.bytes(), now).unwrap();
        View::of(&ledger, now)
    };
    let view = at(lapses);
    assert_eq!(of(&view, &a).presence, Presence::Live);
    assert_holds(&view, &a, &scene.b);
    for now in [lapses.after(SECOND), free] {
        let view = at(now);
        assert_eq!(of(&view, &a).presence, Presence::Lapsed);
        assert!(!view.is_live(&a.id()));
        assert!(view.is_live(&scene.b.id()));
        assert!(!view.live().any(|(node, _)| *node == a.id()));
        assert_holds(&view, &a, &scene.b);
    }
    let view = at(free.after(SECOND));
    assert!(!view.members.contains_key(&a.id()));
    assert_eq!(view.addresses.get(&ADDRESS), Some(&scene.b.id()));
    assert_eq!(of(&view, &scene.b).lost_to, None);
}

#[test]
fn a_member_that_left_keeps_its_address_for_the_quiet_time() {
    let scene = scene();
    let left = T0.after(HOUR);
    let gone = scene.seen(&scene.a, 3, T0).at(2, left).withdrawn();
    let free = left.after(QUIET_TIME);
    let at = |now: Timestamp| {
        let renewed = Scene {
            founder: scene.founder.at(2, now),
            witness: scene.witness.at(2, now),
            ..self::scene()
        };
        renewed.view(&[&gone, &scene.b.at(2, now)], now)
    };
    for now in [left, left.after(2 * DAY), free] {
        let view = at(now);
        assert_eq!(of(&view, &gone).presence, Presence::Left);
        assert_holds(&view, &gone, &scene.b);
    }
    let view = at(free.after(SECOND));
    assert!(!view.members.contains_key(&gone.id()));
    assert_eq!(view.addresses.get(&ADDRESS), Some(&scene.b.id()));
    // It comes back in time, and has its address again.
    let back = scene.seen(&scene.a, 3, T0).at(3, left.after(DAY));
    let view = scene.view(&[&back, &scene.b], left.after(DAY));
    assert_eq!(of(&view, &back).presence, Presence::Live);
}

#[test]
fn others_addresses_are_those_of_everybody_else() {
    let scene = scene();
    let a = scene.seen(&scene.a, 3, T0);
    let view = scene.view(&[&a, &scene.b], T0);
    let held = |node: &Node| {
        view.held_by_others(&node.id())
            .into_iter()
            .collect::<Vec<_>>()
    };
    let [one, two] = [[10, 7, 0, 1], [10, 7, 0, 2]].map(Ipv4Addr::from);
    assert_eq!(held(&scene.b), [one, two, ADDRESS]);
    assert_eq!(held(&a), [one, two]);
    assert_eq!(held(&scene.founder), [two, ADDRESS]);
    assert_eq!(held(&scene.net.admitted(60)), [one, two, ADDRESS]);
}

#[test]
fn receipts_have_rules_of_their_own() {
    let scene = scene();
    let why = |change: &dyn Fn(&mut Receipt), signer: u16| {
        let mut body = scene.net.receipt_body(&key(3), &scene.a, T0, T0);
        change(&mut body);
        Signed::<Receipt>::decode(&forge(&body, &key(signer))).map(|_| ())
    };
    let invalid = |why| {
        Err(StatementError::Invalid {
            kind: "receipt",
            why,
        })
    };
    assert_eq!(why(&|_| {}, 3), Ok(()));
    assert_eq!(
        why(&|r| r.witness = r.subject, 1),
        invalid("a node cannot vouch for itself")
    );
    assert_eq!(why(&|_| {}, 1), Err(StatementError::Signature("receipt")));
    let late = "it speaks of a time after it was signed";
    assert_eq!(why(&|r| r.member_since.0 += 1, 3), invalid(late));
    assert_eq!(why(&|r| r.address_since.0 += 1, 3), invalid(late));
    assert_eq!(why(&|r| r.issued = Timestamp(0), 3), invalid(late));
    assert_eq!(why(&|r| r.issued = Timestamp(u64::MAX), 3), Ok(()));
}
