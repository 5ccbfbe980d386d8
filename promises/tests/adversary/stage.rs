//! Where every run begins: a network in which honest nodes have lived for a while, made once for all runs.
//!
//! The first five machines are honest: the founder, three nodes that it let in, one after the other, and a guest of one
//! of these. A member, a node that was revoked and an owner below the founder came later, and are the adversary's.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::OnceLock;
use std::time::Duration;

use grid_keys::{NodeId, NodeKey, WgPublicKey};
use grid_promises::Millis;
use grid_promises::core::{Command, Input, JoinWith, Keep, Ranges, Reply, TunnelPeer};
use grid_promises::network::act::OfficeId;
use grid_promises::network::admission::Admission;
use grid_promises::network::invite::Invite;
use grid_promises::network::member::MemberPromise;
use grid_promises::network::rules::Action;
use grid_promises::network::statement::Signed;
use grid_promises::network::{AdmissionRule, NetworkName};
use grid_promises::sim::{Disk, Faults, NodeIndex, World};
use ipnet::IpNet;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use super::common::{self, INVITES, MINUTE, Net, Node, T0};

pub type Sim = World<ChaCha8Rng>;

/// Each machine has the node key of its number.
pub const FOUNDER: NodeIndex = 0;
/// Accepts a subnet of the next one.
pub const ROUTED: NodeIndex = 1;
pub const ROUTER: NodeIndex = 2;
pub const HONEST: std::ops::Range<NodeIndex> = 0..5;
pub const MEMBER: u16 = 5;
pub const REVOKED: u16 = 6;
pub const OWNER: u16 = 7;
/// Machines of the beginning.
const CAST: u16 = 8;
/// Nodes of the adversary's, whose IPv6 addresses are known: to find one takes a while.
pub const SYBILS: std::ops::Range<u16> = 100..110;
pub const OUTSIDERS: std::ops::Range<u16> = 120..124;
/// The key of an invite that the revoked node came by and that has uses left.
pub const CLOSED: u16 = INVITES;

/// Node key number `n`. To make one costs more than most of what is done with it.
pub fn key(n: u16) -> NodeKey {
    thread_local! {
        static MADE: RefCell<BTreeMap<u16, NodeKey>> = const { RefCell::new(BTreeMap::new()) };
    }
    MADE.with_borrow_mut(|made| made.entry(n).or_insert_with(|| common::key(n)).clone())
}

pub fn subnet() -> IpNet {
    "192.168.7.0/24".parse().unwrap()
}

pub fn foo() -> NetworkName {
    "foo".parse().unwrap()
}

/// An honest node as it was in the beginning, and has to stay.
pub struct Honest {
    pub promise: Signed<MemberPromise>,
    pub address: Ipv4Addr,
    pub peers: BTreeMap<WgPublicKey, TunnelPeer>,
}

pub struct Stage {
    pub net: Net,
    pub now: Millis,
    pub disks: Vec<Disk>,
    pub honest: Vec<Honest>,
    /// All that honest nodes promised in their lives.
    pub past: Vec<Vec<u8>>,
    /// The office of the owner below the founder.
    pub office: OfficeId,
}

impl Stage {
    /// That of networks that admit by `rule`.
    pub fn of(rule: AdmissionRule) -> &'static Self {
        static BY_INVITE: OnceLock<Stage> = OnceLock::new();
        static BY_APPROVAL: OnceLock<Stage> = OnceLock::new();
        match rule {
            AdmissionRule::Approve => BY_APPROVAL.get_or_init(|| build(rule)),
            _ => BY_INVITE.get_or_init(|| build(AdmissionRule::Invite)),
        }
    }

    /// A world in which all honest machines have just started.
    pub fn world(&self, seed: u64, faults: Faults) -> Sim {
        let mut world = World::new(ChaCha8Rng::seed_from_u64(seed), faults);
        world.now = self.now;
        for n in 0..CAST {
            let machine = usize::from(n);
            if HONEST.contains(&machine) {
                world.add_stopped(key(n));
                world.nodes[machine].disk = self.disks[machine].clone();
                world.start(machine);
            } else {
                world.add_played(key(n));
            }
        }
        world
    }

    /// One of the adversary's members as it was let in.
    pub fn member(&self, n: u16) -> Node {
        let record = &self.disks[usize::from(n)][&self.net.id()];
        let promise = Signed::<MemberPromise>::decode(record.promise.as_ref().unwrap()).unwrap();
        let node = key(n).id();
        let admission = Admission::decode(&promise.admission, &self.net.charter, &node).unwrap();
        Node {
            key: key(n),
            admission,
            body: (*promise).clone(),
        }
    }

    pub fn wireguard_key(&self, node: NodeIndex) -> WgPublicKey {
        self.honest[node].promise.public_key
    }
}

fn id(n: NodeIndex) -> NodeId {
    key(u16::try_from(n).unwrap()).id()
}

