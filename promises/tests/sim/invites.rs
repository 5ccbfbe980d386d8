//! The list of invites, and closing one.

use std::time::Duration;

use grid_keys::NodeId;
use grid_promises::core::{
    Affected, Command, CommandError, Expulsion, InviteStatus, JoinWith, Keep, Reply, VoidInvite,
};
use grid_promises::limits::MAX_NAMED;
use grid_promises::network::AdmissionRule;
use grid_promises::network::admission::Grant;
use grid_promises::network::invite::Invite;
use grid_promises::network::statement::Signed;
use grid_promises::sim::{Faults, NodeIndex};

use super::{
    Sim, agree, describe, foo, found, invite, join, join_command, mesh, revoke, status, world,
};

fn listed(world: &mut Sim, node: NodeIndex) -> Vec<InviteStatus> {
    match world.run_command(node, Command::Invites { name: foo() }) {
        Ok(Reply::Invites(invites)) => invites,
        other => panic!("{other:?}"),
    }
}

fn close(invite: &str) -> Command {
    Command::CloseInvite {
        name: foo(),
        invite: invite.to_owned(),
        keep: Keep::Nobody,
        only_say: false,
    }
}

/// One invite is used by one of two, and another by nobody.
#[test]
fn invites_are_listed_and_closed() {
    let mut world = world(91, Faults::NONE);
    let (founder, member, late) = (world.add(), world.add(), world.add());
    let network = found(&mut world, founder, "10.7.0.0/16", AdmissionRule::Invite);
    let used = invite(&mut world, founder, 2);
    join(&mut world, member, &used).unwrap();
    world.run(Duration::from_secs(60));
    let unused = invite(&mut world, founder, 7);
    // Also after a restart.
    for _ in 0..2 {
        let all = listed(&mut world, founder);
        let counts = |of: &Invite| {
            let found = all.iter().find(|status| status.invite == of.key.id());
            found.map(|status| (status.users.len(), status.uses, status.is_closed))
        };
        assert_eq!(all.len(), 2);
        assert_eq!(
            (counts(&used), counts(&unused)),
            (Some((1, 2, false)), Some((0, 7, false)))
        );
        world.kill(founder);
        world.start(founder);
        world.run(Duration::from_secs(60));
    }
    // Others know of those that somebody used.
    let known: Vec<_> = listed(&mut world, member)
        .iter()
        .map(|status| status.invite)
        .collect();
    assert_eq!(known, [used.key.id()]);
    let refused = world.run_command(member, close(&used.key.id().to_string()));
    assert_eq!(refused, Err(CommandError::NotAnOwner(foo())));
    assert!(matches!(
        world.run_command(founder, close("zzzz")),
        Err(CommandError::NoSuchInvite { .. })
    ));
    for invite in [&used, &unused] {
        let id = invite.key.id().to_string();
        let reply = world.run_command(founder, close(&id[..12]));
        assert!(
            matches!(&reply, Ok(Reply::Closed { affected, .. }) if affected.gone.is_empty()),
            "{reply:?}"
        );
        assert_eq!(world.run_command(founder, close(&id)), Ok(Reply::Unchanged));
    }
    assert!(
        listed(&mut world, founder)
            .iter()
            .all(|status| status.is_closed)
    );
    world.run(Duration::from_secs(5));
    for invite in [&used, &unused] {
        join(&mut world, late, invite).unwrap_err();
        let _ = world.run_command(
            late,
            Command::Leave {
                name: foo(),
                anyway: false,
            },
        );
    }
    world.run(Duration::from_secs(60));
    assert!(agree(&world, &network, &[founder, member]));
}

fn leave(world: &mut Sim, node: NodeIndex) {
    let leave = Command::Leave {
        name: foo(),
        anyway: false,
    };
    world.run_command(node, leave).unwrap();
}

/// Whoever used an invite and came again by another one has used both.
#[test]
fn an_invite_stays_used_when_its_user_comes_again_by_another() {
    let mut world = world(93, Faults::NONE);
    let (founder, member, late) = (world.add(), world.add(), world.add());
    let network = found(&mut world, founder, "10.7.0.0/16", AdmissionRule::Invite);
    let [first, second] = [(); 2].map(|()| invite(&mut world, founder, 1));
    join(&mut world, member, &first).unwrap();
    world.run(Duration::from_secs(60));
    leave(&mut world, member);
    join(&mut world, member, &second).unwrap();
    world.run(Duration::from_secs(60));
    for invite in [&first, &second] {
        let all = listed(&mut world, founder);
        let of = all.iter().find(|known| known.invite == invite.key.id());
        assert_eq!(of.unwrap().users, [world.nodes[member].key.id()]);
        let refused = join(&mut world, late, invite);
        assert_eq!(refused, Err(CommandError::InviteSpent));
    }
    world.run(Duration::from_secs(60));
    assert!(agree(&world, &network, &[founder, member]));
}

