//! Whole networks in virtual time.
#![allow(clippy::panic, clippy::unwrap_used)]

#[path = "sim/approval.rs"]
mod approval;
#[path = "sim/busy.rs"]
mod busy;
#[path = "sim/clocks.rs"]
mod clocks;
mod common;
#[path = "sim/invites.rs"]
mod invites;
#[path = "sim/judges.rs"]
mod judges;
#[path = "sim/observers.rs"]
mod observers;
#[path = "sim/recovery.rs"]
mod recovery;
#[path = "sim/room.rs"]
mod room;

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::time::Duration;

use grid_keys::{NodeId, Secret, WgSecretKey};
use grid_promises::core::protocol::by_hand;
use grid_promises::core::{
    Command, CommandError, Cut, Dismissal, Expulsion, FailureKind, JoinWith, Keep, NetworkStatus,
    Notice, OwnStanding, Ranges, Reply, Tunnel,
};
use grid_promises::core::{Input, ReplyTo};
use grid_promises::limits::{INVITE_MAX_LIFE, MAX_ACTS, RECEIPT_RENEWAL};
use grid_promises::network::act::{Action, OfficeId};
use grid_promises::network::acts::Acts;
use grid_promises::network::admission::Link;
use grid_promises::network::invite::Invite;
use grid_promises::network::member::MemberPromise;
use grid_promises::network::receipt::Receipt;
use grid_promises::network::statement::Signed;
use grid_promises::network::{AdmissionRule, NetworkId, NetworkName};
use grid_promises::sim::{Faults, NodeIndex, World};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

type Sim = World<ChaCha8Rng>;

fn world(seed: u64, faults: Faults) -> Sim {
    World::new(ChaCha8Rng::seed_from_u64(seed), faults)
}

fn foo() -> NetworkName {
    "foo".parse().unwrap()
}

fn found(world: &mut Sim, node: NodeIndex, range: &str, admission: AdmissionRule) -> NetworkId {
    found_under(world, node, range, admission, None)
}

fn found_under(
    world: &mut Sim,
    node: NodeIndex,
    range: &str,
    admission: AdmissionRule,
    recovery: Option<NodeId>,
) -> NetworkId {
    let command = Command::Create {
        name: foo(),
        ipv4: Some(range.parse().unwrap()),
        ranges: Ranges::Private,
        admission,
        recovery,
        listen_port: 51820,
    };
    match world.run_command(node, command) {
        Ok(Reply::Joined { network, .. }) => network,
        other => panic!("founding failed: {other:?}"),
    }
}

/// A network with one member, and a node that knows this member as a peer.
fn acquainted(world: &mut Sim, admission: AdmissionRule) -> (NetworkId, NodeIndex, NodeIndex) {
    let (founder, joiner) = (world.add(), world.add());
    let network = found(world, founder, "10.7.0.0/16", admission);
    let known = grid_promises::core::Input::KnownPeer {
        node: world.nodes[founder].key.id(),
        addrs: vec![world.nodes[founder].quic()],
    };
    world.input(joiner, known);
    (network, founder, joiner)
}

fn invite(world: &mut Sim, node: NodeIndex, uses: u32) -> Invite {
    let command = Command::Invite {
        name: foo(),
        life: Duration::from_secs(24 * 3600),
        uses,
        endpoints: vec![],
    };
    match world.run_command(node, command) {
        Ok(Reply::Invite(text)) => Invite::from_text(&text).unwrap(),
        other => panic!("no invite: {other:?}"),
    }
}

fn join_command(with: JoinWith) -> Command {
    Command::Join {
        name: foo(),
        with,
        ranges: Ranges::Private,
        listen_port: 51820,
        wait: Duration::from_secs(120),
    }
}

fn join(world: &mut Sim, node: NodeIndex, invite: &Invite) -> Result<Reply, CommandError> {
    world.run_command(
        node,
        join_command(JoinWith::Invite(Box::new(invite.clone()))),
    )
}

fn status(world: &Sim, node: NodeIndex) -> Option<NetworkStatus> {
    world.nodes[node].core.as_ref()?.status().into_iter().next()
}

/// Whether the machines hold one state: everybody has everybody else as a peer, with addresses that
/// all agree on, and is answered.
fn agree(world: &Sim, network: &NetworkId, nodes: &[NodeIndex]) -> bool {
    let mut addresses: BTreeMap<NodeIndex, Ipv4Addr> = BTreeMap::new();
    for node in nodes {
        match status(world, *node).and_then(|status| status.ipv4) {
            Some(address) => addresses.insert(*node, address),
            None => return false,
        };
    }
    if addresses.values().collect::<BTreeSet<_>>().len() != nodes.len() {
        return false;
    }
    nodes.iter().all(|node| {
        let Some(tunnel) = world.nodes[*node].tunnels.get(network) else {
            return false;
        };
        let seen: BTreeSet<Ipv4Addr> = tunnel
            .peers
            .values()
            .flat_map(|peer| &peer.allowed_ips)
            .filter_map(|net| match net {
                ipnet::IpNet::V4(v4) => Some(v4.addr()),
                ipnet::IpNet::V6(_) => None,
            })
            .collect();
        let others: BTreeSet<Ipv4Addr> = addresses
            .iter()
            .filter(|(other, _)| *other != node)
            .map(|(_, a)| *a)
            .collect();
        let answers = |key| world.answers(*node, network, key);
        tunnel.peers.len() + 1 == nodes.len() && seen == others && tunnel.peers.keys().all(answers)
    })
}

/// What to look at when machines do not agree.
fn describe(world: &Sim, network: &NetworkId) -> String {
    let lines = world.nodes.iter().enumerate().map(|(index, node)| {
        let status = status(world, index);
        let peers = node
            .tunnels
            .get(network)
            .map_or(0, |tunnel| tunnel.peers.len());
        let asserted = status
            .as_ref()
            .map(|s| (s.standing.clone(), s.ipv4, s.peers.len()));
        let known: Vec<_> = status
            .iter()
            .flat_map(|s| &s.peers)
            .map(|p| {
                format!(
                    "{}={:?}{}",
                    p.label,
                    p.ipv4,
                    if p.connected { "*" } else { "" }
                )
            })
            .collect();
        let last = node.notices.iter().rev().take(3).collect::<Vec<_>>();
        format!(
            "{index}: {asserted:?} tunnel {peers} side {} {known:?}\n    {last:?}\n",
            node.side
        )
    });
    lines.collect()
}

fn mesh(seed: u64, faults: Faults, count: usize, range: &str) -> (Sim, NetworkId, Invite) {
    let mut world = world(seed, faults);
    let founder = world.add();
    let network = found(&mut world, founder, range, AdmissionRule::Invite);
    let uses = u32::try_from(count).unwrap();
    let invite = invite(&mut world, founder, uses);
    for _ in 1..count {
        let node = world.add();
        join(&mut world, node, &invite).unwrap();
    }
    (world, network, invite)
}

#[test]
fn five_nodes_agree_within_seconds() {
    let (mut world, network, _) = mesh(1, Faults::NONE, 5, "10.7.0.0/16");
    let nodes: Vec<_> = (0..5).collect();
    assert!(world.run_until(Duration::from_secs(2), |w| agree(w, &network, &nodes)));
    for node in &nodes {
        let tunnel = &world.nodes[*node].tunnels[&network];
        for peer in tunnel.peers.values() {
            assert_eq!(peer.allowed_ips.len(), 2);
            assert!(
                peer.allowed_ips
                    .iter()
                    .all(|net| net.prefix_len() == net.max_prefix_len())
            );
        }
    }
}

