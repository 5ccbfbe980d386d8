//! Work that some cause with a node, and others who ask it something meanwhile.

use std::time::Duration;

use grid_promises::core::protocol::by_hand;
use grid_promises::core::{Input, JoinWith, ReplyTo};
use grid_promises::network::AdmissionRule;
use grid_promises::sim::Faults;

use super::{acquainted, agree, join_command, world};
use crate::common::key;

/// A comparison with somebody who holds nothing.
fn empty() -> by_hand::Comparison {
    by_hand::Comparison {
        index: Some(Vec::new()),
        ..by_hand::Comparison::default()
    }
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
