//! What evidence is worth by who gives it: owners, those who came in another way, those who came in together.

use std::net::Ipv4Addr;

use grid_promises::Timestamp;
use grid_promises::limits::RECEIPT_LIFETIME;
use grid_promises::network::AdmissionRule;
use grid_promises::network::act::{Act, Action, OfficeId};
use grid_promises::network::admission::Admission;
use grid_promises::network::evidence::Evidence;
use grid_promises::network::membership::decide;
use grid_promises::network::receipt::Receipt;
use grid_promises::network::statement::Signed;
use grid_promises::network::view::View;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use crate::common::{DAY, HOUR, INVITES, Net, Node, T0, key};

/// An address that every node has among its candidates: the range has 14.
const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 7, 0, 5);
const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(10, 7, 0, 9);

/// When contests are decided.
const NOW: Timestamp = T0.after(DAY).after(DAY);

/// What `witness` says at `issued`: that it saw the membership since `since`, and the claim since `claimed`.
fn says(
    net: &Net,
    witness: u16,
    subject: &Node,
    since: Timestamp,
    claimed: Timestamp,
    issued: Timestamp,
) -> Signed<Receipt> {
    let mut body = net.receipt_body(&key(witness), subject, since, issued);
    body.address_since = claimed;
    Signed::sign(body, &key(witness)).unwrap()
}

/// Node `n` at a claim, whose membership the founder has seen since `since`.
fn member(net: &Net, n: u16, address: Ipv4Addr, since: Timestamp) -> Node {
    let node = net.admitted(n).claiming(net, address);
    let receipt = says(net, 0, &node.claiming(net, ELSEWHERE), since, since, since);
    node.carrying(&[receipt])
}

/// Node `n`, by an invite of `issuer` that is good for a month and more.
fn let_in(net: &Net, issuer: &Node, invite: u16, n: u16) -> Node {
    let mut grant = net.grant_body(&issuer.id(), invite, 5);
    grant.expires = T0.after(40 * DAY);
    let grant = Signed::sign(grant, &issuer.key).unwrap();
    let link = net.link(&grant, invite, &key(n).id());
    net.node(n, issuer.admission.extended(link))
}

fn with(node: &Node, more: &[Signed<Receipt>]) -> Node {
    let mut node = node.clone();
    let bytes = more.iter().map(|receipt| receipt.bytes().to_vec().into());
    node.body.receipts.extend(bytes);
    node
}

fn holder(net: &Net, now: Timestamp, nodes: &[&Node]) -> grid_keys::NodeId {
    let mut ledger = net.ledger();
    for node in nodes {
        ledger.insert_bytes(&node.at(9, now).bytes(), now).unwrap();
    }
    View::of(&ledger, now).addresses[&ADDRESS]
}

/// A member that was there before the other, and a node that it let in, say that it had the address first.
#[test]
fn a_member_and_its_guests_do_not_take_what_another_was_seen_to_have() {
    let net = Net::crowded();
    let founder = net.founder().claiming(&net, [10, 7, 0, 1].into());
    let witness = member(&net, 4, [10, 7, 0, 2].into(), T0.after(5 * HOUR));
    let honest = member(&net, 1, ADDRESS, T0.after(10 * HOUR));
    let seen = says(&net, 4, &honest, NOW, T0.after(10 * HOUR), NOW);
    let honest = with(&honest, &[seen]);
    let rival = member(&net, 2, ADDRESS, T0.after(HOUR));
    let guest = net.joined(&rival, INVITES, 9, 3);
    let guest = guest.claiming(&net, [10, 7, 0, 3].into());
    let seen = says(&net, 2, &guest, T0.after(HOUR), NOW, NOW);
    let guest = guest.carrying(&[seen]);
    let false_word = says(&net, 3, &rival, T0.after(HOUR), T0.after(HOUR), NOW);
    let rival = with(&rival, &[false_word]);
    let all = [&founder, &witness, &honest, &rival, &guest];
    assert_eq!(holder(&net, NOW, &all), honest.id());
    // Nor does the guest by the word of its host, nor by that of a second guest.
    let second = net.joined(&rival, INVITES, 9, 5);
    let second = second.claiming(&net, [10, 7, 0, 4].into());
    let second = second.carrying(&[says(&net, 2, &second, T0, NOW, NOW)]);
    let guest = guest.claiming(&net, ADDRESS);
    for by in [2, 5] {
        let word = says(&net, by, &guest, T0.after(HOUR), T0.after(HOUR), NOW);
        let taker = guest.carrying(&[word]);
        let all = [
            &founder,
            &witness,
            &honest,
            &rival.claiming(&net, ELSEWHERE),
            &taker,
            &second,
        ];
        assert_eq!(holder(&net, NOW, &all), honest.id());
    }
    // What remains: two who were both there before, each let in by an owner.
    let other = member(&net, 6, [10, 7, 0, 6].into(), T0.after(2 * HOUR));
    let word = says(&net, 6, &rival, NOW, T0.after(HOUR), NOW);
    let rival = with(&rival, &[word]);
    let all = [&founder, &witness, &honest, &rival, &guest, &other];
    let guest = guest.claiming(&net, ELSEWHERE);
    let all = all.map(|node| {
        if node.id() == guest.id() {
            &guest
        } else {
            node
        }
    });
    assert_eq!(holder(&net, NOW, &all), rival.id());
}