/// Starts all joins at once.
fn crowd(seed: u64, faults: Faults, count: usize, range: &str) -> (Sim, NetworkId) {
    let mut world = world(seed, faults);
    let network = gather(&mut world, count, range);
    (world, network)
}

fn gather(world: &mut Sim, count: usize, range: &str) -> NetworkId {
    let founder = world.add();
    let network = found(world, founder, range, AdmissionRule::Invite);
    let invite = invite(world, founder, u32::try_from(count).unwrap());
    for _ in 1..count {
        let node = world.add();
        world.command(
            node,
            join_command(JoinWith::Invite(Box::new(invite.clone()))),
        );
        world.run(Duration::from_millis(5));
    }
    network
}

#[test]
fn two_hundred_nodes_agree_over_a_bad_network() {
    let (mut world, network) = crowd(7, Faults::BAD, 200, "10.7.0.0/22");
    let nodes: Vec<_> = (0..200).collect();
    let agreed = (0..600).any(|_| {
        world.run(Duration::from_secs(1));
        agree(&world, &network, &nodes)
    });
    assert!(agreed);
}

#[test]
fn a_seed_replays_a_run() {
    let run = |seed| {
        let mut world = world(seed, Faults::BAD);
        world.trace();
        gather(&mut world, 12, "10.7.0.0/24");
        world.run(Duration::from_secs(120));
        world.digest().unwrap()
    };
    assert_eq!(run(3), run(3));
    assert_ne!(run(3), run(4));
}

#[test]
fn crowded_ranges_settle_on_distinct_addresses() {
    // 14 usable addresses, 12 nodes: most first candidates collide.
    for seed in 0..6 {
        let (mut world, network) = crowd(seed, Faults::BAD, 12, "10.7.0.0/28");
        let nodes: Vec<_> = (0..12).collect();
        assert!(
            world.run_until(Duration::from_secs(900), |w| agree(w, &network, &nodes)),
            "seed {seed}\n{}",
            describe(&world, &network)
        );
    }
}

#[test]
fn a_full_range_is_an_error_that_names_it() {
    let (mut world, _, invite) = mesh(2, Faults::NONE, 2, "10.7.0.0/30");
    let third = world.add();
    let error = join(&mut world, third, &invite).unwrap_err();
    assert!(error.to_string().contains("10.7.0.0/30"), "{error}");
    assert!(world.nodes[third].disk.is_empty());
    assert!(world.nodes[third].tunnels.is_empty());
}

#[test]
fn a_partition_heals_and_what_both_sides_claimed_is_settled_alike() {
    // Two sides of one network grow apart in a crowded range, then meet.
    for seed in 0..4 {
        let (mut world, network, invite) = mesh(seed, Faults::NONE, 4, "10.7.0.0/28");
        world.run(Duration::from_secs(5));
        world.partition(|node| u8::from(node == 1 || node == 3 || node >= 7));
        let mut joiners = Vec::new();
        for side in [0, 0, 0, 1, 1, 1] {
            let node = world.add();
            world.nodes[node].side = side;
            joiners.push(node);
        }
        let more = |world: &mut Sim, by: NodeIndex| {
            let command = Command::Invite {
                name: foo(),
                life: Duration::from_secs(3600),
                uses: 3,
                endpoints: vec![],
            };
            match world.run_command(by, command) {
                Ok(Reply::Invite(text)) => Invite::from_text(&text).unwrap(),
                other => panic!("{other:?}"),
            }
        };
        let (left, right) = (more(&mut world, 0), more(&mut world, 1));
        drop(invite);
        for (position, node) in joiners.iter().enumerate() {
            let invite = if position < 3 { &left } else { &right };
            join(&mut world, *node, invite).unwrap();
        }
        let nodes: Vec<_> = (0..10).collect();
        assert!(!agree(&world, &network, &nodes));
        world.partition(|_| 0);
        assert!(
            world.run_until(Duration::from_secs(900), |w| agree(w, &network, &nodes)),
            "seed {seed}"
        );
        // Settled means settled: nobody moves on afterwards, also not over restarts.
        let before: Vec<_> = nodes
            .iter()
            .map(|n| status(&world, *n).unwrap().ipv4)
            .collect();
        for node in &nodes {
            world.kill(*node);
            world.start(*node);
        }
        assert!(world.run_until(Duration::from_secs(900), |w| agree(w, &network, &nodes)));
        let after: Vec<_> = nodes
            .iter()
            .map(|n| status(&world, *n).unwrap().ipv4)
            .collect();
        assert_eq!(before, after, "seed {seed}");
    }
}

#[test]
fn a_node_without_any_peer_keeps_its_address_over_a_restart() {
    let (mut world, network, _) = mesh(5, Faults::NONE, 3, "10.7.0.0/16");
    let before = status(&world, 2).unwrap();
    world.partition(|node| u8::from(node == 2));
    world.kill(2);
    world.start(2);
    let after = status(&world, 2).unwrap();
    assert_eq!(
        (before.ipv4, before.public_key),
        (after.ipv4, after.public_key)
    );
    let tunnel = &world.nodes[2].tunnels[&network];
    assert_eq!(
        tunnel.addresses.len(),
        2,
        "the interface is up before any peer is reachable"
    );
}

#[test]
fn a_node_that_leaves_is_gone_within_seconds_and_can_come_back() {
    let (mut world, network, _) = mesh(6, Faults::NONE, 6, "10.7.0.0/16");
    let all: Vec<_> = (0..6).collect();
    assert!(world.run_until(Duration::from_secs(10), |w| agree(w, &network, &all)));
    let address = status(&world, 5).unwrap().ipv4;
    let reply = world
        .run_command(
            5,
            Command::Leave {
                name: foo(),
                anyway: false,
            },
        )
        .unwrap();
    assert!(
        matches!(reply, Reply::Left { told } if told > 0),
        "{reply:?}"
    );
    assert!(!world.nodes[5].tunnels.contains_key(&network));
    let rest: Vec<_> = (0..5).collect();
    assert!(world.run_until(Duration::from_secs(3), |w| agree(w, &network, &rest)));
    // What is kept suffices to join again, and the address was reserved.
    world.kill(5);
    world.start(5);
    world.run_command(5, join_command(JoinWith::Peers)).unwrap();
    assert!(world.run_until(Duration::from_secs(10), |w| agree(w, &network, &all)));
    assert_eq!(status(&world, 5).unwrap().ipv4, address);
}

#[test]
fn a_revoked_node_is_cut_off_and_cannot_come_back_with_its_old_admission() {
    let (mut world, network, invite) = mesh(8, Faults::NONE, 5, "10.7.0.0/16");
    let all: Vec<_> = (0..5).collect();
    assert!(world.run_until(Duration::from_secs(10), |w| agree(w, &network, &all)));
    let bad = world.nodes[4].key.id().to_string();
    let reply = world.run_command(0, revoke(bad, Keep::Nobody)).unwrap();
    assert!(
        matches!(&reply, Reply::Revoked { affected, .. } if affected.gone.is_empty() && affected.kept.is_empty()),
        "{reply:?}"
    );
    let rest: Vec<_> = (0..4).collect();
    assert!(world.run_until(Duration::from_secs(3), |w| agree(w, &network, &rest)));
    assert!(world.run_until(Duration::from_secs(5), |w| {
        matches!(status(w, 4).unwrap().standing, OwnStanding::Expelled(_))
            && w.nodes[4].tunnels.is_empty()
    }));
    // From its disk, with the old admission.
    world.kill(4);
    world.start(4);
    world.run(Duration::from_secs(300));
    assert!(agree(&world, &network, &rest));
    // From nothing, with the invite that it still holds; also under another key.
    world.nodes[4].disk.clear();
    world.kill(4);
    world.start(4);
    assert!(join(&mut world, 4, &invite).is_err());
    let other = world.add();
    let _ = join(&mut world, other, &invite);
    world.run(Duration::from_secs(60));
    assert!(agree(&world, &network, &rest));
}

