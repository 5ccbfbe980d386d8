//! Chains of links to a node: every way in which one does not lead there. Whether an owner stands at the beginning
//! is another question (`ruling`).

use grid_promises::network::AdmissionRule;
use grid_promises::network::admission::{
    Admission, AdmissionError, Grant, GrantUse, Link, RawLink,
};
use grid_promises::network::membership::{NotAMember, decide};
use grid_promises::network::statement::{Signed, StatementError};
use grid_promises::network::void::Void;
use grid_promises::{Timestamp, limits};

use crate::common::{DAY, HOUR, INVITES, Net, Node, SECOND, T0, forge, forge_raw, key, unframe};

fn net() -> Net {
    Net::new(AdmissionRule::Invite)
}

/// Reads a chain for node `n`.
fn decode(net: &Net, chain: &[RawLink], n: u16) -> Result<Admission, AdmissionError> {
    Admission::decode(chain, &net.charter, &key(n).id())
}

/// A chain of `length` invites; the node at its end has that number.
fn chain(net: &Net, length: u16) -> Node {
    (1..=length).fold(net.founder(), |issuer, n| {
        net.joined(&issuer, INVITES + n, 5, n)
    })
}

#[test]
fn owners_need_no_chain_and_others_do() {
    let nobody = Err(NotAMember::Void(Void::NotAdmitted));
    let alone = |net: &Net, n: u16| {
        let node = net.node(n, Admission::default());
        decide(&net.ledger_of([&node]), T0)[&node.id()]
    };
    let net = Net::with(|c| c.owners = crate::ids([&net().founder(), &net().admitted(9)]));
    assert_eq!([0, 9, 1].map(|n| alone(&net, n)), [Ok(()), Ok(()), nobody]);
    for rule in [AdmissionRule::Invite, AdmissionRule::Approve] {
        assert_eq!(alone(&Net::new(rule), 1), nobody);
    }
    assert_eq!(alone(&Net::new(AdmissionRule::Open), 1), Ok(()));
    // Founded on somebody who is no owner; in an open network, anybody may invite.
    let founded = |net: &Net| {
        let node = net.joined(&net.node(7, Admission::default()), INVITES, 1, 1);
        decide(&net.ledger_of([&node]), T0)[&node.id()]
    };
    assert_eq!(founded(&net), nobody);
    assert_eq!(founded(&Net::new(AdmissionRule::Open)), Ok(()));
}

#[test]
fn a_chain_admits_the_node_at_its_end_and_nobody_else() {
    let net = net();
    for length in 1..=6 {
        let node = chain(&net, length);
        assert_eq!(
            decode(&net, &node.body.admission, length),
            Ok(node.admission.clone())
        );
        assert_eq!(
            decode(&net, &node.body.admission, length + 1),
            Err(AdmissionError::Broken)
        );
    }
    let node = chain(&net, 2);
    assert_eq!(
        node.admission.issuers().collect::<Vec<_>>(),
        [key(0).id(), key(1).id()]
    );
}

#[test]
fn chains_are_of_bounded_length() {
    let net = net();
    let long = chain(&net, 7);
    assert_eq!(
        decode(&net, &long.body.admission, 7),
        Err(AdmissionError::TooLong)
    );
    assert_eq!(
        long.admission.verify(&net.charter, &long.id()),
        Err(AdmissionError::TooLong)
    );
    // Counted before a single signature is checked.
    let garbage = RawLink {
        grant: vec![],
        used: vec![],
        seen: None,
    };
    let garbage = vec![garbage; limits::MAX_CHAIN + 1];
    assert_eq!(decode(&net, &garbage, 1), Err(AdmissionError::TooLong));
}