/// Whoever comes into an open network comes alone, and anybody can come many times.
#[test]
fn in_an_open_network_only_owners_and_those_they_let_in_are_from_elsewhere() {
    let net = Net::with(|charter| {
        charter.ipv4 = "10.7.0.0/28".parse().unwrap();
        charter.admission = AdmissionRule::Open;
    });
    let came = |n: u16, address: Ipv4Addr, since: Timestamp| {
        let node = net.node(n, Admission::default()).claiming(&net, address);
        let receipt = says(
            &net,
            0,
            &node.claiming(&net, ELSEWHERE),
            since,
            since,
            since,
        );
        node.carrying(&[receipt])
    };
    let founder = net.founder().claiming(&net, [10, 7, 0, 1].into());
    let honest = came(1, ADDRESS, T0.after(10 * HOUR));
    let honest = with(
        &honest,
        &[says(&net, 0, &honest, NOW, T0.after(10 * HOUR), NOW)],
    );
    let rival = came(2, ADDRESS, T0.after(HOUR));
    let other = came(3, [10, 7, 0, 3].into(), T0.after(HOUR));
    let rival = with(&rival, &[says(&net, 3, &rival, NOW, T0.after(HOUR), NOW)]);
    let all = [&founder, &honest, &rival, &other];
    assert_eq!(holder(&net, NOW, &all), honest.id());
}

/// An owner's chain: it appoints a node.
fn appoints(net: &Net, owner: u16, office: OfficeId, node: u16, issued: Timestamp) -> Signed<Act> {
    net.act(&key(owner), |act| {
        (act.office, act.previous) = (office, office.0);
        act.action = Action::Appoint {
            node: key(node).id(),
        };
        act.issued = issued;
    })
}

#[test]
fn an_owner_speaks_of_no_time_before_its_appointment() {
    let net = Net::crowded();
    let (late, later) = (T0.after(5 * HOUR), T0.after(6 * HOUR));
    let first = appoints(&net, 0, net.office(&key(0).id()), 1, late);
    // The one that it appoints is dated before itself.
    let office = OfficeId(first.act_id());
    let second = appoints(&net, 1, office, 2, T0);
    let founder = net.founder().claiming(&net, [10, 7, 0, 1].into());
    let honest = member(&net, 3, ADDRESS, T0.after(HOUR));
    let honest = with(
        &honest,
        &[says(&net, 0, &honest, NOW, T0.after(3 * HOUR), NOW)],
    );
    for owner in [1, 2] {
        let rival = member(&net, 4, ADDRESS, T0.after(HOUR));
        let word = says(&net, owner, &rival, T0, T0, NOW);
        let rival = with(&rival, &[word]);
        let mut ledger = net.ledger();
        ledger.insert_acts([first.clone(), second.clone()], NOW);
        for node in [&founder, &honest, &rival] {
            ledger.insert_bytes(&node.at(9, NOW).bytes(), NOW).unwrap();
        }
        let evidence = Evidence::of(&ledger, NOW);
        let worth = evidence.address_worth(&ledger.members()[&rival.id()], ADDRESS);
        assert_eq!(worth.map(|worth| worth.since), Some(late));
        assert_eq!(View::of(&ledger, NOW).addresses[&ADDRESS], honest.id());
        // Nor of the use of an invite.
        let user = net.joined(&net.founder(), INVITES, 1, 5);
        let user = user.carrying(&[net.receipt(&key(0), &user, T0.after(HOUR), NOW)]);
        let thief = net.joined(&net.founder(), INVITES, 1, 6);
        let thief = thief.carrying(&[net.receipt(&key(owner), &thief, T0, later)]);
        for node in [&user, &thief] {
            ledger.insert_bytes(&node.at(9, NOW).bytes(), NOW).unwrap();
        }
        let verdicts = decide(&ledger, NOW);
        assert_eq!(verdicts[&user.id()], Ok(()));
        assert!(verdicts[&thief.id()].is_err());
    }
}

