//! Clocks that are wrong: at the start and while running, either way, and right again later.

use std::time::Duration;

use grid_promises::Timestamp;
use grid_promises::core::{Command, CommandError, Input, JoinWith, Keep};
use grid_promises::network::invite::InviteError;
use grid_promises::network::member::MemberPromise;
use grid_promises::network::statement::Signed;
use grid_promises::network::{AdmissionRule, NetworkId};
use grid_promises::sim::{Faults, NodeIndex};

use super::{
    Sim, acquainted, agree, describe, foo, found, invite, join, join_command, mesh, revoke, status,
    world,
};

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
    assert!(
        ALL.iter()
            .all(|node| world.nodes[*node].written.believed.is_some())
    );
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
/// in by an invite of its own: so many that the node hears some of them, whomever it dials.
#[test]
fn one_person_with_many_nodes_confirms_no_leap() {
    for (seed, error) in [(350, YEAR), (351, -YEAR), (352, HOUR)] {
        let mut world = world(seed, Faults::NONE);
        let founder = world.add();
        let network = found(&mut world, founder, "10.7.0.0/16", AdmissionRule::Invite);
        for _ in 1..8 {
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

/// Whether each can begin a handshake with each other one.
fn reach(world: &Sim, network: &NetworkId, nodes: &[NodeIndex]) -> bool {
    let key = |node: &NodeIndex| world.nodes[*node].tunnels[network].private_key.public();
    nodes.iter().all(|from| {
        let mut others = nodes.iter().filter(|to| *to != from);
        others.all(|to| world.reaches(*from, network, &key(to)))
    })
}

/// WireGuard's peers take no handshake that is dated before the last one.
#[test]
fn a_clock_that_goes_back_costs_no_tunnel() {
    let cases = [
        (380, 0, false),
        (381, 2, false),
        (382, 0, true),
        (383, 2, true),
    ];
    for (seed, node, restarts) in cases {
        let (mut world, network) = old_mesh(seed);
        world.kill(node);
        world.nodes[node].clock_error = HOUR;
        world.start(node);
        world.run(15 * MINUTE);
        let before = promise(&world, &network, node).public_key;
        if restarts {
            world.kill(node);
            world.nodes[node].clock_error = 0;
            world.start(node);
        } else {
            world.set_clock(node, 0);
            assert!(!reach(&world, &network, &ALL));
        }
        world.run(MINUTE);
        let told = format!("{node}, {restarts}: {}", describe(&world, &network));
        assert!(agree(&world, &network, &ALL), "{told}");
        assert!(reach(&world, &network, &ALL), "{told}");
        let after = promise(&world, &network, node).public_key;
        assert_ne!(before, after);
        // Neither a restart nor a clock that is a little wrong is a reason for another.
        world.kill(node);
        world.start(node);
        world.set_clock(node, -20);
        world.run(MINUTE);
        assert_eq!(promise(&world, &network, node).public_key, after);
        assert!(agree(&world, &network, &ALL), "{told}");
    }
}

/// Two programs set it in turn.
#[test]
fn a_clock_that_goes_back_again_and_again_costs_few_keys() {
    let (mut world, network) = old_mesh(384);
    let before = promise(&world, &network, 2).sequence;
    for _ in 0..60 {
        for error in [HOUR, 0] {
            world.set_clock(2, error);
            world.run(MINUTE / 2);
        }
    }
    let made = promise(&world, &network, 2).sequence - before;
    assert!(made <= 14, "{made}");
    world.run(11 * MINUTE);
    assert!(agree(&world, &network, &ALL));
    assert!(reach(&world, &network, &ALL));
}

/// Nobody is there to say so, and nobody else could give it again.
#[test]
fn a_wrong_clock_costs_an_owner_no_code_and_no_invite() {
    let mut world = world(360, Faults::NONE);
    let founder = world.add();
    found(&mut world, founder, "10.7.0.0/16", AdmissionRule::Approve);
    let node = "4K7J-2M3P-QR8T".to_owned();
    let approve = Command::Approve {
        name: foo(),
        node,
        only_say: false,
    };
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

/// Somebody joins with a machine whose clock was never right: an owner whom it hears is right, and when the clock is put
/// right, nothing is left.
#[test]
fn a_newcomer_whose_clock_is_wrong_is_in() {
    let rules = [AdmissionRule::Invite, AdmissionRule::Approve];
    for (seed, rule) in (370..).zip(rules) {
        for error in [400, 2 * HOUR, 20 * HOUR, -400, -2 * HOUR] {
            for corrected in [false, true] {
                let told = format!("{rule} by {error} s, corrected: {corrected}");
                let mut world = world(seed, Faults::NONE);
                let (network, both) = let_in_by(&mut world, rule, error);
                if corrected {
                    world.run(MINUTE);
                    world.set_clock(both[1], 0);
                }
                let is_whole = |w: &mut Sim| w.run_until(5 * MINUTE, |w| agree(w, &network, &both));
                assert!(
                    is_whole(&mut world),
                    "{told}: {}",
                    describe(&world, &network)
                );
                // Also later, and after a restart.
                world.run(4 * 60 * MINUTE);
                assert!(agree(&world, &network, &both), "{told}");
                world.kill(both[1]);
                world.start(both[1]);
                let believes = |w: &Sim| w.nodes[both[1]].core.as_ref().unwrap().clock(w.now);
                let is_right = |w: &Sim| is_soon(w, believes(w).believed);
                assert!(
                    world.run_until(5 * MINUTE, is_right),
                    "{told}: {:?}",
                    believes(&world)
                );
                assert!(is_whole(&mut world), "{told}");
            }
        }
    }
}

/// A founder, and a node whose clock is wrong from its start on and that was told to join. If its clock is behind the
/// invite, it says so, and is put right a little.
fn let_in_by(world: &mut Sim, rule: AdmissionRule, error: i64) -> (NetworkId, [NodeIndex; 2]) {
    let (network, founder, newcomer) = acquainted(world, rule);
    if rule == AdmissionRule::Approve {
        set_wrong_from_the_start(world, newcomer, error);
        let known = Input::KnownPeer {
            node: world.nodes[founder].key.id(),
            addrs: vec![world.nodes[founder].quic()],
        };
        world.input(newcomer, known);
        world.command(newcomer, join_command(JoinWith::Peers));
        world.run(MINUTE);
        let node = world.nodes[newcomer].key.id().to_string();
        let approve = Command::Approve {
            name: foo(),
            node,
            only_say: false,
        };
        world.run_command(founder, approve).unwrap();
        return (network, [founder, newcomer]);
    }
    let text = invite(world, founder, 1);
    set_wrong_from_the_start(world, newcomer, error);
    match join(world, newcomer, &text) {
        Err(CommandError::Invite(InviteError::Future { ahead })) if error < 0 => {
            assert!(ahead.abs_diff(error.unsigned_abs()) < 5, "{ahead}");
            world.set_clock(newcomer, 0);
            join(world, newcomer, &text).unwrap();
            world.set_clock(newcomer, error);
        }
        outcome => {
            outcome.unwrap();
        }
    }
    (network, [founder, newcomer])
}

fn set_wrong_from_the_start(world: &mut Sim, node: NodeIndex, error: i64) {
    world.kill(node);
    world.nodes[node].clock_error = error;
    world.start(node);
}

/// One member alone moves no clock, but says what its own shows.
#[test]
fn a_newcomer_that_hears_one_member_is_told_that_its_clock_is_wrong() {
    let (mut world, network, _) = mesh(380, Faults::NONE, 2, "10.7.0.0/16");
    world.run(MINUTE);
    let text = invite(&mut world, 1, 1);
    world.kill(0);
    let newcomer = world.add();
    set_wrong_from_the_start(&mut world, newcomer, 2 * HOUR);
    join(&mut world, newcomer, &text).unwrap();
    world.run(30 * MINUTE);
    let clock = world.nodes[newcomer]
        .core
        .as_ref()
        .unwrap()
        .clock(world.now);
    assert!(!clock.is_confirmed, "{clock:?}");
    assert!(
        clock.said.is_some_and(|said| is_soon(&world, said)),
        "{clock:?}"
    );
    assert!(!agree(&world, &network, &[1, newcomer]));
    world.set_clock(newcomer, 0);
    let both = [1, newcomer];
    let is_whole = |w: &Sim| {
        both.iter()
            .all(|node| w.nodes[*node].tunnels[&network].peers.len() == 2)
    };
    assert!(
        world.run_until(5 * MINUTE, is_whole),
        "{}",
        describe(&world, &network)
    );
    let clock = world.nodes[newcomer]
        .core
        .as_ref()
        .unwrap()
        .clock(world.now);
    assert_eq!(clock.said, None);
}

/// Those whom it let in move no clock of an owner that began anew, and it moves theirs: not both at once.
#[test]
fn guests_with_wrong_clocks_follow_the_founder_and_not_the_other_way() {
    let mut world = world(381, Faults::NONE);
    let founder = world.add();
    let network = found(&mut world, founder, "10.7.0.0/16", AdmissionRule::Invite);
    let mut all = vec![founder];
    for _ in 0..3 {
        let text = invite(&mut world, founder, 1);
        let guest = world.add();
        set_wrong_from_the_start(&mut world, guest, 2 * HOUR);
        join(&mut world, guest, &text).unwrap();
        all.push(guest);
    }
    for _ in 0..4 {
        assert!(world.run_until(5 * MINUTE, |w| agree(w, &network, &all)));
        for node in &all {
            let clock = world.nodes[*node].core.as_ref().unwrap().clock(world.now);
            assert!(is_soon(&world, clock.believed), "{node}: {clock:?}");
        }
        world.run(10 * 60 * MINUTE);
    }
}

/// A machine without a clock of its own joins with an invite, which was not made before it was made.
#[test]
fn a_machine_without_a_clock_takes_the_time_of_its_invite() {
    let (mut world, network, text) = mesh(382, Faults::NONE, 2, "10.7.0.0/16");
    let newcomer = world.add();
    let since_1970 = i64::try_from(world.now.timestamp().0).unwrap();
    set_wrong_from_the_start(&mut world, newcomer, 60 - since_1970);
    join(&mut world, newcomer, &text).unwrap();
    let all = [0, 1, newcomer];
    assert!(world.run_until(5 * MINUTE, |w| agree(w, &network, &all)));
}