#[test]
fn every_link_hangs_on_the_one_before() {
    let net = net();
    let full = chain(&net, 3).body.admission;
    let broken = Err(AdmissionError::Broken);
    // Without its beginning, its middle, its end; out of order; through another issuer.
    assert!(
        decode(&net, &full[1..], 3).is_ok(),
        "as if node 1 had been named"
    );
    let headless = net
        .node(3, Admission::default())
        .with(|b| b.admission = full[1..].to_vec());
    let nobody = Err(NotAMember::Void(Void::NotAdmitted));
    assert_eq!(
        decide(&net.ledger_of([&headless]), T0)[&headless.id()],
        nobody
    );
    assert_eq!(decode(&net, &[full[0].clone(), full[2].clone()], 3), broken);
    assert_eq!(decode(&net, &full[..2], 3), broken);
    let mut swapped = full.clone();
    swapped.swap(1, 2);
    assert_eq!(decode(&net, &swapped, 3), broken);
    let stranger = net.grant(&key(44), INVITES, 5);
    let through = [
        full[0].clone(),
        net.link(&stranger, INVITES, &key(5).id()).raw(),
    ];
    assert_eq!(decode(&net, &through, 5), broken);
    // An owner's invite hangs on its office, and on nobody else.
    let mut body = net.grant_body(&key(1).id(), INVITES, 5);
    body.office = Some(net.office(&key(1).id()));
    let by_office = Signed::sign(body, &key(1)).unwrap();
    let link = net.link(&by_office, INVITES, &key(5).id()).raw();
    assert_eq!(decode(&net, &[full[0].clone(), link], 5), broken);
}

#[test]
fn a_chain_does_not_come_back_to_a_node() {
    let net = net();
    let a = net.joined(&net.founder(), INVITES, 5, 1);
    let b = net.joined(&a, INVITES + 1, 5, 2);
    for (issuer, n) in [(&a, 1), (&b, 1), (&b, 0), (&b, 2), (&net.founder(), 0)] {
        let round = net.joined(issuer, INVITES + 2, 5, n);
        assert_eq!(
            decode(&net, &round.body.admission, n),
            Err(AdmissionError::Broken)
        );
    }
}

#[test]
fn links_of_another_network_are_refused() {
    let (net, other) = (net(), Net::with(|c| c.nonce[0] ^= 0));
    assert_eq!(net.id(), other.id(), "the same charter is the same network");
    let other = Net::with(|c| c.created.0 += 1);
    for node in [
        other.admitted(1),
        other.joined(&other.founder(), INVITES, 5, 1),
    ] {
        assert_eq!(
            decode(&net, &node.body.admission, 1),
            Err(AdmissionError::OtherNetwork)
        );
    }
    // A grant here, used for a network there.
    let link = Link {
        grant: net.grant(&key(0), INVITES, 5),
        used: other.grant_use(INVITES, &key(1).id(), T0),
        seen: None,
    };
    assert_eq!(
        decode(&net, &[link.raw()], 1),
        Err(AdmissionError::OtherNetwork)
    );
}

#[test]
fn an_invite_key_admits_by_its_own_grant_only() {
    let net = net();
    let link = Link {
        grant: net.grant(&key(0), INVITES, 5),
        used: net.grant_use(INVITES + 1, &key(1).id(), T0),
        seen: None,
    };
    assert_eq!(decode(&net, &[link.raw()], 1), Err(AdmissionError::Broken));
}

#[test]
fn an_invite_is_used_within_its_time() {
    let net = net();
    let grant = net.grant(&key(0), INVITES, 5);
    let at = |joined: Timestamp| {
        let used = net.grant_use(INVITES, &key(1).id(), joined);
        let link = Link {
            grant: grant.clone(),
            used,
            seen: None,
        };
        decode(&net, &[link.raw()], 1).map(|_| ())
    };
    let out = Err(AdmissionError::OutOfTime {
        expires: grant.expires,
    });
    assert_eq!(at(T0), Ok(()));
    assert_eq!(at(T0.before(limits::CLOCK_SKEW)), Ok(()));
    assert_eq!(at(T0.before(limits::CLOCK_SKEW + SECOND)), out);
    assert_eq!(at(T0.after(DAY)), Ok(()));
    assert_eq!(at(T0.after(DAY + SECOND)), out);
    assert_eq!(at(Timestamp(0)), out);
    assert_eq!(at(Timestamp(u64::MAX)), out);
}

#[test]
fn the_charters_rule_counts() {
    let approve = Net::new(AdmissionRule::Approve);
    let invited = approve.joined(&approve.founder(), INVITES, 5, 1);
    assert_eq!(
        decode(&approve, &invited.body.admission, 1),
        Err(AdmissionError::Rule {
            rule: AdmissionRule::Approve
        })
    );
}

