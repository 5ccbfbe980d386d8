//! Contests for invites: what counts as evidence for a use, and how much is kept of what is void.

use grid_promises::Timestamp;
use grid_promises::limits::{INVITE_GRACE, SPARE_USES};
use grid_promises::network::AdmissionRule;
use grid_promises::network::admission::{Admission, AdmissionError};
use grid_promises::network::ledger::{Ledger, Refusal};
use grid_promises::network::membership::{NotAMember, decide};
use grid_promises::network::receipt::Receipt;
use grid_promises::network::statement::Signed;

use crate::common::{DAY, HOUR, INVITES, MINUTE, Net, Node, SECOND, T0, key};

fn net() -> Net {
    Net::new(AdmissionRule::Invite)
}

fn verdict(ledger: &Ledger, node: &Node, now: Timestamp) -> Result<(), NotAMember> {
    decide(ledger, now)[&node.id()]
}

fn spent(invite: u16) -> Result<(), NotAMember> {
    Err(NotAMember::InviteSpent {
        invite: key(invite).id(),
    })
}

fn expired(invite: u16) -> Result<(), NotAMember> {
    Err(NotAMember::InviteExpired {
        invite: key(invite).id(),
    })
}

/// `node` with a receipt that it is a member since `since`, as it says at `since`.
fn seen(net: &Net, node: &Node, witness: u16, since: Timestamp) -> Node {
    node.carrying(&[net.receipt(&key(witness), node, since, since)])
        .at(1, since)
}

/// The node as those further down its chain show it: with a receipt in its last link.
fn shown(net: &Net, node: &Node, witness: u16, since: Timestamp) -> Node {
    let receipt = net.receipt(&key(witness), node, since, since);
    node.by(node
        .admission
        .seen(&receipt, &net.charter, net.ledger().authority()))
}

/// One who was seen early by one way takes up an invite that another used, and that it has the key of.
#[test]
fn a_receipt_speaks_for_the_admission_that_it_names() {
    let net = net();
    let founder = net.founder();
    let honest = seen(
        &net,
        &net.joined(&founder, INVITES, 1, 1),
        0,
        T0.after(HOUR),
    );
    for early in [net.admitted(2), net.joined(&founder, INVITES + 1, 5, 2)] {
        let receipt = net.receipt(&key(0), &early, T0, T0);
        let switched = net.joined(&founder, INVITES, 1, 2).carrying(&[receipt]);
        let now = T0.after(2 * HOUR);
        let ledger = net.ledger_of([&honest, &early, &switched.at(2, now)]);
        assert_eq!(verdict(&ledger, &honest, now), Ok(()));
        assert_eq!(verdict(&ledger, &switched, now), spent(INVITES));
    }
    // With a receipt for the invite itself it was indeed the first.
    let first = seen(&net, &net.joined(&founder, INVITES, 1, 2), 0, T0);
    let now = T0.after(2 * HOUR);
    let ledger = net.ledger_of([&honest, &first]);
    assert_eq!(verdict(&ledger, &first, now), Ok(()));
    assert_eq!(verdict(&ledger, &honest, now), spent(INVITES));
}

/// A member admits the maker of another's invite once more, and stands on the way to it then. Its word
/// does not decide who used that invite first.
#[test]
fn a_second_way_to_the_maker_of_an_invite_decides_nothing() {
    let net = net();
    let (host, hostile) = (net.admitted(1), net.admitted(2));
    let honest = seen(&net, &net.joined(&host, INVITES, 1, 3), 1, T0.after(HOUR));
    let detour = net.joined(&hostile, INVITES + 1, 5, 1);
    let accomplice = seen(&net, &net.joined(&detour, INVITES, 1, 4), 2, T0);
    let now = T0.after(2 * HOUR);
    let ledger = net.ledger_of([&host, &hostile, &honest, &accomplice]);
    assert_eq!(verdict(&ledger, &honest, now), Ok(()));
    assert_eq!(verdict(&ledger, &accomplice, now), spent(INVITES));
    // Nor can it put its word into the chain of a guest.
    let receipt = net.receipt(&key(2), &accomplice, T0, T0);
    let chain = accomplice
        .admission
        .seen(&receipt, &net.charter, ledger.authority());
    assert_eq!(chain, accomplice.admission);
}

