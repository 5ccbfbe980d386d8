//! What an owner withdraws, closes and keeps.

use grid_promises::network::admission::{AdmissionError, Direct, Link};
use grid_promises::network::ledger::{Ledger, Merged, Refusal};
use grid_promises::network::member::PromiseError;
use grid_promises::network::membership::decide;
use grid_promises::network::revocation::Revocation;
use grid_promises::network::statement::{Signed, StatementError};
use grid_promises::network::{AdmissionRule, view::View};
use grid_promises::{Timestamp, limits};

use crate::common::{DAY, HOUR, INVITES, MINUTE, Net, Node, SECOND, T0, closure, forge, key};
use crate::{ids, refusal};

/// A network of two owners, nodes 0 and 9; node 1 came by an invite of node 0, node 2 by one of
/// node 1, node 3 by one of node 2.
struct Scene {
    net: Net,
    nodes: Vec<Node>,
    ledger: Ledger,
}

fn scene() -> Scene {
    let owners = [key(0).id(), key(9).id()];
    let net = Net::with(|charter| {
        charter.owners = owners.to_vec();
        charter.owners.sort();
    });
    let mut nodes = vec![net.founder()];
    for n in 1..=3 {
        let issuer = nodes.last().unwrap();
        nodes.push(net.joined(issuer, INVITES + n, 9, n));
    }
    let ledger = net.ledger_of(&nodes);
    Scene { net, nodes, ledger }
}

impl Scene {
    /// The numbers of the nodes that are members once these revocations are merged, in both orders.
    fn left(&self, revocations: &[&Signed<Revocation>]) -> Vec<usize> {
        let mut after = self.ledger.clone();
        let mut before = self.net.ledger();
        for revocation in revocations {
            let merged = after.insert_bytes(revocation.bytes(), T0);
            assert_eq!(merged, Ok(Merged::New));
        }
        for revocation in revocations.iter().rev() {
            let merged = before.insert_bytes(revocation.bytes(), T0);
            assert_eq!(merged, Ok(Merged::New));
        }
        for node in &self.nodes {
            let _ = before.insert_bytes(&node.bytes(), T0);
        }
        let of = |ledger: &Ledger| -> Vec<usize> {
            let verdicts = decide(ledger, T0);
            (0..self.nodes.len())
                .filter(|n| verdicts.get(&self.nodes[*n].id()) == Some(&Ok(())))
                .collect()
        };
        assert_eq!(of(&after), of(&before), "the order of arrival matters");
        assert_eq!(after.root(), before.root());
        of(&after)
    }
}

#[test]
fn a_revoked_node_is_out_with_all_whom_it_vouched_for() {
    let scene = scene();
    assert_eq!(scene.left(&[]), [0, 1, 2, 3]);
    let revoke = |n: usize| scene.net.revoke(&[&scene.nodes[n]]);
    assert_eq!(scene.left(&[&revoke(3)]), [0, 1, 2]);
    assert_eq!(scene.left(&[&revoke(2)]), [0, 1]);
    assert_eq!(scene.left(&[&revoke(1)]), [0]);
    // Owners can revoke one another, the founder too.
    let by_other = scene.net.revocation_body(&key(9), &[&scene.nodes[0]]);
    let by_other = Signed::sign(by_other, &key(9)).unwrap();
    assert_eq!(scene.left(&[&by_other]), [] as [usize; 0]);
}

#[test]
fn a_revoked_node_does_not_come_back_by_what_it_has() {
    let mut scene = scene();
    let node = scene.nodes[1].clone();
    let revocation = scene.net.revoke(&[&node]);
    scene.ledger.insert_bytes(revocation.bytes(), T0).unwrap();
    assert!(scene.ledger.withdrawn().is_revoked(&node.id()));
    let later = T0.after(HOUR);
    let again = node.at(99, later);
    let other_invite = scene
        .net
        .joined(&scene.nodes[0], INVITES + 50, 9, 1)
        .at(99, later);
    let by_name = scene.net.admitted(1).at(99, later);
    for back in [&node, &again, &other_invite, &by_name] {
        assert_eq!(
            refusal(&scene.ledger, &back.bytes(), later),
            Refusal::Revoked
        );
    }
    assert_eq!(
        scene.ledger.insert_bytes(revocation.bytes(), later),
        Ok(Merged::Known)
    );
    // It is remembered: a prune forgets no revocation.
    scene.ledger.prune(Timestamp(u64::MAX));
    assert_eq!(scene.ledger.revocations().count(), 1);
    assert_eq!(
        refusal(&scene.ledger, &again.bytes(), later),
        Refusal::Revoked
    );
}

