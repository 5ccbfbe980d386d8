//! What costs work, or says what nobody can know.

use std::time::Duration;

use grid_promises::Message;
use grid_promises::core::protocol::by_hand;
use grid_promises::network::NetworkId;
use grid_promises::network::member::Standing;
use grid_promises::texts;

use super::super::common::{DAY, HOUR, T0, forge};
use super::super::play::Play;
use super::super::stage::{HONEST, MEMBER, OUTSIDERS, OWNER, REVOKED, key};
use super::super::temper::babble;

/// One of the adversary's keys, in or out.
pub(super) fn anybody(play: &mut Play) -> u16 {
    match play.dice.below(3) {
        0 => REVOKED,
        1 => outsider(play),
        _ => play.insider(),
    }
}

pub(super) fn outsider(play: &mut Play) -> u16 {
    OUTSIDERS.start + u16::try_from(play.dice.below(4)).unwrap()
}

/// Says to honest nodes, again and again, that they are elsewhere.
pub fn observe(play: &mut Play) {
    for _ in 0..play.dice.pick(&[1, 5, 40]) {
        let (n, to) = (anybody(play), play.honest());
        let message = by_hand::hello(play.lie_of(n), play.lie_of_time(n));
        play.say(n, to, message);
    }
}

/// Hangs up, so that honest nodes dial again and ask anew where they are seen.
pub fn hang_up(play: &mut Play) {
    for _ in 0..play.dice.pick(&[3, 20]) {
        let n = play.dice.pick(&[MEMBER, OWNER]);
        let machine = play.machine(n);
        for to in HONEST {
            play.world.hang_up(machine, to);
        }
        play.wait(Duration::from_millis(800));
    }
}

/// Sends what honest nodes promised once, also withdrawn and with a signature that does not hold.
pub fn stale(play: &mut Play) {
    let mut said: Vec<Vec<u8>> = Vec::new();
    for _ in 0..play.dice.pick(&[1, 10, 100]) {
        let mut old = play.dice.pick(&play.stage.past);
        if play.dice.one_in(2) {
            let last = old.len() - 1;
            old[last] ^= 1;
        }
        said.push(old);
    }
    let (n, to) = (anybody(play), play.honest());
    play.push(n, to, &said);
}

/// Sends statements of honest nodes that they did not make.
pub fn forgeries(play: &mut Play) {
    let count = play.dice.pick(&[1, 3, 30]);
    let said: Vec<Vec<u8>> = (0..count).map(|_| forged(play)).collect();
    let (n, to) = (anybody(play), play.honest());
    play.push(n, to, &said);
}

/// A statement of an honest node, signed by one of the adversary's keys.
fn forged(play: &mut Play) -> Vec<u8> {
    let n = anybody(play);
    if play.dice.one_in(4) {
        let mut charter = (*play.net.charter).clone();
        charter.created = T0.after(DAY);
        return forge(&charter, &key(n));
    }
    let of = play.honest();
    let mut body = (*play.stage.honest[of].promise).clone();
    body.sequence += 1 + play.dice.below(1000);
    body.issued = play.now().timestamp();
    body.expires = body.issued.after(HOUR);
    match play.dice.below(4) {
        0 => body.standing = Standing::Withdrawn,
        1 => body.wireguard.clear(),
        2 => body.prefixes.clear(),
        _ => body.receipts.clear(),
    }
    forge(&body, &key(n))
}

/// Noise, and messages that were damaged.
pub fn malformed(play: &mut Play) {
    for _ in 0..play.dice.pick(&[1, 4, 20]) {
        let (n, to) = (anybody(play), play.honest());
        let message = babble(play);
        play.say(n, to, message);
    }
}

/// Messages and statements that are too long, too deep, or say that they are.
pub fn oversized(play: &mut Play) {
    let network = play.id();
    let len = play.dice.pick(&[9_000, 70_000, 1_100_000]);
    let message = match play.dice.below(5) {
        0 => by_hand::push(network, &[play.dice.bytes(len)]),
        1 => by_hand::push(network, &vec![vec![0x82]; len / 10]),
        2 => by_hand::pull(network, &vec![[7; 16]; len / 20]),
        // An array in an array in an array; and one that says that it is endless.
        3 => raw(vec![0x81; len], &network),
        _ => raw(
            vec![0x9b, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
            &network,
        ),
    };
    let (n, to) = (anybody(play), play.honest());
    play.say(n, to, message);
}

fn raw(payload: Vec<u8>, network: &NetworkId) -> Vec<u8> {
    Message::new(texts::JOIN_WIREGUARD_NET.id())
        .arg("push")
        .arg(network.0.to_bytes())
        .payload(payload)
        .encode()
}

/// Hands on what honest nodes said to it, to others, as it is or as an answer to nothing.
pub fn replay(play: &mut Play) {
    if play.loot.is_empty() {
        return;
    }
    for _ in 0..play.dice.pick(&[1, 5]) {
        let message = play.dice.pick(&play.loot);
        let n = anybody(play);
        for to in HONEST {
            play.say(n, to, message.clone());
        }
    }
}