/// A node went with the one that had let it in. What it is told depends on the invite that it shows now.
#[test]
fn who_went_with_its_host_is_judged_by_the_invite_that_it_shows() {
    let mut world = world(94, Faults::NONE);
    let (founder, host, guest) = (world.add(), world.add(), world.add());
    let network = found(&mut world, founder, "10.7.0.0/16", AdmissionRule::Invite);
    for (inviter, node) in [(founder, host), (host, guest)] {
        let through = invite(&mut world, inviter, 1);
        join(&mut world, node, &through).unwrap();
        world.run(Duration::from_secs(60));
    }
    let bad = world.nodes[host].key.id().to_string();
    world
        .run_command(founder, revoke(bad, Keep::Nobody))
        .unwrap();
    world.run(Duration::from_secs(60));
    leave(&mut world, guest);
    let [closed, good] = [(); 2].map(|()| invite(&mut world, founder, 1));
    let id = closed.key.id().to_string();
    world.run_command(founder, close(&id)).unwrap();
    let refused = join(&mut world, guest, &closed);
    assert!(
        matches!(
            refused,
            Err(CommandError::PutOut {
                why: Expulsion::InviteClosed,
                ..
            })
        ),
        "{refused:?}"
    );
    let _ = world.run_command(
        guest,
        Command::Leave {
            name: foo(),
            anyway: false,
        },
    );
    let joined = join(&mut world, guest, &good);
    assert!(
        matches!(joined, Ok(Reply::Joined { members: 1, .. })),
        "{joined:?}"
    );
    assert!(world.run_until(Duration::from_secs(5), |w| agree(
        w,
        &network,
        &[founder, guest]
    )));
}

/// A founder, a member, a guest of the member, and a guest of that: the member is revoked, and the last one kept.
#[test]
fn the_invites_of_those_who_are_out_are_listed_as_void() {
    let mut world = world(97, Faults::NONE);
    let nodes: Vec<NodeIndex> = (0..4).map(|_| world.add()).collect();
    let network = found(&mut world, 0, "10.7.0.0/16", AdmissionRule::Invite);
    let mut made = Vec::new();
    for pair in nodes.windows(2) {
        let invite = invite(&mut world, pair[0], 3);
        join(&mut world, pair[1], &invite).unwrap();
        world.run(Duration::from_secs(60));
        made.push(invite.key.id());
    }
    let unused = invite(&mut world, 2, 5).key.id();
    let good = invite(&mut world, 3, 5).key.id();
    let void = |world: &mut Sim, node, invite: &NodeId| {
        let all = listed(world, node);
        all.iter()
            .find(|status| status.invite == *invite)
            .unwrap()
            .void
    };
    for invite in &made {
        assert_eq!(void(&mut world, 0, invite), None);
    }
    let bad = world.nodes[1].key.id();
    let kept = Keep::These(vec![world.nodes[3].key.id().to_string()]);
    world.run_command(0, revoke(bad.to_string(), kept)).unwrap();
    world.run(Duration::from_secs(60));
    let why = Some(VoidInvite::Revoked(bad));
    // What the founder made is closed, and otherwise good.
    assert_eq!(void(&mut world, 0, &made[0]), None);
    for (node, invite) in [(0, made[1]), (3, made[2]), (2, unused)] {
        assert_eq!(void(&mut world, node, &invite), why);
    }
    // Who was admitted by name needs nobody else.
    assert_eq!(void(&mut world, 3, &good), None);
    assert!(agree(&world, &network, &[0, 3]));
}

/// An invite of machine 0 that leads to another one.
fn invite_through(world: &mut Sim, node: NodeIndex) -> Invite {
    let mut text = invite(world, 0, 1);
    text.bootstrap[0].node = world.nodes[node].key.id();
    text.bootstrap[0].quic = vec![world.nodes[node].quic()];
    text
}

