//! The statement layer of `grid-promises`: every kind of statement, the chains of admissions, the
//! invite, the bodies of messages, and the ledger that merges them.
//!
//! A fuzzer cannot sign, and would never get past a signature. So most targets read a first byte: 0
//! says that the rest is a statement as it travels; another number that the rest is a body, which
//! is signed here with the key of a fixed network. The keys and the network are those of the test
//! kit (`promises/tests/common`).

use std::collections::BTreeSet;
use std::sync::LazyLock;

use grid_keys::NodeKey;
use grid_promises::cbor;
use grid_promises::core::protocol;
use grid_promises::limits::{CLOCK_SKEW, MAX_CHAIN};
use grid_promises::message::Message;
use grid_promises::network::act::{Act, Action};
use grid_promises::network::admission::{Admission, Grant, GrantUse, Link, RawLink};
use grid_promises::network::carried::Carried;
use grid_promises::network::invite::Invite;
use grid_promises::network::ledger::{Item, Ledger, Merged};
use grid_promises::network::member::{Member, MemberPromise};
use grid_promises::network::receipt::Receipt;
use grid_promises::network::statement::{Kind, STATEMENT_BOUNDS, Signed, Statement};
use grid_promises::network::trace::Trace;
use grid_promises::network::{AdmissionRule, Charter, NetworkId, address};
use grid_promises::{ContentId, Timestamp, texts};
use sha2::{Digest, Sha256};

use crate::kit::exchange::{assert_sound, settle};
use crate::kit::story;
use crate::kit::{DAY, HOUR, INVITES, MINUTE, Net, T0, forge_raw, key};
use crate::promises::Target;

/// All targets of this file.
pub const TARGETS: &[Target] = &[
    ("charter", charter),
    ("admission", admission),
    ("member", member),
    ("receipt", receipt),
    ("act", act),
    ("trace", trace),
    ("invite", invite),
    ("carried", carried),
    ("protocol", protocol),
    ("ledger", ledger),
];

/// The network of the targets: node 0 founded it, node 1 came by its invite.
static NET: LazyLock<Net> = LazyLock::new(|| Net::new(AdmissionRule::Invite));

/// Reads a statement, as it travels or as a body that `key` signs. What is read is what was signed.
fn read<T>(data: &[u8], key: &NodeKey) -> Option<Signed<T>>
where
    T: Statement + Clone,
{
    let (mode, rest) = data.split_first()?;
    let bytes = match mode {
        0 => rest.to_vec(),
        _ => forge_raw(T::KIND as u8, T::KIND.name(), rest, key),
    };
    let signed = Signed::<T>::decode(&bytes).ok()?;
    assert_eq!(signed.bytes(), bytes);
    assert_eq!(signed.id(), ContentId::of(&bytes));
    if *mode != 0 {
        let again = Signed::sign(signed.body().clone(), key);
        assert!(again.is_ok_and(|again| again == signed));
    }
    Some(signed)
}

/// What is read of a member who is gone is its admission, whole, and with somebody who saw it used.
pub fn trace(data: &[u8]) {
    let bytes = match data.split_first() {
        Some((0, rest)) => rest.to_vec(),
        Some((_, rest)) => [&[0x82, Kind::Trace as u8][..], rest].concat(),
        None => return,
    };
    let Ok(trace) = Trace::decode(&bytes, &NET.charter) else {
        return;
    };
    assert_eq!(trace.bytes(), bytes);
    assert_eq!(trace.id(), ContentId::of(&bytes));
    let last = trace.admission().links().last();
    assert!(last.is_some_and(|link| link.node() == trace.node() && link.seen.is_some()));
    let admission = trace.admission();
    assert_eq!(admission.verify(&NET.charter, &trace.node()), Ok(()));
}

/// A charter that is read founds a network that nodes can be in.
pub fn charter(data: &[u8]) {
    let Some(charter) = read::<Charter>(data, &key(0)) else {
        return;
    };
    assert!(charter.is_owner(&charter.founder));
    assert!(charter.name.is_valid());
    assert!(address::usable(charter.ipv4) >= 2);
    let node = key(1).id();
    let (number, candidate) =
        address::first_free(&charter.network(), charter.ipv4, &node, 0, &BTreeSet::new())
            .unwrap_or_else(|| panic!("an empty range is full"));
    assert_eq!(number, 0);
    assert!(address::is_usable(charter.ipv4, candidate));
    let ipv6 = address::ipv6(charter.ipv6, &charter.network(), &node, 0);
    assert!(ipv6.is_none_or(|ipv6| charter.ipv6.contains(&ipv6)));
    assert_sound(&Ledger::new(charter.clone()), charter.created);
}

