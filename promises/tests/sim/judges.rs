//! Judges: what they decide, what stands when they fail, and that the history of it replays.

use std::time::Duration;

use grid_promises::ContentId;
use grid_promises::core::{Command, Notice, Reply};
use grid_promises::network::NetworkId;
use grid_promises::network::history::{self, HistoryError};
use grid_promises::network::judgement::{Opinion, Opinions, Reason};
use grid_promises::network::records::Records;
use grid_promises::sim::{Faults, NodeIndex};
use ipnet::IpNet;

use super::{Sim, foo, mesh};

/// Accepts everything but what `node-2` promises.
fn picky(records: &Records) -> Vec<Opinion> {
    let opinion = |(node, _)| {
        let label = records.members[&node].label.as_str();
        Opinion {
            accepts: label != "node-2",
            why: Reason::new(&format!("I know {label}")),
        }
    };
    records.questions().map(opinion).collect()
}

/// Says too little.
fn lazy(_: &Records) -> Vec<Opinion> {
    Vec::new()
}

fn id(name: &str) -> ContentId {
    ContentId::of(name.as_bytes())
}

fn appoint(world: &mut Sim, node: NodeIndex, judge: Option<ContentId>) {
    let name = foo();
    let reply = world.run_command(node, Command::SetJudge { name, judge });
    assert_eq!(reply, Ok(Reply::Changed));
    world.run(Duration::from_secs(1));
}

/// How many addresses of `of` the node at `node` sends to.
fn reaches(world: &Sim, network: &NetworkId, node: NodeIndex, of: NodeIndex) -> usize {
    let key = world.nodes[of].tunnels[network].private_key.public();
    let peers = &world.nodes[node].tunnels[network].peers;
    peers.get(&key).map_or(0, |peer| peer.allowed_ips.len())
}

fn failures(world: &Sim, node: NodeIndex) -> usize {
    let notices = world.nodes[node].notices.iter();
    notices
        .filter(|notice| matches!(notice, Notice::JudgeFailed { .. }))
        .count()
}

#[test]
fn a_judge_decides_about_everybody() {
    let (mut world, network, _) = mesh(21, Faults::BAD, 5, "10.9.0.0/24");
    world.run(Duration::from_secs(60));
    world.nodes[0].judges.insert(id("picky"), picky);
    appoint(&mut world, 0, Some(id("picky")));
    assert_eq!(reaches(&world, &network, 0, 1), 2);
    assert_eq!(reaches(&world, &network, 0, 2), 0);
    // It is this node's own.
    assert_eq!(reaches(&world, &network, 1, 2), 2);
    // It survives a restart: nobody is let in before it has spoken again, and then as before.
    world.kill(0);
    world.start(0);
    assert!(
        world.nodes[0].tunnels[&network]
            .peers
            .values()
            .all(|peer| peer.allowed_ips.is_empty())
    );
    world.run(Duration::from_secs(1));
    assert_eq!(reaches(&world, &network, 0, 1), 2);
    assert_eq!(reaches(&world, &network, 0, 2), 0);
    appoint(&mut world, 0, None);
    assert_eq!(reaches(&world, &network, 0, 2), 2);
}

#[test]
fn a_judge_that_fails_lets_nobody_in_and_puts_nobody_out() {
    let (mut world, network, invite) = mesh(22, Faults::NONE, 3, "10.9.0.0/24");
    world.nodes[0].judges.insert(id("picky"), picky);
    appoint(&mut world, 0, Some(id("picky")));
    world.nodes[0].judges.insert(id("picky"), lazy);
    let late = world.add();
    super::join(&mut world, late, &invite).unwrap();
    world.run(Duration::from_secs(5));
    assert_eq!(failures(&world, 0), 1);
    assert_eq!(reaches(&world, &network, 0, 1), 2);
    assert_eq!(reaches(&world, &network, 0, late), 0);
    let status = super::status(&world, 0).unwrap();
    let why = status.judge_failure.unwrap();
    assert!(why.as_str().contains("0 questions"), "{why}");
    // It is asked again without anything having happened.
    world.nodes[0].judges.insert(id("picky"), picky);
    world.run(Duration::from_secs(15));
    assert_eq!(reaches(&world, &network, 0, late), 2);
    assert_eq!(super::status(&world, 0).unwrap().judge_failure, None);
}

#[test]
fn a_missing_judge_lets_nobody_in() {
    let (mut world, network, _) = mesh(23, Faults::NONE, 3, "10.9.0.0/24");
    appoint(&mut world, 0, Some(id("missing")));
    assert_eq!(reaches(&world, &network, 0, 1), 0);
    assert_eq!(failures(&world, 0), 1);
    world.run(Duration::from_secs(60));
    assert_eq!(failures(&world, 0), 1, "the same failure is told once");
}

#[test]
fn what_was_decided_can_be_decided_again() {
    let (mut world, network, invite) = mesh(24, Faults::NONE, 3, "10.9.0.0/24");
    let mut moments = Vec::new();
    let note = |world: &Sim, moments: &mut Vec<_>| {
        let status = super::status(world, 0).unwrap();
        let verdicts = status.peers.into_iter();
        let verdicts = verdicts.map(|peer| (peer.node, peer.verdicts)).collect();
        moments.push((world.now.timestamp(), history::lines(&verdicts)));
    };
    world.run(Duration::from_secs(5));
    note(&world, &mut moments);
    world.nodes[0].judges.insert(id("picky"), picky);
    world.run(Duration::from_secs(5));
    appoint(&mut world, 0, Some(id("picky")));
    note(&world, &mut moments);
    world.run(Duration::from_secs(1));
    let late = world.add();
    super::join(&mut world, late, &invite).unwrap();
    let prefix: IpNet = "192.168.7.0/24".parse().unwrap();
    let name = foo();
    world
        .run_command(late, Command::Promise { name, prefix })
        .unwrap();
    world.run(Duration::from_secs(5));
    note(&world, &mut moments);
    world.run(Duration::from_secs(1));
    appoint(&mut world, 0, None);
    world.run(Duration::from_secs(5));
    note(&world, &mut moments);
    let file = &world.nodes[0].histories[&network];
    for (at, lines) in &moments {
        let moment = history::at(&[file], *at).unwrap();
        assert_eq!(moment.decision.lines, *lines);
        let opinions: Option<Opinions> = moment.decision.judge.map(|_| {
            let records = &moment.decision.records;
            records.questions().zip(picky(records)).collect()
        });
        assert_eq!(moment.decision.decide_again(opinions.as_ref()), *lines);
    }
    let lines = |index: usize| {
        moments[index]
            .1
            .values()
            .flatten()
            .filter(|line| line.accepted)
            .count()
    };
    assert_eq!((lines(0), lines(1), lines(2), lines(3)), (4, 2, 5, 6));
    let before = grid_promises::Timestamp(1);
    assert!(matches!(
        history::at(&[file], before),
        Err(HistoryError::TooEarly { .. })
    ));
}
