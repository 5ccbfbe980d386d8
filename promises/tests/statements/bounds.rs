//! Networks as large as they can be.

use std::sync::LazyLock;

use grid_promises::Timestamp;
use grid_promises::limits::{MAX_BY_THEMSELVES, MAX_MEMBERS, MAX_THROUGH};
use grid_promises::network::AdmissionRule;
use grid_promises::network::admission::Admission;
use grid_promises::network::ledger::{Item, Ledger, Merged, Refusal};
use grid_promises::network::membership::NotAMember;
use grid_promises::network::statement::Signed;
use grid_promises::network::view::View;

use super::refusal;
use crate::common::exchange::settle;
use crate::common::{DAY, INVITES, MINUTE, Net, T0, key};

/// Node keys begin here, after those of invites.
const FIRST: u16 = 2000;

/// An open network, and the promises of more keys than any ledger keeps.
static CROWD: LazyLock<(Net, Vec<Item>)> = LazyLock::new(|| {
    let net = Net::new(AdmissionRule::Open);
    let keys = FIRST..=FIRST + u16::try_from(MAX_MEMBERS).unwrap();
    let verify = |n| {
        let bytes = net.node(n, Admission::default()).bytes();
        net.ledger().verify(&bytes).unwrap()
    };
    let crowd = keys.map(verify).collect();
    (net, crowd)
});

fn tell(ledger: &mut Ledger, items: &[Item]) -> usize {
    let took = |item: &&Item| {
        let merged = ledger.insert((*item).clone(), T0.after(MINUTE));
        assert!(
            matches!(merged, Ok(Merged::New) | Err(Refusal::NoRoom)),
            "{merged:?}"
        );
        merged.is_ok()
    };
    items.iter().filter(took).count()
}

#[test]
fn a_crowd_of_keys_keeps_nobody_out_whom_somebody_let_in() {
    let (net, crowd) = &*CROWD;
    let now = T0.after(MINUTE);
    let mut ledger = net.ledger();
    tell(&mut ledger, crowd);
    assert_eq!(ledger.members().len(), MAX_BY_THEMSELVES);
    let founder = net.founder();
    let host = net.admitted(1);
    let guest = net.joined(&host, INVITES, 5, 2);
    let named = net.node(3, Admission::default());
    ledger
        .insert_bytes(net.name(0, &[&named], &[]).bytes(), now)
        .unwrap();
    for node in [&founder, &host, &guest, &named] {
        assert_eq!(ledger.insert_bytes(&node.bytes(), now), Ok(Merged::New));
    }
    assert_eq!(ledger.members().len(), MAX_BY_THEMSELVES + 4);
    // Who is in can renew its promise, and who is put out makes room.
    let at = |n: u16| net.node(n, Admission::default());
    let keys = FIRST..=FIRST + u16::try_from(MAX_MEMBERS).unwrap();
    let (inside, outside): (Vec<u16>, Vec<u16>) =
        keys.partition(|n| ledger.members().contains_key(&key(*n).id()));
    let renewal = at(inside[0]).at(2, now);
    assert_eq!(ledger.insert_bytes(&renewal.bytes(), now), Ok(Merged::New));
    let (ranks, last) = (|n: &u16| ranked(&ledger, net, *n), outside.iter());
    let last = *last.max_by_key(|n| ranks(n)).unwrap();
    assert_eq!(refusal(&ledger, &at(last).bytes(), now), Refusal::NoRoom);
    ledger
        .insert_bytes(net.revoke(&renewal).bytes(), now)
        .unwrap();
    assert_eq!(ledger.insert_bytes(&at(last).bytes(), now), Ok(Merged::New));
}

fn ranked(ledger: &Ledger, net: &Net, n: u16) -> impl Ord + use<> {
    let bytes = net.node(n, Admission::default()).bytes();
    match ledger.verify(&bytes) {
        Ok(Item::Member(member)) => ledger.authority().rank(&member),
        other => panic!("{other:?}"),
    }
}

#[test]
fn full_ledgers_that_differ_come_to_hold_the_same() {
    let (net, crowd) = &*CROWD;
    let (mut one, mut other) = (net.ledger(), net.ledger());
    tell(&mut one, &crowd[..MAX_BY_THEMSELVES + 100]);
    tell(&mut other, &crowd[MAX_BY_THEMSELVES - 100..]);
    assert_ne!(one.root(), other.root());
    let rounds = settle(&mut one, &mut other, T0.after(MINUTE));
    assert!(rounds <= 2, "{rounds} rounds");
    let mut all = net.ledger();
    tell(&mut all, crowd);
    assert_eq!(all.root(), one.root());
}