/// A chain leads to a node exactly if every link hangs on the one before.
pub fn admission(data: &[u8]) {
    match data.split_first() {
        Some((0, rest)) => {
            if let Ok(raw) = cbor::decode::<Vec<RawLink>>(rest, &STATEMENT_BOUNDS) {
                check_chain(&NET, &raw);
            }
        }
        Some((1, [rule, script @ ..])) => chain_of(*rule, script),
        Some((2, _)) => _ = read::<Grant>(data, &key(0)),
        Some((3, _)) => _ = read::<GrantUse>(data, &key(INVITES)),
        _ => {}
    }
}

fn check_chain(net: &Net, raw: &[RawLink]) -> bool {
    let Ok(admission) = Admission::decode(raw, &net.charter, &key(1).id()) else {
        return false;
    };
    assert_eq!(admission.raw(), raw);
    assert_eq!(admission.verify(&net.charter, &key(1).id()), Ok(()));
    assert!(raw.len() <= MAX_CHAIN);
    true
}

/// Four bytes a link: flags, issuer, node, when. An invite lives from 100 to 200.
fn chain_of(rule: u8, script: &[u8]) {
    let rule = match rule % 3 {
        0 => AdmissionRule::Invite,
        1 => AdmissionRule::Approve,
        _ => AdmissionRule::Open,
    };
    let net = Net::new(rule);
    let other = NetworkId(ContentId::of(b"another network"));
    let at = |when: u8| T0.after(MINUTE * u32::from(when));
    let (issued, expires) = (at(100), at(200));
    let mut links = Vec::new();
    let mut good = true;
    let mut seen: Vec<u8> = Vec::new();
    for script in script.chunks_exact(4).take(MAX_CHAIN + 2) {
        let [flags, issuer, node, when] = [script[0], script[1] % 12, script[2] % 12, script[3]];
        let [by_office, foreign, foreign_grant, other_key] =
            [1, 2, 4, 8].map(|flag| flags & flag != 0);
        let network = |foreign| if foreign { other } else { net.id() };
        let (by, admitted) = (key(u16::from(issuer)), key(u16::from(node)).id());
        if seen.is_empty() {
            seen.push(issuer);
        }
        good &= seen.last() == Some(&issuer) && !seen.contains(&node) && !foreign;
        good &= !by_office || links.is_empty();
        seen.push(node);
        let used_with = key(INVITES + u16::from(other_key));
        let grant = Grant {
            network: network(foreign_grant),
            invite: key(INVITES).id(),
            issuer: by.id(),
            uses: 5,
            issued,
            expires,
            office: by_office.then(|| net.office(&by.id())),
        };
        let used = GrantUse {
            network: network(foreign),
            invite: used_with.id(),
            node: admitted,
            joined: at(when),
        };
        let early = issued.before(CLOCK_SKEW);
        let in_time = (early..=expires).contains(&at(when));
        good &= in_time && !foreign_grant && !other_key && rule != AdmissionRule::Approve;
        let (Ok(grant), Ok(used)) = (Signed::sign(grant, &by), Signed::sign(used, &used_with))
        else {
            panic!("a good link cannot be signed");
        };
        links.push(Link {
            grant,
            used,
            seen: None,
        });
    }
    good &= links.len() <= MAX_CHAIN;
    good &= seen.last().is_none_or(|last| *last == 1);
    let raw: Vec<RawLink> = links.iter().map(Link::raw).collect();
    assert_eq!(check_chain(&net, &raw), good, "{seen:?}");
}

