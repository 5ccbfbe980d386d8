//! What a network near its bound costs a node: `cargo bench -p grid-promises --bench ledger`.
//!
//! 8,000 members came by one invite of the founder. Each shows that the founder saw it join, and carries two receipts.

#![allow(
    clippy::unwrap_used,
    clippy::missing_docs_in_private_items,
    clippy::cast_possible_truncation,
    reason = "a benchmark that cannot run has nothing else to say"
)]

#[path = "../tests/common/mod.rs"]
mod common;

use std::net::SocketAddr;
use std::sync::LazyLock;

use common::{INVITES, MINUTE, Net, Node, T0, key};
use divan::Bencher;
use grid_keys::{Secret, WgSecretKey};
use grid_promises::core::{Change, Config, Core, Effect, Input, NetworkRecord, ReplyTo};
use grid_promises::message::Message;
use grid_promises::network::AdmissionRule;
use grid_promises::network::admission::Admission;
use grid_promises::network::ledger::{Item, Ledger};
use grid_promises::network::view::View;
use grid_promises::{Millis, Timestamp, texts};
use minicbor::Encoder;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng as _;

fn main() {
    divan::main();
}

const MEMBERS: u16 = 8000;
/// Those that come later.
const NEW: u16 = 150;
/// Node keys of members begin here, after those of the invites.
const FIRST: u16 = 2000;
const NOW: Timestamp = T0.after(MINUTE).after(MINUTE);
/// The invite's uses.
const USES: u32 = 10_000;

struct Crowd {
    net: Net,
    founder: Node,
    members: Vec<Node>,
    statements: Vec<Vec<u8>>,
}

/// The network, and further nodes at the end of the list.
static CROWD: LazyLock<Crowd> = LazyLock::new(|| {
    let mut net = Net::new(AdmissionRule::Invite);
    let mut charter = net.charter.body().clone();
    charter.contract = texts::JOIN_WIREGUARD_NET.id();
    net.charter = grid_promises::network::statement::Signed::sign(charter, &key(0)).unwrap();
    let founder = net.founder().at(2, T0);
    let grant = net.grant(&founder.key, INVITES, USES);
    let admit = |n: u16| {
        let link = net.link(&grant, INVITES, &key(n).id());
        let node = net.node(n, founder.admission.extended(link));
        let seen = net.receipt(&founder.key, &node, T0, T0);
        let ledger = net.ledger();
        let admission = node.admission.seen(&seen, &net.charter, ledger.authority());
        let other = net.receipt(&key(FIRST + (n + 1) % MEMBERS), &node, T0, T0);
        node.by(admission).carrying(&[seen, other]).at(2, T0)
    };
    let members: Vec<Node> = (FIRST..FIRST + MEMBERS + NEW).map(admit).collect();
    let mut statements = vec![founder.bytes()];
    statements.extend(members.iter().take(usize::from(MEMBERS)).map(Node::bytes));
    Crowd {
        net,
        founder,
        members,
        statements,
    }
});

static FULL: LazyLock<Ledger> = LazyLock::new(|| {
    let mut ledger = CROWD.net.ledger();
    for bytes in &CROWD.statements {
        let _ = ledger.insert_bytes(bytes, NOW);
    }
    assert_eq!(ledger.members().len(), usize::from(MEMBERS) + 1);
    ledger
});

/// A node of the network that starts: the founder. If it has not promised anything yet, there is nothing to configure.
fn start(statements: &[Vec<u8>], promise: Option<Vec<u8>>) -> Core {
    let mut core = Core::new(Config {
        key: key(0),
        label: "here".parse().unwrap(),
    });
    let record = NetworkRecord {
        charter: CROWD.net.charter.clone(),
        secret: Some(Secret::new([1; 32])),
        private_key: Some(WgSecretKey::from_bytes(&Secret::new([2; 32]))),
        listen_port: 51820,
        admission: Some(Admission::default().raw()),
        promise,
        statements: statements.to_vec(),
        rules: Vec::new(),
        judge: None,
        expected: Vec::new(),
        issued: Vec::new(),
        bootstrap: Vec::new(),
        awaited: Vec::new(),
    };
    give(&mut core, Input::Restore(Box::new(record)));
    core
}

/// The statements as they come from this node's own file.
fn kept() -> Vec<Vec<u8>> {
    let mut core = start(&CROWD.statements, Some(CROWD.founder.bytes()));
    let effects = give(&mut core, Input::Stop);
    let kept = effects.into_iter().find_map(|effect| match effect {
        Effect::Store {
            change: Change::Statements(statements),
            ..
        } => Some(statements),
        _ => None,
    });
    kept.unwrap()
}