/// However many uses it gives its invites, and however many invites it gives out.
#[test]
fn a_member_fills_its_own_share_and_no_more() {
    let net = Net::new(AdmissionRule::Invite);
    let now = T0.after(MINUTE);
    let host = net.admitted(1);
    let mut ledger = net.ledger_of([&net.founder(), &host]);
    let mut next = FIRST;
    for (invite, kept) in [MAX_THROUGH / 2, MAX_THROUGH, MAX_THROUGH]
        .iter()
        .enumerate()
    {
        let invite = INVITES + u16::try_from(invite).unwrap();
        let grant = net.grant(&host.key, invite, 10_000);
        for n in next..next + 600 {
            let link = net.link(&grant, invite, &key(n).id());
            let guest = net.node(n, host.admission.extended(link));
            let _ = ledger.insert_bytes(&guest.bytes(), now);
        }
        next += 600;
        assert_eq!(ledger.members().len(), 2 + kept);
    }
    // An invite of a guest has half of the share of the invite that the guest came by.
    let mut below = net.ledger_of([&host]);
    let guest = net.joined(&host, INVITES + 7, 5, 2);
    for n in FIRST..FIRST + 300 {
        let guest = net.joined(&guest, INVITES + 10, 10_000, n);
        let _ = below.insert_bytes(&guest.bytes(), now);
    }
    assert_eq!(below.members().len(), 1 + MAX_THROUGH / 4);
    let another = net.admitted(4);
    let by_another = net.joined(&another, INVITES + 8, 5, 5);
    for node in [&another, &by_another] {
        assert_eq!(ledger.insert_bytes(&node.bytes(), now), Ok(Merged::New));
    }
}

/// By an invite for a year, 23 a day, each for an hour and under a key of its own. Their uses stay used.
#[test]
fn a_year_of_machines_that_come_and_go_fills_nothing() {
    const DAYS: u16 = 350;
    let (net, _) = &*CROWD;
    let mut body = net.grant_body(&key(0).id(), INVITES, u32::from(DAYS * 23));
    body.expires = T0.after(366 * DAY);
    let grant = Signed::sign(body, &key(0)).unwrap();
    let node = |n: u16, at: Timestamp| {
        let link = net.link(&grant, INVITES, &key(n).id());
        let node = net.node(n, Admission::default().extended(link)).at(1, at);
        node.carrying(&[net.receipt(&key(0), &node, at, at)])
    };
    let mut ledger = net.ledger();
    for day in 0..DAYS {
        let now = T0.after(DAY * u32::from(day));
        for n in 0..23 {
            let machine = node(FIRST + day * 23 + n, now);
            ledger.insert_bytes(&machine.bytes(), now).unwrap();
        }
        ledger.prune(now);
        assert!(ledger.members().len() <= 9 * 23, "day {day}");
    }
    let now = T0.after(DAY * u32::from(DAYS));
    assert_eq!(ledger.len(), usize::from(DAYS) * 23);
    let late = node(FIRST + DAYS * 23, now);
    ledger.insert_bytes(&late.bytes(), now).unwrap();
    let view = View::of(&ledger, now);
    let spent = NotAMember::InviteSpent {
        invite: key(INVITES).id(),
    };
    assert_eq!(view.refused.get(&late.id()), Some(&spent));
}

/// However many came by it: the statement has one size, and what follows from it is found once for all.
#[test]
fn one_act_takes_a_member_out_with_a_thousand_guests() {
    let net = Net::new(AdmissionRule::Invite);
    let now = T0.after(MINUTE);
    let (founder, host) = (net.founder(), net.admitted(1));
    let grants =
        [INVITES, INVITES + 1].map(|invite| (invite, net.grant(&host.key, invite, 10_000)));
    let guests = (FIRST..FIRST + 1000).map(|n| {
        let (invite, grant) = &grants[usize::from(n % 2)];
        let link = net.link(grant, *invite, &key(n).id());
        net.node(n, host.admission.extended(link)).bytes()
    });
    let mut statements = vec![founder.bytes(), host.bytes()];
    statements.extend(guests);
    let mut ledger = net.ledger();
    for bytes in &statements {
        ledger.insert_bytes(bytes, now).unwrap();
    }
    assert_eq!(View::of(&ledger, now).members.len(), 1002);
    let act = net.revoke(&host);
    assert!(act.bytes().len() < 300, "{} bytes", act.bytes().len());
    ledger.insert_bytes(act.bytes(), now).unwrap();
    let left: Vec<_> = View::of(&ledger, now).members.into_keys().collect();
    assert_eq!(left, [founder.id()]);
    assert_eq!(ledger.members().len(), 1);
    // Nor do they come back, by what they have.
    for bytes in statements.iter().skip(1).take(50) {
        let _ = ledger.insert_bytes(bytes, now);
    }
    assert_eq!(ledger.members().len(), 1);
}
