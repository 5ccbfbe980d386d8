//! How the adversary's machines answer what honest nodes ask them.

use std::time::Duration;

use grid_keys::NodeId;
use grid_promises::core::protocol::by_hand;
use grid_promises::network::index::IndexEntry;
use grid_promises::network::member::Member;
use grid_promises::network::receipt::Receipt;
use grid_promises::network::statement::Signed;

use super::common::T0;
use super::dice::Dice;
use super::play::Play;
use super::stage::HONEST;
use super::stage::key;

/// One for each run.
#[derive(Clone, Copy, Debug)]
pub enum Temper {
    /// It says nothing.
    Silent,
    /// It answers as if nothing had happened.
    Polite,
    /// It says what does harm, if it is believed.
    Liar,
    /// It says anything.
    Babbler,
    /// One of these each time.
    Moody,
}

const ALL: [Temper; 5] = [
    Temper::Silent,
    Temper::Polite,
    Temper::Liar,
    Temper::Babbler,
    Temper::Moody,
];

impl Temper {
    pub fn of(dice: &mut Dice) -> Self {
        dice.pick(&ALL)
    }

    /// What key `n` answers to a request of this kind.
    pub fn answer(self, play: &mut Play, n: u16, peer: NodeId, kind: &[u8]) -> Option<Vec<u8>> {
        match self {
            Self::Silent => None,
            Self::Polite => Some(polite(play, peer, kind)),
            Self::Liar => Some(lie(play, n, peer, kind)),
            Self::Babbler => Some(babble(play)),
            Self::Moody => play.dice.pick(&ALL[..4]).answer(play, n, peer, kind),
        }
    }
}

fn polite(play: &Play, peer: NodeId, kind: &[u8]) -> Vec<u8> {
    match kind {
        b"hello" => {
            let node = HONEST
                .into_iter()
                .find(|node| play.world.nodes[*node].key.id() == peer);
            let mut addr = play.address(node.unwrap_or_default());
            addr.set_port(51821);
            by_hand::seen_at(addr, play.world.now.timestamp())
        }
        b"sync" => by_hand::equal(),
        b"pull" => by_hand::gives(&[]),
        b"push" => by_hand::took(None),
        _ => by_hand::refuses("an owner has to decide"),
    }
}

fn lie(play: &mut Play, n: u16, peer: NodeId, kind: &[u8]) -> Vec<u8> {
    match kind {
        b"hello" => {
            let mut addr = play.lie_of(n);
            if play.dice.one_in(2) {
                addr.set_port(u16::try_from(play.dice.below(60_000)).unwrap() + 1);
            }
            by_hand::seen_at(addr, play.lie_of_time(n))
        }
        b"sync" => {
            let entries = play.dice.pick(&[1, 30, 600]);
            match play.dice.below(3) {
                0 => by_hand::holds(index(play, entries)),
                1 => {
                    let wanted: Vec<_> = (0..entries).map(|_| play.dice.id()).collect();
                    by_hand::differs(&old(play), &wanted, true)
                }
                _ => by_hand::refuses("no member of that network"),
            }
        }
        b"pull" => by_hand::gives(&old(play)),
        b"push" => by_hand::took(Some(&receipt(play, n, peer))),
        _ => by_hand::admits(&old(play)),
    }
}

/// Some of what honest nodes promised long ago.
fn old(play: &mut Play) -> Vec<Vec<u8>> {
    (0..8).map(|_| play.dice.pick(&play.stage.past)).collect()
}

/// An index of what is nowhere.
pub fn index(play: &mut Play, entries: usize) -> Vec<IndexEntry> {
    let mut index: Vec<IndexEntry> = (0..entries)
        .map(|_| IndexEntry {
            key: play.dice.id(),
            sequence: play.dice.below(9),
            id: play.dice.id(),
        })
        .collect();
    index.sort();
    index
}

/// A receipt for an honest node, that speaks of another time at each time.
fn receipt(play: &mut Play, n: u16, peer: NodeId) -> Vec<u8> {
    let mut honest = play.stage.honest.iter();
    let Some(subject) = honest.find(|node| node.promise.node == peer) else {
        return play.dice.bytes(100);
    };
    let member = Member::decode(subject.promise.bytes(), &play.net.charter).unwrap();
    let since = T0.after(Duration::from_secs(play.dice.below(3000)));
    let body = Receipt {
        network: play.id(),
        witness: key(n).id(),
        subject: peer,
        admission: member.admission_id(),
        member_since: since,
        address: subject.address,
        address_since: since,
        issued: play.now().timestamp(),
    };
    Signed::sign(body, &key(n)).unwrap().bytes().to_vec()
}

/// Anything: noise, or what somebody said before, damaged.
pub fn babble(play: &mut Play) -> Vec<u8> {
    let len = play.dice.index(200);
    let mut bytes = match (play.dice.below(3), play.loot.is_empty()) {
        (0, _) | (_, true) => play.dice.bytes(len),
        _ => play.dice.pick(&play.loot),
    };
    match play.dice.below(4) {
        0 => {}
        1 => {
            let len = play.dice.index(bytes.len() + 1);
            bytes.truncate(len);
        }
        _ => {
            for _ in 0..=play.dice.below(3) {
                if !bytes.is_empty() {
                    let place = play.dice.index(bytes.len());
                    bytes[place] ^= 1 << play.dice.below(8);
                }
            }
        }
    }
    bytes
}
