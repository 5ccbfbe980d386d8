//! What remains of members who are gone.

use grid_promises::Timestamp;
use grid_promises::limits::{INVITE_GRACE, QUIET_TIME};
use grid_promises::network::act::Action;
use grid_promises::network::admission::{Admission, AdmissionError, Link};
use grid_promises::network::ledger::{Ledger, Merged, Refusal};
use grid_promises::network::member::PromiseError;
use grid_promises::network::membership::NotAMember;
use grid_promises::network::receipt::Receipt;
use grid_promises::network::statement::Signed;
use grid_promises::network::trace::Trace;
use grid_promises::network::view::View;
use grid_promises::network::{AdmissionRule, Charter};

use super::refusal;
use crate::common::exchange::settle;
use crate::common::{DAY, HOUR, INVITES, Net, Node, SECOND, T0, encoded, key};

/// Node `n`, by an invite of the founder for `uses` nodes that lasts a year.
fn joined(net: &Net, invite: u16, uses: u32, n: u16) -> Node {
    let mut body = net.grant_body(&key(0).id(), invite, uses);
    body.expires = T0.after(366 * DAY);
    let grant = Signed::sign(body, &key(0)).unwrap();
    let link = net.link(&grant, invite, &key(n).id());
    net.node(n, Admission::default().extended(link))
}

/// The same, seen by the founder when it made its promise.
fn seen(net: &Net, node: &Node, at: Timestamp) -> Node {
    let receipt = net.receipt(&key(0), node, at, at);
    node.carrying(&[receipt]).at(1, at)
}

/// A trace of a node, of which this is all that says that it was seen.
fn made_by_hand(node: &Node, seen: Option<Signed<Receipt>>) -> Vec<u8> {
    let links = node.admission.links().iter().cloned();
    let links = links.map(|link| Link {
        seen: seen.clone().map(Box::new),
        ..link
    });
    let raw = Admission::from_links(links.collect()).raw();
    [&[0x82, 8][..], &encoded(&raw)].concat()
}

fn is_member(ledger: &Ledger, node: &Node, now: Timestamp) -> Result<(), NotAMember> {
    let view = View::of(ledger, now);
    if let Some(why) = view.refused.get(&node.id()) {
        return Err(*why);
    }
    assert!(view.members.contains_key(&node.id()));
    Ok(())
}

#[test]
fn an_invite_stays_used_when_its_user_is_forgotten() {
    let net = Net::new(AdmissionRule::Invite);
    let (one, other) = (
        joined(&net, INVITES, 1, 1),
        joined(&net, INVITES, 1, 2).at(1, T0.after(30 * DAY)),
    );
    let mut ledger = net.ledger_of([&net.founder(), &seen(&net, &one, T0)]);
    let now = T0.after(30 * DAY);
    assert_eq!(ledger.prune(now).len(), 2, "both are forgotten");
    assert_eq!(ledger.len(), 1, "and a trace remains");
    let invite = key(INVITES).id();
    ledger.insert_bytes(&other.bytes(), now).unwrap();
    let spent = NotAMember::InviteSpent { invite };
    assert_eq!(is_member(&ledger, &other, now), Err(spent));
    // Also with evidence that is younger; and where the promise itself was never heard.
    let late = seen(&net, &other, now).at(2, now);
    ledger.insert_bytes(&late.bytes(), now).unwrap();
    assert_eq!(is_member(&ledger, &other, now), Err(spent));
    let mut newcomer = net.ledger_of([&late]);
    assert_eq!(is_member(&newcomer, &other, now), Ok(()));
    settle(&mut ledger, &mut newcomer, now);
    assert_eq!(is_member(&newcomer, &other, now), Err(spent));
    // The node itself can come back.
    let back = one.at(9, now);
    newcomer.insert_bytes(&back.bytes(), now).unwrap();
    assert_eq!(is_member(&newcomer, &one, now), Ok(()));
    // Nobody can use the invite after its end, and nothing is kept of it.
    let end = T0.after(366 * DAY).after(INVITE_GRACE);
    ledger.prune(end);
    assert!(ledger.statements().any(|bytes| bytes[0] == 0x82));
    ledger.prune(end.after(SECOND));
    assert!(ledger.is_empty());
}

#[test]
fn a_use_that_nobody_saw_leaves_no_trace() {
    let net = Net::new(AdmissionRule::Invite);
    let node = joined(&net, INVITES, 1, 1);
    let now = node.body.expires.after(QUIET_TIME).after(SECOND);
    let guest = |witness: u16| {
        let receipt = net.receipt(&key(witness), &node, T0, T0);
        node.carrying(&[receipt])
    };
    // Nor one that only somebody saw whose word does not count.
    for unseen in [node.clone(), guest(7)] {
        let mut ledger = net.ledger_of([&unseen]);
        assert_eq!(ledger.prune(now), [node.id()]);
        assert!(ledger.is_empty());
    }
    let mut ledger = net.ledger_of([&guest(0)]);
    ledger.prune(now);
    assert_eq!(ledger.len(), 1);
}

