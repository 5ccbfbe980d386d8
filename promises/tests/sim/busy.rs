//! Work that some cause with a node, and others who ask it something meanwhile.

use std::time::Duration;

use grid_promises::core::protocol::by_hand;
use grid_promises::core::{Command, Input, JoinWith, ReplyTo};
use grid_promises::network::AdmissionRule;
use grid_promises::sim::{Faults, NodeIndex};
use grid_promises::time::Millis;

use super::{Sim, acquainted, agree, foo, found, invite, join, join_command, mesh, status, world};
use crate::common::{MINUTE, Net, Node, T0, key};

/// A comparison with somebody who holds nothing.
fn empty() -> by_hand::Comparison {
    by_hand::Comparison {
        index: Some(Vec::new()),
        ..by_hand::Comparison::default()
    }
}

/// How many of a played node's requests were refused because there were too many.
fn refused(world: &mut Sim, node: NodeIndex) -> usize {
    let busy = by_hand::refuses("this node has verified enough for now; send it later");
    let heard = world.nodes[node].heard.take().unwrap();
    let is_busy = |input: &&Input| matches!(input, Input::Response { message: Some(message), .. } if *message == busy);
    heard.iter().filter(is_busy).count()
}

/// Forty strangers from one network ask as often as a connection may.
#[test]
fn strangers_who_ask_without_end_keep_no_newcomer_out() {
    let mut world = world(140, Faults::NONE);
    let (network, founder, joiner) = acquainted(&mut world, AdmissionRule::Open);
    let crowd: Vec<_> = (0..40).map(|n| key(600 + n).id()).collect();
    for peer in &crowd {
        let connected = Input::Connected {
            peer: *peer,
            remote: "203.0.113.7:4000".parse().unwrap(),
            outgoing: false,
        };
        world.input(founder, connected);
    }
    let message = by_hand::sync(network, empty());
    let mut requests = 0;
    for ms in 0..30_000 {
        // Each of them once in 10 ms.
        for peer in crowd.iter().skip(ms % 10).step_by(10) {
            requests += 1;
            let request = Input::Request {
                peer: *peer,
                message: message.clone(),
                reply: ReplyTo(u64::MAX - requests),
            };
            world.input(founder, request);
        }
        if ms == 10_000 {
            world.command(joiner, join_command(JoinWith::Peers));
        }
        world.run(Duration::from_millis(1));
    }
    assert!(agree(&world, &network, &[founder, joiner]));
}

/// To look for a difference takes a look at all that there is, and an answer is a thousand times as long as what is
/// asked.
#[test]
fn a_member_pays_for_comparisons() {
    let (mut world, network, _) = mesh(141, Faults::NONE, 3, "10.7.0.0/16");
    assert!(world.run_until(MINUTE, |w| agree(w, &network, &[0, 1, 2])));
    let key = world.nodes[2].key.clone();
    world.kill(2);
    let member = world.add_played(key);
    world.connect(member, 0);
    world.run(Duration::from_secs(1));
    let peer = world.nodes[0].key.id();
    for ask in [
        by_hand::sync(network, empty()),
        by_hand::sync(network, by_hand::Comparison::default()),
        by_hand::pull(network, &[[1; 16]]),
    ] {
        world.nodes[member].heard = Some(Vec::new());
        for _ in 0..1000 {
            world.say(member, peer, ask.clone());
            world.run(Duration::from_millis(10));
        }
        let refused = refused(&mut world, member);
        assert!(refused > 900, "{refused}");
        world.run(10 * MINUTE);
    }
}

/// A host and two hundred that it let in, over six connections to one member, promise something new as often as that
/// member takes it. What that member promises reaches another one all the same.
#[test]
fn who_passes_on_what_others_sign_without_end_is_heard() {
    let mut world = world(142, Faults::NONE);
    world.now = Millis(T0.0 * 1000);
    for n in 0..3 {
        world.add_with_key(key(n));
    }
    let (founder, host, honest) = (0, 1, 2);
    let network = found(&mut world, founder, "10.7.0.0/16", AdmissionRule::Invite);
    for node in [host, honest] {
        let invite = invite(&mut world, founder, 1);
        join(&mut world, node, &invite).unwrap();
    }
    let guests = invite(&mut world, host, 10_000);
    assert!(world.run_until(MINUTE, |w| agree(w, &network, &[founder, host, honest])));
    world.kill(host);
    let net = Net {
        charter: world.nodes[founder].disk[&network].charter.clone(),
    };
    let crowd: Vec<Node> = (2000..2200).map(|n| net.guest(n, &guests)).collect();
    let sources: Vec<NodeIndex> = (2000..2006).map(|n| world.add_played(key(n))).collect();
    let peer = world.nodes[honest].key.id();
    let mut at = 0;
    let mut next = |count: usize, world: &Sim| -> Vec<Vec<u8>> {
        let now = world.now.timestamp();
        let some = (at..at + count).map(|n| {
            let sequence = u64::try_from(n / crowd.len()).unwrap() + 1;
            crowd[n % crowd.len()].at(sequence, now).bytes()
        });
        let some = some.collect();
        at += count;
        some
    };
    world.connect(sources[0], honest);
    world.run(Duration::from_secs(1));
    for _ in 0..4 {
        let some = next(50, &world);
        world.say(sources[0], peer, by_hand::push(network, &some));
        world.run(Duration::from_secs(1));
    }
    for source in &sources {
        world.connect(*source, honest);
    }
    world.run(Duration::from_secs(10));
    assert_eq!(status(&world, founder).unwrap().peers.len(), 202);
    let prefix = |n: usize| format!("192.168.{n}.0/24").parse().unwrap();
    let heard = |w: &Sim, n: usize| {
        let peers = status(w, founder).unwrap().peers;
        let theirs = peers.into_iter().find(|other| other.node == peer).unwrap();
        theirs
            .verdicts
            .iter()
            .any(|verdict| verdict.prefix == prefix(n))
    };
    // As much as they have at once, then as much as grows back.
    for source in &sources {
        for _ in 0..11 {
            let some = next(200, &world);
            world.say(*source, peer, by_hand::push(network, &some));
            world.run(Duration::from_millis(10));
        }
    }
    let mut lags = Vec::new();
    for n in 0..4 {
        let mut lag = 0;
        for step in 0..2_000 {
            for source in sources.iter().skip(step % 3).step_by(2) {
                let some = next(2, &world);
                world.say(*source, peer, by_hand::push(network, &some));
            }
            world.run(Duration::from_millis(10));
            if step == 100 {
                let promise = Command::Promise {
                    name: foo(),
                    prefix: prefix(n),
                };
                world.command(honest, promise);
            }
            if step > 100 && heard(&world, n) {
                lag = step - 100;
                break;
            }
        }
        lags.push(lag);
    }
    assert!(lags.iter().all(|lag| (1..500).contains(lag)), "{lags:?}");
}
