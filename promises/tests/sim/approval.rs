//! Admission by an owner: by the code that both see, before and after the node asks, and in a crowd.

use std::time::Duration;

use grid_keys::{NodeId, NodeKey, Secret};
use grid_promises::Timestamp;
use grid_promises::core::{
    Command, CommandError, Input, JoinWith, Keep, OwnStanding, Reply, ReplyTo, protocol,
};
use grid_promises::network::admission::AdmissionRequest;
use grid_promises::network::carried::{Carried, CarriedError};
use grid_promises::network::code::Code;
use grid_promises::network::statement::Signed;
use grid_promises::network::{AdmissionRule, Label, NetworkId};
use grid_promises::sim::{Faults, NodeIndex};

use super::{Sim, acquainted, agree, foo, found, join_command, raised, revoke, status, world};

const HOUR: Duration = Duration::from_secs(3600);

fn id(world: &Sim, node: NodeIndex) -> NodeId {
    world.nodes[node].key.id()
}

fn accept(world: &mut Sim, owner: NodeIndex, node: impl ToString) -> Result<Reply, CommandError> {
    let (name, node) = (foo(), node.to_string());
    world.run_command(
        owner,
        Command::Approve {
            name,
            node,
            only_say: false,
        },
    )
}

/// A key that belongs to no machine.
fn invented(number: u16) -> NodeKey {
    let mut seed = [0x5a; 32];
    seed[..2].copy_from_slice(&number.to_be_bytes());
    NodeKey::from_seed(&Secret::new(seed))
}

/// `peer` hands a node the request of a key, which calls itself `label`.
fn ask_through(
    world: &mut Sim,
    at: NodeIndex,
    network: NetworkId,
    peer: NodeId,
    key: &NodeKey,
    label: &str,
) {
    let request = AdmissionRequest {
        network,
        node: key.id(),
        label: Label::from_host_name(label),
        issued: Timestamp(world.now.0 / 1000),
    };
    let message = protocol::by_hand::ask(&Signed::sign(request, key).unwrap());
    let reply = ReplyTo(u64::MAX);
    let request = Input::Request {
        peer,
        message,
        reply,
    };
    world.input(at, request);
}

/// A key connects from somewhere and asks for itself.
fn ask(world: &mut Sim, at: NodeIndex, network: NetworkId, key: &NodeKey, label: &str, from: &str) {
    let connected = Input::Connected {
        peer: key.id(),
        remote: format!("{from}:4000").parse().unwrap(),
        outgoing: false,
    };
    world.input(at, connected);
    ask_through(world, at, network, key.id(), key, label);
}

fn asking(world: &Sim, node: NodeIndex) -> Vec<NodeId> {
    let asking = status(world, node).unwrap().asking;
    asking.keys().copied().collect()
}

#[test]
fn the_newcomer_and_the_owner_see_the_same_code() {
    let mut world = world(101, Faults::NONE);
    let (network, founder, joiner) = acquainted(&mut world, AdmissionRule::Approve);
    let outcome = world.run_command(joiner, join_command(JoinWith::Peers));
    let code = Code::of(&network, &id(&world, joiner));
    assert_eq!(status(&world, joiner).unwrap().code, Some(code));
    assert!(
        matches!(outcome, Err(CommandError::WaitsForOwner { code: said, .. }) if said == code),
        "{outcome:?}"
    );
    assert_eq!(asking(&world, founder), [id(&world, joiner)]);
    raised(accept(&mut world, founder, code));
    assert_eq!(accept(&mut world, founder, code), Ok(Reply::Unchanged));
    let both = [founder, joiner];
    assert!(world.run_until(HOUR, |w| agree(w, &network, &both)));
    assert_eq!(status(&world, joiner).unwrap().code, None);
}

/// Twelve characters of an id may read as a code.
#[test]
fn the_first_characters_of_an_id_name_the_node_that_asks() {
    let mut world = world(107, Faults::NONE);
    let (network, founder, _) = acquainted(&mut world, AdmissionRule::Approve);
    let first = |key: &NodeKey| key.id().to_string()[..12].to_owned();
    let reads_as_a_code = |key: &NodeKey| first(key).parse::<Code>().is_ok();
    let mut keys = (1..).map(invented);
    let asking = keys.find(reads_as_a_code).unwrap();
    ask(&mut world, founder, network, &asking, "web1", "203.0.113.7");
    let reply = accept(&mut world, founder, first(&asking));
    assert!(
        matches!(&reply, Ok(Reply::Raised { node, .. }) if *node == asking.id()),
        "{reply:?}"
    );
    // Nobody who asks is called this, so that it is a code.
    let other = keys.find(reads_as_a_code).unwrap();
    let reply = accept(&mut world, founder, first(&other));
    assert!(matches!(reply, Ok(Reply::Expected(_))), "{reply:?}");
}