/// The user of an invite is long gone, and those whom it let in show that it was there in time.
#[test]
fn a_chain_shows_that_its_invites_were_used_in_time() {
    let net = net();
    let middle = net.joined(&net.founder(), INVITES, 1, 1);
    let now = T0.after(20 * DAY);
    let guest = |host: &Node| {
        let last = net.joined(host, INVITES + 1, 1, 2);
        seen(&net, &last, 1, T0).at(9, now.before(HOUR))
    };
    let check = |last: &Node| verdict(&net.ledger_of([last]), last, now);
    assert_eq!(check(&guest(&middle)), expired(INVITES));
    assert_eq!(check(&guest(&shown(&net, &middle, 0, T0))), Ok(()));
    let late = T0.after(DAY + INVITE_GRACE + SECOND);
    assert_eq!(
        check(&guest(&shown(&net, &middle, 0, late))),
        expired(INVITES)
    );
    // It is evidence in a contest as well.
    let rival = net.joined(&net.founder(), INVITES, 1, 3);
    let rival = seen(&net, &rival, 0, T0.after(HOUR)).at(2, now.before(HOUR));
    let last = guest(&shown(&net, &middle, 0, T0));
    let ledger = net.ledger_of([&rival, &last]);
    assert_eq!(verdict(&ledger, &rival, now), spent(INVITES));
    assert_eq!(verdict(&ledger, &last, now), Ok(()));
    let last = guest(&shown(&net, &middle, 0, T0.after(2 * HOUR)));
    let ledger = net.ledger_of([&rival, &last]);
    assert_eq!(verdict(&ledger, &rival, now), Ok(()));
    assert_eq!(verdict(&ledger, &last, now), spent(INVITES));
}

#[test]
fn a_receipt_in_a_chain_is_one_for_its_link() {
    let net = net();
    let host = net.joined(&net.founder(), INVITES, 5, 1);
    let other = net.joined(&net.founder(), INVITES, 5, 2);
    let check = |receipt: Signed<Receipt>| {
        let mut raw = host.admission.raw();
        if let Some(last) = raw.last_mut() {
            last.seen = Some(receipt.bytes().to_vec().into());
        }
        Admission::decode(&raw, &net.charter, &host.id()).map(|_| ())
    };
    let refused = Err(AdmissionError::Evidence);
    assert_eq!(check(net.receipt(&key(0), &host, T0, T0)), Ok(()));
    assert_eq!(check(net.receipt(&key(0), &other, T0, T0)), refused);
    // Of one whose word does not count here; it may count one day.
    assert_eq!(check(net.receipt(&key(2), &host, T0, T0)), Ok(()));
    let otherwise = host.by(net.admitted(1).admission);
    assert_eq!(check(net.receipt(&key(0), &otherwise, T0, T0)), refused);
    let elsewhere = Net::with(|charter| charter.created.0 += 1);
    assert_eq!(check(elsewhere.receipt(&key(0), &host, T0, T0)), refused);
}

/// What a chain is called does not change with receipts or with another use of the same grant.
#[test]
fn an_admission_keeps_its_id() {
    let net = net();
    let founder = net.founder();
    let node = net.joined(&founder, INVITES, 5, 1);
    let id = node.admission.id();
    assert_eq!(shown(&net, &node, 0, T0).admission.id(), id);
    let mut ids = vec![
        id,
        Admission::default().id(),
        net.admitted(1).admission.id(),
        net.joined(&founder, INVITES, 4, 1).admission.id(),
        net.joined(&founder, INVITES + 1, 5, 1).admission.id(),
        net.joined(&founder, INVITES, 5, 2).admission.id(),
        net.joined(&node, INVITES, 5, 2).admission.id(),
    ];
    let count = ids.len();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), count);
}

/// Everybody whom one who lost an invite lets in, and whom those let in, up to six links.
fn guests(net: &Net, loser: &Node, count: u16) -> Vec<Node> {
    let mut all = Vec::new();
    let mut host = loser.clone();
    for n in 0..count {
        let guest = net.joined(&host, INVITES + 100 + n, 5, 100 + n);
        if n % 7 == 0 && host.admission.links().len() < 5 {
            host = guest.clone();
        }
        all.push(guest);
    }
    all
}

/// Tells a ledger all of it, and says how many were refused. The ledger stays as small as it may be.
fn flood(ledger: &mut Ledger, nodes: &[Node], now: Timestamp, bound: usize) -> usize {
    let mut refused = 0;
    for node in nodes {
        match ledger.insert_bytes(&node.bytes(), now) {
            Ok(_) => {}
            Err(refusal) => {
                assert_eq!(refusal, Refusal::InviteSpent);
                refused += 1;
            }
        }
        assert!(
            ledger.members().len() <= bound,
            "{}",
            ledger.members().len()
        );
    }
    refused
}