fn give(core: &mut Core, input: Input) -> Vec<Effect> {
    let mut entropy = ChaCha8Rng::seed_from_u64(1);
    core.handle(Millis(NOW.0 * 1000), &mut entropy, input);
    std::iter::from_fn(|| core.pop_effect()).collect()
}

/// From what is on disk to the first view.
#[divan::bench(sample_count = 3, sample_size = 1)]
fn start_with_8000_members(bencher: Bencher<'_, '_>) {
    let kept = kept();
    assert_eq!(kept.len(), usize::from(MEMBERS));
    bencher.bench(|| start(&kept, None));
}

/// The same, and the first configuration of WireGuard: a pre-shared key for each member.
#[divan::bench(sample_count = 3, sample_size = 1)]
fn start_and_configure_8000_peers(bencher: Bencher<'_, '_>) {
    let kept = kept();
    bencher.bench(|| start(&kept, Some(CROWD.founder.bytes())));
}

/// A verified promise of a new member is merged.
#[divan::bench(sample_count = 100, sample_size = 1)]
fn merge_a_new_promise(bencher: Bencher<'_, '_>) {
    let mut ledger = FULL.clone();
    let new = CROWD.members.iter().skip(usize::from(MEMBERS));
    let mut items: Vec<Item> = new
        .map(|node| ledger.verify(&node.bytes()).unwrap())
        .collect();
    bencher
        .with_inputs(|| items.pop().unwrap())
        .bench_local_values(|item| ledger.insert(item, NOW).unwrap());
}

/// The same with its verification: six signatures.
#[divan::bench(sample_count = 100, sample_size = 1)]
fn verify_and_merge_a_new_promise(bencher: Bencher<'_, '_>) {
    let mut ledger = FULL.clone();
    let new = CROWD.members.iter().skip(usize::from(MEMBERS));
    let mut all: Vec<Vec<u8>> = new.map(Node::bytes).collect();
    bencher
        .with_inputs(|| all.pop().unwrap())
        .bench_local_values(|bytes| ledger.insert_bytes(&bytes, NOW).unwrap());
}

/// What a comparison needs of a ledger that did not change since the last one.
#[divan::bench(sample_count = 20, sample_size = 1)]
fn root_of_a_ledger(bencher: Bencher<'_, '_>) {
    let ledger = FULL.clone();
    bencher.bench(|| ledger.root());
}

#[divan::bench(sample_count = 10, sample_size = 1)]
fn view_of_a_ledger(bencher: Bencher<'_, '_>) {
    let ledger = FULL.clone();
    bencher.bench(|| View::of(&ledger, NOW));
}

/// What a member sends.
#[derive(Clone, Copy, Debug)]
enum Repeated {
    /// A promise of another that a later one replaced.
    Stale,
    /// The one that replaced it.
    Known,
}

/// A member pushes 1 MB of one statement, which changes nothing.
#[divan::bench(args = [Repeated::Stale, Repeated::Known], sample_count = 10, sample_size = 1)]
fn push_of_one_megabyte(bencher: Bencher<'_, '_>, what: Repeated) {
    let few: Vec<Vec<u8>> = CROWD.statements.iter().take(20).cloned().collect();
    let mut core = start(&few, Some(CROWD.founder.bytes()));
    let [sender, other] = [1, 2].map(|at| CROWD.members.get(at).unwrap().clone());
    let statement = match what {
        Repeated::Stale => other.at(1, T0).bytes(),
        Repeated::Known => other.bytes(),
    };
    let remote: SocketAddr = "192.0.2.1:51821".parse().unwrap();
    give(
        &mut core,
        Input::Connected {
            peer: sender.id(),
            remote,
            outgoing: false,
        },
    );
    let message = push(&vec![statement.clone(); 1_000_000 / statement.len()]);
    bencher.bench_local(|| {
        let effects = give(
            &mut core,
            Input::Request {
                peer: sender.id(),
                message: message.clone(),
                reply: ReplyTo(7),
            },
        );
        assert!(matches!(effects.as_slice(), [Effect::Respond { .. }]));
    });
}

fn push(statements: &[Vec<u8>]) -> Vec<u8> {
    let mut payload = Vec::new();
    let mut e = Encoder::new(&mut payload);
    e.array(1).unwrap().array(statements.len() as u64).unwrap();
    for statement in statements {
        e.bytes(statement).unwrap();
    }
    Message::new(texts::JOIN_WIREGUARD_NET.id())
        .arg("push")
        .arg(CROWD.net.id().0.to_bytes())
        .payload(payload)
        .encode()
}
