//! The recovery key: what it is for when a founder's key is lost, or stolen.

use std::time::Duration;

use grid_promises::core::{Command, CommandError, Cut, Dismissal, Keep, OwnStanding, Reply};
use grid_promises::network::act::OfficeId;
use grid_promises::network::recovery::RecoveryKey;
use grid_promises::network::{AdmissionRule, NetworkId};
use grid_promises::sim::{Faults, NodeIndex};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use super::{
    Sim, agree, appoint, describe, dismiss, dismissal, foo, found_under, invite, join, raised,
    revoke, status, world,
};

fn recovery_key(seed: u64) -> RecoveryKey {
    RecoveryKey::generate(&mut ChaCha8Rng::seed_from_u64(seed))
}

/// A network of four under a recovery key, founded by the first.
fn under_a_key(seed: u64) -> (Sim, NetworkId, RecoveryKey) {
    under_a_key_with(seed, Faults::BAD)
}

fn under_a_key_with(seed: u64, faults: Faults) -> (Sim, NetworkId, RecoveryKey) {
    let mut world = world(seed, faults);
    let key = recovery_key(seed);
    let founder = world.add();
    let above = Some(key.key().id());
    let network = found_under(
        &mut world,
        founder,
        "10.7.0.0/16",
        AdmissionRule::Invite,
        above,
    );
    let through = invite(&mut world, founder, 3);
    for _ in 1..4 {
        let node = world.add();
        join(&mut world, node, &through).unwrap();
    }
    assert!(world.run_until(Duration::from_secs(60), |w| agree(
        w,
        &network,
        &[0, 1, 2, 3]
    )));
    world.run(Duration::from_secs(60));
    (world, network, key)
}

fn name(world: &Sim, node: NodeIndex) -> String {
    world.nodes[node].key.id().to_string()
}

fn recover(key: &RecoveryKey) -> Command {
    let key = key.clone();
    Command::Recover { name: foo(), key }
}

#[test]
fn a_network_outlives_the_loss_of_its_founder() {
    let (mut world, network, key) = under_a_key(81);
    world.kill(0);
    let bad = name(&world, 3);
    let refused = world.run_command(1, revoke(bad.clone(), Keep::Nobody));
    assert_eq!(refused, Err(CommandError::NotAnOwner(foo())));
    let other = world.run_command(1, recover(&recovery_key(82)));
    assert_eq!(other, Err(CommandError::OtherRecoveryKey(foo())));
    assert_eq!(world.run_command(1, recover(&key)), Ok(Reply::Changed));
    assert_eq!(world.run_command(1, recover(&key)), Ok(Reply::Unchanged));
    world.run_command(1, revoke(bad, Keep::Nobody)).unwrap();
    let out = |w: &Sim| matches!(status(w, 3).unwrap().standing, OwnStanding::Expelled(_));
    assert!(world.run_until(Duration::from_secs(60), out));
    // Whoever joins later knows the new owner as well.
    let late = world.add();
    let through = invite(&mut world, 2, 1);
    join(&mut world, late, &through).unwrap();
    world.run(Duration::from_secs(10));
    let owners = status(&world, late).unwrap().owners;
    assert_eq!(owners.recovery, Some(key.key().id()));
    let is_new = |office: &&grid_promises::core::OfficeStatus| {
        office.holder == world.nodes[1].key.id() && office.is_live && office.depth == 1
    };
    assert_eq!(owners.offices.iter().filter(is_new).count(), 1);
    // The founder's promise lapses in its time; whoever was revoked stays out.
    world.run(Duration::from_secs(2 * 24 * 3600));
    assert!(
        agree(&world, &network, &[1, 2, 4]),
        "{}",
        describe(&world, &network)
    );
}