#[test]
fn grants_have_bounds() {
    let net = net();
    let why = |change: fn(&mut Grant)| {
        let mut body = net.grant_body(&key(0).id(), INVITES, 5);
        change(&mut body);
        match Signed::<Grant>::decode(&forge(&body, &key(0))) {
            Err(StatementError::Invalid { why, .. }) => Err(why),
            Ok(_) => Ok(()),
            Err(other) => panic!("{other:?}"),
        }
    };
    let uses = Err("an invite has 1 to 10000 uses");
    let life = Err("an invite lives for at most 366 days");
    assert_eq!(why(|g| g.uses = 0), uses);
    assert_eq!(why(|g| g.uses = 10_001), uses);
    assert_eq!(why(|g| g.uses = 10_000), Ok(()));
    assert_eq!(why(|g| g.expires = g.issued), life);
    assert_eq!(why(|g| g.expires = g.issued.before(SECOND)), life);
    assert_eq!(why(|g| g.expires = g.issued.after(366 * DAY)), Ok(()));
    assert_eq!(
        why(|g| g.expires = g.issued.after(366 * DAY + SECOND)),
        life
    );
    assert_eq!(
        why(|g| (g.issued, g.expires) = (Timestamp(0), Timestamp(u64::MAX))),
        life
    );
}

#[test]
fn links_that_were_not_signed_are_refused() {
    let net = net();
    let grant = net.grant(&key(0), INVITES, 5);
    let used = net.grant_use(INVITES, &key(1).id(), T0);
    let statement = |error| Err(AdmissionError::Statement(error));
    // The node signs its own admission.
    let own = forge(
        &GrantUse {
            network: net.id(),
            invite: key(INVITES).id(),
            node: key(1).id(),
            joined: T0,
        },
        &key(1),
    );
    assert_eq!(
        decode(
            &net,
            &[RawLink {
                grant: grant.bytes().to_vec(),
                used: own,
                seen: None
            }],
            1
        ),
        statement(StatementError::Signature("invite use"))
    );
    // A use in the place of a grant, and the other way round.
    let swapped = RawLink {
        grant: used.bytes().to_vec(),
        used: grant.bytes().to_vec(),
        seen: None,
    };
    assert_eq!(
        decode(&net, &[swapped], 1),
        statement(StatementError::Kind {
            expected: "invite grant",
            got: 3
        })
    );
    let (_, use_body, _) = unframe(used.bytes());
    let relabelled = RawLink {
        grant: forge_raw(2, "invite use", &use_body, &key(INVITES)),
        used: used.bytes().to_vec(),
        seen: None,
    };
    assert!(matches!(
        decode(&net, &[relabelled], 1),
        Err(AdmissionError::Statement(StatementError::Encoding { .. }))
    ));
}

/// Otherwise an admission of the far future would be kept for as long as its invite could be used.
#[test]
fn a_promise_is_no_older_than_its_admission() {
    let net = net();
    let ledger = net.ledger();
    let far = T0.after(10_000 * DAY);
    let mut grant = net.grant_body(&key(0).id(), INVITES, 5);
    (grant.issued, grant.expires) = (far, far.after(DAY));
    let grant = Signed::sign(grant, &key(0)).unwrap();
    let link = net.link(&grant, INVITES, &key(1).id());
    let node = net.node(1, Admission::from_links(vec![link]));
    assert_eq!(
        crate::refusal(&ledger, &node.bytes(), T0),
        grid_promises::network::member::PromiseError::from(AdmissionError::Later {
            ahead: far.since(T0).as_secs()
        })
        .into()
    );
    // Clocks differ a little.
    let node = net.admitted(1);
    let mut ledger = net.ledger();
    let early = node.at(1, T0.before(limits::CLOCK_SKEW));
    assert!(ledger.insert_bytes(&early.bytes(), T0).is_ok());
    let earlier = node.at(2, T0.before(limits::CLOCK_SKEW + SECOND));
    assert!(ledger.insert_bytes(&earlier.bytes(), T0).is_err());
    let hour = node.at(3, T0.before(HOUR));
    assert!(ledger.insert_bytes(&hour.bytes(), T0).is_err());
}