/// It connects again and again, while a member that came by the same invite changes what it promises.
#[test]
fn who_was_revoked_is_pushed_no_promise_when_it_comes_back() {
    let (mut world, network, _) = mesh(14, Faults::NONE, 5, "10.7.0.0/16");
    let all: Vec<_> = (0..5).collect();
    assert!(world.run_until(Duration::from_secs(10), |w| agree(w, &network, &all)));
    let key = world.nodes[4].key.clone();
    let bad = revoke(key.id().to_string(), Keep::Nobody);
    world.run_command(0, bad).unwrap();
    world.run(Duration::from_secs(10));
    world.kill(4);
    let played = world.add_played(key);
    let mut pushes = 0;
    for octet in 1..10 {
        for node in 0..4 {
            world.connect(played, node);
        }
        world.run(Duration::from_millis(100));
        let command = Command::Promise {
            name: foo(),
            prefix: format!("192.168.{octet}.0/24").parse().unwrap(),
        };
        world.run_command(2, command).unwrap();
        world.run(Duration::from_secs(3));
        let promise = world.nodes[2].disk[&network].promise.clone().unwrap();
        let heard = world.nodes[played].heard.as_mut().unwrap();
        for input in std::mem::take(heard) {
            if let Input::Request { message, .. } = input {
                let mut parts = message.windows(promise.len());
                assert!(!parts.any(|part| part == promise), "round {octet}");
            }
            pushes += 1;
        }
    }
    assert!(pushes > 0, "it never came in");
}

/// An owner withdraws a node's admission.
fn revoke(node: String, keep: Keep) -> Command {
    Command::Revoke {
        name: foo(),
        node,
        keep,
        only_say: false,
    }
}

/// Who is back with a node that was admitted or appointed.
fn raised(reply: Result<Reply, CommandError>) -> Vec<NodeId> {
    match reply {
        Ok(Reply::Raised { affected, .. }) => affected.back,
        other => panic!("nobody was admitted or appointed: {other:?}"),
    }
}

/// The founder appoints a node. Says who is back with it.
fn appoint(world: &mut Sim, node: NodeIndex) -> Vec<NodeId> {
    let command = Command::Appoint {
        name: foo(),
        node: world.nodes[node].key.id().to_string(),
        only_say: false,
    };
    raised(world.run_command(0, command))
}

/// A founder, a member, and two nodes that came in by an invite of another member, node 2.
fn host_and_guests(seed: u64) -> (Sim, NetworkId, Invite) {
    let (mut world, network, _) = mesh(seed, Faults::NONE, 3, "10.7.0.0/16");
    let through = invite(&mut world, 2, 5);
    for _ in 0..2 {
        let node = world.add();
        join(&mut world, node, &through).unwrap();
    }
    let all: Vec<_> = (0..5).collect();
    assert!(world.run_until(Duration::from_secs(10), |w| agree(w, &network, &all)));
    (world, network, through)
}

#[test]
fn revoking_a_member_keeps_those_it_had_invited() {
    let [host, guest] =
        [2, 3].map(|node: NodeIndex| move |world: &Sim| world.nodes[node].key.id().to_string());
    for (keep, stay) in [
        (None, vec![0, 1]),
        (Some(false), vec![0, 1, 3]),
        (Some(true), vec![0, 1, 3, 4]),
    ] {
        let (mut world, network, through) = host_and_guests(9);
        let keep = match keep {
            None => Keep::Nobody,
            Some(false) => Keep::These(vec![guest(&world)]),
            Some(true) => Keep::Guests,
        };
        let plan = Command::Revoke {
            name: foo(),
            node: host(&world),
            keep: keep.clone(),
            only_say: true,
        };
        let said = world.run_command(0, plan).unwrap();
        let all: Vec<_> = (0..5).collect();
        world.run(Duration::from_secs(5));
        assert!(agree(&world, &network, &all), "nothing was done yet");
        let bad = host(&world);
        let reply = world.run_command(0, revoke(bad, keep)).unwrap();
        assert_eq!(reply, said);
        let counts =
            |kept: &[_], gone: &[_]| kept.len() == stay.len() - 2 && gone.len() == 4 - stay.len();
        assert!(
            matches!(&reply, Reply::Revoked { affected, .. } if counts(&affected.kept, &affected.gone)),
            "{reply:?}"
        );
        assert!(world.run_until(Duration::from_secs(10), |w| agree(w, &network, &stay)));
        let late = world.add();
        let _ = join(&mut world, late, &through);
        world.run(Duration::from_secs(60));
        assert!(agree(&world, &network, &stay), "its invites are void");
    }
}

/// A network of three, and as many acts of its founder as a node keeps.
#[test]
fn where_no_act_has_room_nothing_is_done() {
    let (mut world, network, _) = mesh(13, Faults::NONE, 3, "10.7.0.0/16");
    let all = [0, 1, 2];
    assert!(world.run_until(Duration::from_secs(60), |w| agree(w, &network, &all)));
    let charter = world.nodes[0].disk[&network].charter.clone();
    let founder = world.nodes[0].key.clone();
    let office = OfficeId::founding(&network, &founder.id());
    let acts = Acts::new(charter);
    let revoked = (0..MAX_ACTS).map(|n| {
        let mut node = [0xaa; 32];
        node[..8].copy_from_slice(&n.to_be_bytes());
        Action::Revoke { node: NodeId(node) }
    });
    let signed = acts
        .signed(&office, &founder, revoked.collect(), world.now.timestamp())
        .unwrap();
    let bytes: Vec<Vec<u8>> = signed.iter().map(|act| act.bytes().to_vec()).collect();
    for (some, reply) in bytes.chunks(1024).zip(1_000_000..) {
        let told = Input::Request {
            peer: world.nodes[1].key.id(),
            message: by_hand::push(network, some),
            reply: ReplyTo(reply),
        };
        world.input(0, told);
    }
    world.run(Duration::from_secs(300));
    let acts = |world: &Sim| status(world, 0).unwrap().owners.offices[0].acts;
    assert_eq!(acts(&world), MAX_ACTS);
    let before = world.nodes[0].disk[&network].statements.len();
    let bad = world.nodes[2].key.id().to_string();
    for keep in [Keep::Nobody, Keep::Guests] {
        assert_eq!(
            world.run_command(0, revoke(bad.clone(), keep)),
            Err(CommandError::NoRoomForActs(foo()))
        );
    }
    world.run(Duration::from_secs(10));
    assert_eq!(acts(&world), MAX_ACTS);
    assert_eq!(world.nodes[0].disk[&network].statements.len(), before);
    assert!(agree(&world, &network, &all));
}

fn dismiss(dismissal: Dismissal) -> Command {
    Command::Dismiss {
        name: foo(),
        dismissal,
    }
}

fn dismissal(node: String, cut: Cut) -> Dismissal {
    Dismissal {
        node,
        cut,
        heir: None,
        recovery: None,
        stays: false,
        keep: Keep::Nobody,
        restate: false,
        only_say: false,
    }
}