/// The member that a newcomer comes to does not know what the owner did, or does not say it.
#[test]
fn a_newcomer_says_that_it_lacks_what_its_invite_names() {
    let (mut world, network, _) = mesh(92, Faults::NONE, 3, "10.7.0.0/16");
    let all = [0, 1, 2];
    assert!(world.run_until(Duration::from_secs(60), |w| agree(w, &network, &all)));
    let lacks = |world: &Sim, node| status(world, node).unwrap().awaited;
    let text = invite(&mut world, 0, 1);
    assert!(text.heads.is_empty());
    let early = world.add();
    join(&mut world, early, &text).unwrap();
    assert_eq!(lacks(&world, early), 0);
    world.partition(|node| u8::from(node != 0));
    let bad = world.nodes[2].key.id().to_string();
    world.run_command(0, revoke(bad, Keep::Nobody)).unwrap();
    let text = invite_through(&mut world, 1);
    assert_eq!(text.heads.len(), 1);
    let late = world.add();
    world.partition(|node| u8::from(node != 0));
    join(&mut world, late, &text).unwrap();
    world.run(Duration::from_secs(60));
    assert_eq!(lacks(&world, late), 1);
    // Also after a restart.
    world.kill(late);
    world.start(late);
    world.run(Duration::from_secs(60));
    assert_eq!(lacks(&world, late), 1);
    world.partition(|_| 0);
    assert!(world.run_until(Duration::from_secs(300), |w| lacks(w, late) == 0));
    assert!(world.nodes[late].disk[&network].awaited.is_empty());
}