/// Whoever stole the founder's key revokes everybody else. One of those brings them all back.
#[test]
fn a_thief_of_the_founders_key_is_dismissed() {
    let (mut world, network, key) = under_a_key(83);
    for node in 1..4 {
        let bad = name(&world, node);
        world.run_command(0, revoke(bad, Keep::Nobody)).unwrap();
    }
    assert!(world.run_until(Duration::from_secs(60), |w| {
        (1..4).all(|node| matches!(status(w, node).unwrap().standing, OwnStanding::Expelled(_)))
    }));
    world.run(Duration::from_secs(600));
    let dismiss = |recovery, only_say| Command::Dismiss {
        name: foo(),
        dismissal: Dismissal {
            recovery,
            only_say,
            keep: Keep::Guests,
            ..dismissal(name(&world, 0), Cut::Nothing)
        },
    };
    let (alone, plan, with) = (
        dismiss(None, false),
        dismiss(Some(key.clone()), true),
        dismiss(Some(key.clone()), false),
    );
    // The thief does not hear of it.
    world.partition(|node| u8::from(node == 0));
    let refused = world.run_command(2, alone);
    assert_eq!(refused, Err(CommandError::NotAnOwner(foo())));
    let said = world.run_command(2, plan);
    let done = world.run_command(2, with);
    assert_eq!(said, done);
    assert!(
        matches!(&done, Ok(Reply::Dismissed { void, .. }) if void.len() >= 3),
        "{done:?}"
    );
    assert!(
        world.run_until(Duration::from_secs(120), |w| agree(w, &network, &[1, 2, 3])),
        "{}",
        describe(&world, &network)
    );
    // What the thief goes on doing counts for nobody, and the heir decides.
    let again = name(&world, 3);
    let thief = world.add();
    world.partition(|node| u8::from(node == 0 || node == thief));
    let through = invite(&mut world, 0, 5);
    let _ = join(&mut world, thief, &through);
    world.partition(|_| 0);
    world.run(Duration::from_secs(120));
    assert!(
        agree(&world, &network, &[1, 2, 3]),
        "{}",
        describe(&world, &network)
    );
    assert!(status(&world, 2).unwrap().owner);
    world.run_command(2, revoke(again, Keep::Nobody)).unwrap();
    assert!(world.run_until(Duration::from_secs(60), |w| agree(w, &network, &[1, 2])));
}

/// An owner's thief puts two nodes out. One of them hears that the owner was dismissed, and is the only one left to tell
/// the other, which takes it for out as well.
#[test]
fn who_comes_back_brings_the_others_back() {
    for faults in [Faults::NONE, Faults::BAD] {
        let (mut world, network, _) = under_a_key_with(85, faults);
        let minute = Duration::from_secs(60);
        appoint(&mut world, 1);
        world.run(minute);
        for node in [2, 3] {
            let bad = name(&world, node);
            world.run_command(1, revoke(bad, Keep::Nobody)).unwrap();
        }
        let out = |w: &Sim| [2, 3].iter().all(|node| w.nodes[*node].tunnels.is_empty());
        assert!(world.run_until(minute, out));
        world.run(minute);
        world.partition(|node| u8::from(node == 2));
        let command = dismiss(dismissal(name(&world, 1), Cut::Nothing));
        world.run_command(0, command).unwrap();
        let is_back = |w: &Sim| w.nodes[3].tunnels.contains_key(&network);
        assert!(world.run_until(minute, is_back));
        world.kill(0);
        world.kill(1);
        world.partition(|_| 0);
        world.run(20 * minute);
        let both = [2, 3].map(|node| status(&world, node).unwrap().standing);
        assert_eq!(both, [OwnStanding::Member, OwnStanding::Member]);
    }
}

/// A node that waits for an owner becomes one, and with that a member.
#[test]
fn who_waits_for_a_lost_owner_recovers() {
    let mut world = world(84, Faults::NONE);
    let key = recovery_key(84);
    let (founder, member, node) = (world.add(), world.add(), world.add());
    let above = Some(key.key().id());
    let network = found_under(
        &mut world,
        founder,
        "10.7.0.0/16",
        AdmissionRule::Approve,
        above,
    );
    for (joiner, through) in [(member, founder), (node, member)] {
        wait_for_an_owner(&mut world, joiner, through);
        if joiner == member {
            let approve = Command::Approve {
                name: foo(),
                node: name(&world, member),
                only_say: false,
            };
            raised(world.run_command(founder, approve));
            assert!(world.run_until(Duration::from_secs(60), |w| agree(w, &network, &[0, 1])));
            world.kill(founder);
        }
    }
    assert_eq!(world.run_command(node, recover(&key)), Ok(Reply::Changed));
    world.run(Duration::from_secs(60));
    assert!(status(&world, node).unwrap().owner);
    assert!(matches!(
        status(&world, node).unwrap().standing,
        OwnStanding::Member
    ));
    world.run(Duration::from_secs(2 * 24 * 3600));
    assert!(
        agree(&world, &network, &[1, 2]),
        "{}",
        describe(&world, &network)
    );
    // Whoever does so next goes on from what the key did, which no member has told it.
    let late = world.add();
    wait_for_an_owner(&mut world, late, member);
    assert_eq!(world.run_command(late, recover(&key)), Ok(Reply::Changed));
    assert!(world.run_until(Duration::from_secs(60), |w| agree(w, &network, &[1, 2, 3])));
    assert_eq!(acts_of(&world, &key, &network), (2, 1));
}