/// The owner accepts a code, and is killed before the node asks.
#[test]
fn a_code_that_was_accepted_first_admits_its_node_and_no_other() {
    let mut world = world(102, Faults::NONE);
    let (network, founder, joiner) = acquainted(&mut world, AdmissionRule::Approve);
    let code = Code::of(&network, &id(&world, joiner));
    let expected = accept(&mut world, founder, code);
    assert_eq!(expected, Ok(Reply::Expected(code)));
    // Who calls itself by the code does not have it.
    let other = invented(1);
    let label = code.to_string().to_ascii_lowercase();
    ask(&mut world, founder, network, &other, &label, "203.0.113.7");
    let again = accept(&mut world, founder, &label);
    assert_eq!(again, Ok(Reply::Expected(code)));
    world.kill(founder);
    world.start(founder);
    assert_eq!(status(&world, founder).unwrap().expected.len(), 1);
    world.command(joiner, join_command(JoinWith::Peers));
    let both = [founder, joiner];
    assert!(world.run_until(HOUR, |w| agree(w, &network, &both)));
    // It is on disk, and the code has served.
    world.kill(founder);
    world.start(founder);
    assert!(status(&world, founder).unwrap().expected.is_empty());
    assert!(world.run_until(HOUR, |w| agree(w, &network, &both)));
}

/// Nobody else knows of it yet: it is on disk before it is answered.
#[test]
fn an_owner_that_is_killed_once_it_accepted_a_key_has_admitted_it() {
    let mut world = world(113, Faults::NONE);
    let founder = world.add();
    found(&mut world, founder, "10.7.0.0/16", AdmissionRule::Approve);
    let node = invented(1).id();
    raised(accept(&mut world, founder, node));
    world.kill(founder);
    world.start(founder);
    assert_eq!(accept(&mut world, founder, node), Ok(Reply::Unchanged));
}

#[test]
fn a_code_is_kept_for_an_hour() {
    let mut world = world(103, Faults::NONE);
    let (network, founder, joiner) = acquainted(&mut world, AdmissionRule::Approve);
    let code = Code::of(&network, &id(&world, joiner));
    accept(&mut world, founder, code).unwrap();
    world.run(HOUR + Duration::from_secs(60));
    assert!(status(&world, founder).unwrap().expected.is_empty());
    world.command(joiner, join_command(JoinWith::Peers));
    world.run(Duration::from_secs(120));
    let standing = status(&world, joiner).unwrap().standing;
    assert_eq!(standing, OwnStanding::Waiting);
}

/// The newcomer knows a member that is no owner.
#[test]
fn a_request_that_a_member_passes_on_is_admitted_by_its_code() {
    let mut world = world(104, Faults::NONE);
    let (network, founder, member) = acquainted(&mut world, AdmissionRule::Approve);
    let code = Code::of(&network, &id(&world, member));
    accept(&mut world, founder, code).unwrap();
    world
        .run_command(member, join_command(JoinWith::Peers))
        .unwrap();
    let joiner = world.add();
    let known = Input::KnownPeer {
        node: id(&world, member),
        addrs: vec![world.nodes[member].quic()],
    };
    world.input(joiner, known);
    let code = Code::of(&network, &id(&world, joiner));
    accept(&mut world, founder, code).unwrap();
    world.command(joiner, join_command(JoinWith::Peers));
    let all = [founder, member, joiner];
    assert!(world.run_until(HOUR, |w| agree(w, &network, &all)));
}

/// The code was accepted on one owner's node. Another owner admits the node by its key, and puts it out again.
#[test]
fn a_code_that_is_left_over_brings_nobody_back() {
    let mut world = world(105, Faults::NONE);
    let (network, founder, joiner) = acquainted(&mut world, AdmissionRule::Approve);
    let node = id(&world, joiner);
    let code = Code::of(&network, &node);
    accept(&mut world, founder, code).unwrap();
    accept(&mut world, founder, node).unwrap();
    let revocation = revoke(node.to_string(), Keep::Nobody);
    world.run_command(founder, revocation).unwrap();
    world.command(joiner, join_command(JoinWith::Peers));
    world.run(Duration::from_secs(120));
    assert!(agree(&world, &network, &[founder]));
}

