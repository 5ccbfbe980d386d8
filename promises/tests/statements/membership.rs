//! Who is a member: invites that were used too often or too late, and who wins them.

use grid_keys::NodeId;
use grid_promises::Timestamp;
use grid_promises::limits::{INVITE_GRACE, MAX_STATEMENT, QUIET_TIME, SPARE_USES};
use grid_promises::network::AdmissionRule;
use grid_promises::network::admission::Admission;
use grid_promises::network::ledger::{Ledger, Merged, Refusal};
use grid_promises::network::membership::{NotAMember, decide, evidence_of_use};
use grid_promises::network::view::View;

use crate::common::{DAY, HOUR, INVITES, MINUTE, Net, Node, SECOND, T0, key};

fn net() -> Net {
    Net::new(AdmissionRule::Invite)
}

/// The members of `nodes`, in the order given.
fn members<'a>(ledger: &Ledger, now: Timestamp, nodes: &[&'a Node]) -> Vec<&'a Node> {
    let verdicts = decide(ledger, now);
    let is_member = |node: &&&Node| verdicts.get(&node.id()) == Some(&Ok(()));
    nodes.iter().filter(is_member).copied().collect()
}

/// All orders of a few things.
fn orders<T: Clone>(things: &[T]) -> Vec<Vec<T>> {
    if things.len() < 2 {
        return vec![things.to_vec()];
    }
    let mut all = Vec::new();
    for (at, first) in things.iter().enumerate() {
        let mut rest = things.to_vec();
        rest.remove(at);
        for mut order in orders(&rest) {
            order.insert(0, first.clone());
            all.push(order);
        }
    }
    all
}

/// Whatever the order of arrival, these are the members, by their numbers.
#[track_caller]
fn winners(net: &Net, nodes: &[Node], now: Timestamp) -> Vec<NodeId> {
    let mut found: Option<(Vec<NodeId>, [u8; 32])> = None;
    for order in orders(nodes) {
        let mut ledger = net.ledger();
        for node in &order {
            ledger.insert_bytes(&node.bytes(), now).unwrap();
        }
        let all: Vec<&Node> = nodes.iter().collect();
        let won: Vec<NodeId> = members(&ledger, now, &all).iter().map(|n| n.id()).collect();
        let result = (won, ledger.root());
        match &found {
            None => found = Some(result),
            Some(before) => assert_eq!(*before, result, "the order of arrival matters"),
        }
    }
    found.unwrap().0
}

/// Two nodes that used one single-use invite.
fn rivals(net: &Net) -> (Node, Node) {
    let founder = net.founder();
    (
        net.joined(&founder, INVITES, 1, 1),
        net.joined(&founder, INVITES, 1, 2),
    )
}

/// The same promise, made when the node had a receipt that says since when it is a member.
fn seen(net: &Net, node: &Node, witness: u16, since: Timestamp) -> Node {
    node.carrying(&[net.receipt(&key(witness), node, since, since)])
        .at(1, since)
}

#[test]
fn a_single_use_has_one_winner_in_every_order() {
    let net = net();
    let (a, b) = rivals(&net);
    let now = T0.after(MINUTE);
    let won = winners(&net, &[net.founder(), a.clone(), b.clone()], now);
    assert_eq!(won.len(), 2);
    assert_eq!(won[0], net.founder().id());
    // Without evidence the hash decides, and each of them can win.
    let mut firsts = 0;
    for n in 10..30 {
        let founder = net.founder();
        let a = net.joined(&founder, INVITES + n, 1, n);
        let b = net.joined(&founder, INVITES + n, 1, n + 50);
        let won = winners(&net, &[a.clone(), b], now);
        assert_eq!(won.len(), 1);
        firsts += u32::from(won[0] == a.id());
    }
    assert!((3..=17).contains(&firsts), "{firsts} of 20 times the first");
}

#[test]
fn evidence_beats_none_and_older_beats_newer() {
    let net = net();
    let (a, b) = rivals(&net);
    let now = T0.after(HOUR);
    for (a, b) in [(&a, &b), (&b, &a)] {
        let late = seen(&net, a, 0, T0.after(30 * MINUTE));
        assert_eq!(winners(&net, &[late.clone(), b.clone()], now), [a.id()]);
        let early = seen(&net, b, 0, T0.after(MINUTE));
        assert_eq!(winners(&net, &[late.clone(), early], now), [b.id()]);
        // As old as each other: one of them, the same in every order.
        let same = seen(&net, b, 0, T0.after(30 * MINUTE));
        assert_eq!(winners(&net, &[late, same], now).len(), 1);
    }
}