/// An owner whom the founder appointed goes on when the founder is dismissed, and admits.
#[test]
fn an_owner_below_one_who_was_dismissed_admits() {
    let mut world = world(87, Faults::NONE);
    let key = recovery_key(87);
    let all: Vec<NodeIndex> = (0..4).map(|_| world.add()).collect();
    let (founder, owner, heir, node) = (all[0], all[1], all[2], all[3]);
    let rule = AdmissionRule::Approve;
    let above = Some(key.key().id());
    let network = found_under(&mut world, founder, "10.7.0.0/16", rule, above);
    let approve = |world: &mut Sim, by: NodeIndex, node: NodeIndex| {
        let approve = Command::Approve {
            name: foo(),
            node: name(world, node),
            only_say: false,
        };
        raised(world.run_command(by, approve));
    };
    for joiner in [owner, heir] {
        wait_for_an_owner(&mut world, joiner, founder);
        approve(&mut world, founder, joiner);
    }
    assert!(world.run_until(Duration::from_secs(60), |w| agree(w, &network, &[0, 1, 2])));
    appoint(&mut world, owner);
    world.run(Duration::from_secs(60));
    let dismissal = Dismissal {
        recovery: Some(key),
        ..dismissal(name(&world, founder), Cut::Now)
    };
    world.run_command(heir, dismiss(dismissal)).unwrap();
    world.run(Duration::from_secs(60));
    wait_for_an_owner(&mut world, node, owner);
    approve(&mut world, owner, node);
    assert!(
        world.run_until(Duration::from_secs(60), |w| agree(w, &network, &[1, 2, 3])),
        "{}",
        describe(&world, &network)
    );
}

/// The same goes for a node that was put out and only hears what concerns it.
#[test]
fn who_is_out_goes_on_from_the_last_act_of_the_recovery_key() {
    let (mut world, network, key) = under_a_key_with(86, Faults::NONE);
    let minute = Duration::from_secs(60);
    assert_eq!(world.run_command(1, recover(&key)), Ok(Reply::Changed));
    for (owner, node) in [(0, 3), (1, 2)] {
        let bad = name(&world, node);
        world.run_command(owner, revoke(bad, Keep::Nobody)).unwrap();
        assert!(world.run_until(minute, |w| w.nodes[node].tunnels.is_empty()));
    }
    // The last act closes an invite once more, which is no business of a node that came by another.
    let other = invite(&mut world, 0, 1).grant.invite.to_string();
    let close = Command::CloseInvite {
        name: foo(),
        invite: other,
        keep: Keep::Nobody,
        only_say: false,
    };
    world.run_command(0, close).unwrap();
    world.run(minute);
    let dismissal = Dismissal {
        recovery: Some(key.clone()),
        restate: true,
        ..dismissal(name(&world, 0), Cut::Nothing)
    };
    // Nobody else who is out hears of it and passes it on.
    world.kill(0);
    world.kill(3);
    world.run_command(1, dismiss(dismissal)).unwrap();
    let known = acts_of(&world, &key, &network);
    world.run(2 * Duration::from_secs(3600));
    assert_eq!(world.run_command(2, recover(&key)), Ok(Reply::Changed));
    world.run(10 * minute);
    assert_eq!(acts_of(&world, &key, &network), (known.0 + 1, 1));
}

fn wait_for_an_owner(world: &mut Sim, joiner: NodeIndex, through: NodeIndex) {
    let peer = grid_promises::core::Input::KnownPeer {
        node: world.nodes[through].key.id(),
        addrs: vec![world.nodes[through].quic()],
    };
    world.input(joiner, peer);
    let waits = world.run_command(joiner, super::join_command(super::JoinWith::Peers));
    assert!(
        matches!(waits, Err(CommandError::WaitsForOwner { .. })),
        "{waits:?}"
    );
}