#[test]
fn only_owners_revoke() {
    let scene = scene();
    for n in [1, 2, 55] {
        let body = scene.net.revocation_body(&key(n), &[&scene.nodes[3]]);
        let signed = Signed::sign(body, &key(n)).unwrap();
        assert_eq!(
            refusal(&scene.ledger, signed.bytes(), T0),
            Refusal::NotAnOwner
        );
    }
    // In an owner's name, signed by somebody else.
    let body = scene.net.revocation_body(&key(0), &[&scene.nodes[3]]);
    assert_eq!(
        refusal(&scene.ledger, &forge(&body, &key(1)), T0),
        Refusal::Statement(StatementError::Signature("revocation"))
    );
}

#[test]
fn a_revocation_has_its_network_and_its_time() {
    let scene = scene();
    let other = Net::with(|charter| charter.created.0 += 1);
    let elsewhere = other.revoke(&[&scene.nodes[1]]);
    assert_eq!(
        refusal(&scene.ledger, elsewhere.bytes(), T0),
        Refusal::Promise(PromiseError::OtherNetwork)
    );
    let at = |issued| {
        let change = |body: &mut Revocation| body.issued = issued;
        scene.net.revocation(&[&scene.nodes[1]], change)
    };
    let ahead = at(T0.after(limits::CLOCK_SKEW + SECOND));
    assert_eq!(
        refusal(&scene.ledger, ahead.bytes(), T0),
        Refusal::Promise(PromiseError::Future { ahead: 301 })
    );
    // An old one counts for ever.
    assert_eq!(scene.left(&[&at(Timestamp(0))]), [0]);
}

#[test]
fn revocations_have_bounds() {
    let net = Net::new(AdmissionRule::Invite);
    let why = |change: &dyn Fn(&mut Revocation)| {
        let mut body = net.revocation_body(&key(0), &[&net.admitted(1)]);
        change(&mut body);
        match Signed::<Revocation>::decode(&forge(&body, &key(0))) {
            Err(StatementError::Invalid { why, .. }) => why,
            other => panic!("{other:?}"),
        }
    };
    let many: Vec<Node> = (0..129).map(|n| net.admitted(n)).collect();
    let named = "a revocation names 1 to 128 nodes";
    assert_eq!(why(&|body| body.nodes.clear()), named);
    assert_eq!(why(&|body| body.nodes = ids(&many)), named);
    let kept = "a revocation closes at most 128 invites and keeps at most 128 nodes each";
    let all: Vec<&Node> = many.iter().collect();
    assert_eq!(why(&|body| body.closures = vec![closure(1, &all)]), kept);
    assert_eq!(
        why(&|body| body.closures = vec![closure(1, &[]); 129]),
        kept
    );
    let order = "the nodes are not in ascending order";
    assert_eq!(why(&|body| body.nodes = vec![body.nodes[0]; 2]), order);
    let down = ids(&many[..3]).into_iter().rev().collect::<Vec<_>>();
    assert_eq!(why(&|body| body.nodes = down.clone()), order);
    let mut unsorted = closure(1, &all[..3]);
    unsorted.keep.reverse();
    assert_eq!(why(&|body| body.closures = vec![unsorted.clone()]), order);
}

#[test]
fn a_closed_invite_admits_those_whom_it_keeps() {
    let scene = scene();
    let [founder, a, ..] = &scene.nodes[..] else {
        panic!("no nodes");
    };
    let net = &scene.net;
    let b = net.joined(founder, INVITES + 1, 9, 21);
    let c = net.joined(founder, INVITES + 1, 9, 22);
    let close = |keep: &[&Node]| {
        net.revocation(&[&net.admitted(50)], |body| {
            body.closures = vec![closure(INVITES + 1, keep)];
        })
    };
    let scene = Scene {
        nodes: vec![founder.clone(), a.clone(), b.clone(), c.clone()],
        ledger: net.ledger_of([founder, a, &b, &c]),
        net: net.clone(),
    };
    assert_eq!(scene.left(&[&close(&[a, &b])]), [0, 1, 2]);
    assert_eq!(scene.left(&[&close(&[])]), [0]);
    // Of two closures only those stay whom both keep.
    let both = [&close(&[a, &b]), &close(&[&b, &c])];
    assert_eq!(scene.left(&both), [0, 2]);
    // Another use of the closed invite is void; another invite of the same issuer is not.
    let mut ledger = scene.ledger.clone();
    ledger.insert_bytes(close(&[a]).bytes(), T0).unwrap();
    assert!(ledger.withdrawn().is_closed(&key(INVITES + 1).id()));
    let late = net.joined(founder, INVITES + 1, 9, 23);
    assert_eq!(refusal(&ledger, &late.bytes(), T0), Refusal::Revoked);
    let other = net.joined(founder, INVITES + 2, 9, 23);
    assert_eq!(ledger.insert_bytes(&other.bytes(), T0), Ok(Merged::New));
}

