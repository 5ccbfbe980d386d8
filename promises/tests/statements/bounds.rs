//! Networks as large as they can be.

use grid_promises::limits::MAX_MEMBERS;
use grid_promises::network::AdmissionRule;
use grid_promises::network::admission::Admission;
use grid_promises::network::ledger::{Item, Ledger, Refusal};
use grid_promises::network::view::View;

use crate::common::{INVITES, MINUTE, Net, T0, key};

/// Node keys begin here, after those of invites.
const FIRST: u16 = 2000;

#[test]
fn full_ledgers_that_differ_send_each_other_nothing() {
    let net = Net::new(AdmissionRule::Open);
    let now = T0.after(MINUTE);
    let members = u16::try_from(MAX_MEMBERS).unwrap();
    let all = (FIRST..=FIRST + members).map(|n| net.node(n, Admission::default()).bytes());
    let all: Vec<Item> = all
        .map(|bytes| net.ledger().verify(&bytes).unwrap())
        .collect();
    let tell = |ledger: &mut Ledger, items: &[Item]| {
        for item in items {
            ledger.insert(item.clone(), now).unwrap();
        }
    };
    let (mut one, mut other) = (net.ledger(), net.ledger());
    tell(&mut one, &all[1..]);
    tell(&mut other, &all[..MAX_MEMBERS]);
    assert_eq!(one.insert(all[0].clone(), now), Err(Refusal::Full));
    assert_ne!(one.root(), other.root());
    for (a, b) in [(&one, &other), (&other, &one)] {
        let difference = a.compare(&b.index(), b.is_full());
        assert!(difference.they_lack.is_empty() && difference.i_lack.is_empty());
    }
    // What replaces something, and acts of owners, they still tell each other.
    let renewed = net.node(FIRST + 7, Admission::default()).at(2, now).bytes();
    one.insert_bytes(&renewed, now).unwrap();
    let act = net.revoke(&net.node(FIRST + 9, Admission::default()));
    one.insert_bytes(act.bytes(), now).unwrap();
    let difference = one.compare(&other.index(), other.is_full());
    assert_eq!(difference.they_lack, [act.bytes(), &renewed]);
    assert_eq!(other.compare(&one.index(), one.is_full()).i_lack.len(), 2);
}

/// However many came by it: the statement has one size, and what follows from it is found once for all.
#[test]
fn one_act_takes_a_member_out_with_8000_guests() {
    let net = Net::new(AdmissionRule::Invite);
    let now = T0.after(MINUTE);
    let (founder, host) = (net.founder(), net.admitted(1));
    let grant = net.grant(&host.key, INVITES, 10_000);
    let guests = (FIRST..FIRST + 8000).map(|n| {
        let link = net.link(&grant, INVITES, &key(n).id());
        net.node(n, host.admission.extended(link)).bytes()
    });
    let mut statements = vec![founder.bytes(), host.bytes()];
    statements.extend(guests);
    let mut ledger = net.ledger();
    for bytes in &statements {
        ledger.insert_bytes(bytes, now).unwrap();
    }
    assert_eq!(View::of(&ledger, now).members.len(), 8002);
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
