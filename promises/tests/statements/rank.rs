//! How admissions rank where nobody saw who was first.

use grid_promises::network::act::Action;
use grid_promises::network::ledger::Item;
use grid_promises::network::rank::AdmissionRank;

use crate::common::{HOUR, INVITES, Net, Node, T0, key};

#[test]
fn admissions_rank_by_class_then_depth_then_time() {
    let net = Net::new(grid_promises::network::AdmissionRule::Invite);
    let mut ledger = net.ledger();
    let founder = net.founder();
    let dated = |node: &Node, witness: u16, hours: u32| {
        let since = T0.after(HOUR * hours);
        let receipt = net.receipt(&key(witness), node, since, since);
        node.by(node
            .admission
            .seen(&receipt, &net.charter, net.ledger().authority()))
    };
    let owner = net.node(1, Default::default());
    let named = net.joined(&founder, INVITES, 9, 2);
    let invited = net.joined(&founder, INVITES, 9, 3);
    let early = dated(&invited, 0, 1);
    let late = dated(&net.joined(&founder, INVITES, 9, 4), 0, 2);
    let guest = dated(&net.joined(&early, INVITES + 1, 9, 5), 3, 0);
    let below = dated(&net.joined(&guest, INVITES + 2, 9, 6), 5, 0);
    ledger
        .insert_bytes(net.does(Action::Appoint { node: owner.id() }).bytes(), T0)
        .unwrap();
    ledger
        .insert_bytes(net.name(0, &[&named], &[]).bytes(), T0)
        .unwrap();
    let authority = ledger.authority();
    let rank = |node: &Node| match ledger.verify(&node.bytes()) {
        Ok(Item::Member(member)) => authority.rank(&member),
        other => panic!("{other:?}"),
    };
    let ranks: Vec<AdmissionRank> = [&owner, &named, &early, &late, &invited, &guest, &below]
        .map(rank)
        .to_vec();
    assert!(ranks.is_sorted_by(|a, b| a < b), "{ranks:?}");
    // Nothing that a node can say of itself, now or later, changes its rank.
    let again = early.at(99, T0.after(HOUR)).called("again");
    assert_eq!(rank(&again), rank(&early));
    // A guest is dated by all that lead to it: its own host says that it came before the host.
    let undated = net.joined(&invited, INVITES + 3, 9, 7);
    assert!(rank(&guest) < rank(&undated));
}