/// Revokes node 1 and admits these by name.
fn keeping(scene: &Scene, owner: u16, kept: &[&Node]) -> Signed<Revocation> {
    let mut body = scene.net.revocation_body(&key(owner), &[&scene.nodes[1]]);
    body.readmit = kept
        .iter()
        .map(|node| scene.net.direct(&key(owner), &node.id()).raw())
        .collect();
    Signed::sign(body, &key(owner)).unwrap()
}

#[test]
fn an_owner_keeps_whom_it_admits_by_name() {
    let scene = scene();
    let [_, a, b, c] = &scene.nodes[..] else {
        panic!("no nodes");
    };
    assert_eq!(scene.left(&[&keeping(&scene, 0, &[])]), [0]);
    // Whom node 2 vouched for needs nobody else: node 2 stands by itself now.
    assert_eq!(scene.left(&[&keeping(&scene, 0, &[b])]), [0, 2, 3]);
    assert_eq!(scene.left(&[&keeping(&scene, 0, &[c])]), [0, 3]);
    assert_eq!(scene.left(&[&keeping(&scene, 9, &[b, c])]), [0, 2, 3]);
    // The revoked node itself is not kept.
    assert_eq!(scene.left(&[&keeping(&scene, 0, &[a])]), [0]);
    // Nor one that was revoked by name before or after, and those who came in by it are out.
    let revoke_b = scene.net.revoke(&[b]);
    assert_eq!(scene.left(&[&keeping(&scene, 0, &[b]), &revoke_b]), [0]);
    assert_eq!(scene.left(&[&revoke_b, &keeping(&scene, 0, &[b])]), [0]);
}

/// A member that was kept can invite others, though its own admission leads through a revoked node.
#[test]
fn whoever_was_kept_can_go_on_inviting() {
    let mut scene = scene();
    let b = scene.nodes[2].clone();
    let revocation = keeping(&scene, 0, &[&b]);
    scene.ledger.insert_bytes(revocation.bytes(), T0).unwrap();
    let guest = scene.net.joined(&b, INVITES + 30, 1, 30);
    assert_eq!(
        scene.ledger.insert_bytes(&guest.bytes(), T0),
        Ok(Merged::New)
    );
    assert!(View::of(&scene.ledger, T0).is_live(&guest.id()));
    // Through the revoked node itself nobody comes in.
    let other = scene.net.joined(&scene.nodes[1], INVITES + 31, 1, 31);
    assert_eq!(refusal(&scene.ledger, &other.bytes(), T0), Refusal::Revoked);
}

/// Whoever was admitted by name is in, though its invite was used up by others or has expired.
#[test]
fn whoever_was_kept_needs_its_invite_no_longer() {
    let net = Net::new(AdmissionRule::Invite);
    let founder = net.founder();
    let a = net.joined(&founder, INVITES, 1, 1);
    let b = net.joined(&founder, INVITES, 1, 2);
    let a = a.carrying(&[net.receipt(&founder.key, &a, T0, T0)]);
    let guest = net.joined(&b, INVITES + 1, 1, 3);
    let late = T0.after(2 * DAY);
    let mut ledger = net.ledger_of([&a, &b.at(2, late), &guest.at(2, late)]);
    let gone = |ledger: &Ledger| decide(ledger, late).get(&b.id()).copied().unwrap().is_err();
    assert!(gone(&ledger));
    let keep = net.revocation(&[&net.admitted(50)], |body| {
        body.readmit = vec![net.direct(&founder.key, &b.id()).raw()];
    });
    ledger.insert_bytes(keep.bytes(), late).unwrap();
    assert!(!gone(&ledger));
    // Its guest's own invite has expired, and nobody saw it in time.
    assert!(
        decide(&ledger, late)
            .get(&guest.id())
            .copied()
            .unwrap()
            .is_err()
    );
    assert!(
        decide(&ledger, T0.after(MINUTE))
            .get(&guest.id())
            .copied()
            .unwrap()
            .is_ok()
    );
}