#[test]
fn of_two_traces_the_one_of_the_older_use_stands() {
    let net = Net::new(AdmissionRule::Invite);
    let node = joined(&net, INVITES, 1, 1);
    let now = T0.after(DAY);
    let [old, young] = [T0, T0.after(HOUR)].map(|since| net.trace(&node, since));
    let mut ledger = net.ledger();
    assert_eq!(ledger.insert_bytes(&young, now), Ok(Merged::New));
    assert_eq!(ledger.insert_bytes(&old, now), Ok(Merged::New));
    assert_eq!(ledger.insert_bytes(&old, now), Ok(Merged::Known));
    assert_eq!(ledger.insert_bytes(&young, now), Ok(Merged::Stale));
    assert!(ledger.statements().eq([&old[..]]));
}

/// It has an older date, but it is of somebody whose word does not count.
#[test]
fn nobody_replaces_what_somebody_else_saw() {
    let net = Net::new(AdmissionRule::Invite);
    let (gone, other) = (joined(&net, INVITES, 1, 1), joined(&net, INVITES, 1, 2));
    let now = T0.after(DAY);
    let mut ledger = net.ledger_of([&other]);
    let genuine = net.trace(&gone, T0.after(HOUR));
    ledger.insert_bytes(&genuine, now).unwrap();
    assert!(is_member(&ledger, &other, now).is_err());
    let forged = made_by_hand(&gone, Some(net.receipt(&key(7), &gone, T0, T0)));
    assert_eq!(ledger.insert_bytes(&forged, now), Ok(Merged::New));
    assert!(ledger.knows(&genuine));
    assert!(is_member(&ledger, &other, now).is_err());
}

#[test]
fn what_an_owner_closes_or_revokes_does_not_count_as_used() {
    let net = Net::new(AdmissionRule::Invite);
    let (gone, other) = (joined(&net, INVITES, 1, 1), joined(&net, INVITES, 1, 2));
    let now = T0.after(DAY);
    let mut ledger = net.ledger_of([&other]);
    ledger.insert_bytes(&net.trace(&gone, T0), now).unwrap();
    assert!(is_member(&ledger, &other, now).is_err());
    let revocation = net.revoke(&gone);
    ledger.insert_bytes(revocation.bytes(), now).unwrap();
    assert_eq!(is_member(&ledger, &other, now), Ok(()));
    // It is kept all the same, and counts again if the revocation does not any longer.
    let admitted = net.act(&key(0), |act| {
        act.action = Action::Admit {
            nodes: vec![gone.id()],
            over: vec![revocation.act_id()],
        };
    });
    ledger.insert_bytes(admitted.bytes(), now).unwrap();
    assert!(is_member(&ledger, &other, now).is_err());
}

#[test]
fn what_is_no_trace_is_refused() {
    let net = Net::new(AdmissionRule::Invite);
    let node = joined(&net, INVITES, 1, 1);
    let ledger = net.ledger();
    let whole = net.trace(&node, T0);
    let decode = |bytes: &[u8], charter: &Signed<Charter>| Trace::decode(bytes, charter);
    let elsewhere = Net::with(|charter| charter.created.0 += 1);
    assert_eq!(
        decode(&whole, &elsewhere.charter).unwrap_err(),
        PromiseError::Admission(AdmissionError::OtherNetwork)
    );
    // A receipt for somebody else, and none.
    let other = net.receipt(&key(0), &joined(&net, INVITES, 1, 2), T0, T0);
    for bytes in [made_by_hand(&node, None), made_by_hand(&node, Some(other))] {
        assert_eq!(
            refusal(&ledger, &bytes, T0),
            Refusal::Promise(AdmissionError::Evidence.into())
        );
    }
    assert_eq!(
        decode(&[0x82, 8, 0x80], &net.charter).unwrap_err(),
        PromiseError::Admission(AdmissionError::Broken)
    );
    // One from the future, and one that is over.
    let early = net.trace(&node, T0.after(HOUR));
    assert!(matches!(
        refusal(&ledger, &early, T0),
        Refusal::Promise(PromiseError::Future { ahead: 3600 })
    ));
    let over = T0.after(366 * DAY).after(INVITE_GRACE).after(SECOND);
    assert!(matches!(
        refusal(&ledger, &whole, over),
        Refusal::Promise(PromiseError::Lapsed { .. })
    ));
}