#[test]
fn a_name_is_taken_only_if_one_node_has_it() {
    let mut world = world(106, Faults::NONE);
    let founder = world.add();
    let network = found(&mut world, founder, "10.7.0.0/16", AdmissionRule::Approve);
    let (one, other) = (invented(1), invented(2));
    let from = "203.0.113.7";
    ask(&mut world, founder, network, &one, "web1", from);
    ask(&mut world, founder, network, &other, "web1", from);
    let mut nodes = [one.id(), other.id()];
    nodes.sort();
    let ambiguous = CommandError::AmbiguousApplicant {
        label: "web1".to_owned(),
        count: 2,
        codes: nodes.map(|node| Code::of(&network, &node)).into(),
    };
    assert_eq!(accept(&mut world, founder, "web1"), Err(ambiguous));
    // The beginning of a key is as short as its maker wants to grind it.
    let short = &one.id().to_string()[..10];
    assert!(matches!(
        accept(&mut world, founder, short),
        Err(CommandError::NoSuchNode { .. })
    ));
    let long = &one.id().to_string()[..13];
    raised(accept(&mut world, founder, long));
    let code = Code::of(&network, &other.id());
    raised(accept(&mut world, founder, code));
}

#[test]
fn no_more_codes_are_kept_than_there_is_room_for() {
    let mut world = world(107, Faults::NONE);
    let founder = world.add();
    let network = found(&mut world, founder, "10.7.0.0/16", AdmissionRule::Approve);
    let code = |number| Code::of(&network, &invented(number).id());
    for number in 0..32 {
        let kept = accept(&mut world, founder, code(number));
        assert_eq!(kept, Ok(Reply::Expected(code(number))));
    }
    let full = accept(&mut world, founder, code(32));
    assert_eq!(full, Err(CommandError::TooManyCodes(foo())));
    world.run(HOUR + Duration::from_secs(1));
    let kept = accept(&mut world, founder, code(32));
    assert_eq!(kept, Ok(Reply::Expected(code(32))));
}

/// A stranger and a member hand on the requests of a thousand keys each.
#[test]
fn invented_keys_take_one_place_for_each_connection() {
    let mut world = world(108, Faults::NONE);
    let (network, founder, member) = acquainted(&mut world, AdmissionRule::Approve);
    let node = id(&world, member);
    accept(&mut world, founder, node).unwrap();
    world
        .run_command(member, join_command(JoinWith::Peers))
        .unwrap();
    assert!(world.run_until(HOUR, |w| agree(w, &network, &[founder, member])));
    let stranger = invented(60_000);
    ask(
        &mut world,
        founder,
        network,
        &stranger,
        "web1",
        "203.0.113.7",
    );
    for number in 0..1000 {
        let (key, peer) = (invented(number), stranger.id());
        ask_through(&mut world, founder, network, peer, &key, "web1");
        ask_through(&mut world, founder, network, node, &key, "web1");
    }
    let mut two = [stranger.id(), invented(0).id()];
    two.sort();
    assert_eq!(asking(&world, founder), two);
    world.run(HOUR + Duration::from_secs(60));
    assert!(asking(&world, founder).is_empty());
}

/// A thousand keys, each on a connection of its own, from one network: a newcomer from elsewhere is listed and admitted,
/// and one from there, whose code was accepted, needs no place.
#[test]
fn a_crowd_of_strangers_keeps_nobody_out() {
    let mut world = world(109, Faults::NONE);
    let (network, founder, joiner) = acquainted(&mut world, AdmissionRule::Approve);
    let crowd = |world: &mut Sim, from: &str, numbers: std::ops::Range<u16>| {
        for number in numbers {
            ask(world, founder, network, &invented(number), "web1", from);
        }
    };
    crowd(&mut world, "203.0.113.7", 0..1000);
    assert_eq!(asking(&world, founder).len(), 32);
    world.command(joiner, join_command(JoinWith::Peers));
    world.run(Duration::from_secs(20));
    let node = id(&world, joiner);
    assert!(asking(&world, founder).contains(&node));
    raised(accept(&mut world, founder, "node-1"));
    let both = [founder, joiner];
    assert!(world.run_until(HOUR, |w| agree(w, &network, &both)));
    // Simulated machines are in 198.18.0.0/24.
    let near = world.add();
    crowd(&mut world, "198.18.0.77", 1000..2000);
    let known = Input::KnownPeer {
        node: id(&world, founder),
        addrs: vec![world.nodes[founder].quic()],
    };
    world.input(near, known);
    world.command(near, join_command(JoinWith::Peers));
    world.run(Duration::from_secs(5));
    let node = id(&world, near);
    assert!(!asking(&world, founder).contains(&node));
    let code = Code::of(&network, &node);
    assert_eq!(accept(&mut world, founder, code), Ok(Reply::Expected(code)));
    let all = [founder, joiner, near];
    assert!(world.run_until(HOUR, |w| agree(w, &network, &all)));
}

/// Prints the admission of a node, and reads it.
fn print(world: &mut Sim, owner: NodeIndex, node: impl ToString) -> Carried {
    let (name, node) = (foo(), node.to_string());
    let printed = world.run_command(owner, Command::PrintAdmission { name, node });
    match printed {
        Ok(Reply::Admission(text)) => Carried::from_text(&text).unwrap(),
        other => panic!("no admission: {other:?}"),
    }
}

