//! What members of the adversary's promise, and is not theirs.

use std::time::Duration;

use grid_keys::{Secret, WgSecretKey};
use grid_promises::network::Label;
use grid_promises::network::member::possession;
use grid_promises::network::receipt::Receipt;
use grid_promises::network::statement::Signed;

use super::super::common::{DAY, HOUR, Node, T0, endpoint, forge};
use super::super::play::Play;
use super::super::stage::{HONEST, MEMBER, REVOKED, key, subnet};

/// One of the adversary's members, about to promise something new.
fn next(play: &mut Play) -> (u16, Node) {
    let n = play.insider();
    let node = play.nodes.get(&n).cloned();
    let node = node.unwrap_or_else(|| play.stage.member(MEMBER));
    let now = play.now().timestamp();
    let sequence = node.body.sequence.saturating_add(1);
    (n, node.at(sequence, now))
}

fn publish(play: &mut Play, n: u16, node: Node) {
    play.spread(&[node.bytes()]);
    play.nodes.insert(n, node);
}

/// Claims the address of an honest node, with receipts of all accomplices that it was first.
pub fn address(play: &mut Play) {
    let (n, node) = next(play);
    let of = play.honest();
    let node = node.claiming(&play.net, play.stage.honest[of].address);
    let mut witnesses = play.insiders();
    witnesses.push(REVOKED);
    let mut receipts = Vec::new();
    for _ in 0..4 {
        let witness = play.dice.pick(&witnesses);
        if witness != n {
            receipts.push(receipt(play, witness, &node));
        }
    }
    if play.dice.one_in(3) {
        // One of an honest node, of another claim.
        let theirs = &play.stage.honest[of].promise.receipts;
        if let Some(theirs) = theirs.first() {
            receipts.truncate(3);
            receipts.push(theirs.to_vec());
        }
    }
    let node = node.with(|body| body.receipts = receipts.into_iter().map(Into::into).collect());
    publish(play, n, node);
}

fn receipt(play: &mut Play, witness: u16, of: &Node) -> Vec<u8> {
    let since = T0.after(Duration::from_secs(play.dice.pick(&[0, 1, 600])));
    let now = play.now().timestamp();
    let body = Receipt {
        address_since: since.before(play.dice.pick(&[Duration::ZERO, DAY])),
        ..play.net.receipt_body(&key(witness), of, since, now)
    };
    Signed::sign(body, &key(witness)).unwrap().bytes().to_vec()
}

/// Promises what is of next year, or the last that there can be.
pub fn future(play: &mut Play) {
    let (n, node) = next(play);
    let ahead = play.dice.pick(&[MINUTES_4, HOUR, 365 * DAY]);
    let sequence = play.dice.pick(&[node.body.sequence, u64::MAX - 1]);
    let promise = node.at(sequence, play.now().timestamp().after(ahead));
    play.spread(&[promise.bytes()]);
    if ahead == MINUTES_4 {
        play.nodes.insert(n, promise);
    }
}

const MINUTES_4: Duration = Duration::from_secs(240);

/// Tells each honest node something else under one number.
pub fn equivocate(play: &mut Play) {
    let (n, node) = next(play);
    for to in HONEST {
        let label = play.dice.pick(&["one", "other", "node-0", "founder"]);
        let mut said = node.called(label);
        if play.dice.one_in(3) {
            let of = play.honest();
            said = said.claiming(&play.net, play.stage.honest[of].address);
        }
        let by = play.insider();
        play.push(by, to, &[said.bytes()]);
    }
    play.nodes.insert(n, node);
}

/// Promises the WireGuard key of an honest node, with a proof of its own or of the other.
pub fn wireguard_key(play: &mut Play) {
    let (_, node) = next(play);
    let of = play.honest();
    let theirs = play.stage.honest[of].promise.clone();
    let own = WgSecretKey::from_bytes(&Secret::new([9; 32]));
    let proof = match play.dice.below(3) {
        0 => theirs.possession,
        1 => own.sign(&possession(&play.id(), &node.id())),
        _ => node.body.possession,
    };
    let node = node.with(|body| {
        body.public_key = theirs.public_key;
        body.possession = proof;
    });
    let to = play.honest();
    let by = play.insider();
    play.push(by, to, &[node.bytes()]);
    // Nor can its IPv6 address be promised.
    let node = node.with(|body| body.ipv6 = theirs.ipv6);
    play.push(by, to, &[forge(&node.body, &node.key)]);
}

/// Promises subnets that others have, and all there is; and calls itself like another.
pub fn ranges(play: &mut Play) {
    let (n, node) = next(play);
    let mut prefixes = vec![
        "0.0.0.0/0".parse().unwrap(),
        "10.7.0.0/26".parse().unwrap(),
        "192.168.0.0/16".parse().unwrap(),
        subnet(),
        "::/0".parse().unwrap(),
    ];
    prefixes.retain(|_| !play.dice.one_in(3));
    prefixes.sort();
    let of = play.honest();
    let at = play.address(of).to_string();
    let node = node.with(|body| {
        body.prefixes = prefixes;
        body.label = Label::from_host_name("node-2");
        // Where another is, and where nobody is.
        body.wireguard = vec![endpoint(0, &at), endpoint(2, "203.0.113.9:1")];
    });
    publish(play, n, node);
}

/// Leaves, and is back.
pub fn withdraw(play: &mut Play) {
    let (n, node) = next(play);
    play.spread(&[node.withdrawn().bytes()]);
    let back = node.at(node.body.sequence.saturating_add(1), node.body.issued);
    if play.dice.one_in(2) {
        play.spread(&[back.bytes()]);
    }
    play.nodes.insert(n, back);
}
