//! Where a node is seen, if some of those who say so are one person's.

use std::time::Duration;

use grid_promises::core::{Command, Input, JoinWith, Ranges};
use grid_promises::network::member::MemberPromise;
use grid_promises::network::statement::Signed;
use grid_promises::network::{AdmissionRule, NetworkId};
use grid_promises::sim::{Faults, NodeIndex};

use super::{Sim, agree, found, invite, join, mesh, world};

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
    lie_about(&mut world, victim, &crowd);
    world.run(minute / 2);
    assert_is_where_it_is(&world, &network, victim);
}

/// A person made two nodes known to a member, which asks them for a network: both say that they see it elsewhere.
#[test]
fn those_who_are_no_members_do_not_say_where_a_node_is() {
    let (mut world, network, _) = mesh(121, Faults::NONE, 3, "10.7.0.0/16");
    let minute = Duration::from_secs(60);
    assert!(world.run_until(minute, |w| agree(w, &network, &[0, 1, 2])));
    let victim = 0;
    let strangers = [world.add(), world.add()];
    for stranger in strangers {
        let known = Input::KnownPeer {
            node: world.nodes[stranger].key.id(),
            addrs: vec![world.nodes[stranger].quic()],
        };
        world.input(victim, known);
    }
    let search = Command::Join {
        name: "bar".parse().unwrap(),
        with: JoinWith::Peers,
        ranges: Ranges::Private,
        listen_port: 51821,
        wait: minute,
    };
    world.command(victim, search);
    lie_about(&mut world, victim, &strangers);
    world.run(minute / 2);
    assert_is_where_it_is(&world, &network, victim);
}

/// A machine promises no address but its own.
fn assert_is_where_it_is(world: &Sim, network: &NetworkId, node: NodeIndex) {
    let promise = world.nodes[node].disk[network].promise.clone().unwrap();
    let promise = Signed::<MemberPromise>::decode(&promise).unwrap();
    let own = world.nodes[node].quic().ip();
    for endpoint in promise.quic.iter().chain(&promise.wireguard) {
        assert_eq!(endpoint.addr.ip(), own);
    }
}

/// For three seconds, these say that they see a machine elsewhere.
fn lie_about(world: &mut Sim, victim: NodeIndex, liars: &[NodeIndex]) {
    let peer = world.nodes[victim].key.id();
    for _ in 0..3000 {
        for liar in liars {
            // What it answers to a hello is where it sees the connection come from.
            let connected = Input::Connected {
                peer,
                remote: "203.0.113.7:4000".parse().unwrap(),
                outgoing: false,
            };
            world.input(*liar, connected);
        }
        world.run(Duration::from_millis(1));
    }
}