/// A promise that is taken says nothing but what its node can promise.
pub fn member(data: &[u8]) {
    static BASE: LazyLock<Ledger> = LazyLock::new(|| {
        let founder = NET.founder();
        let node = NET.joined(&founder, INVITES, 5, 1);
        NET.ledger_of([&founder, &NET.admitted(2), &node])
    });
    let Some(promise) = read::<MemberPromise>(data, &key(1)) else {
        return;
    };
    let now = promise.issued;
    let verified = Member::decode(promise.bytes(), &NET.charter);
    let mut ledger = BASE.clone();
    let root = ledger.root();
    let cached = ledger.verify(promise.bytes());
    assert_eq!(verified.is_ok(), cached.is_ok());
    match (verified, cached) {
        (Ok(member), Ok(item)) => {
            assert!(address::is_usable(NET.charter.ipv4, promise.ipv4.address));
            assert!(NET.charter.ipv6.contains(&promise.ipv6.address));
            assert!(member.receipts().iter().all(|receipt| {
                receipt.subject == promise.node && receipt.witness != promise.node
            }));
            match ledger.insert(item, now) {
                Ok(Merged::New) => assert!(ledger.knows(promise.bytes())),
                Ok(_) => assert_eq!(ledger.root(), root),
                Err(error) => panic!("a good promise is refused: {error}"),
            }
            assert_sound(&ledger, now);
        }
        _ => {
            assert!(ledger.insert_bytes(promise.bytes(), now).is_err());
            assert_eq!(ledger.root(), root);
        }
    }
}

/// A receipt is by another, and of the past.
pub fn receipt(data: &[u8]) {
    if let Some(receipt) = read::<Receipt>(data, &key(0)) {
        assert_ne!(receipt.witness, receipt.subject);
        for since in [receipt.member_since, receipt.address_since] {
            assert!(since <= receipt.issued);
        }
        assert!(receipt.until() >= receipt.issued);
    }
}

/// An act is merged by the holder of its office alone, and once; what it does to members, it does.
pub fn act(data: &[u8]) {
    static BASE: LazyLock<Ledger> = LazyLock::new(|| {
        let founder = NET.founder();
        let first = NET.joined(&founder, INVITES, 5, 1);
        let second = NET.joined(&first, INVITES + 1, 5, 2);
        NET.ledger_of([&founder, &first, &second])
    });
    let Some(act) = read::<Act>(data, &key(0)) else {
        return;
    };
    let mut ledger = BASE.clone();
    let is_own = act.network == NET.id() && act.office == NET.office(&key(0).id());
    let merged = ledger.insert_bytes(act.bytes(), T0);
    assert_eq!(merged == Ok(Merged::New), is_own);
    if !is_own {
        assert_eq!(ledger.root(), BASE.root());
        return;
    }
    assert_eq!(ledger.insert_bytes(act.bytes(), T0), Ok(Merged::Known));
    assert_sound(&ledger, T0);
    let authority = ledger.authority();
    match &act.action {
        Action::Admit { nodes, .. } => assert!(nodes.iter().all(|node| authority.is_named(node))),
        Action::Close { invite, .. } => assert_eq!(authority.closings_of(invite).len(), 1),
        Action::Revoke { node } => {
            assert!(authority.is_revoked(node) || authority.is_owner(node));
            assert!(authority.is_owner(node) || !ledger.members().contains_key(node));
        }
        Action::Appoint { node } => assert!(authority.is_owner(node)),
        // There is no other office that it could end.
        Action::Dismiss { .. } => assert!(authority.is_owner(&key(0).id())),
    }
}

/// The text that a person carries: mode 0 has it; mode 1 takes the parts and adds what makes a text of them.
fn text(data: &[u8], prefix: &str, domain: &[u8]) -> Option<String> {
    let (mode, rest) = data.split_first()?;
    if *mode == 0 {
        return std::str::from_utf8(rest).ok().map(str::to_owned);
    }
    let sum = Sha256::digest([domain, b"\0", rest].concat());
    let bytes = [rest, &sum[..4]].concat();
    let encoded = data_encoding::BASE64URL_NOPAD.encode(&bytes);
    Some(format!("{prefix}{encoded}"))
}

/// A carried admission has one text, and whomever it names is admitted by what is in it.
pub fn carried(data: &[u8]) {
    let Some(text) = text(data, "grid-admission-1.", b"grid/1 carried admission") else {
        return;
    };
    let Ok(admission) = Carried::from_text(&text) else {
        return;
    };
    let dense: String = text.chars().filter(|c| !c.is_whitespace()).collect();
    assert_eq!(admission.to_text(), dense);
    let name = &admission.charter.name;
    assert_eq!(admission.check(name, &admission.node), Ok(()));
    let mut ledger = Ledger::new(admission.charter.clone());
    ledger.insert_acts(admission.acts.iter().cloned(), T0);
    assert!(ledger.authority().is_rooted(&admission.node));
}

