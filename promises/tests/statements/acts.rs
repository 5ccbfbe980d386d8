//! Acts that nobody can perform.

use grid_keys::NodeId;
use grid_promises::limits::{MAX_NAMED, MAX_OVER};
use grid_promises::network::act::{Act, ActId, Action, OfficeId};
use grid_promises::network::statement::{Signed, StatementError};
use grid_promises::network::{AdmissionRule, NetworkId};

use crate::common::{Net, T0, forge, key, sorted};

/// Why an act with this change is refused. It is signed for real.
fn why(change: impl FnOnce(&mut Act)) -> &'static str {
    let mut body = Net::new(AdmissionRule::Invite).act_body(&key(0));
    change(&mut body);
    match Signed::<Act>::decode(&forge(&body, &key(0))) {
        Err(StatementError::Invalid { kind: "act", why }) => why,
        other => panic!("{other:?}"),
    }
}

/// What an act with this action is read as.
fn reads(action: Action) {
    let net = Net::new(AdmissionRule::Invite);
    let act = net.act(&key(0), |act| act.action = action.clone());
    let read = Signed::<Act>::decode(act.bytes()).unwrap();
    assert_eq!(read.action, action);
    assert_eq!(read.act_id(), act.act_id());
}

fn nodes(count: usize) -> Vec<NodeId> {
    let ids: Vec<NodeId> = (0..count)
        .map(|n| key(u16::try_from(n).unwrap()).id())
        .collect();
    sorted(&ids)
}

#[test]
fn every_action_reads_back_at_its_bounds() {
    let over = |count: u8| (0..count).map(|n| ActId([n; 32])).collect::<Vec<_>>();
    let office = OfficeId(ActId([9; 32]));
    reads(Action::Admit {
        nodes: nodes(MAX_NAMED),
        over: over(u8::try_from(MAX_OVER).unwrap()),
    });
    reads(Action::Close {
        invite: key(1).id(),
        before: T0,
        keep: nodes(MAX_NAMED),
    });
    reads(Action::Revoke { node: key(1).id() });
    reads(Action::Appoint { node: key(1).id() });
    reads(Action::Dismiss {
        office,
        cut: office.0,
        heir: Some(key(2).id()),
    });
    reads(Action::Dismiss {
        office,
        cut: ActId([8; 32]),
        heir: None,
    });
}

#[test]
fn only_the_first_act_follows_on_the_office() {
    let expected = "an office's first act, and no other, follows on the office";
    assert_eq!(why(|act| act.number = 0), expected);
    assert_eq!(why(|act| act.number = 2), expected);
    assert_eq!(why(|act| act.previous = ActId([1; 32])), expected);
}

#[test]
fn who_is_admitted_is_a_set_of_bounded_size() {
    let admit = |nodes: Vec<NodeId>, over: Vec<ActId>| {
        why(|act| act.action = Action::Admit { nodes, over })
    };
    let count = "an act admits 1 to 128 nodes over at most 32 revocations";
    let order = "the nodes or the revocations are not in ascending order";
    assert_eq!(admit(vec![], vec![]), count);
    assert_eq!(admit(nodes(MAX_NAMED + 1), vec![]), count);
    let many = (0..=32).map(|n| ActId([n; 32])).collect();
    assert_eq!(admit(nodes(1), many), count);
    assert_eq!(admit(vec![key(1).id(); 2], vec![]), order);
    assert_eq!(admit(nodes(1), vec![ActId([2; 32]), ActId([1; 32])]), order);
}

#[test]
fn closures_are_bounded() {
    for keep in [nodes(MAX_NAMED + 1), vec![key(1).id(); 2]] {
        let close = Action::Close {
            invite: key(1).id(),
            before: T0,
            keep,
        };
        let expected = "an act keeps at most 128 nodes, in ascending order";
        assert_eq!(why(|act| act.action = close), expected);
    }
}

#[test]
fn nobody_ends_his_own_office() {
    let own = why(|act| {
        act.action = Action::Dismiss {
            office: act.office,
            cut: act.office.0,
            heir: None,
        };
    });
    assert_eq!(own, "nobody ends his own office");
}

#[test]
fn an_act_is_its_body() {
    let net = Net::new(AdmissionRule::Invite);
    let act = net.act_body(&key(0));
    let id = act.act_id();
    let other = |change: fn(&mut Act)| {
        let mut body = act.clone();
        change(&mut body);
        assert_ne!(body.act_id(), id);
    };
    other(|act| act.network = NetworkId(grid_promises::ContentId::of(b"another")));
    other(|act| act.owner = key(1).id());
    other(|act| act.number = 2);
    other(|act| act.issued.0 += 1);
    let office = OfficeId::founding(&net.id(), &key(0).id());
    assert_ne!(office, OfficeId::founding(&net.id(), &key(1).id()));
}
