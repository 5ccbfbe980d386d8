//! The list of invites, and closing one.

use std::time::Duration;

use grid_promises::core::{Command, CommandError, InviteStatus, Keep, Reply};
use grid_promises::network::AdmissionRule;
use grid_promises::sim::{Faults, NodeIndex};

use super::{Sim, agree, foo, found, invite, join, world};

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
        let counts = |of: &grid_promises::network::invite::Invite| {
            let found = all.iter().find(|status| status.invite == of.key.id());
            found.map(|status| (status.used, status.uses, status.is_closed))
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
            matches!(&reply, Ok(Reply::Closed { gone, .. }) if gone.is_empty()),
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
        let _ = world.run_command(late, Command::Leave { name: foo() });
    }
    world.run(Duration::from_secs(60));
    assert!(agree(&world, &network, &[founder, member]));
}