/// An invite has one text.
pub fn invite(data: &[u8]) {
    let Some(text) = text(data, "grid-invite-1.", b"grid/1 invite") else {
        return;
    };
    let Ok(invite) = Invite::from_text(&text) else {
        return;
    };
    let dense: String = text.chars().filter(|c| !c.is_whitespace()).collect();
    assert_eq!(*invite.to_text(), dense);
    assert!(invite.charter.name.is_valid());
    for now in [Timestamp(0), T0, Timestamp(u64::MAX)] {
        let usable = invite.check(&invite.charter.name, now).is_ok();
        assert!(!usable || now <= invite.grant.expires);
        for node in [key(77).id(), invite.grant.issuer, invite.charter.founder] {
            if let Ok(admission) = invite.admit(node) {
                assert_eq!(admission.verify(&invite.charter, &node), Ok(()));
            }
        }
    }
}

/// Requests and answers are read within bounds, and a request encodes to what says the same. The
/// mode says which message the rest is the payload of.
pub fn protocol(data: &[u8]) {
    let Some((mode, rest)) = data.split_first() else {
        return;
    };
    let network = ContentId::of(b"a charter").to_bytes();
    let join = |name: &str| {
        Message::new(texts::JOIN_WIREGUARD_NET.id())
            .arg(name)
            .arg(network.clone())
    };
    let exchange = |name: &str| Message::new(texts::EXCHANGE_KEYS.id()).arg(name);
    let message = match mode {
        0 => return protocol::fuzz_one(rest),
        1 => exchange("hello"),
        2 => exchange("find").arg(rest),
        3 => join("sync"),
        4 => join("pull"),
        5 => join("push"),
        6 => join("ask"),
        7 => Message::new(texts::ANSWER.id()),
        8 => Message::new(texts::REFUSAL.id()),
        9 => join("unknown"),
        _ => Message::new(ContentId::of(rest)),
    };
    let payload = if *mode == 2 { &[] } else { rest };
    protocol::fuzz_one(&message.payload(payload).encode());
}

/// Statements of one network in any order, some altered or cut, over weeks, in two ledgers. Nothing
/// but a new statement changes a ledger, and in the end an exchange makes both equal.
pub fn ledger(data: &[u8]) {
    struct Pool {
        net: Net,
        items: Vec<Item>,
    }
    static POOL: LazyLock<Pool> = LazyLock::new(|| {
        let net = story::network();
        let empty = net.ledger();
        let items = story::wild(&net)
            .iter()
            .filter_map(|bytes| empty.verify(bytes).ok())
            .collect();
        Pool { net, items }
    });
    let mut ledgers = [POOL.net.ledger(), POOL.net.ledger()];
    let mut now = T0.after(2 * HOUR);
    let mut script = data.iter().copied().take(600);
    let mut active = 0;
    while let Some(step) = script.next() {
        let mut next = || script.next().unwrap_or(0);
        let ledger = &mut ledgers[active];
        let root = ledger.root();
        match step % 7 {
            0 => {
                let item = &POOL.items[usize::from(next()) % POOL.items.len()];
                let merged = ledger.insert(item.clone(), now);
                assert!(
                    merged == Ok(Merged::New) || ledger.root() == root,
                    "{merged:?}"
                );
            }
            1 => {
                let mut bytes = POOL.items[usize::from(next()) % POOL.items.len()]
                    .bytes()
                    .to_vec();
                let at = (usize::from(next()) << 8 | usize::from(next())) % bytes.len();
                let flip = next().max(1);
                bytes[at] ^= flip;
                assert!(ledger.insert_bytes(&bytes, now).is_err());
                assert_eq!(ledger.root(), root);
            }
            2 => {
                let bytes = POOL.items[usize::from(next()) % POOL.items.len()].bytes();
                let at = (usize::from(next()) << 8 | usize::from(next())) % bytes.len();
                assert!(ledger.insert_bytes(&bytes[..at], now).is_err());
                assert_eq!(ledger.root(), root);
            }
            3 => now = now.after(DAY * u32::from(next() % 16)),
            4 => {
                let gone = ledger.prune(now);
                assert_eq!(gone.is_empty(), ledger.root() == root);
                assert_sound(ledger, now);
            }
            5 => active = 1 - active,
            _ => assert_sound(ledger, now),
        }
    }
    let [one, other] = &mut ledgers;
    one.prune(now);
    other.prune(now);
    settle(one, other, now);
    assert_sound(one, now);
}