/// Three nodes are put out one by one, by an owner who is dismissed then, with all that it did standing. They are told of
/// that, and of what they need to know to see that they are out still.
#[test]
fn who_was_put_out_before_a_dismissal_is_out_still() {
    let (mut world, _, _) = mesh(72, Faults::NONE, 5, "10.7.0.0/16");
    world.run(Duration::from_secs(60));
    let name = |world: &Sim, node: NodeIndex| world.nodes[node].key.id().to_string();
    appoint(&mut world, 1);
    world.run(Duration::from_secs(5));
    for node in 2..5 {
        let bad = name(&world, node);
        world.run_command(1, revoke(bad, Keep::Guests)).unwrap();
        world.run(Duration::from_secs(10));
    }
    let dismissal = Dismissal {
        stays: true,
        ..dismissal(name(&world, 1), Cut::Now)
    };
    world.run_command(0, dismiss(dismissal)).unwrap();
    for _ in 0..240 {
        world.run(Duration::from_secs(5));
        for node in 2..5 {
            let standing = status(&world, node).unwrap().standing;
            assert!(
                matches!(standing, OwnStanding::Expelled(_)),
                "{node}: {standing:?}"
            );
        }
    }
}

/// An owner is appointed, revokes three nodes, and is dismissed: before those acts, and they are members again; after
/// them, and they stay out; or before them, and the founder does one of them again.
#[test]
fn what_a_dismissed_owner_did_is_undone_or_stands() {
    for (cut, restate, stay) in [
        (Cut::Nothing, false, vec![0, 2, 3, 4]),
        (Cut::Now, false, vec![0]),
        (Cut::Nothing, true, vec![0]),
    ] {
        let (mut world, network, _) = mesh(71, Faults::NONE, 5, "10.7.0.0/16");
        world.run(Duration::from_secs(60));
        let name = |world: &Sim, node: NodeIndex| world.nodes[node].key.id().to_string();
        appoint(&mut world, 1);
        world.run(Duration::from_secs(5));
        assert!(status(&world, 1).unwrap().owner);
        for node in 2..5 {
            let bad = name(&world, node);
            world.run_command(1, revoke(bad, Keep::Guests)).unwrap();
            // Nobody tells it what its owner does after that.
            world.run(Duration::from_secs(10));
        }
        assert!(world.run_until(Duration::from_secs(10), |w| agree(w, &network, &[0, 1])));
        // Nobody ends what is above, or itself.
        let upwards = dismiss(dismissal(name(&world, 0), Cut::Nothing));
        assert!(matches!(
            world.run_command(1, upwards),
            Err(CommandError::NotSenior { .. })
        ));
        let mut dismissal = dismissal(name(&world, 1), cut.clone());
        dismissal.restate = restate;
        let stays = Command::Dismiss {
            name: foo(),
            dismissal: Dismissal {
                stays: true,
                only_say: true,
                ..dismissal.clone()
            },
        };
        let Ok(Reply::Dismissed { named_by, .. }) = world.run_command(0, stays) else {
            panic!("no plan");
        };
        assert_eq!(named_by, Some(world.nodes[0].key.id()));
        let reply = world.run_command(0, dismiss(dismissal));
        let Ok(Reply::Dismissed {
            void,
            named_by,
            affected,
            ..
        }) = reply
        else {
            panic!("{reply:?}");
        };
        assert_eq!(named_by, None);
        let back = if stay.len() > 2 { 3 } else { 0 };
        assert_eq!(affected.back.len(), back, "{cut:?}");
        let revocations = void
            .iter()
            .filter(|undone| matches!(undone.action, Action::Revoke { .. }));
        let expected = if cut == Cut::Nothing { 3 } else { 0 };
        assert_eq!(revocations.count(), expected, "{void:?}");
        assert!(
            world.run_until(Duration::from_secs(180), |w| agree(w, &network, &stay)),
            "{cut:?}: {}",
            describe(&world, &network)
        );
        // Whoever stays out knows so, also once it asked.
        world.run(Duration::from_secs(1200));
        for node in (1..5).filter(|node| !stay.contains(node)) {
            let standing = status(&world, node).unwrap().standing;
            assert!(
                matches!(standing, OwnStanding::Expelled(_)),
                "{cut:?}: {node} is {standing:?}"
            );
        }
        let owners = status(&world, 0).unwrap().owners;
        let live: Vec<bool> = owners.offices.iter().map(|office| office.is_live).collect();
        assert_eq!(live.iter().filter(|live| **live).count(), 1);
        assert_eq!(live.len(), 2);
    }
}

/// An owner that changes its mind: the node is a member again, and those who had come from it.
#[test]
fn who_was_revoked_is_admitted_again_by_name() {
    let (mut world, network, _) = host_and_guests(11);
    let all: Vec<_> = (0..5).collect();
    let node = world.nodes[2].key.id().to_string();
    world
        .run_command(0, revoke(node.clone(), Keep::Nobody))
        .unwrap();
    assert!(world.run_until(Duration::from_secs(10), |w| agree(w, &network, &[0, 1])));
    let expelled =
        |w: &Sim, node| matches!(status(w, node).unwrap().standing, OwnStanding::Expelled(_));
    assert!(world.run_until(Duration::from_secs(10), |w| {
        (2..5).all(|node| expelled(w, node))
    }));
    let host = world.nodes[2].key.id();
    let why = |node| status(&world, node).unwrap().standing;
    assert_eq!(why(2), OwnStanding::Expelled(Expulsion::Revoked));
    assert_eq!(why(3), OwnStanding::Expelled(Expulsion::RevokedWith(host)));
    world.run(Duration::from_secs(600));
    let approve = |only_say| Command::Approve {
        name: foo(),
        node: node.clone(),
        only_say,
    };
    let said = raised(world.run_command(0, approve(true)));
    world.run(Duration::from_secs(5));
    assert!(expelled(&world, 2), "nothing was done yet");
    let mut guests = [3, 4].map(|guest: NodeIndex| world.nodes[guest].key.id());
    guests.sort();
    assert_eq!(said, guests);
    assert_eq!(raised(world.run_command(0, approve(false))), said);
    assert_eq!(world.run_command(0, approve(false)), Ok(Reply::Unchanged));
    assert!(
        world.run_until(Duration::from_secs(120), |w| agree(w, &network, &all)),
        "{}",
        describe(&world, &network)
    );
}

/// Nobody could tell it: it was cut off, and its promise lapsed meanwhile, so that members do not call it either.
#[test]
fn who_was_admitted_again_while_it_was_cut_off_finds_out() {
    let (mut world, network, _) = mesh(12, Faults::NONE, 4, "10.7.0.0/16");
    let all: Vec<_> = (0..4).collect();
    let node = world.nodes[2].key.id().to_string();
    world
        .run_command(0, revoke(node.clone(), Keep::Nobody))
        .unwrap();
    world.run(Duration::from_secs(60));
    let is_out = |w: &Sim| matches!(status(w, 2).unwrap().standing, OwnStanding::Expelled(_));
    assert!(is_out(&world));
    // It asks, and that costs next to nothing.
    let before = world.nodes[2].sent.0;
    world.run(Duration::from_secs(24 * 3600));
    let asked = world.nodes[2].sent.0 - before;
    assert!((24..400).contains(&asked), "{asked} messages in a day");
    world.partition(|node| u8::from(node == 2));
    let approve = Command::Approve {
        name: foo(),
        node,
        only_say: false,
    };
    assert!(world.run_command(0, approve).is_ok());
    world.run(Duration::from_secs(12 * 24 * 3600));
    assert!(is_out(&world));
    world.partition(|_| 0);
    let is_back = |world: &mut Sim| {
        world.run(Duration::from_secs(60));
        agree(world, &network, &all)
    };
    let is_back = (0..120).any(|_| is_back(&mut world));
    assert!(is_back, "{}", describe(&world, &network));
}