#[test]
fn the_loser_is_told_why() {
    let net = net();
    let (a, b) = rivals(&net);
    let a = seen(&net, &a, 0, T0);
    let ledger = net.ledger_of([&a, &b]);
    let spent = NotAMember::InviteSpent {
        invite: key(INVITES).id(),
    };
    assert_eq!(decide(&ledger, T0).get(&b.id()), Some(&Err(spent)));
    let view = View::of(&ledger, T0);
    assert_eq!(view.refused.get(&b.id()), Some(&spent));
    assert!(!view.members.contains_key(&b.id()));
    assert!(!view.addresses.values().any(|holder| *holder == b.id()));
}

#[test]
fn an_invite_admits_as_many_as_it_says() {
    let net = net();
    let founder = net.founder();
    let nodes: Vec<Node> = (1..=5)
        .map(|n| net.joined(&founder, INVITES, 3, n))
        .collect();
    assert_eq!(winners(&net, &nodes[..3], T0).len(), 3);
    assert_eq!(winners(&net, &nodes, T0).len(), 3);
    // One use by one node, however many promises it makes.
    let single = net.joined(&founder, INVITES + 1, 1, 9);
    let mut ledger = net.ledger_of([&single]);
    for n in 2..5 {
        ledger.insert_bytes(&single.at(n, T0).bytes(), T0).unwrap();
    }
    assert_eq!(members(&ledger, T0, &[&single]).len(), 1);
}

/// Only those who vouched for a node say since when it is a member.
#[test]
fn strangers_are_no_evidence() {
    let net = net();
    let (a, b) = rivals(&net);
    let other = net.admitted(7);
    let now = T0.after(HOUR);
    let by_owner = seen(&net, &a, 0, T0.after(30 * MINUTE));
    // Another member, a stranger, and the rival itself with an older time.
    for witness in [7, 99, 1] {
        let by_other = seen(&net, &b, witness, T0);
        let nodes = [by_owner.clone(), by_other, other.clone()];
        assert_eq!(
            winners(&net, &nodes, now),
            [a.id(), other.id()],
            "{witness}"
        );
    }
    // The one who made the invite counts as much as an owner.
    let issuer = net.admitted(8);
    let c = net.joined(&issuer, INVITES + 1, 1, 3);
    let d = net.joined(&issuer, INVITES + 1, 1, 4);
    let by_issuer = seen(&net, &c, 8, T0);
    let by_owner = seen(&net, &d, 0, T0.after(SECOND));
    assert_eq!(winners(&net, &[by_issuer, by_owner], now), [c.id()]);
}

/// A member that has an invite's key, because it came in by it, signs a grant of the same key with
/// fewer uses. The others who came in by the invite stay.
#[test]
fn another_grant_of_the_same_key_takes_no_use_away() {
    let net = net();
    let founder = net.founder();
    let others: Vec<Node> = (1..=4)
        .map(|n| net.joined(&founder, INVITES, 5, n))
        .collect();
    let hostile = net.joined(&founder, INVITES, 5, 5);
    let all: Vec<&Node> = others.iter().chain([&hostile]).collect();
    for n in 20..40 {
        let guest = net.joined(&hostile, INVITES, 1, n);
        let mut ledger = net.ledger_of(all.iter().copied().chain([&guest]));
        assert_eq!(members(&ledger, T0, &all).len(), 5, "guest {n}");
        // Nor does it push anybody out of memory.
        let again = net.joined(&hostile, INVITES, 1, n).at(2, T0);
        ledger.insert_bytes(&again.bytes(), T0).unwrap();
        assert_eq!(ledger.members().len(), 6);
    }
}

/// Nodes that a hostile member let in by its own invites are seen as members by that member since
/// whenever it likes. That is no evidence for uses of another's invite.
#[test]
fn evidence_for_one_invite_is_none_for_another() {
    let net = net();
    let founder = net.founder();
    let honest = seen(
        &net,
        &net.joined(&founder, INVITES, 1, 1),
        0,
        T0.after(HOUR),
    );
    let hostile = net.admitted(6);
    // Node 2 is the hostile member's guest, with a receipt by its host.
    let guest = seen(&net, &net.joined(&hostile, INVITES + 1, 5, 2), 6, T0);
    // Node 3 comes by the founder's invite, as it says, through node 2.
    let by_founder = net.joined(&founder, INVITES, 1, 2);
    let third = net.joined(&by_founder, INVITES + 2, 5, 3);
    let now = T0.after(2 * HOUR);
    let won = winners(&net, &[honest.clone(), guest.clone(), third], now);
    assert_eq!(won, [honest.id(), guest.id()]);
}

