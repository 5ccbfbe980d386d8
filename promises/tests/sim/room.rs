//! Networks that have no room for a node, and members whom nobody remembers any longer.

use std::time::Duration;

use grid_promises::core::protocol::by_hand;
use grid_promises::core::{Command, CommandError, Expulsion, Input, Keep, OwnStanding, Reply};
use grid_promises::limits::MAX_THROUGH;
use grid_promises::network::AdmissionRule;
use grid_promises::network::invite::Invite;
use grid_promises::sim::{Faults, NodeIndex};
use grid_promises::time::Millis;

use super::{Sim, agree, foo, found, invite, join, status, world};
use crate::common::{DAY, HOUR, MINUTE, Net, T0, key};

const FOUNDER: NodeIndex = 0;
const HOST: NodeIndex = 1;
const LATE: NodeIndex = 2;
const PLAYED: NodeIndex = 3;

/// As many guests of a member as one invite brings, all of whom it saw before it saw node 2, which came by the same
/// invite.
fn crowd(net: &Net, invite: &Invite) -> Vec<Vec<u8>> {
    let first = 2000;
    let guest = |n: u16| {
        let node = net.guest(n, invite);
        let since = invite.grant.issued;
        let node = node.at(1, since);
        let seen = net.receipt(&key(1), &node, since, since);
        node.carrying(&[seen]).bytes()
    };
    let count = u16::try_from(MAX_THROUGH / 2).unwrap();
    (first..first + count).map(guest).collect()
}

fn standing(world: &Sim, node: NodeIndex) -> Option<OwnStanding> {
    status(world, node).map(|status| status.standing)
}

#[test]
fn a_node_without_room_says_so_and_comes_in_when_there_is_room() {
    let mut world = world(130, Faults::NONE);
    world.now = Millis(T0.0 * 1000);
    for n in 0..3 {
        world.add_with_key(key(n));
    }
    let network = found(&mut world, FOUNDER, "10.7.0.0/16", AdmissionRule::Invite);
    let first = invite(&mut world, FOUNDER, 1);
    join(&mut world, HOST, &first).unwrap();
    world.run(MINUTE);
    let guests = invite(&mut world, HOST, 10_000);
    world.run(MINUTE);
    join(&mut world, LATE, &guests).unwrap();
    assert!(world.run_until(MINUTE, |w| agree(w, &network, &[FOUNDER, HOST, LATE])));
    let net = Net {
        charter: world.nodes[FOUNDER].disk[&network].charter.clone(),
    };
    let crowd = crowd(&net, &guests);
    let played = world.add_played(key(2000));
    assert_eq!(played, PLAYED);
    for to in [FOUNDER, HOST] {
        world.connect(PLAYED, to);
        world.run(Duration::from_secs(1));
        let peer = world.nodes[to].key.id();
        for part in crowd.chunks(64) {
            world.say(PLAYED, peer, by_hand::push(network, part));
            world.run(Duration::from_secs(1));
        }
    }
    let is_out = |w: &Sim| {
        let why = OwnStanding::Expelled(Expulsion::NoRoom);
        standing(w, LATE) == Some(why)
    };
    assert!(
        world.run_until(10 * MINUTE, is_out),
        "{:?}",
        standing(&world, LATE)
    );
    let late = world.nodes[LATE].key.id();
    let knows = |w: &Sim, node| {
        let peers = status(w, node).unwrap().peers;
        peers.iter().any(|peer| peer.node == late)
    };
    assert!(!knows(&world, FOUNDER) && !knows(&world, HOST));
    // One of them is put out.
    let revoked = world.run_command(
        FOUNDER,
        Command::Revoke {
            name: foo(),
            node: key(2001).id().to_string(),
            keep: Keep::Guests,
            only_say: false,
        },
    );
    assert!(revoked.is_ok(), "{revoked:?}");
    let is_back = |w: &Sim| standing(w, LATE) == Some(OwnStanding::Member) && knows(w, FOUNDER);
    assert!(
        world.run_until(2 * HOUR, is_back),
        "{:?}",
        standing(&world, LATE)
    );
}

/// An invite for one, for a hundred days, whose user left and was forgotten by everybody. Nobody who was there then is
/// asked.
#[test]
fn an_invite_stays_used_among_those_who_came_later() {
    let mut world = world(131, Faults::NONE);
    let (founder, user, witness, later, thief) = (
        world.add(),
        world.add(),
        world.add(),
        world.add(),
        world.add(),
    );
    found(&mut world, founder, "10.7.0.0/16", AdmissionRule::Invite);
    let long = |world: &mut Sim| {
        let command = Command::Invite {
            name: foo(),
            life: 100 * DAY,
            uses: 1,
            endpoints: vec![],
        };
        match world.run_command(founder, command) {
            Ok(Reply::Invite(text)) => Invite::from_text(&text).unwrap(),
            other => panic!("{other:?}"),
        }
    };
    let [of_witness, used, of_later] = [(); 3].map(|()| long(&mut world));
    join(&mut world, witness, &of_witness).unwrap();
    join(&mut world, user, &used).unwrap();
    world.run(MINUTE);
    let left = world.run_command(
        user,
        Command::Leave {
            name: foo(),
            anyway: false,
        },
    );
    assert!(left.is_ok(), "{left:?}");
    world.run(10 * DAY);
    let mut of_later = of_later;
    of_later.bootstrap = of_witness.bootstrap.clone();
    world.kill(founder);
    let quic = world.nodes[witness].quic();
    of_later.bootstrap[0].node = world.nodes[witness].key.id();
    of_later.bootstrap[0].quic = vec![quic];
    join(&mut world, later, &of_later).unwrap();
    world.run(MINUTE);
    world.kill(witness);
    let mut stolen = used;
    stolen.bootstrap[0].node = world.nodes[later].key.id();
    stolen.bootstrap[0].quic = vec![world.nodes[later].quic()];
    let result = join(&mut world, thief, &stolen);
    assert_eq!(result, Err(CommandError::InviteSpent));
}

/// To look for what concerns a node that is out takes a look at all acts.
#[test]
fn who_is_out_pays_for_what_it_asks() {
    let mut world = world(132, Faults::NONE);
    let founder = world.add();
    let network = found(&mut world, founder, "10.7.0.0/16", AdmissionRule::Invite);
    let stranger = world.add_played(key(600));
    world.connect(stranger, founder);
    world.run(Duration::from_secs(1));
    let peer = world.nodes[founder].key.id();
    for _ in 0..600 {
        let comparison = by_hand::Comparison {
            root: [0; 32],
            index: None,
            admission: None,
            acts: Vec::new(),
        };
        world.say(stranger, peer, by_hand::sync(network, comparison));
    }
    world.run(Duration::from_secs(1));
    let busy = by_hand::refuses("this node has verified enough for now; send it later");
    let heard = world.nodes[stranger].heard.take().unwrap();
    let is_busy = |input: &&Input| matches!(input, Input::Response { message: Some(message), .. } if *message == busy);
    let refused = heard.iter().filter(is_busy).count();
    assert!((50..=88).contains(&refused), "{refused}");
}