#[test]
fn a_guest_stays_when_its_host_is_long_gone() {
    let (mut world, network, _) = mesh(21, Faults::NONE, 4, "10.7.0.0/16");
    world.run(Duration::from_secs(2));
    let through = invite(&mut world, 3, 5);
    // The invite shows that its maker came in in time.
    let last = through.issuer.links().last();
    assert!(matches!(last, Some(Link { seen: Some(_), .. })));
    let guest = world.add();
    join(&mut world, guest, &through).unwrap();
    let all: Vec<_> = (0..5).collect();
    assert!(world.run_until(Duration::from_secs(10), |w| agree(w, &network, &all)));
    world.kill(3);
    // Its promise lapses, its quiet time passes, and everybody forgets it.
    world.run(Duration::from_secs(10 * 24 * 3600));
    assert!(agree(&world, &network, &[0, 1, 2, 4]));
}

#[test]
fn where_owners_do_not_admit_by_name_there_is_nothing_to_accept() {
    let mut world = world(65, Faults::NONE);
    let founder = world.add();
    found(&mut world, founder, "10.7.0.0/16", AdmissionRule::Invite);
    let node = world.add();
    let id = world.nodes[node].key.id();
    let approve = |node: &str| Command::Approve {
        name: foo(),
        node: node.to_owned(),
        only_say: false,
    };
    let rule = AdmissionRule::Invite;
    let outcome = world.run_command(founder, approve(&id.to_string()));
    assert_eq!(
        outcome,
        Err(CommandError::WasNotPutOut {
            name: foo(),
            node: id,
            rule
        })
    );
    for nobody in ["zork", "0000-0000-0001"] {
        let outcome = world.run_command(founder, approve(nobody));
        assert_eq!(
            outcome,
            Err(CommandError::NoSuchNode {
                name: foo(),
                node: nobody.to_owned()
            })
        );
    }
    let carry = Command::PrintAdmission {
        name: foo(),
        node: id.to_string(),
    };
    assert_eq!(
        world.run_command(founder, carry),
        Err(CommandError::NoApproval { name: foo(), rule })
    );
    let through = invite(&mut world, founder, 1);
    join(&mut world, node, &through).unwrap();
    world.run(Duration::from_secs(5));
    assert_eq!(
        world.run_command(founder, approve(&id.to_string())),
        Ok(Reply::Unchanged)
    );
}

/// The only owner is asked twice whether it wants to leave members that nobody decides for.
#[test]
fn the_only_owner_does_not_leave_by_mistake() {
    let (mut world, _, _) = mesh(67, Faults::NONE, 3, "10.7.0.0/16");
    world.run(Duration::from_secs(5));
    let leave = |anyway| Command::Leave {
        name: foo(),
        anyway,
    };
    let only = CommandError::OnlyOwner {
        name: foo(),
        under_key: false,
    };
    assert_eq!(world.run_command(0, leave(false)), Err(only));
    assert!(status(&world, 0).unwrap().owner);
    assert_eq!(appoint(&mut world, 1), []);
    assert!(world.run_command(0, leave(false)).is_ok());
    world.run(Duration::from_secs(5));
    assert!(
        world.run_command(1, leave(false)).is_ok(),
        "a founder that left decides still"
    );
}

/// Whoever left and was revoked meanwhile cannot come back, and keeps what it takes until it can.
#[test]
fn who_cannot_join_again_has_still_left() {
    let (mut world, network, _) = mesh(66, Faults::NONE, 3, "10.7.0.0/16");
    world.run(Duration::from_secs(5));
    let leave = Command::Leave {
        name: foo(),
        anyway: false,
    };
    world.run_command(2, leave).unwrap();
    let node = world.nodes[2].key.id();
    let name = node.to_string();
    world
        .run_command(0, revoke(name.clone(), Keep::Nobody))
        .unwrap();
    for _ in 0..2 {
        let outcome = world.run_command(2, join_command(JoinWith::Peers));
        assert_eq!(
            outcome,
            Err(CommandError::PutOut {
                name: foo(),
                node,
                why: Expulsion::Revoked
            })
        );
        assert!(world.nodes[2].tunnels.is_empty());
    }
    // Also after a restart.
    world.kill(2);
    world.start(2);
    let approve = Command::Approve {
        name: foo(),
        node: name,
        only_say: false,
    };
    raised(world.run_command(0, approve));
    world.run_command(2, join_command(JoinWith::Peers)).unwrap();
    assert!(world.run_until(Duration::from_secs(60), |w| agree(w, &network, &[0, 1, 2])));
}

#[test]
fn a_public_range_needs_a_word_to_found_and_to_join() {
    let mut world = world(62, Faults::NONE);
    let (founder, joiner) = (world.add(), world.add());
    let create = |ranges| Command::Create {
        name: foo(),
        ipv4: Some("8.8.0.0/16".parse().unwrap()),
        ranges,
        admission: AdmissionRule::Invite,
        recovery: None,
        listen_port: 51820,
    };
    let public = CommandError::PublicRange {
        name: foo(),
        range: "8.8.0.0/16".parse().unwrap(),
    };
    let refused = world.run_command(founder, create(Ranges::Private));
    assert_eq!(refused, Err(public.clone()));
    world.run_command(founder, create(Ranges::Any)).unwrap();
    let invite = invite(&mut world, founder, 1);
    let join = |ranges| Command::Join {
        name: foo(),
        with: JoinWith::Invite(Box::new(invite.clone())),
        ranges,
        listen_port: 51820,
        wait: Duration::from_secs(30),
    };
    let refused = world.run_command(joiner, join(Ranges::Private));
    assert_eq!(refused, Err(public));
    world.run_command(joiner, join(Ranges::Any)).unwrap();
    // Having said so once, a person need not say it again.
    world
        .run_command(
            joiner,
            Command::Leave {
                name: foo(),
                anyway: false,
            },
        )
        .unwrap();
    world
        .run_command(joiner, join_command(JoinWith::Peers))
        .unwrap();
}

#[test]
fn an_invite_that_would_outlive_every_bound_is_a_slip() {
    let mut world = world(61, Faults::NONE);
    let founder = world.add();
    found(&mut world, founder, "10.7.0.0/16", AdmissionRule::Invite);
    let command = Command::Invite {
        name: foo(),
        life: INVITE_MAX_LIFE + Duration::from_secs(1),
        uses: 1,
        endpoints: vec![],
    };
    let error = world.run_command(founder, command).unwrap_err();
    assert_eq!(error, CommandError::InviteLife);
    assert_eq!(error.kind(), FailureKind::Usage);
}

#[test]
fn a_single_use_invite_admits_one_node() {
    let mut world = world(10, Faults::NONE);
    let founder = world.add();
    let network = found(&mut world, founder, "10.7.0.0/16", AdmissionRule::Invite);
    let invite = invite(&mut world, founder, 1);
    let (first, second) = (world.add(), world.add());
    join(&mut world, first, &invite).unwrap();
    world.run(Duration::from_secs(2));
    let error = join(&mut world, second, &invite).unwrap_err();
    assert_eq!(error, CommandError::InviteSpent);
    assert!(
        world.nodes[second].disk.is_empty(),
        "nothing is left of the attempt"
    );
    assert!(agree(&world, &network, &[founder, first]));
}