#[test]
fn a_guest_of_a_loser_is_out_with_it() {
    let net = net();
    let (a, b) = rivals(&net);
    let a = seen(&net, &a, 0, T0);
    let guest = net.joined(&b, INVITES + 1, 5, 3);
    assert_eq!(
        winners(&net, &[a.clone(), b.clone(), guest.clone()], T0),
        [a.id()]
    );
    // The loser's own promise need not be there for it.
    assert_eq!(winners(&net, &[a.clone(), guest.clone()], T0), [a.id()]);
    // Once the winner is revoked the use is free again.
    let mut ledger = net.ledger_of([&a, &b, &guest]);
    ledger.insert_bytes(net.revoke(&a).bytes(), T0).unwrap();
    assert_eq!(members(&ledger, T0, &[&a, &b, &guest]).len(), 2);
}

#[test]
fn an_old_invite_cannot_be_used_with_a_backdated_time() {
    let net = net();
    let node = net.joined(&net.founder(), INVITES, 1, 1);
    let deadline = T0.after(DAY + INVITE_GRACE);
    let late = deadline.after(SECOND);
    let bare = net.ledger_of([&node.at(1, deadline)]);
    assert_eq!(members(&bare, deadline, &[&node]).len(), 1);
    assert_eq!(
        decide(&bare, late).get(&node.id()),
        Some(&Err(NotAMember::InviteExpired {
            invite: key(INVITES).id()
        }))
    );
    // With a receipt from before the end it was used in time, whenever one looks.
    let in_time = net.ledger_of([&seen(&net, &node, 0, deadline).at(1, deadline)]);
    assert_eq!(members(&in_time, late.after(DAY), &[&node]).len(), 1);
    // With one from after it, or from somebody who did not vouch, it was not.
    let receipt = net.receipt(&key(0), &node, late, late);
    let too_late = net.ledger_of([&node.carrying(&[receipt]).at(1, late)]);
    assert_eq!(members(&too_late, late, &[&node]).len(), 0);
    let witness = net.admitted(7);
    let by_other = net.ledger_of([&seen(&net, &node, 7, T0).at(1, late), &witness]);
    assert_eq!(members(&by_other, late, &[&node]).len(), 0);
}

/// A node far down a chain stays a member when one in the middle is gone for good.
#[test]
fn those_above_vouch_for_a_chain_with_a_gap() {
    let net = net();
    let middle = net.joined(&net.founder(), INVITES, 1, 1);
    let last = net.joined(&middle, INVITES + 1, 1, 2);
    let now = T0.after(20 * DAY);
    let fresh = |node: &Node| node.at(9, now.before(HOUR));
    let by_middle = fresh(&seen(&net, &last, 1, T0));
    let by_owner = fresh(&seen(&net, &last, 0, T0));
    let check = |nodes: &[&Node]| {
        let ledger = net.ledger_of(nodes.iter().copied());
        decide(&ledger, now).get(&last.id()).copied()
    };
    let expired = |invite: u16| {
        Some(Err(NotAMember::InviteExpired {
            invite: key(invite).id(),
        }))
    };
    // The middle node vouches for the last, and nobody for the middle.
    assert_eq!(check(&[&by_middle]), expired(INVITES));
    assert_eq!(check(&[&by_owner]), Some(Ok(())));
    let middle = fresh(&seen(&net, &middle, 0, T0));
    assert_eq!(check(&[&by_middle, &middle]), Some(Ok(())));
    assert_eq!(check(&[&fresh(&last), &middle]), expired(INVITES + 1));
}

/// What a prune would forget counts for nothing, so that nodes that prune at different times agree.
#[test]
fn a_view_does_not_depend_on_when_a_ledger_was_pruned() {
    let net = net();
    let (a, b) = rivals(&net);
    let a = seen(&net, &a, 0, T0);
    let b = seen(&net, &b, 0, T0.after(HOUR));
    let long = T0.after(DAY + QUIET_TIME + HOUR);
    let mut ledger = net.ledger_of([&a, &b.at(2, T0.after(2 * HOUR))]);
    assert_eq!(members(&ledger, T0.after(2 * HOUR), &[&a, &b]).len(), 1);
    let now = T0.after(3 * HOUR + DAY + QUIET_TIME).before(2 * HOUR);
    assert_eq!(now, long);
    let before = View::of(&ledger, now);
    assert_eq!(ledger.prune(now), [a.id()]);
    assert_eq!(View::of(&ledger, now), before);
    assert!(before.members.contains_key(&b.id()));
}

