//! A network in which much goes on: renewals, equivocations, receipts, withdrawals, an invite that
//! was used too often, revocations, closures, readmissions.

use std::collections::BTreeSet;

use grid_promises::network::admission::Admission;
use grid_promises::network::statement::Signed;

use super::{INVITES, MINUTE, Net, Node, T0, closure, key};

/// Two owners, nodes 0 and 9, and a few addresses, so that claims meet.
pub fn network() -> Net {
    let owners = BTreeSet::from([key(0).id(), key(9).id()]);
    Net::with(|charter| {
        charter.ipv4 = "10.7.0.0/28".parse().unwrap();
        charter.owners = owners.into_iter().collect();
    })
}

/// What a node may say in its life: renewals, two promises of one number, receipts, a withdrawal.
pub fn life(net: &Net, node: &Node) -> Vec<Node> {
    let at = |sequence: u64| {
        node.at(
            sequence,
            T0.after(MINUTE * u32::try_from(sequence).unwrap()),
        )
    };
    let mut life = vec![
        at(1),
        at(2),
        at(2).called("again"),
        at(3),
        at(3).called("twice"),
    ];
    for (sequence, witness) in [(4, 0), (5, 8)] {
        if key(witness).id() != node.id() {
            let since = T0.after(MINUTE * u32::from(witness + 1));
            let receipt = net.receipt(&key(witness), node, since, since);
            life.push(at(sequence).carrying(&[receipt]));
        }
    }
    life.push(at(6).withdrawn());
    life
}

/// The founder, an owner, five users of an invite for three, their guests, one admitted by name.
pub fn people(net: &Net) -> Vec<Node> {
    let founder = net.founder();
    let mut people = vec![founder.clone(), net.node(9, Admission::default())];
    people.extend((1..=5).map(|n| net.joined(&founder, INVITES, 3, n)));
    let host = people[2].clone();
    people.extend((6..=7).map(|n| net.joined(&host, INVITES + 1, 1, n)));
    let guest = people[7].clone();
    people.push(net.joined(&guest, INVITES + 2, 5, 10));
    people.push(net.admitted(8));
    // Somebody else's WireGuard key.
    people[6].body.public_key = host.body.public_key;
    people
}

/// Statements of nodes that keep the admission that they came by, and revocations that readmit
/// nobody.
pub fn plain(net: &Net) -> Vec<Vec<u8>> {
    let people = people(net);
    let mut bytes: Vec<Vec<u8>> = people
        .iter()
        .flat_map(|node| life(net, node))
        .map(|node| node.bytes())
        .collect();
    let closing = |keep: &[&Node]| {
        net.revocation(&[&net.admitted(50)], |body| {
            body.closures = vec![closure(INVITES, keep)];
        })
    };
    let by_other = net.revocation_body(&key(9), &[&people[3]]);
    let revocations = [
        net.revoke(&[&people[2]]),
        net.revoke(&[&people[7], &people[8]]),
        net.revoke(&[&people[1]]),
        Signed::sign(by_other, &key(9)).unwrap(),
        closing(&[&people[3], &people[4]]),
        closing(&[&people[4], &people[5]]),
    ];
    bytes.extend(revocations.iter().map(|r| r.bytes().to_vec()));
    bytes
}

/// All of that, and what makes statements void and valid again: readmissions, nodes that came in
/// again in another way, and another grant of an invite's key.
pub fn wild(net: &Net) -> Vec<Vec<u8>> {
    let people = people(net);
    let mut bytes = plain(net);
    for (n, node) in (1..=7).zip(&people[2..]) {
        let named = net.direct(&key(9), &node.id());
        let again = node.by(Admission::from_links(vec![named]));
        bytes.push(again.at(2, T0.after(3 * MINUTE)).bytes());
        bytes.push(again.at(7, T0.after(20 * MINUTE)).bytes());
        let rival = net.joined(&people[2], INVITES, 1, n + 60);
        bytes.push(rival.bytes());
    }
    for (owner, kept) in [(0, 3), (0, 7), (0, 9), (9, 8), (9, 2)] {
        let mut body = net.revocation_body(&key(owner), &[&people[2]]);
        body.readmit = vec![net.direct(&key(owner), &people[kept].id()).raw()];
        body.nodes = vec![key(70).id()];
        let signed = Signed::sign(body, &key(owner)).unwrap();
        bytes.push(signed.bytes().to_vec());
    }
    bytes
}
