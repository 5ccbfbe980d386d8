//! Clocks that are wrong: at the start and while running, either way, and right again later.

use std::time::Duration;

use grid_promises::Timestamp;
use grid_promises::core::{Command, Keep};
use grid_promises::network::member::MemberPromise;
use grid_promises::network::statement::Signed;
use grid_promises::network::{AdmissionRule, NetworkId};
use grid_promises::sim::{Faults, NodeIndex};

use super::{Sim, agree, describe, foo, found, invite, join, mesh, revoke, status, world};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: i64 = 3600;
const YEAR: i64 = 365 * 24 * HOUR;
const ALL: [NodeIndex; 4] = [0, 1, 2, 3];

/// What a machine promised last, by its own disk.
fn promise(world: &Sim, network: &NetworkId, node: NodeIndex) -> Signed<MemberPromise> {
    let bytes = world.nodes[node].disk[network].promise.clone().unwrap();
    Signed::decode(&bytes).unwrap()
}

fn kept(world: &Sim, network: &NetworkId, node: NodeIndex) -> usize {
    world.nodes[node].disk[network].statements.len()
}

fn is_soon(world: &Sim, time: Timestamp) -> bool {
    time.0.abs_diff(world.now.timestamp().0) < 600
}

/// Four who have been there for a while, and wrote the time down.
fn old_mesh(seed: u64) -> (Sim, NetworkId) {
    let (mut world, network, _) = mesh(seed, Faults::NONE, 4, "10.7.0.0/16");
    assert!(world.run_until(MINUTE, |w| agree(w, &network, &ALL)));
    // By then it has stood long enough to be believed, where no owner said so.
    world.run(25 * 60 * MINUTE);
    assert!(ALL.iter().all(|node| world.nodes[*node].written.is_some()));
    (world, network)
}

/// What the issue names: a year either way, hours, and minutes; members and the founder.
fn wrong_clocks() -> impl Iterator<Item = (u64, NodeIndex, i64)> {
    let errors = [YEAR, -YEAR, 5 * HOUR, -5 * HOUR, HOUR, -HOUR, 400, -400];
    let cases = errors
        .into_iter()
        .flat_map(|error| [(0, error), (2, error)]);
    (300..)
        .zip(cases)
        .map(|(seed, (node, error))| (seed, node, error))
}

#[test]
fn a_clock_that_leaps_while_the_node_runs_changes_nothing() {
    for (seed, node, error) in wrong_clocks() {
        let (mut world, network) = old_mesh(seed);
        let held = kept(&world, &network, node);
        world.set_clock(node, error);
        for _ in 0..8 {
            world.run(30 * MINUTE);
            let told = format!("{node} by {error} s: {}", describe(&world, &network));
            assert!(agree(&world, &network, &ALL), "{told}");
            assert!(
                promise(&world, &network, node).issued <= world.now.timestamp(),
                "{told}"
            );
            let clock = world.nodes[node].core.as_ref().unwrap().clock(world.now);
            assert!(is_soon(&world, clock.believed), "{told}: {clock:?}");
        }
        assert_eq!(kept(&world, &network, node), held);
        world.set_clock(node, 0);
        world.run(10 * 60 * MINUTE);
        assert!(agree(&world, &network, &ALL));
    }
}

#[test]
fn a_node_whose_clock_is_wrong_at_the_start_is_whole_and_keeps_what_it_knew() {
    for (seed, node, error) in wrong_clocks() {
        let (mut world, network) = old_mesh(seed);
        let held = kept(&world, &network, node);
        world.kill(node);
        world.run(3 * 60 * MINUTE);
        world.nodes[node].clock_error = error;
        world.start(node);
        assert!(
            world.run_until(MINUTE, |w| agree(w, &network, &ALL)),
            "{node} by {error} s: {}",
            describe(&world, &network)
        );
        // Others take what it signs.
        world.run(10 * 60 * MINUTE);
        assert!(agree(&world, &network, &ALL), "{node} by {error} s");
        assert_eq!(kept(&world, &network, node), held, "{node} by {error} s");
    }
}

#[test]
fn a_clock_that_is_put_right_after_the_start_leaves_nothing_behind() {
    for (seed, node, error) in wrong_clocks() {
        let (mut world, network) = old_mesh(seed);
        world.kill(node);
        world.run(3 * 60 * MINUTE);
        world.nodes[node].clock_error = error;
        // Nobody is there to say so.
        world.partition(|index| u8::from(index == node));
        world.start(node);
        world.run(MINUTE / 6);
        world.set_clock(node, 0);
        world.run(MINUTE / 6);
        world.partition(|_| 0);
        assert!(
            world.run_until(5 * MINUTE, |w| agree(w, &network, &ALL)),
            "{node} by {error} s: {}",
            describe(&world, &network)
        );
        world.run(9 * 60 * MINUTE);
        assert!(agree(&world, &network, &ALL), "{node} by {error} s");
        assert!(promise(&world, &network, node).issued <= world.now.timestamp());
    }
}

