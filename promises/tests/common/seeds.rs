//! The committed inputs of the fuzz targets for statements, each named for what it is.
//!
//! A fuzzer cannot sign. So most targets read a first byte: 0 says that the rest is a statement as
//! it travels, another number that the rest is a body, which the target signs.

use grid_keys::NodeId;
use grid_promises::memo::Memo;
use grid_promises::network::AdmissionRule;
use grid_promises::network::act::{Act, ActId, Action, OfficeId};
use grid_promises::network::admission::{Grant, GrantUse};
use grid_promises::network::carried::Carried;
use grid_promises::network::invite::Bootstrap;
use grid_promises::network::receipt::Receipt;
use grid_promises::network::statement::{Kind, Statement, peek_kind};
use grid_promises::routes::{Key, Routes, Target};
use grid_promises::{ContentId, Message, Timestamp, limits};
use minicbor::bytes::{ByteArray, ByteVec};
use minicbor::{Decoder, Encoder};

use super::{
    DAY, INVITES, MINUTE, Net, T0, charter, encoded, endpoint, forge, key, one_of_each, story,
    unframe, wg,
};

/// One input: its target, its name, its bytes.
pub type Seed = (&'static str, String, Vec<u8>);

/// All of them.
pub fn seeds() -> Vec<Seed> {
    let mut seeds = Vec::new();
    statements(&mut seeds);
    charters(&mut seeds);
    admissions(&mut seeds);
    members(&mut seeds);
    receipts(&mut seeds);
    acts(&mut seeds);
    invites(&mut seeds);
    carried(&mut seeds);
    messages(&mut seeds);
    ledgers(&mut seeds);
    routes(&mut seeds);
    memos(&mut seeds);
    seeds
}

fn with_mode(mode: u8, bytes: &[u8]) -> Vec<u8> {
    [&[mode], bytes].concat()
}

/// Each kind as it travels, whole, cut, and with a false signature.
fn statements(seeds: &mut Vec<Seed>) {
    for (kind, bytes) in one_of_each() {
        let target = match kind {
            Kind::Charter => "charter",
            Kind::Member => "member",
            Kind::Receipt => "receipt",
            // Part of a chain, whose target makes its own.
            Kind::Grant | Kind::GrantUse => continue,
            // The payload of a request: see `messages`.
            Kind::Request => continue,
            Kind::Act => "act",
            Kind::Trace => "trace",
        };
        let mut altered = bytes.clone();
        if let Some(last) = altered.last_mut() {
            *last ^= 1;
        }
        let cut = &bytes[..bytes.len() / 2];
        for (name, bytes) in [("whole", &bytes[..]), ("altered", &altered), ("cut", cut)] {
            seeds.push((target, name.to_owned(), with_mode(0, bytes)));
        }
        seeds.push((target, "empty".to_owned(), vec![]));
        if kind == Kind::Trace {
            continue;
        }
        let (_, _, signature) = unframe(&bytes);
        let other = super::frame(kind as u8, &[0x80], &signature);
        seeds.push((target, "no-body".to_owned(), with_mode(0, &other)));
    }
}

fn body<T: Statement>(
    seeds: &mut Vec<Seed>,
    target: &'static str,
    name: &str,
    mode: u8,
    mut body: T,
    change: impl FnOnce(&mut T),
) {
    change(&mut body);
    let bytes = with_mode(mode, &encoded(&body));
    seeds.push((target, name.to_owned(), bytes));
}

fn charters(seeds: &mut Vec<Seed>) {
    let mut add = |name: &str, change: fn(&mut grid_promises::network::Charter)| {
        body(seeds, "charter", name, 1, charter(), change);
    };
    add("good", |_| {});
    add("open", |c| c.admission = AdmissionRule::Open);
    add("narrow", |c| c.ipv4 = "192.168.0.0/30".parse().unwrap());
    add("wide", |c| c.ipv4 = "10.0.0.0/8".parse().unwrap());
    add("too-wide", |c| c.ipv4 = "8.0.0.0/7".parse().unwrap());
    add("loopback", |c| c.ipv4 = "127.0.0.0/8".parse().unwrap());
    add("foreign-ipv6", |c| c.ipv6 = "fd00::/64".parse().unwrap());
    add("no-owners", |c| c.owners.clear());
    add("same-owner-twice", |c| c.owners.push(c.founder));
    add("weak-owner", |c| {
        c.owners.insert(0, grid_keys::NodeId([0; 32]))
    });
    add("other-founder", |c| c.founder = key(1).id());
    add("end-of-time", |c| c.created = Timestamp(u64::MAX));
    add("two-owners", |c| {
        c.owners.push(key(9).id());
        c.owners.sort();
    });
}

/// A link in the script of the target `admission`: flags, issuer, node, when.
fn link(issuer: u8, node: u8, when: u8) -> [u8; 4] {
    [0, issuer, node, when]
}

fn admissions(seeds: &mut Vec<Seed>) {
    let mut add = |name: &str, rule: u8, links: &[[u8; 4]]| {
        let mut bytes = vec![1, rule];
        bytes.extend(links.iter().flatten());
        seeds.push(("admission", name.to_owned(), bytes));
    };
    let chain = |length: u8| -> Vec<[u8; 4]> {
        (0..length)
            .map(|n| link(if n == 0 { 0 } else { n + 1 }, n + 2, 128))
            .collect()
    };
    let ending = |length: u8| -> Vec<[u8; 4]> {
        let mut links = chain(length - 1);
        links.push(link(if length == 1 { 0 } else { length }, 1, 128));
        links
    };
    add("none", 0, &[]);
    add("none-open", 2, &[]);
    add("by-office", 0, &[[1, 0, 1, 128]]);
    add("by-invite", 0, &ending(1));
    add("by-invite-approve", 1, &ending(1));
    add("three", 0, &ending(3));
    add("longest", 0, &ending(6));
    add("too-long", 0, &ending(7));
    add("for-another", 0, &chain(2));
    add(
        "round",
        0,
        &[link(0, 1, 128), link(1, 2, 128), link(2, 1, 128)],
    );
    add(
        "office-in-the-middle",
        0,
        &[link(0, 2, 128), [1, 2, 1, 128]],
    );
    add("stranger-first", 0, &[link(5, 1, 128)]);
    add("stranger-first-open", 2, &[link(5, 1, 128)]);
    add("gap", 0, &[link(0, 2, 128), link(3, 1, 128)]);
    add("too-early", 0, &[link(0, 1, 0)]);
    add("too-late", 0, &[link(0, 1, 255)]);
    add("other-network", 0, &[[2, 0, 1, 128]]);
    add("other-network-grant", 0, &[[4, 0, 1, 128]]);
    add("other-key", 0, &[[8, 0, 1, 128]]);

    let net = Net::new(AdmissionRule::Invite);
    let last = net.joined(
        &net.joined(&net.founder(), INVITES, 5, 2),
        INVITES + 1,
        5,
        1,
    );
    let raw = encoded(&last.body.admission);
    seeds.push(("admission", "raw".to_owned(), with_mode(0, &raw)));
    let cut = with_mode(0, &raw[..raw.len() - 9]);
    seeds.push(("admission", "raw-cut".to_owned(), cut));
    seeds.push(("admission", "raw-none".to_owned(), vec![0, 0x80]));
    // The statements of a link, alone: a grant, a use.
    let grant = net.grant_body(&key(0).id(), INVITES, 5);
    body::<Grant>(seeds, "admission", "grant", 2, grant.clone(), |_| {});
    body(seeds, "admission", "grant-no-uses", 2, grant.clone(), |g| {
        g.uses = 0
    });
    body(seeds, "admission", "grant-for-ever", 2, grant, |g| {
        g.expires = Timestamp(u64::MAX);
    });
    let used = net.grant_use(INVITES, &key(1).id(), T0).body().clone();
    body::<GrantUse>(seeds, "admission", "use", 3, used, |_| {});
}

fn members(seeds: &mut Vec<Seed>) {
    let net = Net::new(AdmissionRule::Invite);
    let node = net.joined(&net.founder(), INVITES, 5, 1);
    let receipt = net.receipt(&key(0), &node, T0, T0);
    let good = node.carrying(&[receipt]).body;
    let mut add =
        |name: &str, change: &dyn Fn(&mut grid_promises::network::member::MemberPromise)| {
            body(seeds, "member", name, 1, good.clone(), change);
        };
    let other = net.admitted(2);
    add("good", &|_| {});
    add("withdrawn", &|b| {
        b.standing = grid_promises::network::member::Standing::Withdrawn
    });
    add("other-network", &|b| {
        b.network.0 = grid_promises::ContentId::of(b"")
    });
    add("other-ipv6", &|b| b.ipv6 = other.body.ipv6);
    add("other-claim", &|b| b.ipv4 = other.body.ipv4);
    add("network-address", &|b| {
        b.ipv4.address = net.charter.ipv4.network()
    });
    add("broadcast-address", &|b| {
        b.ipv4.address = net.charter.ipv4.broadcast()
    });
    add("outside", &|b| b.ipv4.address = [192, 0, 2, 1].into());
    add("number-beyond", &|b| b.ipv4.number = u32::MAX);
    add("no-admission", &|b| b.admission.clear());
    add("others-admission", &|b| {
        b.admission = other.body.admission.clone()
    });
    add("lives-too-long", &|b| b.expires = b.issued.after(2 * DAY));
    add("never-lives", &|b| b.expires = b.issued);
    add("end-of-time", &|b| {
        (b.issued, b.expires) = (Timestamp(u64::MAX - 9), Timestamp(u64::MAX))
    });
    add("highest-sequence", &|b| b.sequence = u64::MAX);
    add("endpoints", &|b| {
        b.wireguard = vec![endpoint(0, "192.0.2.1:51820"), endpoint(1, "[fe80::1]:1")];
        b.quic = vec![endpoint(2, "[2001:db8::1]:65535")];
    });
    add("multicast-endpoint", &|b| {
        b.quic = vec![endpoint(0, "224.0.0.1:1")]
    });
    add("prefixes", &|b| {
        b.prefixes = ["0.0.0.0/0", "192.168.0.0/24", "::/0"]
            .map(|p| p.parse().unwrap())
            .to_vec();
    });
    add("unsorted-prefixes", &|b| {
        b.prefixes = ["::/0", "0.0.0.0/0"].map(|p| p.parse().unwrap()).to_vec();
    });
    add("key-of-another", &|b| b.public_key = wg(9).public());
    add("garbage-receipt", &|b| {
        b.receipts = vec![ByteVec::from(vec![0xff; 9])]
    });
    let own = net.receipt_body(&key(1), &node, T0, T0);
    let own = forge(&own, &key(1));
    add("own-receipt", &|b| {
        b.receipts = vec![ByteVec::from(own.clone())]
    });
    add("five-receipts", &|b| {
        b.receipts = vec![b.receipts[0].clone(); 5]
    });
}

fn receipts(seeds: &mut Vec<Seed>) {
    let net = Net::new(AdmissionRule::Invite);
    let node = net.joined(&net.founder(), INVITES, 5, 1);
    let good = net.receipt_body(&key(0), &node, T0, T0.after(MINUTE));
    let mut add = |name: &str, change: fn(&mut Receipt)| {
        body(seeds, "receipt", name, 1, good.clone(), change);
    };
    add("good", |_| {});
    add("of-itself", |r| r.subject = r.witness);
    add("late-member", |r| r.member_since = Timestamp(u64::MAX));
    add("late-address", |r| r.address_since = Timestamp(u64::MAX));
    add("since-ever", |r| r.address_since = Timestamp(0));
    add("end-of-time", |r| r.issued = Timestamp(u64::MAX));
}

fn acts(seeds: &mut Vec<Seed>) {
    let good = Net::new(AdmissionRule::Invite).act_body(&key(0));
    let mut add = |name: &str, change: fn(&mut Act)| {
        body(seeds, "act", name, 1, good.clone(), change);
    };
    add("good", |_| {});
    add("second", |a| {
        (a.number, a.previous) = (2, ActId([1; 32]));
    });
    add("first-of-another", |a| a.previous = ActId([1; 32]));
    add("last-number", |a| {
        (a.number, a.previous) = (u32::MAX, ActId([1; 32]));
    });
    add("of-nobody", |a| {
        a.action = Action::Admit {
            nodes: vec![],
            over: vec![],
        };
    });
    add("close", |a| {
        a.action = Action::Close {
            invite: key(INVITES).id(),
            before: T0,
            keep: vec![key(1).id()],
        };
    });
    add("revoke", |a| {
        a.action = Action::Revoke { node: key(1).id() }
    });
    add("appoint", |a| {
        a.action = Action::Appoint { node: key(1).id() };
    });
    add("dismiss", |a| {
        a.action = Action::Dismiss {
            office: OfficeId(ActId([2; 32])),
            cut: ActId([3; 32]),
            heir: Some(key(1).id()),
        };
    });
    add("dismiss-itself", |a| {
        a.action = Action::Dismiss {
            office: a.office,
            cut: a.office.0,
            heir: None,
        };
    });
}

fn invites(seeds: &mut Vec<Seed>) {
    let net = Net::new(AdmissionRule::Invite);
    let member = net.joined(&net.founder(), INVITES, 5, 1);
    let text = net.invite(&member, INVITES + 1, 1).to_text();
    let mut add = |name: &str, bytes: Vec<u8>| seeds.push(("invite", name.to_owned(), bytes));
    add("good", with_mode(0, text.as_bytes()));
    add(
        "white-space",
        with_mode(0, text.replace('A', " A\n").as_bytes()),
    );
    add("altered", with_mode(0, text.replace('A', "B").as_bytes()));
    add("cut", with_mode(0, &text.as_bytes()[..text.len() / 2]));
    add("prefix", with_mode(0, b"grid-invite-1."));
    add("other", with_mode(0, b"hello"));
    let encoded = text.strip_prefix("grid-invite-1.").unwrap();
    let mut parts = data_encoding::BASE64URL_NOPAD
        .decode(encoded.as_bytes())
        .unwrap();
    parts.truncate(parts.len() - 4);
    add("parts", with_mode(1, &parts));
    add("parts-cut", with_mode(1, &parts[..parts.len() - 1]));
    let founders = net
        .invite(&net.founder(), INVITES, limits::MAX_USES)
        .to_text();
    add("founders", with_mode(0, founders.as_bytes()));
}

fn carried(seeds: &mut Vec<Seed>) {
    let net = Net::new(AdmissionRule::Approve);
    let node = key(7).id();
    let admit = net.does(Action::Admit {
        nodes: vec![node],
        over: Vec::new(),
    });
    let admission = Carried {
        charter: net.charter.clone(),
        bootstrap: vec![Bootstrap {
            node: key(0).id(),
            quic: vec!["192.0.2.1:51821".parse().unwrap()],
        }],
        node,
        acts: vec![admit],
    };
    let text = admission.to_text();
    let mut add = |name: &str, bytes: Vec<u8>| seeds.push(("carried", name.to_owned(), bytes));
    add("good", with_mode(0, text.as_bytes()));
    add("altered", with_mode(0, text.replace('A', "B").as_bytes()));
    add("prefix", with_mode(0, b"grid-admission-1."));
    let encoded = text.strip_prefix("grid-admission-1.").unwrap();
    let mut parts = data_encoding::BASE64URL_NOPAD
        .decode(encoded.as_bytes())
        .unwrap();
    parts.truncate(parts.len() - 4);
    add("parts", with_mode(1, &parts));
    add("parts-cut", with_mode(1, &parts[..parts.len() - 1]));
    let nobody = Carried {
        node: key(8).id(),
        ..admission
    };
    add("nobody", with_mode(0, nobody.to_text().as_bytes()));
}

/// Payloads of the target `protocol`: the mode says which request, or which answer, they are of.
fn messages(seeds: &mut Vec<Seed>) {
    let id = ByteArray::from([7u8; 16]);
    let entry = |key: u8, sequence: u64| grid_promises::network::index::IndexEntry {
        key: [key; 16],
        sequence,
        id: [key; 16],
    };
    let index = vec![entry(1, 0), entry(2, u64::MAX)];
    let statement = ByteVec::from(one_of_each()[4].1.clone());
    let link = Net::new(AdmissionRule::Invite).admitted(1).body.admission;
    let array = |items: &[Vec<u8>]| -> Vec<u8> {
        let mut bytes = vec![0x80 + u8::try_from(items.len()).unwrap()];
        bytes.extend(items.iter().flatten());
        bytes
    };
    let one = |item: Vec<u8>| array(&[item]);
    let root = encoded(&ByteArray::from([9u8; 32]));
    let null = vec![0xf6];
    let (no, yes) = (vec![0xf4], vec![0xf5]);
    let clock = encoded(&T0);
    let hello = |text: &str| {
        let address = array(&[ip(text), vec![0x19, 0xca, 0x6d]]);
        array(&[address, clock.clone()])
    };
    let mut add = |name: &str, mode: u8, bytes: Vec<u8>| {
        seeds.push(("protocol", name.to_owned(), with_mode(mode, &bytes)));
    };
    add(
        "raw",
        0,
        vec![0xda, b'g', b'r', b'i', b'd', 0x81, 0xd8, 0x2a, 0x40],
    );
    add("hello", 1, hello("192.0.2.1"));
    add("hello-ipv6", 1, hello("2001:db8::1"));
    add("hello-mapped", 1, hello("::ffff:192.0.2.1"));
    add("find", 2, b"foo".to_vec());
    add("find-bad-name", 2, b"../foo".to_vec());
    let mut sync = |name: &str, index: &[u8], link: &[u8], is_full: &[u8], acts: &[ByteVec]| {
        let acts = encoded(&acts.to_vec());
        let parts = [&root[..], index, link, is_full, &acts].map(<[u8]>::to_vec);
        add(name, 3, array(&parts));
    };
    let act = ByteVec::from(one_of_each()[3].1.clone());
    sync("sync-root", &null, &null, &no, &[]);
    sync("sync-index", &encoded(&index), &null, &no, &[]);
    sync("sync-admission", &null, &encoded(&link), &yes, &[]);
    sync(
        "sync-all",
        &encoded(&index),
        &encoded(&link),
        &no,
        std::slice::from_ref(&act),
    );
    add("sync-short", 3, array(&[root, null]));
    add("pull", 4, one(encoded(&vec![id; 2])));
    add("pull-nothing", 4, one(vec![0x80]));
    add("push", 5, one(encoded(&vec![statement.clone()])));
    add(
        "push-empty-statement",
        5,
        one(encoded(&vec![ByteVec::from(vec![])])),
    );
    add(
        "ask",
        6,
        one(encoded(&ByteVec::from(one_of_each()[6].1.clone()))),
    );
    let variant = |n: u8, fields: &[Vec<u8>]| array(&[vec![n], array(fields)]);
    add("answer-equal", 7, variant(0, &[]));
    add("answer-index", 7, variant(1, &[encoded(&index), yes]));
    let statements = encoded(&vec![statement]);
    let difference = [statements, encoded(&vec![id]), vec![0xf5]];
    add("answer-difference", 7, variant(2, &difference));
    add("answer-push", 7, array(&[vec![1], encoded(&"why")]));
    add("answer-push-nothing", 7, one(vec![0]));
    add("answer-admission", 7, one(encoded(&vec![act])));
    add("refusal", 8, one(encoded(&"no member of that network")));
    add("refusal-long", 8, one(encoded(&"x".repeat(900).as_str())));
    add("unknown-request", 9, vec![]);
    add("unknown-promise", 10, vec![]);
}

/// The CBOR of an address, also of one that no encoder of the crate writes.
fn ip(text: &str) -> Vec<u8> {
    let octets = match text.parse().unwrap() {
        std::net::IpAddr::V4(v4) => v4.octets().to_vec(),
        std::net::IpAddr::V6(v6) => v6.octets().to_vec(),
    };
    let mut bytes = Vec::new();
    assert!(Encoder::new(&mut bytes).bytes(&octets).is_ok());
    bytes
}

/// Scripts of the target `ledger`.
/// Scripts of the target `ledger`: pairs of what is done and a number of a statement of the story.
fn ledgers(seeds: &mut Vec<Seed>) {
    let mut add = |name: &str, bytes: Vec<u8>| seeds.push(("ledger", name.to_owned(), bytes));
    let net = story::network();
    let (plain, all) = (story::plain(&net).len(), story::wild(&net));
    let tell = |numbers: &[usize]| -> Vec<u8> {
        let number = |at: &usize| u8::try_from(*at).unwrap();
        numbers.iter().flat_map(|at| [0, number(at)]).collect()
    };
    let of = |kind: Kind| -> Vec<usize> {
        let is_one = |at: &usize| peek_kind(&all[*at]) == Some(kind as u8);
        (0..plain).filter(is_one).collect()
    };
    let (promises, acts) = (of(Kind::Member), of(Kind::Act));
    let back = |numbers: &[usize]| tell(&numbers.iter().rev().copied().collect::<Vec<_>>());
    let wild: Vec<usize> = (plain..all.len()).collect();
    add("nothing", vec![]);
    add("some", tell(&promises[..40]));
    add("backwards", back(&promises[40..]));
    add("acts-first", [back(&acts), tell(&promises[..40])].concat());
    add("deeds", [tell(&promises[60..]), back(&wild)].concat());
    // All of each kind, before the promises that they may be about.
    for kind in Kind::ALL.iter().filter(|kind| kind.is_state()) {
        let name = kind.name().replace(' ', "-");
        add(&name, [back(&of(*kind)), tell(&promises)].concat());
    }
    add("altered", vec![1, 3, 0, 9, 1, 1, 3, 2, 0, 1, 0, 3]);
    add("cut", vec![2, 3, 0, 9, 2, 4, 1, 200, 0, 3]);
    add(
        "two-ledgers",
        [
            tell(&promises[..20]),
            vec![5],
            tell(&promises[15..40]),
            vec![4, 4],
        ]
        .concat(),
    );
    add(
        "weeks",
        [tell(&promises[..30]), vec![3, 8, 3, 8, 0, 3, 6, 3, 200]].concat(),
    );
}

/// A routing tree with targets of each class, both signs, prefixes that share segments.
fn tree() -> Routes {
    let mut routes = Routes::default();
    let id = ContentId::of(b"promise");
    let args = [b"a".to_vec(), vec![], vec![0xff; 40]];
    let key = Key::call(id, Some(id), &args);
    let (builtin, module) = (Target::builtin("status"), Target::Module(id));
    let peer = Target::Peer(NodeId([7; 32]));
    for (depth, target) in [
        (5, &builtin),
        (2, &builtin),
        (2, &module),
        (3, &peer),
        (1, &peer),
    ] {
        routes.accepted(key.prefix(depth), target, T0).unwrap();
    }
    routes
        .accepted(Key::call(id, None, &args), &peer, T0)
        .unwrap();
    routes.rejected(key.prefix(4), &module, T0).unwrap();
    routes.rejected(key, &builtin, T0).unwrap();
    routes.kept(key.prefix(2), &module, T0);
    routes.broken(key.prefix(3), &peer, T0);
    routes
}

/// The first byte is 0 for a whole export, up to 127 for a body, and beyond for a script.
fn routes(seeds: &mut Vec<Seed>) {
    let mut add = |name: &str, mode: u8, bytes: &[u8]| {
        seeds.push(("routes", name.to_owned(), with_mode(mode, bytes)));
    };
    for (name, tree) in [("empty", Routes::default()), ("tree", tree())] {
        let bytes = tree.export();
        let mut decoder = Decoder::new(&bytes);
        decoder.array().unwrap();
        decoder.u8().unwrap();
        decoder.skip().unwrap();
        let body = decoder.bytes().unwrap();
        add(name, 0, &bytes);
        add(&format!("{name}-body"), 1, body);
        add(&format!("{name}-cut"), 0, &bytes[..bytes.len() - 1]);
        add(&format!("{name}-body-cut"), 1, &body[..body.len() - 1]);
        let mut altered = bytes.clone();
        altered[bytes.len() - 1] ^= 1;
        add(&format!("{name}-altered"), 0, &altered);
    }
    // What, whose, at which depth, with which arguments: see the target.
    let (accept, reject, kept, broken, forget, prune, wait) = (0, 1, 2, 3, 4, 5, 6);
    let scripts: [(&str, &[[u8; 4]]); 4] = [
        (
            "accepts",
            &[
                [accept, 0, 5, 1],
                [accept, 0, 2, 1],
                [accept, 1, 2, 1],
                [accept, 2, 1, 1],
            ],
        ),
        (
            "rejects",
            &[
                [accept, 2, 2, 1],
                [reject, 2, 3, 1],
                [wait; 4],
                [reject, 2, 2, 9],
                [prune; 4],
            ],
        ),
        (
            "lapses",
            &[
                [reject, 0, 3, 1],
                [wait; 4],
                [wait; 4],
                [wait; 4],
                [wait; 4],
                [prune; 4],
            ],
        ),
        (
            "breaks",
            &[
                [accept, 2, 3, 0],
                [accept, 5, 2, 0],
                [broken, 2, 3, 0],
                [broken, 2, 3, 0],
                [broken, 2, 3, 0],
                [kept, 5, 2, 0],
                [forget, 5, 0, 0],
            ],
        ),
    ];
    for (name, script) in scripts {
        add(name, 128, &script.concat());
    }
}

fn memos(seeds: &mut Vec<Seed>) {
    let call = Message::new(ContentId::of(b"promise"));
    let odd = [&b""[..], b".", b"..", b"a/b", b"\0", &[b'a'; 201]];
    let odd = odd.iter().fold(call.clone(), |call, arg| call.arg(*arg));
    let deep = (0..64).fold(call.clone(), |call, _| call.arg([b'a'; 100]));
    let kept = Memo::new(&odd, call.clone().payload(b"result")).encode();
    let mut altered = kept.clone();
    altered[100] ^= 1;
    for (name, bytes) in [
        ("kept", kept.clone()),
        ("kept-cut", kept[..kept.len() - 1].to_vec()),
        ("kept-altered", altered),
        (
            "call",
            call.clone()
                .module(ContentId::of(b"code"))
                .payload(b"payload")
                .encode(),
        ),
        ("call-odd", odd.encode()),
        ("call-deep", deep.encode()),
        ("empty", vec![]),
    ] {
        seeds.push(("memo", name.to_owned(), bytes));
    }
}