/// The second one comes before the others have heard evidence for the first, and is told all the same.
#[test]
fn the_second_user_of_an_invite_is_told_soon() {
    for seed in 30..42 {
        for pause in [0, 40, 80, 120, 160, 250] {
            let mut world = world(seed, Faults::NONE);
            let founder = world.add();
            let network = found(&mut world, founder, "10.7.0.0/16", AdmissionRule::Invite);
            let invite = invite(&mut world, founder, 1);
            let (first, second) = (world.add(), world.add());
            join(&mut world, first, &invite).unwrap();
            world.run(Duration::from_millis(pause));
            let before = world.now;
            let ended = join(&mut world, second, &invite);
            assert_eq!(
                ended.unwrap_err(),
                CommandError::InviteSpent,
                "{seed} {pause}"
            );
            let took = world.now - before;
            assert!(took < Duration::from_secs(2), "{seed} {pause}: {took:?}");
            assert!(agree(&world, &network, &[founder, first]));
        }
    }
}

#[test]
fn a_single_use_invite_used_on_two_sides_has_one_winner_everywhere() {
    for seed in 0..4 {
        let (mut world, network, _) = mesh(seed, Faults::NONE, 2, "10.7.0.0/16");
        let once = invite(&mut world, 0, 1);
        let (a, b) = (world.add(), world.add());
        // The second joiner can only reach a member that does not know of the first.
        world.partition(|node| u8::from(node == 1 || node == b));
        let mut far = once.clone();
        far.bootstrap[0].node = world.nodes[1].key.id();
        far.bootstrap[0].quic = vec![world.nodes[1].quic()];
        join(&mut world, a, &once).unwrap();
        let _ = join(&mut world, b, &far);
        world.partition(|_| 0);
        world.run(Duration::from_secs(300));
        // The issuer itself saw the first one join.
        assert!(
            agree(&world, &network, &[0, 1, a]),
            "seed {seed}\n{}",
            describe(&world, &network)
        );
        assert!(world.nodes[b].tunnels.is_empty(), "seed {seed}");
    }
}

#[test]
fn an_open_network_is_joined_by_name() {
    let mut world = world(11, Faults::NONE);
    let (founder, joiner) = (world.add(), world.add());
    let network = found(&mut world, founder, "10.7.0.0/16", AdmissionRule::Open);
    let nobody = world.run_command(joiner, join_command(JoinWith::Peers));
    assert_eq!(nobody, Err(CommandError::NoPeers(foo())));
    let known = grid_promises::core::Input::KnownPeer {
        node: world.nodes[founder].key.id(),
        addrs: vec![world.nodes[founder].quic()],
    };
    world.input(joiner, known);
    world
        .run_command(joiner, join_command(JoinWith::Peers))
        .unwrap();
    assert!(world.run_until(Duration::from_secs(5), |w| agree(
        w,
        &network,
        &[founder, joiner]
    )));
}

#[test]
fn a_closed_network_is_not_found_by_name() {
    let mut world = world(12, Faults::NONE);
    let (_, _, joiner) = acquainted(&mut world, AdmissionRule::Invite);
    let outcome = world.run_command(joiner, join_command(JoinWith::Peers));
    assert_eq!(outcome, Err(CommandError::NobodyHasIt(foo())));
    assert!(world.nodes[joiner].disk.is_empty());
}

#[test]
fn an_owner_admits_a_node_that_asks() {
    let mut world = world(13, Faults::NONE);
    let (network, founder, joiner) = acquainted(&mut world, AdmissionRule::Approve);
    let ticket = world.command(joiner, join_command(JoinWith::Peers));
    assert!(world.run_until(Duration::from_secs(20), |w| {
        w.nodes[founder]
            .notices
            .iter()
            .any(|n| matches!(n, Notice::AdmissionAsked { .. }))
    }));
    assert_eq!(
        status(&world, joiner).unwrap().standing,
        OwnStanding::Waiting
    );
    let node = "node-1".to_owned();
    let approve = || Command::Approve {
        name: foo(),
        node: node.clone(),
        only_say: false,
    };
    raised(world.run_command(founder, approve()));
    assert_eq!(
        world.run_command(founder, approve()),
        Ok(Reply::Unchanged),
        "it is admitted, and has not heard of it"
    );
    assert!(world.run_until(Duration::from_secs(30), |w| {
        w.nodes[joiner].done.get(&ticket).is_some_and(Result::is_ok)
            && agree(w, &network, &[founder, joiner])
    }));
    assert_eq!(
        world.run_command(founder, approve()),
        Ok(Reply::Unchanged),
        "it is a member already"
    );
    let node = world.nodes[joiner].key.id().to_string();
    world
        .run_command(founder, revoke(node.clone(), Keep::Nobody))
        .unwrap();
    assert!(world.run_until(Duration::from_secs(10), |w| agree(w, &network, &[founder])));
    let again = Command::Approve {
        name: foo(),
        node,
        only_say: false,
    };
    raised(world.run_command(founder, again));
    // An admission is on disk before it is answered.
    world.kill(founder);
    world.start(founder);
    assert!(world.run_until(Duration::from_secs(120), |w| agree(
        w,
        &network,
        &[founder, joiner]
    )));
}

#[test]
fn who_left_is_not_back_when_the_member_that_confirmed_it_is_killed() {
    let (mut world, network, _) = mesh(64, Faults::NONE, 2, "10.7.0.0/16");
    world.run(Duration::from_secs(60));
    let left = world
        .run_command(
            1,
            Command::Leave {
                name: foo(),
                anyway: false,
            },
        )
        .unwrap();
    assert_eq!(left, Reply::Left { told: 1 });
    world.kill(0);
    world.start(0);
    world.run(Duration::from_secs(5));
    assert!(status(&world, 0).unwrap().peers.is_empty(), "{network:?}");
}

#[test]
fn who_leaves_while_it_waits_can_come_back_and_be_admitted() {
    let mut world = world(63, Faults::NONE);
    let (network, founder, joiner) = acquainted(&mut world, AdmissionRule::Approve);
    world.command(joiner, join_command(JoinWith::Peers));
    world.run(Duration::from_secs(5));
    world
        .run_command(
            joiner,
            Command::Leave {
                name: foo(),
                anyway: false,
            },
        )
        .unwrap();
    let node = "node-1".to_owned();
    world
        .run_command(
            founder,
            Command::Approve {
                name: foo(),
                node,
                only_say: false,
            },
        )
        .unwrap();
    world.command(joiner, join_command(JoinWith::Peers));
    assert!(world.run_until(Duration::from_secs(60), |w| {
        agree(w, &network, &[founder, joiner])
    }));
}

#[test]
fn a_join_that_hears_nobody_claims_and_keeps_trying() {
    let (mut world, network, invite) = mesh(14, Faults::NONE, 2, "10.7.0.0/16");
    world.partition(|_| 0);
    let joiner = world.add();
    world.nodes[joiner].side = 1;
    let outcome = join(&mut world, joiner, &invite);
    assert_eq!(outcome, Err(CommandError::NobodyAnswered(foo())));
    assert_eq!(
        status(&world, joiner).unwrap().standing,
        OwnStanding::Member
    );
    world.partition(|_| 0);
    assert!(world.run_until(Duration::from_secs(600), |w| agree(
        w,
        &network,
        &[0, 1, joiner]
    )));
}

