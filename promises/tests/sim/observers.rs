//! Where a node is seen, if some of those who say so are one person's.

use std::time::Duration;

use grid_promises::core::Input;
use grid_promises::network::AdmissionRule;
use grid_promises::network::member::MemberPromise;
use grid_promises::network::statement::Signed;
use grid_promises::sim::Faults;

use super::{agree, found, invite, join, world};

/// A member and seven nodes that it let in, all of which say that they see another member elsewhere, while the founder
/// says the truth.
#[test]
fn those_whom_a_member_let_in_do_not_say_where_another_is() {
    let mut world = world(120, Faults::NONE);
    let founder = world.add();
    let network = found(&mut world, founder, "10.7.0.0/16", AdmissionRule::Invite);
    let (victim, hostile) = (world.add(), world.add());
    for node in [victim, hostile] {
        let invite = invite(&mut world, founder, 1);
        join(&mut world, node, &invite).unwrap();
    }
    let guests = invite(&mut world, hostile, 10);
    let mut crowd = vec![hostile];
    for _ in 0..7 {
        let guest = world.add();
        join(&mut world, guest, &guests).unwrap();
        crowd.push(guest);
    }
    let all: Vec<_> = (0..10).collect();
    let minute = Duration::from_secs(60);
    assert!(world.run_until(minute, |w| agree(w, &network, &all)));
    world.kill(victim);
    world.start(victim);
    let peer = world.nodes[victim].key.id();
    for _ in 0..3000 {
        for node in &crowd {
            // What it answers to a hello is where it sees the connection come from.
            let connected = Input::Connected {
                peer,
                remote: "203.0.113.7:4000".parse().unwrap(),
                outgoing: false,
            };
            world.input(*node, connected);
        }
        world.run(Duration::from_millis(1));
    }
    world.run(minute / 2);
    let promise = world.nodes[victim].disk[&network].promise.clone().unwrap();
    let promise = Signed::<MemberPromise>::decode(&promise).unwrap();
    let own = world.nodes[victim].quic().ip();
    for endpoint in promise.quic.iter().chain(&promise.wireguard) {
        assert_eq!(endpoint.addr.ip(), own);
    }
}