/// A network at its thirtieth day. Node 1 came early and has an address; everybody else who wants it came later, but for
/// one who came before, and whom the others may serve.
struct Siege {
    net: Net,
    rng: ChaCha8Rng,
}

impl Siege {
    fn below(&mut self, bound: u32) -> u32 {
        self.rng.next_u32() % bound
    }

    fn day(day: u32) -> Timestamp {
        T0.after(DAY * day)
    }

    /// Node 1 with a receipt of the last days, by the founder or by node 2, whom the founder let in before the others.
    fn honest(&mut self) -> [Node; 2] {
        let since = Self::day(self.below(4));
        let witness = member(&self.net, 2, [10, 7, 0, 2].into(), since);
        let came = Self::day(3);
        let node = member(&self.net, 1, ADDRESS, came);
        let by = if self.below(2) == 0 { 0 } else { 2 };
        let days = u64::from(self.below(u32::try_from(RECEIPT_LIFETIME.as_secs()).unwrap()));
        let issued = Timestamp(Self::day(30).0 - days);
        let seen = says(&self.net, by, &node, came, came, issued);
        [with(&node, &[seen]), witness]
    }

    /// Those who come later: let in by the founder, by one another or by node 1, on the first of their days.
    fn others(&mut self) -> Vec<Node> {
        let count = 1 + u16::try_from(self.below(7)).unwrap();
        let first = let_in(&self.net, &self.net.founder(), INVITES + 10, 10);
        let first = first.claiming(&self.net, ADDRESS);
        let seen = says(
            &self.net,
            0,
            &first.claiming(&self.net, ELSEWHERE),
            Self::day(1),
            Self::day(1),
            Self::day(1),
        );
        let mut others: Vec<(Node, u32)> = vec![(first.carrying(&[seen]), 1)];
        for n in 11..11 + count {
            let day = 4 + self.below(26);
            let place = [10, 7, 0, 3 + u8::try_from(n - 10).unwrap()].into();
            let hosts: Vec<&Node> = others
                .iter()
                .filter(|(node, since)| *since <= day && node.admission.links().len() < 4)
                .map(|(node, _)| node)
                .collect();
            let at = self.rng.next_u32() as usize % (hosts.len() + 2);
            let (host, witness) = match at.checked_sub(2) {
                None if at == 0 => (self.net.founder(), 0),
                None => (self.net.admitted(1), 1),
                Some(at) => (hosts[at].clone(), 10 + position(&others, hosts[at])),
            };
            let node = let_in(&self.net, &host, INVITES + n, n);
            let wants = self.rng.next_u32().is_multiple_of(2);
            let node = node.claiming(&self.net, if wants { ADDRESS } else { place });
            // An honest host or owner says when it came; another may say what it likes.
            let since = if witness < 10 {
                Self::day(day)
            } else {
                Self::day(0)
            };
            let elsewhere = node.claiming(&self.net, ELSEWHERE);
            let seen = says(&self.net, witness, &elsewhere, since, since, Self::day(30));
            others.push((node.carrying(&[seen]), day));
        }
        others.into_iter().map(|(node, _)| node).collect()
    }