/// The owner was away when a newcomer joined, and only a member that is to be revoked saw it.
#[test]
fn revoking_names_those_whom_nobody_else_has_seen() {
    let (mut world, network, _) = mesh(93, Faults::NONE, 2, "10.7.0.0/16");
    assert!(world.run_until(Duration::from_secs(60), |w| agree(w, &network, &[0, 1])));
    let text = invite_through(&mut world, 1);
    let newcomer = world.add();
    world.partition(|node| u8::from(node != 0));
    join(&mut world, newcomer, &text).unwrap();
    world.run(Duration::from_secs(60));
    world.partition(|node| u8::from(node == newcomer));
    let knows = |w: &Sim| status(w, 0).unwrap().peers.len() == 2;
    assert!(world.run_until(Duration::from_secs(300), knows));
    let [bad, left] = [1, newcomer].map(|node| world.nodes[node].key.id());
    let unseen = |world: &mut Sim| {
        let plan = Command::Revoke {
            name: foo(),
            node: bad.to_string(),
            keep: Keep::Nobody,
            only_say: true,
        };
        match world.run_command(0, plan) {
            Ok(Reply::Revoked { affected, .. }) if affected.gone.is_empty() => affected.unseen,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(unseen(&mut world), [left]);
    // Once the owner has seen it too, it is none of them.
    world.partition(|_| 0);
    world.run(Duration::from_secs(300));
    assert_eq!(unseen(&mut world), []);
}

/// Machines that all come by one invite, at the same moment.
fn come(world: &mut Sim, invite: &Invite, count: usize) -> Vec<NodeIndex> {
    let nodes: Vec<NodeIndex> = (0..count).map(|_| world.add()).collect();
    for node in &nodes {
        let with = JoinWith::Invite(Box::new(invite.clone()));
        world.command(*node, join_command(with));
    }
    nodes
}

/// Runs until the owner has so many members, all of whom have just shown it their promises.
fn until_seen(world: &mut Sim, count: usize) {
    let are_seen = (0..1000).any(|_| {
        world.run(Duration::from_millis(5));
        status(world, 0).unwrap().peers.len() == count
    });
    assert!(are_seen);
    world.run(Duration::from_millis(10));
}

/// Whom revoking a machine affects: as it is said before, and done then.
fn revoked(world: &mut Sim, node: NodeIndex, keep: &Keep) -> Affected {
    let node = world.nodes[node].key.id().to_string();
    let plan = Command::Revoke {
        name: foo(),
        node: node.clone(),
        keep: keep.clone(),
        only_say: true,
    };
    let said = world.run_command(0, plan).unwrap();
    assert_eq!(
        world.run_command(0, revoke(node, keep.clone())).as_ref(),
        Ok(&said)
    );
    match said {
        Reply::Revoked { affected, .. } => affected,
        other => panic!("{other:?}"),
    }
}

#[test]
fn of_two_hundred_who_share_an_invite_one_is_revoked_and_nobody_else() {
    let mut world = world(94, Faults::NONE);
    let founder = world.add();
    let network = found(&mut world, founder, "10.7.0.0/20", AdmissionRule::Invite);
    let shared = invite(&mut world, founder, 300);
    let mut nodes = come(&mut world, &shared, 200);
    world.run(Duration::from_secs(60));
    let bad = nodes.remove(17);
    let affected = revoked(&mut world, bad, &Keep::Nobody);
    assert_eq!((affected.gone, affected.kept), (vec![], vec![]));
    nodes.push(founder);
    world.run(Duration::from_secs(20));
    assert!(agree(&world, &network, &nodes));
    // The invite would admit a hundred more, and whoever was revoked still has it.
    let fresh = world.add();
    join(&mut world, fresh, &shared).unwrap_err();
    world.run(Duration::from_secs(60));
    assert!(agree(&world, &network, &nodes));
}

/// The owner saw them a moment ago, and none of them shows it yet.
#[test]
fn those_whom_a_closing_has_no_room_to_name_are_said_to_go() {
    for (keep, left_out) in [(Keep::Nobody, 140 - 1 - MAX_NAMED), (Keep::Guests, 0)] {
        let mut world = world(95, Faults::NONE);
        let founder = world.add();
        let network = found(&mut world, founder, "10.7.0.0/20", AdmissionRule::Invite);
        let shared = invite(&mut world, founder, 300);
        let nodes = come(&mut world, &shared, 140);
        until_seen(&mut world, 140);
        world.partition(|node| u8::from(node == founder));
        let affected = revoked(&mut world, nodes[17], &keep);
        assert_eq!(affected.gone.len(), left_out);
        world.run(Duration::from_secs(60));
        world.partition(|_| 0);
        let mut rest = nodes.clone();
        rest.push(founder);
        let is_out = |node: &NodeIndex| affected.gone.contains(&world.nodes[*node].key.id());
        rest.retain(|node| *node != nodes[17] && !is_out(node));
        let agreed = (0..60).any(|_| {
            world.run(Duration::from_secs(5));
            agree(&world, &network, &rest)
        });
        assert!(agreed, "{}", describe(&world, &network));
    }
}

/// There is room to name 128 users of an invite, and more were gone before they showed that they were seen.
#[test]
fn a_closing_names_those_who_are_there_first() {
    let mut world = world(96, Faults::NONE);
    let founder = world.add();
    let network = found(&mut world, founder, "10.7.0.0/20", AdmissionRule::Invite);
    let command = Command::Invite {
        name: foo(),
        life: Duration::from_secs(30 * 24 * 3600),
        uses: 1000,
        endpoints: vec![],
    };
    let Ok(Reply::Invite(text)) = world.run_command(founder, command) else {
        panic!("no invite");
    };
    let shared = Invite::from_text(&text).unwrap();
    for _ in 0..150 {
        let early = world.add();
        join(&mut world, early, &shared).unwrap();
        world.run(Duration::from_millis(20));
        world.kill(early);
    }
    world.run(Duration::from_secs(9 * 24 * 3600));
    let nodes = come(&mut world, &shared, 9);
    until_seen(&mut world, 9);
    world.partition(|node| u8::from(node == founder));
    let affected = revoked(&mut world, nodes[0], &Keep::Nobody);
    assert_eq!(affected.gone, []);
    world.partition(|_| 0);
    let mut rest = nodes[1..].to_vec();
    rest.push(founder);
    assert!(world.run_until(Duration::from_secs(600), |w| agree(w, &network, &rest)));
}

/// Whoever was handed an invite can sign another grant of its key. That hides nothing of the true one, and closing it
/// keeps those who came by it.
#[test]
fn a_second_grant_of_an_invite_key_stands_beside_the_first() {
    let (mut world, network, _) = mesh(97, Faults::NONE, 2, "10.7.0.0/16");
    world.run(Duration::from_secs(5));
    let shared = invite(&mut world, 0, 10);
    let own = invite(&mut world, 1, 500);
    let grant = Grant {
        invite: shared.key.id(),
        ..(*own.grant).clone()
    };
    let second = Invite {
        grant: Signed::sign(grant, &world.nodes[1].key).unwrap(),
        key: shared.key.clone(),
        ..own
    };
    let guest = world.add();
    join(&mut world, guest, &second).unwrap();
    world.run(Duration::from_secs(5));
    let id = shared.key.id();
    let counts = |world: &mut Sim| -> Vec<_> {
        let all = listed(world, 0).into_iter();
        let these = all.filter(|one| one.invite == id);
        let mut counts: Vec<_> = these.map(|one| (one.uses, one.users.len())).collect();
        counts.sort_unstable();
        counts
    };
    assert_eq!(counts(&mut world), [(10, 0), (500, 1)]);
    let mut nodes = come(&mut world, &shared, 3);
    until_seen(&mut world, 5);
    assert_eq!(counts(&mut world), [(10, 3), (500, 1)]);
    world.partition(|node| u8::from(node == 0));
    match world.run_command(0, close(&id.to_string())) {
        Ok(Reply::Closed { affected, .. }) => assert_eq!(affected.gone, []),
        other => panic!("{other:?}"),
    }
    world.partition(|_| 0);
    nodes.extend([0, 1, guest]);
    assert!(world.run_until(Duration::from_secs(300), |w| agree(w, &network, &nodes)));
}