#[test]
fn guests_of_those_who_lost_an_invite_fill_no_memory() {
    let net = net();
    let founder = net.founder();
    let winner = seen(
        &net,
        &net.joined(&founder, INVITES, 1, 1),
        0,
        T0.after(MINUTE),
    );
    let loser = net.joined(&founder, INVITES, 1, 2);
    let guests = guests(&net, &loser, 60);
    let now = T0.after(HOUR);
    // The winner is known before.
    let mut before = net.ledger_of([&founder, &winner, &loser]);
    let refused = flood(&mut before, &guests, now, 3 + SPARE_USES);
    assert!(refused > 0);
    assert_eq!(before.members().len(), 3 + SPARE_USES);
    // It is heard of when the guests are there already.
    let mut after = net.ledger_of([&founder, &loser]);
    assert_eq!(flood(&mut after, &guests, now, 62), 0);
    after.insert_bytes(&winner.bytes(), now).unwrap();
    assert_eq!(after.root(), before.root());
    for node in guests
        .iter()
        .filter(|n| before.members().contains_key(&n.id()))
    {
        assert_eq!(verdict(&before, node, now), spent(INVITES));
    }
    // An owner who lets the loser stay lets its guests in as well.
    let named = net.name(0, &[&loser], &[]);
    before.insert_bytes(named.bytes(), now).unwrap();
    assert_eq!(flood(&mut before, &guests, now, 63), 0);
    assert_eq!(before.members().len(), 63);
    assert!(
        guests
            .iter()
            .all(|node| verdict(&before, node, now).is_ok())
    );
}

#[test]
fn an_invite_that_expired_fills_no_memory() {
    let net = net();
    let founder = net.founder();
    let now = T0.after(DAY + INVITE_GRACE + SECOND);
    let fresh = |node: &Node| node.at(1, now);
    // Those who used it in time stay, however many come too late.
    let in_time: Vec<Node> = (1..=5)
        .map(|n| seen(&net, &net.joined(&founder, INVITES, 1000, n), 0, T0))
        .collect();
    let late: Vec<Node> = (10..=70)
        .map(|n| fresh(&net.joined(&founder, INVITES, 1000, n)))
        .collect();
    let mut ledger = net.ledger_of(&in_time);
    let refused = flood(&mut ledger, &late, now, 5 + SPARE_USES);
    assert!(refused > 0);
    assert_eq!(ledger.members().len(), 5 + SPARE_USES);
    assert!(
        in_time
            .iter()
            .all(|node| verdict(&ledger, node, now).is_ok())
    );
    // Nor do guests of one who came too late, whether it is known or not.
    let guests: Vec<Node> = guests(&net, &late[60], 60).iter().map(fresh).collect();
    let mut ledger = net.ledger_of(&in_time);
    let refused = flood(&mut ledger, &guests, now, 5 + SPARE_USES);
    assert!(refused > 0);
    // Whoever was there when it expired is forgotten with the next pruning.
    let just_before = T0.after(DAY + INVITE_GRACE);
    let early = |node: &Node| node.at(1, just_before);
    let mut ledger = net.ledger();
    for node in late.iter().map(early) {
        ledger.insert_bytes(&node.bytes(), just_before).unwrap();
    }
    assert_eq!(ledger.members().len(), late.len());
    assert!(ledger.prune(just_before).is_empty());
    assert_eq!(ledger.prune(now).len(), late.len() - SPARE_USES);
}

/// A node that is a member by one invite has a place for each other that it shows: as many as that invite admits, and no
/// more. Nodes 100 and on are members by an invite of node 1, and then show one of the founder's for a single use, which
/// node 1 has used, or one that expired.
#[test]
fn who_is_a_member_by_one_invite_takes_no_place_by_a_used_one() {
    let net = net();
    let founder = net.founder();
    let host = seen(&net, &net.joined(&founder, INVITES, 1, 1), 0, T0);
    let long_after = T0.after(DAY + INVITE_GRACE + SECOND);
    for now in [T0.after(HOUR), long_after] {
        let fresh = |node: &Node, number: u64| node.at(number, now);
        let host = fresh(&host, 2);
        let mut ledger = net.ledger_of([&founder, &host]);
        let mut long = net.grant_body(&host.key.id(), INVITES + 1, 10_000);
        long.expires = T0.after(DAY * 300);
        let long = Signed::sign(long, &host.key).unwrap();
        let used_up = net.grant(&founder.key, INVITES, 1);
        for n in 100..160 {
            let link = net.link(&long, INVITES + 1, &key(n).id());
            let last = net.node(n, host.admission.extended(link));
            ledger.insert_bytes(&fresh(&last, 9).bytes(), now).unwrap();
        }
        let before = ledger.len();
        let mut refused = 0;
        for n in 100..160 {
            let link = net.link(&used_up, INVITES, &key(n).id());
            let aside = net.node(n, Admission::default().extended(link));
            let result = ledger.insert_bytes(&fresh(&aside, 1).bytes(), now);
            refused += usize::from(result == Err(Refusal::InviteSpent));
        }
        assert!(refused > 0, "{refused}");
        ledger.prune(now);
        assert_eq!(ledger.len(), before + SPARE_USES);
        assert_eq!(ledger.members().len(), before);
    }
}