fn take(world: &mut Sim, node: NodeIndex, admission: &Carried) -> Result<Reply, CommandError> {
    let with = JoinWith::Admission(Box::new(admission.clone()));
    world.run_command(node, join_command(with))
}

#[test]
fn an_admission_that_is_carried_admits_its_node_and_no_other() {
    let mut world = world(110, Faults::NONE);
    let (network, founder, _) = acquainted(&mut world, AdmissionRule::Approve);
    // Neither knows anybody.
    let (joiner, other) = (world.add(), world.add());
    let node = id(&world, joiner);
    let code = Code::of(&network, &node);
    let name = foo();
    let early = Command::PrintAdmission {
        name,
        node: code.to_string(),
    };
    let early = world.run_command(founder, early);
    assert_eq!(early, Err(CommandError::NeedsKey(code)));
    let admission = print(&mut world, founder, node);
    // It is on disk before it is printed.
    world.kill(founder);
    world.start(founder);
    let wrong = take(&mut world, other, &admission);
    let expected = CommandError::Carried(CarriedError::OtherNode(node));
    assert_eq!(wrong, Err(expected));
    assert!(world.nodes[other].disk.is_empty());
    take(&mut world, joiner, &admission).unwrap();
    let both = [founder, joiner];
    assert!(world.run_until(HOUR, |w| agree(w, &network, &both)));
    assert_eq!(print(&mut world, founder, "node-2").node, node);
}

/// The list of those who ask is full of strangers from the newcomer's own network.
#[test]
fn a_node_that_waits_takes_an_admission_that_is_carried() {
    let mut world = world(111, Faults::NONE);
    let (network, founder, joiner) = acquainted(&mut world, AdmissionRule::Approve);
    for number in 0..100 {
        ask(
            &mut world,
            founder,
            network,
            &invented(number),
            "box",
            "198.18.0.77",
        );
    }
    let ticket = world.command(joiner, join_command(JoinWith::Peers));
    world.run(Duration::from_secs(5));
    let node = id(&world, joiner);
    assert!(!asking(&world, founder).contains(&node));
    // Founder and newcomer cannot reach one another meanwhile.
    world.partition(|node| u8::from(node == joiner));
    let admission = print(&mut world, founder, node);
    let second = world.command(
        joiner,
        join_command(JoinWith::Admission(Box::new(admission))),
    );
    assert!(matches!(
        world.nodes[joiner].done.get(&ticket),
        Some(Err(CommandError::WaitsForOwner { .. }))
    ));
    world.kill(joiner);
    world.start(joiner);
    assert!(!world.nodes[joiner].done.contains_key(&second));
    world.partition(|_| 0);
    let both = [founder, joiner];
    assert!(world.run_until(HOUR, |w| agree(w, &network, &both)));
}

#[test]
fn who_was_revoked_does_not_come_back_by_an_admission_that_is_carried() {
    let mut world = world(112, Faults::NONE);
    let (network, founder, joiner) = acquainted(&mut world, AdmissionRule::Approve);
    let node = id(&world, joiner);
    let admission = print(&mut world, founder, node);
    let revocation = revoke(node.to_string(), Keep::Nobody);
    world.run_command(founder, revocation).unwrap();
    let outcome = take(&mut world, joiner, &admission);
    assert!(
        matches!(outcome, Err(CommandError::PutOut { .. })),
        "{outcome:?}"
    );
    world.run(Duration::from_secs(60));
    assert!(agree(&world, &network, &[founder]));
}

/// A mistyped code is taken back, and its node waits as anybody does, through as many commands as it takes.
#[test]
fn a_code_is_taken_back_and_a_second_join_goes_on_waiting() {
    let mut world = world(112, Faults::NONE);
    let (network, founder, joiner) = acquainted(&mut world, AdmissionRule::Approve);
    let code = Code::of(&network, &id(&world, joiner));
    let forget = || Command::ForgetCode { name: foo(), code };
    assert_eq!(accept(&mut world, founder, code), Ok(Reply::Expected(code)));
    assert_eq!(world.run_command(founder, forget()), Ok(Reply::Changed));
    assert_eq!(world.run_command(founder, forget()), Ok(Reply::Unchanged));
    for _ in 0..2 {
        let outcome = world.run_command(joiner, join_command(JoinWith::Peers));
        assert!(
            matches!(outcome, Err(CommandError::WaitsForOwner { .. })),
            "{outcome:?}"
        );
    }
    raised(accept(&mut world, founder, code));
    let both = [founder, joiner];
    assert!(world.run_until(HOUR, |w| agree(w, &network, &both)));
    let Ok(Reply::Acts(acts)) = world.run_command(joiner, Command::Acts { name: foo() }) else {
        panic!("no acts");
    };
    assert!(acts.len() == 1 && acts[0].1, "{acts:?}");
}