/// How many acts of a recovery key count for the second node, and in how many branches.
fn acts_of(world: &Sim, key: &RecoveryKey, network: &NetworkId) -> (usize, usize) {
    let office = OfficeId::founding(network, &key.key().id());
    let offices = status(world, 1).unwrap().owners.offices;
    let its = offices.iter().find(|known| known.office == office).unwrap();
    (its.acts, its.heads.len())
}

/// Those who are put out one after the other have not all heard of one another, and what WireGuard had learned went with
/// their interfaces.
#[test]
fn those_who_come_back_find_one_another_again() {
    for (seed, gap) in (0..12).zip([0, 20, 60, 2000].into_iter().cycle()) {
        let (mut world, network, key) = under_a_key_with(200 + seed, Faults::NONE);
        for node in 1..4 {
            let bad = name(&world, node);
            world.run_command(0, revoke(bad, Keep::Nobody)).unwrap();
            world.run(Duration::from_millis(gap));
        }
        let out = |w: &Sim| (1..4).all(|node| !w.nodes[node].tunnels.contains_key(&network));
        assert!(world.run_until(Duration::from_secs(60), out));
        let dismissal = Dismissal {
            recovery: Some(key),
            keep: Keep::Guests,
            ..dismissal(name(&world, 0), Cut::Nothing)
        };
        world.run_command(1, dismiss(dismissal)).unwrap();
        assert!(
            world.run_until(Duration::from_secs(60), |w| agree(w, &network, &[1, 2, 3])),
            "{seed}, {gap} ms: {}",
            describe(&world, &network)
        );
    }
}

#[test]
fn a_network_without_a_recovery_key_says_so() {
    let mut world = world(85, Faults::NONE);
    let founder = world.add();
    super::found(&mut world, founder, "10.7.0.0/16", AdmissionRule::Invite);
    let refused = world.run_command(founder, recover(&recovery_key(85)));
    assert_eq!(refused, Err(CommandError::NoRecoveryKey(foo())));
}

/// An owner's backup is restored while it hears nobody, and it goes on: one branch revokes one node, the other another.
fn forked(seed: u64) -> (Sim, NetworkId) {
    let minute = Duration::from_secs(60);
    let (mut world, network, _) = under_a_key_with(seed, Faults::NONE);
    appoint(&mut world, 1);
    world.run(minute);
    let backup = world.nodes[1].disk.clone();
    let revoke_by_one = |world: &mut Sim, bad: NodeIndex| {
        let bad = name(world, bad);
        world.run_command(1, revoke(bad, Keep::Nobody)).unwrap();
        world.run(minute);
    };
    revoke_by_one(&mut world, 2);
    world.kill(1);
    world.nodes[1].disk = backup;
    world.partition(|node| u8::from(node == 1));
    world.start(1);
    revoke_by_one(&mut world, 3);
    world.partition(|_| 0);
    world.run(10 * minute);
    (world, network)
}

#[test]
fn no_dismissal_undoes_a_branch_unasked() {
    let is_in = |world: &Sim, node: NodeIndex| {
        let peers = status(world, 0).unwrap().peers;
        peers
            .iter()
            .any(|peer| peer.node == world.nodes[node].key.id() && peer.ipv4.is_some())
    };
    for restate in [false, true] {
        let (mut world, _) = forked(86);
        let offices = status(&world, 0).unwrap().owners.offices;
        assert!(offices.iter().any(|office| office.heads.len() == 2));
        let dismissal = Dismissal {
            restate,
            ..dismissal(name(&world, 1), Cut::Now)
        };
        let outcome = world.run_command(0, dismiss(dismissal));
        match restate {
            true => assert!(
                matches!(outcome, Ok(Reply::Dismissed { .. })),
                "{outcome:?}"
            ),
            false => assert!(
                matches!(outcome, Err(CommandError::LosesActs { revocations: 1, .. })),
                "{outcome:?}"
            ),
        }
        world.run(Duration::from_secs(600));
        assert_eq!(is_in(&world, 1), !restate);
        assert!(!is_in(&world, 2) && !is_in(&world, 3), "{restate}");
        let out = |node| {
            matches!(
                status(&world, node).unwrap().standing,
                OwnStanding::Expelled(_)
            )
        };
        assert!(out(2) && out(3), "{restate}");
    }
}