/// Uses far beyond the allowed ones are not kept, and a better one takes a worse one's place.
#[test]
fn memory_for_losers_is_bounded() {
    let net = net();
    let founder = net.founder();
    let kept = 1 + SPARE_USES;
    let mut ledger = net.ledger();
    let mut refused = 0;
    for n in 1..=60 {
        let node = net.joined(&founder, INVITES, 1, n);
        let before = ledger.root();
        match ledger.insert_bytes(&node.bytes(), T0) {
            Ok(merged) => assert_eq!(merged, Merged::New),
            Err(refusal) => {
                assert_eq!(refusal, Refusal::InviteSpent);
                assert_eq!(ledger.root(), before);
                refused += 1;
            }
        }
        assert!(ledger.members().len() <= kept);
    }
    assert!(refused > 20);
    assert_eq!(ledger.members().len(), kept);
    let winner = net.joined(&founder, INVITES, 1, 99);
    let winner = seen(&net, &winner, 0, T0);
    assert_eq!(ledger.insert_bytes(&winner.bytes(), T0), Ok(Merged::New));
    assert_eq!(ledger.members().len(), kept);
    assert_eq!(members(&ledger, T0, &[&winner]).len(), 1);
}

/// What a prune would forget takes nobody's place.
#[test]
fn losers_that_lapsed_long_ago_make_room() {
    let net = net();
    let founder = net.founder();
    let old: Vec<Node> = (1..=17)
        .map(|n| seen(&net, &net.joined(&founder, INVITES, 1, n), 0, T0))
        .collect();
    let ledger = net.ledger_of(&old);
    let now = T0.after(DAY + QUIET_TIME);
    let late = |n: u16, now| net.joined(&founder, INVITES, 1, n).at(1, now).bytes();
    assert_eq!(
        crate::refusal(&ledger, &late(18, now), now),
        Refusal::InviteSpent
    );
    let now = now.after(SECOND);
    let mut ledger = ledger;
    assert_eq!(ledger.insert_bytes(&late(18, now), now), Ok(Merged::New));
    assert_eq!(ledger.prune(now).len(), 17);
    assert_eq!(ledger.members().len(), 1);
}

/// A promise that would be the worst of too many is refused, and what the node said before stands.
#[test]
fn a_refused_use_does_not_cost_a_node_its_place() {
    let net = net();
    let founder = net.founder();
    let with_receipt = |n: u16| seen(&net, &net.joined(&founder, INVITES, 1, n), 0, T0);
    let nodes: Vec<Node> = (1..=17).map(with_receipt).collect();
    let named = net.admitted(18);
    let ledger = net.ledger_of(nodes.iter().chain([&named]));
    assert_eq!(ledger.members().len(), 18);
    let bare = net.joined(&founder, INVITES, 1, 18).at(2, T0);
    assert_eq!(
        crate::refusal(&ledger, &bare.bytes(), T0),
        Refusal::InviteSpent
    );
}

#[test]
fn evidence_is_the_oldest_of_those_who_count() {
    let net = net();
    let node = net.joined(&net.admitted(8), INVITES, 1, 3);
    let at = |minutes: u32| T0.after(minutes * MINUTE);
    let carrying = |receipts: &[(u16, u32)]| {
        let receipts: Vec<_> = receipts
            .iter()
            .map(|(witness, minutes)| net.receipt(&key(*witness), &node, at(*minutes), at(60)))
            .collect();
        let node = node.carrying(&receipts).at(1, at(60));
        let ledger = net.ledger_of([&node]);
        evidence_of_use(
            ledger.authority(),
            ledger.members().get(&node.id()).unwrap(),
        )
    };
    assert_eq!(carrying(&[]), None);
    assert_eq!(carrying(&[(99, 1)]), None);
    assert_eq!(carrying(&[(8, 5), (0, 9), (99, 1)]), Some(at(5)));
    assert_eq!(carrying(&[(8, 5), (0, 2)]), Some(at(2)));
}

#[test]
fn an_open_network_takes_everybody() {
    let net = Net::new(AdmissionRule::Open);
    let nodes: Vec<Node> = (0..5).map(|n| net.node(n, Admission::default())).collect();
    assert_eq!(winners(&net, &nodes, T0).len(), 5);
    assert!(nodes[0].bytes().len() < MAX_STATEMENT);
}

/// A node that was admitted again, in another way, does not depend on the way before.
#[test]
fn the_last_promise_says_how_a_node_came_in() {
    let net = net();
    let (a, b) = rivals(&net);
    let a = seen(&net, &a, 0, T0);
    let again = b.by(net.admitted(2).admission).at(2, T0);
    let ledger = net.ledger_of([&a, &b, &again]);
    assert_eq!(members(&ledger, T0, &[&a, &b]).len(), 2);
}
