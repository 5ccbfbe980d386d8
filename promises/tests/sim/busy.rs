//! Work that some cause with a node, and others who ask it something meanwhile.

use std::time::Duration;

use grid_promises::core::protocol::by_hand;
use grid_promises::core::{Input, JoinWith, ReplyTo};
use grid_promises::network::AdmissionRule;
use grid_promises::sim::{Faults, NodeIndex};

use super::{Sim, acquainted, agree, join_command, mesh, world};
use crate::common::{MINUTE, key};

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