/// Ten times a second, sixteen strangers say where they see a member; and so does one of the members, each time
/// elsewhere, on the connections that it dialled.
#[test]
fn nobody_else_writes_into_a_promise_where_its_node_is_seen() {
    let (mut world, network, _) = mesh(66, Faults::NONE, 5, "10.7.0.0/16");
    world.run(Duration::from_secs(120));
    let (victim, hostile) = (0, 3);
    let promises = |world: &Sim| -> Vec<_> {
        let promise = |node: &grid_promises::sim::SimNode| node.disk[&network].promise.clone();
        world.nodes.iter().map(promise).collect()
    };
    // Keepalives and endpoints among it.
    let tunnels = |world: &Sim| -> Vec<Tunnel> {
        let tunnel = |node: &grid_promises::sim::SimNode| node.tunnels[&network].clone();
        world.nodes.iter().map(tunnel).collect()
    };
    let before = (promises(&world), tunnels(&world));
    let strangers: Vec<_> = (0..16u8).map(|n| grid_keys::NodeId([n; 32])).collect();
    for stranger in &strangers {
        world.input(
            victim,
            grid_promises::core::Input::Connected {
                peer: *stranger,
                remote: "203.0.113.7:4000".parse().unwrap(),
                outgoing: false,
            },
        );
    }
    let member = world.nodes[hostile].key.id();
    for round in 0..600u16 {
        for peer in strangers.iter().chain([&member]) {
            let reply = grid_promises::core::ReplyTo(u64::from(round) + 1_000_000);
            let seen = ([203, 0, 113, 7], 1000 + round).into();
            let message =
                grid_promises::core::protocol::by_hand::hello(seen, world.now.timestamp());
            let request = grid_promises::core::Input::Request {
                peer: *peer,
                message,
                reply,
            };
            world.input(victim, request);
        }
        world.run(Duration::from_millis(100));
    }
    assert_eq!((promises(&world), tunnels(&world)), before);
}

/// The founder, whom all of them dialled, says most: 1,700 to 2,200 bytes by eight seeds.
#[test]
fn an_idle_network_says_little() {
    let (mut world, _, _) = mesh(15, Faults::NONE, 30, "10.7.0.0/16");
    world.run(Duration::from_secs(60));
    let before: Vec<_> = world.nodes.iter().map(|node| node.sent.1).collect();
    world.run(Duration::from_secs(600));
    for (node, before) in world.nodes.iter().zip(before) {
        let per_minute = (node.sent.1 - before) / 10;
        assert!(
            per_minute < 2_500,
            "{per_minute} bytes of messages a minute"
        );
    }
}

/// A founder's clock is in doubt for a day, and all who have just joined are connected to it.
#[test]
fn a_founder_asks_few_at_a_time_for_the_time() {
    let (mut world, _, _) = mesh(15, Faults::NONE, 30, "10.7.0.0/16");
    world.run(Duration::from_secs(1));
    let before = world.nodes[0].sent.0;
    world.run(Duration::from_secs(50));
    let messages = world.nodes[0].sent.0 - before;
    assert!(messages < 20, "{messages}");
}

/// The number of a node's last promise.
fn sequence(world: &Sim, node: NodeIndex, network: &NetworkId) -> u64 {
    let record = &world.nodes[node].disk[network];
    let promise = record.promise.as_ref().unwrap();
    Signed::<MemberPromise>::decode(promise).unwrap().sequence
}

/// A machine with the key and the disk of another.
fn copy_of(world: &mut Sim, node: NodeIndex) -> NodeIndex {
    let copy = world.add_with_key(world.nodes[node].key.clone());
    world.kill(copy);
    world.nodes[copy].disk = world.nodes[node].disk.clone();
    copy
}

#[test]
fn two_machines_with_one_key_back_off_and_say_so() {
    for seed in 70..75 {
        let (mut world, network, _) = mesh(seed, Faults::NONE, 5, "10.7.0.0/16");
        world.run(Duration::from_secs(60));
        let copy = copy_of(&mut world, 2);
        world.start(copy);
        let last = |world: &Sim| sequence(world, 2, &network).max(sequence(world, copy, &network));
        let mut before = last(&world);
        // The pauses have grown to their longest in the second hour.
        for most in [40, 14] {
            world.run(Duration::from_secs(3600));
            let signed = last(&world) - before;
            assert!(
                (2..=most).contains(&signed),
                "seed {seed}: {signed} promises in an hour"
            );
            before = last(&world);
        }
        for (node, other) in [(2, copy), (copy, 2)] {
            let elsewhere = status(&world, node).unwrap().elsewhere.unwrap();
            assert!(
                elsewhere.endpoints.contains(&world.nodes[other].quic()),
                "{elsewhere:?}"
            );
            assert!(!elsewhere.is_last);
            let is_told = |notice: &Notice| matches!(notice, Notice::KeyElsewhere { .. });
            assert!(world.nodes[node].notices.iter().any(is_told));
        }
        // When one of them is gone, the other stands and says nothing more.
        world.kill(copy);
        world.run(Duration::from_secs(3 * 3600));
        assert_eq!(status(&world, 2).unwrap().elsewhere, None);
    }
}

#[test]
fn a_restored_backup_overtakes_its_old_promise_at_once() {
    let (mut world, network, _) = mesh(76, Faults::NONE, 4, "10.7.0.0/16");
    let backup = world.nodes[2].disk.clone();
    for prefix in ["192.168.1.0/24", "192.168.2.0/24", "192.168.3.0/24"] {
        let command = Command::Promise {
            name: foo(),
            prefix: prefix.parse().unwrap(),
        };
        world.run_command(2, command).unwrap();
        world.run(Duration::from_secs(60));
    }
    let before = sequence(&world, 2, &network);
    world.kill(2);
    world.nodes[2].disk = backup;
    world.run(Duration::from_secs(60));
    world.start(2);
    assert!(
        world.run_until(Duration::from_secs(3), |w| sequence(w, 2, &network)
            > before)
    );
    world.run(Duration::from_secs(600));
    assert!(agree(&world, &network, &[0, 1, 2, 3]));
    assert_eq!(
        status(&world, 2).unwrap().elsewhere,
        None,
        "nobody else has its key"
    );
}

/// An owner that was restored from a backup acts at once: after what it did before, not beside it.
#[test]
fn a_restored_owner_goes_on_from_its_last_act() {
    let (mut world, network, _) = mesh(78, Faults::NONE, 4, "10.7.0.0/16");
    world.run(Duration::from_secs(60));
    let name = |world: &Sim, node: NodeIndex| world.nodes[node].key.id().to_string();
    let backup = world.nodes[0].disk.clone();
    appoint(&mut world, 1);
    world.run(Duration::from_secs(5));
    world.kill(0);
    world.nodes[0].disk = backup;
    world.start(0);
    let bad = name(&world, 3);
    world.run_command(0, revoke(bad, Keep::Guests)).unwrap();
    assert!(world.run_until(Duration::from_secs(60), |w| agree(w, &network, &[0, 1, 2])));
    for node in 0..3 {
        let offices = status(&world, node).unwrap().owners.offices;
        let founder = world.nodes[0].key.id();
        let its = offices.iter().find(|office| office.holder == founder);
        assert_eq!(its.unwrap().heads.len(), 1, "{its:?}");
        assert!(its.unwrap().acts > 1);
    }
    // Where nobody answers it acts on its own.
    for node in 1..4 {
        world.kill(node);
    }
    world.kill(0);
    world.start(0);
    let other = name(&world, 2);
    world.run_command(0, revoke(other, Keep::Guests)).unwrap();
}