/// All lose the power, and the clocks of all stand where they were when they come back.
#[test]
fn all_clocks_are_behind_at_once_and_put_right_one_by_one() {
    let (mut world, network) = old_mesh(330);
    for node in ALL {
        world.kill(node);
    }
    world.run(5 * 60 * MINUTE);
    for node in ALL {
        world.nodes[node].clock_error = -5 * HOUR;
        world.start(node);
    }
    assert!(world.run_until(5 * MINUTE, |w| agree(w, &network, &ALL)));
    for node in ALL {
        world.set_clock(node, 0);
        world.run(MINUTE);
    }
    world.run(10 * MINUTE);
    for node in ALL {
        let clock = world.nodes[node].core.as_ref().unwrap().clock(world.now);
        assert!(is_soon(&world, clock.believed), "{node}: {clock:?}");
    }
    assert!(
        agree(&world, &network, &ALL),
        "{}",
        describe(&world, &network)
    );
}

#[test]
fn who_was_revoked_stays_out_whatever_the_clock_says() {
    for (seed, error) in [(340, -5 * HOUR), (341, -YEAR), (342, YEAR)] {
        let (mut world, network) = old_mesh(seed);
        let bad = world.nodes[3].key.id().to_string();
        world.run_command(0, revoke(bad, Keep::Nobody)).unwrap();
        world.run(MINUTE);
        world.kill(2);
        world.nodes[2].clock_error = error;
        world.partition(|index| u8::from(index != 2));
        world.start(2);
        world.run(MINUTE);
        assert_eq!(world.nodes[2].tunnels[&network].peers.len(), 2);
    }
}

/// A member and its guests, whom the node is connected to, say that a wrong clock is right. The founder let each member
/// in by an invite of its own.
#[test]
fn one_person_with_many_nodes_confirms_no_leap() {
    for (seed, error) in [(350, YEAR), (351, -YEAR), (352, HOUR)] {
        let mut world = world(seed, Faults::NONE);
        let founder = world.add();
        let network = found(&mut world, founder, "10.7.0.0/16", AdmissionRule::Invite);
        for _ in 1..4 {
            let text = invite(&mut world, founder, 1);
            let node = world.add();
            join(&mut world, node, &text).unwrap();
        }
        let guests = invite(&mut world, 3, 10);
        let mut liars = vec![3];
        for _ in 0..8 {
            let guest = world.add();
            join(&mut world, guest, &guests).unwrap();
            liars.push(guest);
        }
        let all: Vec<NodeIndex> = (0..world.nodes.len()).collect();
        assert!(world.run_until(MINUTE, |w| agree(w, &network, &all)));
        world.run(MINUTE);
        for liar in liars {
            world.set_clock(liar, error);
        }
        world.run(MINUTE);
        let held = kept(&world, &network, 2);
        world.set_clock(2, error);
        for _ in 0..12 {
            world.run(10 * MINUTE);
            let clock = world.nodes[2].core.as_ref().unwrap().clock(world.now);
            assert!(is_soon(&world, clock.believed), "by {error} s: {clock:?}");
            assert!(promise(&world, &network, 2).issued <= world.now.timestamp());
        }
        assert!(kept(&world, &network, 2) >= held);
        let honest = [0, 1, 2];
        assert!(honest.iter().all(|a| {
            let key = |b: &NodeIndex| promise(&world, &network, *b).public_key;
            let mut others = honest.iter().filter(|b| *b != a);
            others.all(|b| world.answers(*a, &network, &key(b)))
        }));
    }
}

/// Nobody is there to say so, and nobody else could give it again.
#[test]
fn a_wrong_clock_costs_an_owner_no_code_and_no_invite() {
    let mut world = world(360, Faults::NONE);
    let founder = world.add();
    found(&mut world, founder, "10.7.0.0/16", AdmissionRule::Approve);
    let node = "4K7J-2M3P-QR8T".to_owned();
    let approve = Command::Approve { name: foo(), node };
    world.run_command(founder, approve).unwrap();
    world.kill(founder);
    for error in [YEAR, 0] {
        world.nodes[founder].clock_error = error;
        world.start(founder);
        world.run(5 * MINUTE);
        let known = status(&world, founder).unwrap().expected.len();
        assert_eq!(known, usize::from(error == 0));
        world.kill(founder);
    }
}

#[test]
fn a_network_is_founded_and_joined_with_a_clock_that_is_put_right_later() {
    for error in [YEAR, -HOUR, HOUR] {
        let mut world = world(361, Faults::NONE);
        let founder = world.add();
        world.set_clock(founder, error);
        let network = found(&mut world, founder, "10.7.0.0/16", AdmissionRule::Invite);
        world.run(MINUTE);
        world.set_clock(founder, 0);
        world.run(MINUTE);
        let guest = world.add();
        let text = invite(&mut world, founder, 1);
        join(&mut world, guest, &text).unwrap();
        let both = [founder, guest];
        assert!(
            world.run_until(5 * MINUTE, |w| agree(w, &network, &both)),
            "by {error} s: {}",
            describe(&world, &network)
        );
    }
}
