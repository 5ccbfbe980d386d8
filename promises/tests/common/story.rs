//! A network in which much goes on: renewals, equivocations, receipts, withdrawals, an invite that
//! was used too often, and all that owners do.

use std::collections::BTreeSet;

use grid_promises::network::act::{Act, Action, OfficeId};
use grid_promises::network::admission::Admission;
use grid_promises::network::statement::Signed;

use super::{INVITES, MINUTE, Net, Node, T0, key};

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
    // The same WireGuard key as its host.
    people[6] = people[6].keyed(3);
    people
}

/// What all of these people say.
fn said(net: &Net) -> Vec<Vec<u8>> {
    let people = people(net);
    let said = people.iter().flat_map(|node| life(net, node));
    said.map(|node| node.bytes()).collect()
}

/// What owners withdraw, and what everybody says.
pub fn plain(net: &Net) -> Vec<Vec<u8>> {
    let people = people(net);
    let by_other = net.act(&key(9), |act| {
        act.action = Action::Revoke {
            node: people[3].id(),
        }
    });
    let minutes = |minutes: u32| T0.after(MINUTE * minutes);
    let acts = [
        net.revoke(&people[2]),
        net.revoke(&people[7]),
        net.revoke(&people[8]),
        net.revoke(&people[1]),
        by_other,
        net.close(INVITES, minutes(0), &[&people[3], &people[4]]),
        net.close(INVITES, minutes(1), &[&people[4], &people[5]]),
        net.close(INVITES + 1, minutes(5), &[]),
    ];
    let mut bytes = said(net);
    bytes.extend(acts.iter().map(|act| act.bytes().to_vec()));
    // Of users of an invite for three, of a guest, and of one who is nowhere else; of one of them two.
    let gone = net.joined(&people[0], INVITES, 3, 61);
    for (node, minute) in [(2, 3), (2, 0), (3, 1), (4, 2), (7, 1)] {
        bytes.push(net.trace(&people[node], minutes(minute)));
    }
    bytes.push(net.trace(&gone, minutes(1)));
    bytes
}

/// All of that, and what makes statements void and valid again: admissions by name, owners who come and go, nodes that
/// came in again in another way, and another grant of an invite's key.
pub fn wild(net: &Net) -> Vec<Vec<u8>> {
    let people = people(net);
    let mut bytes = plain(net);
    for (n, node) in (1..=7).zip(&people[2..]) {
        let again = net.joined(&people[1], INVITES + 3, 9, n);
        let again = node.by(again.admission);
        bytes.push(again.at(2, T0.after(3 * MINUTE)).bytes());
        bytes.push(again.at(7, T0.after(20 * MINUTE)).bytes());
        let rival = net.joined(&people[2], INVITES, 1, n + 60);
        bytes.push(rival.bytes());
    }
    bytes.extend(deeds(net, &people).iter().map(|act| act.bytes().to_vec()));
    bytes
}

/// Owners are appointed, do something, and are dismissed; nodes are admitted by name.
fn deeds(net: &Net, people: &[Node]) -> Vec<Signed<Act>> {
    let revocation = net.revoke(&people[2]);
    let appointment = net.act(&key(0), |act| {
        act.number = 2;
        act.previous = revocation.act_id();
        act.action = Action::Appoint {
            node: people[4].id(),
        };
    });
    let office = OfficeId(appointment.act_id());
    let junior = |number: u32, previous, action| {
        let body = Act {
            network: net.id(),
            owner: people[4].id(),
            office,
            number,
            previous,
            action,
            issued: T0,
        };
        Signed::sign(body, &people[4].key).unwrap()
    };
    let first = junior(
        1,
        office.0,
        Action::Revoke {
            node: people[5].id(),
        },
    );
    let second = junior(
        2,
        first.act_id(),
        Action::Revoke {
            node: people[6].id(),
        },
    );
    let dismissal = |cut| {
        net.act(&key(0), |act| {
            act.number = 3;
            act.previous = appointment.act_id();
            act.action = Action::Dismiss {
                office,
                cut,
                heir: Some(people[10].id()),
            };
        })
    };
    vec![
        net.name(9, &[&people[3], &people[7]], &[&revocation]),
        net.name(0, &[&people[2]], &[&revocation]),
        net.name(9, &[&people[8]], &[]),
        dismissal(first.act_id()),
        dismissal(office.0),
        revocation,
        appointment,
        first,
        second,
    ]
}
