//! Who wants to know, or to be let in.

use grid_promises::core::protocol::by_hand::{self, Comparison};
use grid_promises::network::Label;
use grid_promises::network::admission::{
    Admission, AdmissionRequest, Grant, GrantUse, Link, RawLink,
};
use grid_promises::network::statement::Signed;

use super::super::common::{DAY, MINUTE, Node, T0, forge};
use super::super::play::Play;
use super::super::stage::{CLOSED, HONEST, MEMBER, OUTSIDERS, REVOKED, foo, key};
use super::super::temper::index;
use super::noise::{anybody, outsider};

/// Compares ledgers again and again, and always differs.
pub fn compare(play: &mut Play) {
    let (n, to) = (anybody(play), play.honest());
    for _ in 0..play.dice.pick(&[5, 40]) {
        let entries = play.dice.pick(&[0, 10, 400]);
        let with = Comparison {
            root: play.dice.bytes(32).try_into().unwrap(),
            index: play.dice.one_in(2).then(|| index(play, entries)),
            ..Comparison::default()
        };
        let message = by_hand::sync(play.id(), with);
        play.say(n, to, message);
    }
}

/// Asks for statements by ids, some of which there are.
pub fn pull(play: &mut Play) {
    let mut wanted: Vec<_> = (0..50).map(|_| play.dice.id()).collect();
    let mut ledger = play.net.ledger();
    let now = play.now().timestamp();
    for bytes in &play.stage.past {
        let _ = ledger.insert_bytes(bytes, now);
    }
    wanted.extend(ledger.index().iter().map(|entry| entry.id));
    let (n, to) = (anybody(play), play.honest());
    let message = by_hand::pull(play.id(), &wanted);
    play.say(n, to, message);
}

/// Shows admissions that do not admit.
pub fn read(play: &mut Play) {
    let n = if play.dice.one_in(2) {
        REVOKED
    } else {
        outsider(play)
    };
    let admission = no_admission(play, n);
    for to in HONEST {
        let with = Comparison {
            index: Some(Vec::new()),
            admission: Some(admission.clone()),
            ..Comparison::default()
        };
        let message = by_hand::sync(play.id(), with);
        play.say(n, to, message);
    }
}

/// One that is revoked, closed, of nobody's, of another's, expired, or cut short.
fn no_admission(play: &mut Play, n: u16) -> Vec<RawLink> {
    let node = key(n).id();
    let net = &play.net;
    let revoked = play.stage.member(REVOKED);
    let by = |issuer: &Node, grant: Signed<Grant>, invite: u16| {
        let used = net.grant_use(invite, &node, T0.after(MINUTE));
        through(issuer, grant, used)
    };
    match play.dice.below(6) {
        0 => revoked.admission.raw(),
        1 => by(&net.founder(), net.grant(&key(0), CLOSED, 9), CLOSED),
        2 => by(&revoked, net.grant(&revoked.key, 1900, 5), 1900),
        3 => {
            // A founder's invite that a thief of nothing signed.
            let grant = net.grant_body(&key(0).id(), 1901, 5);
            let forged = RawLink {
                grant: forge(&grant, &key(n)),
                used: net.grant_use(1901, &node, T0).bytes().to_vec(),
                seen: None,
            };
            vec![forged]
        }
        4 => {
            // It expired long ago, and its use is dated back.
            let member = play.stage.member(MEMBER);
            let joined = T0.before(9 * DAY);
            let grant = Grant {
                issued: T0.before(10 * DAY),
                expires: joined,
                ..net.grant_body(&member.id(), 1902, 5)
            };
            let grant = Signed::sign(grant, &member.key).unwrap();
            through(&member, grant, net.grant_use(1902, &node, joined))
        }
        _ => Admission::default().raw(),
    }
}

fn through(issuer: &Node, grant: Signed<Grant>, used: Signed<GrantUse>) -> Vec<RawLink> {
    let link = Link {
        grant,
        used,
        seen: None,
    };
    issuer.admission.extended(link).raw()
}

/// Asks to be admitted, under names that others have, and under keys that it makes up.
pub fn apply(play: &mut Play) {
    let through = if play.dice.one_in(2) {
        play.insider()
    } else {
        outsider(play)
    };
    let to = play.honest();
    for _ in 0..play.dice.pick(&[1, 40]) {
        let invented = play.dice.below(60_000);
        let n = if play.dice.one_in(2) {
            through
        } else {
            u16::try_from(invented).unwrap() | 0x8000
        };
        let label = play.dice.pick(&["node-1", "node-2", "founder"]);
        let request = AdmissionRequest {
            network: play.id(),
            node: key(n).id(),
            label: Label::from_host_name(label),
            issued: play.now().timestamp(),
        };
        let message = by_hand::ask(&Signed::sign(request, &key(n)).unwrap());
        play.say(through, to, message);
    }
    let message = by_hand::find(&foo());
    play.say(OUTSIDERS.start, to, message);
}