#[test]
fn the_last_number_of_a_promise_locks_nobody_out_silently() {
    let (mut world, network, _) = mesh(77, Faults::NONE, 3, "10.7.0.0/16");
    let copy = copy_of(&mut world, 2);
    let record = world.nodes[copy].disk.get_mut(&network).unwrap();
    let stands = Signed::<MemberPromise>::decode(record.promise.as_ref().unwrap()).unwrap();
    let absurd = MemberPromise {
        sequence: u64::MAX,
        ..(*stands).clone()
    };
    let signed = Signed::sign(absurd, &world.nodes[copy].key).unwrap();
    world.nodes[copy].disk.get_mut(&network).unwrap().promise = Some(signed.bytes().to_vec());
    let before = sequence(&world, 2, &network);
    world.start(copy);
    assert!(world.run_until(Duration::from_secs(300), |w| {
        status(w, 2)
            .unwrap()
            .elsewhere
            .is_some_and(|elsewhere| elsewhere.is_last)
    }));
    // It goes on with what stands, and signs nothing with a number that begins anew.
    world.run(Duration::from_secs(3 * 3600));
    assert_eq!(sequence(&world, 2, &network), before);
    assert_eq!(status(&world, 2).unwrap().standing, OwnStanding::Member);
    assert!(status(&world, 2).unwrap().elsewhere.is_some());
}

#[test]
fn who_cannot_write_decides_nothing_and_catches_up() {
    use grid_promises::core::Input;
    let (mut world, network, _) = mesh(17, Faults::NONE, 3, "10.7.0.0/16");
    assert!(world.run_until(Duration::from_secs(10), |w| agree(w, &network, &[0, 1, 2])));
    let promise = |world: &Sim| world.nodes[2].disk[&network].promise.clone();
    let before = promise(&world);
    world.input(2, Input::Memory { works: false });
    // It would have been renewed by then.
    world.run(Duration::from_secs(20 * 3600));
    assert_eq!(promise(&world), before);
    assert!(
        agree(&world, &network, &[0, 1, 2]),
        "it stands on what was promised"
    );
    world.input(2, Input::Memory { works: true });
    world.run(Duration::from_secs(10));
    assert_ne!(promise(&world), before, "what was put off is done");
    // Nor does a node claim an address that it cannot write down.
    world.kill(2);
    world.start(2);
    let joiner = world.add();
    world.input(joiner, Input::Memory { works: false });
    let invite = invite(&mut world, 0, 1);
    let _ = join(&mut world, joiner, &invite);
    assert_eq!(world.nodes[joiner].disk[&network].promise, None);
    world.input(joiner, Input::Memory { works: true });
    let all = [0, 1, 2, joiner];
    assert!(world.run_until(Duration::from_secs(60), |w| agree(w, &network, &all)));
}

#[test]
fn promises_are_renewed_and_lapse() {
    let (mut world, network, _) = mesh(16, Faults::NONE, 3, "10.7.0.0/16");
    assert!(world.run_until(Duration::from_secs(10), |w| agree(w, &network, &[0, 1, 2])));
    world.run(Duration::from_secs(3 * 24 * 3600));
    assert!(
        agree(&world, &network, &[0, 1, 2]),
        "renewed for three days"
    );
    let address = status(&world, 2).unwrap().ipv4.unwrap();
    world.kill(2);
    world.run(Duration::from_secs(25 * 3600));
    assert!(agree(&world, &network, &[0, 1]), "lapsed after a day");
    world.start(2);
    assert!(world.run_until(Duration::from_secs(60), |w| agree(w, &network, &[0, 1, 2])));
    assert_eq!(
        status(&world, 2).unwrap().ipv4,
        Some(address),
        "reserved meanwhile"
    );
}

/// What a machine that starts anew with another WireGuard key promises, everybody takes over.
#[test]
fn a_node_may_change_its_wireguard_key() {
    let (mut world, network, _) = mesh(31, Faults::NONE, 3, "10.7.0.0/16");
    let nodes = [0, 1, 2];
    assert!(world.run_until(Duration::from_secs(2), |w| agree(w, &network, &nodes)));
    let before = status(&world, 2).unwrap();
    world.kill(2);
    let key = WgSecretKey::from_bytes(&Secret::new([7; 32]));
    let record = world.nodes[2].disk.get_mut(&network).unwrap();
    record.private_key = Some(key.clone());
    world.start(2);
    let has_new = |w: &Sim, node: NodeIndex| {
        let peers = &w.nodes[node].tunnels[&network].peers;
        peers.contains_key(&key.public()) && !peers.contains_key(&before.public_key.unwrap())
    };
    let done = |w: &Sim| has_new(w, 0) && has_new(w, 1) && agree(w, &network, &nodes);
    assert!(
        world.run_until(Duration::from_secs(60), done),
        "{}",
        describe(&world, &network)
    );
    assert_eq!(status(&world, 2).unwrap().ipv4, before.ipv4);
}

/// Two nodes that share one WireGuard key, as after a part of a home was copied: the others have a tunnel with one of
/// them, always the same, and nobody has one with itself.
#[test]
fn of_those_who_share_a_wireguard_key_one_has_the_tunnel() {
    let (mut world, network, _) = mesh(32, Faults::NONE, 4, "10.7.0.0/16");
    let nodes = [0, 1, 2, 3];
    assert!(world.run_until(Duration::from_secs(2), |w| agree(w, &network, &nodes)));
    let shared = world.nodes[2].disk[&network].private_key.clone().unwrap();
    let key = shared.public();
    world.kill(3);
    let record = world.nodes[3].disk.get_mut(&network).unwrap();
    record.private_key = Some(shared);
    world.start(3);
    let peers = |w: &Sim, node: NodeIndex| {
        w.nodes[node]
            .tunnels
            .get(&network)
            .map_or(0, |t| t.peers.len())
    };
    let done = |w: &Sim| [0, 1, 2, 3].map(|node| peers(w, node)) == [2; 4];
    assert!(
        world.run_until(Duration::from_secs(60), done),
        "{}",
        describe(&world, &network)
    );
    let first = [2, 3]
        .into_iter()
        .min_by_key(|node| world.nodes[*node].key.id())
        .unwrap();
    let address = status(&world, first).unwrap().ipv4.unwrap();
    for node in [0, 1] {
        let peer = &world.nodes[node].tunnels[&network].peers[&key];
        assert!(
            peer.allowed_ips
                .contains(&ipnet::IpNet::from(std::net::IpAddr::from(address)))
        );
    }
    for node in [2, 3] {
        assert!(!world.nodes[node].tunnels[&network].peers.contains_key(&key));
    }
}

/// No receipt lasts longer than 8 days, and whoever gave the first ones is gone: members renew them for each other,
/// and lose nothing of since when.
#[test]
fn members_keep_fresh_evidence_of_since_when_they_are_there() {
    let (mut world, network, _) = mesh(33, Faults::NONE, 4, "10.7.0.0/16");
    world.run(Duration::from_secs(60));
    let came = world.now.timestamp();
    world.kill(0);
    world.run(Duration::from_secs(12 * 24 * 3600));
    for node in 1..4 {
        let promise = world.nodes[node].disk[&network].promise.clone().unwrap();
        let promise: Signed<MemberPromise> = Signed::decode(&promise).unwrap();
        let receipts = promise.receipts.iter();
        let receipts = receipts.map(|bytes| Signed::<Receipt>::decode(bytes).unwrap());
        let is_good = |receipt: &Signed<Receipt>| {
            receipt.address == promise.ipv4.address
                && receipt.address_since <= came
                && world.now.timestamp().since(receipt.issued) < 2 * RECEIPT_RENEWAL
        };
        assert!(
            receipts.into_iter().any(|receipt| is_good(&receipt)),
            "{node}"
        );
    }
}