fn build(rule: AdmissionRule) -> Stage {
    let mut world = World::new(ChaCha8Rng::seed_from_u64(0), Faults::NONE);
    world.now = Millis(T0.0 * 1000);
    for n in 0..CAST {
        world.add_with_key(key(n));
    }
    let create = Command::Create {
        name: foo(),
        ipv4: Some("10.7.0.0/26".parse().unwrap()),
        ranges: Ranges::Private,
        admission: rule,
        recovery: None,
        listen_port: 51820,
    };
    let created = world.run_command(FOUNDER, create);
    let Ok(Reply::Joined { network, .. }) = created else {
        panic!("{created:?}");
    };
    let charter = world.nodes[FOUNDER].disk[&network].charter.clone();
    let net = Net { charter };
    let mut past = Vec::new();
    for n in 1..usize::from(CAST) {
        let (host, uses) = match n {
            4 => (ROUTER, 1),
            6 => (FOUNDER, 9),
            _ => (FOUNDER, 1),
        };
        match rule {
            AdmissionRule::Approve => approve(&mut world, n),
            _ => invite(&mut world, host, n, uses, &net),
        }
        live(&mut world, &net, &mut past, 20);
    }
    for (node, command) in deeds() {
        let done = world.run_command(node, command);
        assert!(done.is_ok(), "{done:?}");
        live(&mut world, &net, &mut past, 4);
    }
    let promised = |node: NodeIndex| {
        let record = &world.nodes[node].disk[&network];
        Signed::<MemberPromise>::decode(record.promise.as_ref().unwrap()).unwrap()
    };
    let honest = HONEST.map(|node| Honest {
        promise: promised(node),
        address: promised(node).ipv4.address,
        peers: world.nodes[node].tunnels[&network].peers.clone(),
    });
    let status = world.nodes[FOUNDER].core.as_ref().unwrap().status();
    let mut offices = status[0].owners.offices.iter();
    let office = offices.find(|office| office.holder == id(OWNER.into()));
    for n in SYBILS.chain(OUTSIDERS) {
        net.ipv6(&key(n).id());
    }
    Stage {
        now: world.now,
        honest: honest.collect(),
        past,
        office: office.unwrap().office,
        disks: world.nodes.iter().map(|node| node.disk.clone()).collect(),
        net,
    }
}

/// What people do in the end.
fn deeds() -> Vec<(NodeIndex, Command)> {
    let rule = Command::SetRule {
        name: foo(),
        action: Action::Accept,
        prefix: subnet(),
        from: Some(id(ROUTER).to_string()),
    };
    let promise = Command::Promise {
        name: foo(),
        prefix: subnet(),
    };
    let appoint = Command::Appoint {
        name: foo(),
        node: id(OWNER.into()).to_string(),
        only_say: false,
    };
    vec![
        (ROUTED, rule),
        (ROUTER, promise),
        (FOUNDER, revoke(&id(REVOKED.into()))),
        (FOUNDER, appoint),
    ]
}

pub fn revoke(node: &NodeId) -> Command {
    Command::Revoke {
        name: foo(),
        node: node.to_string(),
        keep: Keep::Nobody,
        only_say: false,
    }
}

/// Runs for some half minutes, and keeps what is promised meanwhile.
fn live(world: &mut Sim, net: &Net, past: &mut Vec<Vec<u8>>, halves: u32) {
    for _ in 0..halves {
        world.run(MINUTE / 2);
        for node in HONEST {
            let record = world.nodes[node].disk.get(&net.id());
            let promise = record.and_then(|record| record.promise.clone());
            past.extend(promise.filter(|promise| !past.contains(promise)));
        }
    }
}

fn join(with: JoinWith) -> Command {
    Command::Join {
        name: foo(),
        with,
        ranges: Ranges::Private,
        listen_port: 51820,
        wait: MINUTE,
    }
}

/// A member lets a node in. The invite of the node that is revoked later has a key that the adversary knows.
fn invite(world: &mut Sim, host: NodeIndex, node: NodeIndex, uses: u32, net: &Net) {
    let command = Command::Invite {
        name: foo(),
        life: Duration::from_secs(24 * 3600),
        uses,
        endpoints: vec![],
    };
    let made = world.run_command(host, command);
    let Ok(Reply::Invite(text)) = made else {
        panic!("{made:?}");
    };
    let mut invite = Invite::from_text(&text).unwrap();
    if node == usize::from(REVOKED) {
        invite.grant = net.grant(&key(0), CLOSED, uses);
        invite.key = key(CLOSED);
    }
    let joined = world.run_command(node, join(JoinWith::Invite(Box::new(invite))));
    assert!(joined.is_ok(), "{joined:?}");
}

/// The founder lets a node in by name.
fn approve(world: &mut Sim, node: NodeIndex) {
    let known = Input::KnownPeer {
        node: id(FOUNDER),
        addrs: vec![world.nodes[FOUNDER].quic()],
    };
    world.input(node, known);
    let name = id(node).to_string();
    let approve = Command::Approve {
        name: foo(),
        node: name,
        only_say: false,
    };
    let approved = world.run_command(FOUNDER, approve);
    assert!(approved.is_ok(), "{approved:?}");
    let joined = world.run_command(node, join(JoinWith::Peers));
    assert!(joined.is_ok(), "{joined:?}");
}

/// The address of a machine.
pub fn ip(world: &Sim, node: NodeIndex) -> IpAddr {
    world.nodes[node].quic().ip()
}