/// An owner that was revoked cannot bring nodes in by the back door.
#[test]
fn a_revoked_owner_readmits_nobody() {
    let scene = scene();
    let guest = {
        let link = scene.net.direct(&key(9), &key(40).id());
        scene.net.node(
            40,
            grid_promises::network::admission::Admission::from_links(vec![link]),
        )
    };
    let scene = Scene {
        nodes: vec![
            scene.nodes[0].clone(),
            scene.nodes[1].clone(),
            guest.clone(),
        ],
        ledger: scene
            .net
            .ledger_of([&scene.nodes[0], &scene.nodes[1], &guest]),
        net: scene.net,
    };
    let owner = scene.net.node(9, Default::default());
    let revoke_owner = scene.net.revoke(&[&owner]);
    let mut body = scene
        .net
        .revocation_body(&key(9), &[&scene.net.admitted(50)]);
    body.readmit = vec![scene.net.direct(&key(9), &guest.id()).raw()];
    let readmit = Signed::sign(body, &key(9)).unwrap();
    assert_eq!(scene.left(&[&readmit]), [0, 1, 2]);
    assert_eq!(scene.left(&[&revoke_owner]), [0, 1]);
    assert_eq!(scene.left(&[&revoke_owner, &readmit]), [0, 1]);
    assert_eq!(scene.left(&[&readmit, &revoke_owner]), [0, 1]);
}

#[test]
fn a_readmission_is_the_owners_own_admission_by_name() {
    let scene = scene();
    let refused = |link: grid_promises::network::admission::RawLink| {
        let mut body = scene.net.revocation_body(&key(0), &[&scene.nodes[1]]);
        body.readmit = vec![link];
        refusal(&scene.ledger, &forge(&body, &key(0)), T0)
    };
    // Another owner's, a member's, another network's, an invite, and one with a false signature.
    let net = &scene.net;
    assert_eq!(
        refused(net.direct(&key(9), &key(2).id()).raw()),
        Refusal::NotAnOwner
    );
    assert_eq!(
        refused(net.direct(&key(1), &key(2).id()).raw()),
        Refusal::NotAnOwner
    );
    let other = Net::with(|charter| charter.created.0 += 1);
    assert_eq!(
        refused(other.direct(&key(0), &key(2).id()).raw()),
        Refusal::NotAnOwner
    );
    assert_eq!(
        refused(scene.nodes[2].admission.links()[0].raw()),
        Refusal::NotAnOwner
    );
    let body = Direct {
        network: net.id(),
        owner: key(0).id(),
        node: key(2).id(),
        issued: T0,
    };
    let forged = grid_promises::network::admission::RawLink::Direct(forge(&body, &key(2)));
    assert_eq!(
        refused(forged),
        Refusal::Statement(StatementError::Signature("admission"))
    );
}

#[test]
fn revocations_are_bounded_in_number() {
    let net = Net::new(AdmissionRule::Invite);
    let mut ledger = net.ledger();
    for n in 0..limits::MAX_REVOCATIONS {
        let at = T0.before(Timestamp(n as u64).since(Timestamp(0)));
        let change = |body: &mut Revocation| body.issued = at;
        let revocation = net.revocation(&[&net.admitted(1)], change);
        assert_eq!(ledger.insert_bytes(revocation.bytes(), T0), Ok(Merged::New));
    }
    let one_more = net.revoke(&[&net.admitted(2)]);
    assert_eq!(refusal(&ledger, one_more.bytes(), T0), Refusal::Full);
}

/// A promise whose admission names a revoked node anywhere on its way is void.
#[test]
fn an_admission_of_the_revoked_is_void_even_when_it_was_not_known() {
    let mut scene = scene();
    let revocation = scene.net.revoke(&[&scene.nodes[2]]);
    scene.ledger.insert_bytes(revocation.bytes(), T0).unwrap();
    let unknown = scene.net.joined(&scene.nodes[3], INVITES + 40, 1, 41);
    assert_eq!(
        refusal(&scene.ledger, &unknown.bytes(), T0),
        Refusal::Revoked
    );
    let other = scene.net.joined(&scene.nodes[1], INVITES + 40, 1, 41);
    assert_eq!(
        scene.ledger.insert_bytes(&other.bytes(), T0),
        Ok(Merged::New)
    );
    assert!(matches!(
        unknown.admission.links().last(),
        Some(Link::Invite { .. })
    ));
    assert_eq!(
        other.admission.verify(&scene.net.charter, &key(3).id()),
        Err(AdmissionError::Broken)
    );
}