    /// What some of them say of one another: whatever serves.
    fn conspire(&mut self, others: &[Node]) -> Vec<Node> {
        let conspire = |node: &Node, of: &mut Self| {
            let mut words = Vec::new();
            for _ in 0..of.below(4) {
                let witness =
                    10 + u16::try_from(of.rng.next_u32() as usize % others.len()).unwrap();
                if key(witness).id() != node.id() {
                    let claimed = Self::day(of.below(2) * of.below(30));
                    let since = Self::day(0);
                    words.push(says(&of.net, witness, node, since, claimed, Self::day(30)));
                }
            }
            with(node, &words)
        };
        others.iter().map(|node| conspire(node, self)).collect()
    }
}

fn position(others: &[(Node, u32)], wanted: &Node) -> u16 {
    let at = others.iter().position(|(node, _)| node.id() == wanted.id());
    u16::try_from(at.unwrap()).unwrap()
}

#[test]
fn a_member_keeps_its_address_against_any_number_of_newer_ones() {
    let mut contested = 0;
    for seed in 0..2000 {
        let net = Net::with(|charter| charter.ipv4 = "10.7.0.0/28".parse().unwrap());
        let rng = ChaCha8Rng::seed_from_u64(seed);
        let mut siege = Siege { net, rng };
        let [honest, witness] = siege.honest();
        let others = siege.others();
        let others = siege.conspire(&others);
        let now = Siege::day(30);
        let founder = siege
            .net
            .founder()
            .claiming(&siege.net, [10, 7, 0, 1].into());
        let mut ledger = siege.net.ledger();
        for node in [founder, honest.clone(), witness].iter().chain(&others) {
            ledger.insert_bytes(&node.at(9, now).bytes(), now).unwrap();
        }
        let view = View::of(&ledger, now);
        assert_eq!(view.addresses[&ADDRESS], honest.id(), "seed {seed}");
        let evidence = Evidence::of(&ledger, now);
        let rivals = ledger
            .members()
            .values()
            .filter(|member| member.node() != honest.id());
        let is_dated = |worth: Option<_>| worth.is_some();
        contested += rivals
            .filter(|m| m.promise().ipv4.address == ADDRESS)
            .filter(|m| is_dated(evidence.address_worth(m, ADDRESS)))
            .count();
    }
    assert!(contested > 1000, "{contested} rivals had evidence at all");
}

/// A member that came later, and 127 whom it let in: four of them say of each that it had the address from the beginning.
#[test]
fn a_hundred_and_twenty_eight_rivals_do_not_take_an_address_together() {
    let net = Net::crowded();
    let now = Siege::day(30);
    let founder = net.founder().claiming(&net, [10, 7, 0, 1].into());
    let honest = member(&net, 1, ADDRESS, Siege::day(3));
    let seen = says(
        &net,
        0,
        &honest,
        Siege::day(3),
        Siege::day(3),
        Siege::day(29),
    );
    let honest = with(&honest, &[seen]);
    let first = let_in(&net, &net.founder(), INVITES + 10, 10).claiming(&net, ADDRESS);
    let elsewhere = first.claiming(&net, ELSEWHERE);
    let day = Siege::day(4);
    let first = first.carrying(&[says(&net, 0, &elsewhere, day, day, day)]);
    let guests = (11..138).map(|n| {
        let guest = let_in(&net, &first, INVITES + n, n).claiming(&net, ADDRESS);
        let others = [10, 11 + (n - 10) % 127, 11 + (n - 9) % 127];
        let words = others.map(|by| says(&net, by, &guest, T0, T0, Siege::day(30)));
        guest.carrying(&words)
    });
    let words = [11, 12, 13].map(|by| says(&net, by, &first, T0, T0, Siege::day(30)));
    let rivals: Vec<Node> = guests.chain([with(&first, &words)]).collect();
    assert_eq!(rivals.len(), 128);
    let mut ledger = net.ledger();
    for node in rivals.iter().chain([&founder, &honest]) {
        ledger.insert_bytes(&node.at(9, now).bytes(), now).unwrap();
    }
    let evidence = Evidence::of(&ledger, now);
    let members = ledger.members();
    let is_dated = |node: &&Node| {
        let member = &members[&node.id()];
        evidence.address_worth(member, ADDRESS).is_some()
    };
    assert_eq!(rivals.iter().filter(is_dated).count(), 128);
    assert_eq!(View::of(&ledger, now).addresses[&ADDRESS], honest.id());
}
