//! Member promises that a ledger refuses, each with its error and the ledger unchanged.

use std::time::Duration;

use grid_promises::network::address;
use grid_promises::network::admission::AdmissionError;
use grid_promises::network::ledger::{Ledger, Merged, Refusal};
use grid_promises::network::member::{
    Claim, Ipv6Claim, Member, MemberPromise, PromiseError, Standing, possession,
};
use grid_promises::network::statement::{Kind, StatementError};
use grid_promises::network::view::View;
use grid_promises::network::{AdmissionRule, Label};
use grid_promises::{Timestamp, limits, texts};
use minicbor::bytes::ByteVec;

use crate::common::exchange::settle;
use crate::common::{
    DAY, INVITES, MINUTE, Net, Node, SECOND, T0, endpoint, first_unknown, forge, key, one_of_each,
    wg,
};
use crate::refusal;

/// A network with two members, and a third that has not spoken yet.
fn scene() -> (Net, Ledger, Node) {
    let net = Net::new(AdmissionRule::Invite);
    let founder = net.founder();
    let ledger = net.ledger_of([&founder, &net.joined(&founder, INVITES, 9, 1)]);
    let node = net.joined(&founder, INVITES, 9, 2);
    (net, ledger, node)
}

/// Why the third member's promise with this change is refused.
#[track_caller]
fn refused(change: impl FnOnce(&mut MemberPromise)) -> Refusal {
    let (_, ledger, node) = scene();
    refusal(&ledger, &node.with(change).bytes(), T0)
}

fn invalid(why: &'static str) -> Refusal {
    Refusal::Statement(StatementError::Invalid {
        kind: "member promise",
        why,
    })
}

#[test]
fn a_good_promise_is_taken_once() {
    let (_, mut ledger, node) = scene();
    let bytes = node.bytes();
    assert_eq!(ledger.insert_bytes(&bytes, T0), Ok(Merged::New));
    assert!(ledger.knows(&bytes));
    assert_eq!(ledger.insert_bytes(&bytes, T0), Ok(Merged::Known));
    let item = ledger.verify(&bytes).unwrap();
    assert_eq!(item.bytes(), bytes);
    assert_eq!(ledger.insert(item, T0), Ok(Merged::Known));
    let later = node.at(2, T0.after(MINUTE));
    assert_eq!(
        ledger.insert_bytes(&later.bytes(), T0.after(MINUTE)),
        Ok(Merged::New)
    );
    assert!(!ledger.knows(&bytes));
    let root = ledger.root();
    assert_eq!(
        ledger.insert_bytes(&bytes, T0.after(MINUTE)),
        Ok(Merged::Stale)
    );
    assert_eq!(ledger.root(), root);
}

#[test]
fn a_promise_of_another_network_is_refused() {
    let (net, ledger, _) = scene();
    let other = Net::with(|charter| charter.created.0 += 1);
    let stolen = other.joined(&other.founder(), INVITES, 9, 2);
    let expected = Refusal::Promise(PromiseError::OtherNetwork);
    assert_eq!(refusal(&ledger, &stolen.bytes(), T0), expected);
    // Relabelled and signed again, its admission is still that of the other network.
    let relabelled = stolen.with(|body| body.network = net.id());
    assert_eq!(
        refusal(&ledger, &relabelled.bytes(), T0),
        Refusal::Promise(AdmissionError::OtherNetwork.into())
    );
    let revocation = other.revoke(&stolen);
    assert_eq!(refusal(&ledger, revocation.bytes(), T0), expected);
}

#[test]
fn a_promise_that_another_signed_is_refused() {
    let (_, ledger, node) = scene();
    let expected = Refusal::Statement(StatementError::Signature("member promise"));
    for n in [0, 1, 3] {
        let forged = forge(&node.body, &key(n));
        assert_eq!(refusal(&ledger, &forged, T0), expected);
    }
    // A member's promise under another's name.
    let renamed = node.with(|body| body.node = key(1).id());
    assert_eq!(refusal(&ledger, &renamed.bytes(), T0), expected);
}

/// Two nodes with one WireGuard key could not both be peers of a machine: whoever promises a key shows that it has it.
#[test]
fn nobody_promises_a_wireguard_key_that_it_does_not_have() {
    let (net, mut ledger, node) = scene();
    let victim = net.founder();
    let stolen = victim.body.public_key;
    let expected = Refusal::Promise(PromiseError::NotItsKey(stolen));
    let shows = |possession| {
        let change =
            |body: &mut MemberPromise| (body.public_key, body.possession) = (stolen, possession);
        node.with(change).bytes()
    };
    let other = Net::with(|charter| charter.created.0 += 1);
    let by_victim = |network, node| wg(0).sign(&possession(&network, &node));
    for possession in [
        // Its own, of its own key; what the victim shows; the same for this node in another network.
        node.body.possession,
        victim.body.possession,
        by_victim(other.id(), node.id()),
        [0; 64],
    ] {
        assert_eq!(refusal(&ledger, &shows(possession), T0), expected);
    }
    // Nor does a later promise, when an earlier one showed another key.
    ledger.insert_bytes(&node.bytes(), T0).unwrap();
    let later = node
        .at(2, T0.after(MINUTE))
        .with(|body| body.public_key = stolen);
    assert_eq!(refusal(&ledger, &later.bytes(), T0.after(MINUTE)), expected);
    // Who has the key may promise it, and another one later.
    for (sequence, n) in [(3, 0), (4, 50)] {
        let rotated = node.keyed(n).at(sequence, T0.after(MINUTE));
        let merged = ledger.insert_bytes(&rotated.bytes(), T0.after(MINUTE));
        assert_eq!(merged, Ok(Merged::New));
    }
    // A key that can be written in two ways, or for which anybody can sign, is none.
    let twice = node.with(|body| body.public_key.0[31] |= 0x80);
    let weak = node.with(|body| body.public_key.0 = [0; 32]);
    for bad in [twice, weak] {
        let expected = Refusal::Promise(PromiseError::NotItsKey(bad.body.public_key));
        assert_eq!(refusal(&net.ledger(), &bad.bytes(), T0), expected);
    }
}

#[test]
fn another_nodes_admission_admits_nobody_else() {
    let (net, ledger, node) = scene();
    let thief = net.node(3, node.admission);
    assert_eq!(
        refusal(&ledger, &thief.bytes(), T0),
        Refusal::Promise(AdmissionError::Broken.into())
    );
    let uninvited = net.node(3, Default::default());
    let mut ledger = ledger;
    let _ = ledger.insert_bytes(&uninvited.bytes(), T0);
    assert!(!View::of(&ledger, T0).members.contains_key(&uninvited.id()));
}

/// Whoever wants another's address would have to find a modifier of its own that gives it.
#[test]
fn an_ipv6_address_follows_from_the_node_and_a_modifier_of_its_own() {
    let (net, mut ledger, node) = scene();
    let Ipv6Claim { address, modifier } = node.body.ipv6;
    let not_its = |address| Refusal::Promise(PromiseError::NotItsIpv6(address));
    let [zero, one] = [0, 1].map(|n| net.ipv6(&key(n).id()));
    for other in [
        zero.address,
        one.address,
        "fe80::1".parse().unwrap(),
        "::1".parse().unwrap(),
    ] {
        for modifier in [modifier, zero.modifier, one.modifier, 0, u32::MAX] {
            let claim = Ipv6Claim {
                address: other,
                modifier,
            };
            assert_eq!(refused(|body| body.ipv6 = claim), not_its(other));
        }
    }
    // Its own address by a modifier that is none of its own, and the same host under another network's prefix.
    let before = Ipv6Claim {
        address,
        modifier: modifier - 1,
    };
    assert_eq!(refused(|body| body.ipv6 = before), not_its(address));
    let prefix = "fd00:1::/64".parse().unwrap();
    let elsewhere = address::ipv6(prefix, &net.id(), &node.id(), modifier).unwrap();
    let claim = Ipv6Claim {
        address: elsewhere,
        modifier,
    };
    assert_eq!(refused(|body| body.ipv6 = claim), not_its(elsewhere));
    // An IPv4-mapped address has no form on the wire at all.
    let mapped = refused(|body| body.ipv6.address = "::ffff:10.7.0.1".parse().unwrap());
    assert!(
        matches!(mapped, Refusal::Statement(StatementError::Encoding { .. })),
        "{mapped:?}"
    );
    // The next modifier gives another one, as it is needed should two come by one address.
    let next = Ipv6Claim::first(&net.charter, &node.id(), modifier + 1).unwrap();
    assert_eq!(
        node.body
            .ipv6
            .unless_held(Some(&key(9).id()), &net.charter, &node.id()),
        next
    );
    for holder in [None, Some(&node.id())] {
        let kept = node.body.ipv6.unless_held(holder, &net.charter, &node.id());
        assert_eq!(kept, node.body.ipv6);
    }
    let moved = node.with(|body| body.ipv6 = next);
    assert_eq!(ledger.insert_bytes(&moved.bytes(), T0), Ok(Merged::New));
    assert!(View::of(&ledger, T0).has_ipv6(&node.id(), next.address));
}

#[test]
fn a_node_claims_its_own_candidates_only() {
    let (net, mut ledger, node) = scene();
    let claim = |address: &str, number| {
        let address = address.parse().unwrap();
        let refusal = refused(|body| body.ipv4 = Claim { address, number });
        assert_eq!(
            refusal,
            Refusal::Promise(PromiseError::NotItsCandidate(address))
        );
    };
    // Outside the range, the network's and the broadcast address, and those of no host at all.
    for address in [
        "10.6.255.255",
        "10.8.0.0",
        "192.168.1.1",
        "10.7.0.0",
        "10.7.255.255",
        "0.0.0.0",
        "255.255.255.255",
        "127.0.0.1",
        "224.0.0.1",
    ] {
        for number in [0, 1, u32::MAX] {
            claim(address, number);
        }
    }
    // Somebody else's candidate; its own under another number; a number beyond all.
    let own = |k| net.candidate(&node.id(), k).to_string();
    claim(&net.candidate(&key(1).id(), 0).to_string(), 0);
    claim(&own(0), 1);
    claim(&own(1), 0);
    claim(&own(address::MAX_CANDIDATES), address::MAX_CANDIDATES);
    claim(&own(u32::MAX), u32::MAX);
    // Any of its own is as good as the first.
    let number = address::MAX_CANDIDATES - 1;
    let last = node.with(|body| {
        body.ipv4 = Claim {
            address: net.candidate(&node.id(), number),
            number,
        }
    });
    assert_eq!(ledger.insert_bytes(&last.bytes(), T0), Ok(Merged::New));
}

#[test]
fn a_promise_has_its_time() {
    let life = invalid("a member promise lives for at most 24 hours");
    assert_eq!(refused(|b| b.expires = b.issued), life);
    assert_eq!(refused(|b| b.expires = Timestamp(0)), life);
    assert_eq!(refused(|b| b.expires = b.issued.after(DAY + SECOND)), life);
    assert_eq!(refused(|b| b.expires = Timestamp(u64::MAX)), life);

    let future = |ahead| Refusal::Promise(PromiseError::Future { ahead });
    let (_, mut ledger, node) = scene();
    let ahead = |span| node.at(1, T0.after(limits::CLOCK_SKEW + span)).bytes();
    assert_eq!(refusal(&ledger, &ahead(SECOND), T0), future(301));
    assert_eq!(refusal(&ledger, &ahead(DAY), T0), future(24 * 3600 + 300));
    let end = Timestamp(u64::MAX - 1);
    let last = node.with(|b| (b.issued, b.expires) = (end, Timestamp(u64::MAX)));
    assert_eq!(refusal(&ledger, &last.bytes(), T0), future(end.0 - T0.0));
    assert_eq!(
        ledger.insert_bytes(&ahead(Duration::ZERO), T0),
        Ok(Merged::New),
        "clocks differ a little"
    );
}

#[test]
fn what_lapsed_long_ago_is_refused_and_what_lapsed_is_not() {
    let net = Net::new(AdmissionRule::Invite);
    let named = net.admitted(2);
    let until = named.body.expires.after(limits::QUIET_TIME);
    let ledger = net.ledger();
    assert_eq!(
        refusal(&ledger, &named.bytes(), until.after(SECOND)),
        Refusal::Promise(PromiseError::Lapsed {
            expires: named.body.expires
        })
    );
    assert_eq!(
        ledger.clone().insert_bytes(&named.bytes(), until),
        Ok(Merged::New)
    );
    // However long its invite lasts: a trace remains of that.
    let mut grant = net.grant_body(&key(0).id(), INVITES, 1);
    grant.expires = T0.after(30 * DAY);
    let grant = grid_promises::network::Signed::sign(grant, &key(0)).unwrap();
    let link = net.link(&grant, INVITES, &key(3).id());
    let invited = net.node(
        3,
        grid_promises::network::admission::Admission::from_links(vec![link]),
    );
    assert!(matches!(
        refusal(&ledger, &invited.bytes(), until.after(SECOND)),
        Refusal::Promise(PromiseError::Lapsed { .. })
    ));
}

#[test]
fn endpoints_are_addresses_that_packets_can_be_sent_to() {
    let unusable = invalid("an endpoint is not an address that packets can be sent to");
    for addr in [
        "0.0.0.0:1",
        "10.0.0.1:0",
        "224.0.0.1:1",
        "255.255.255.255:1",
        "[::]:1",
        "[ff02::1]:1",
    ] {
        assert_eq!(
            refused(|b| b.wireguard = vec![endpoint(0, addr)]),
            unusable,
            "{addr}"
        );
        assert_eq!(
            refused(|b| b.quic = vec![endpoint(2, addr)]),
            unusable,
            "{addr}"
        );
    }
    let many = invalid("a node has at most 16 endpoints of each kind");
    let list = |n| vec![endpoint(1, "192.0.2.1:1"); n];
    assert_eq!(refused(|b| b.wireguard = list(17)), many);
    assert_eq!(refused(|b| b.quic = list(17)), many);
}

#[test]
fn lists_and_names_are_bounded() {
    let nets = |n: u8| (0..n).map(|i| format!("10.{i}.0.0/16").parse().unwrap());
    assert_eq!(
        refused(|b| b.prefixes = nets(33).collect()),
        invalid("a node promises at most 32 further prefixes")
    );
    let set = invalid("the prefixes are not a set in ascending order");
    assert_eq!(refused(|b| b.prefixes = nets(3).rev().collect()), set);
    assert_eq!(
        refused(|b| b.prefixes = nets(1).chain(nets(1)).collect()),
        set
    );
    let many = invalid("a promise has at most 6 links of admission and 4 receipts");
    assert_eq!(
        refused(|b| b.admission = vec![b.admission[0].clone(); 7]),
        many
    );
    assert_eq!(
        refused(|b| b.receipts = vec![ByteVec::from(vec![1]); 5]),
        many
    );
}

#[test]
fn labels_that_break_the_rules_are_refused() {
    let (_, ledger, node) = scene();
    let good = node.called("xxxx");
    let (kind, body, _) = crate::common::unframe(&good.bytes());
    let at = body.windows(5).position(|w| w == b"\x64xxxx").unwrap();
    for label in [
        "",
        "A",
        "a b",
        "a_b",
        "a/b",
        "\u{fc}",
        "\x1b[0m",
        &"x".repeat(64),
    ] {
        let mut changed = body[..at].to_vec();
        changed.extend_from_slice(&minicbor::to_vec(label).unwrap());
        changed.extend_from_slice(&body[at + 5..]);
        let bytes = crate::common::forge_raw(kind, Kind::Member.name(), &changed, &node.key);
        assert_eq!(
            refusal(&ledger, &bytes, T0),
            invalid("the node's name breaks the rules for names"),
            "{label:?}"
        );
        assert!(label.parse::<Label>().is_err());
    }
}

#[test]
fn statements_that_are_no_state_are_refused() {
    let (_, ledger, _) = scene();
    for (kind, bytes) in one_of_each() {
        if !kind.is_state() {
            assert_eq!(refusal(&ledger, &bytes, T0), Refusal::Kind(kind as u8));
        }
    }
    let unknown = [0x83, first_unknown()];
    assert_eq!(
        refusal(&ledger, &unknown, T0),
        Refusal::Kind(first_unknown())
    );
    for garbage in [
        &b""[..],
        b"\x83",
        b"\x83\x05",
        b"\x83\x18\x05",
        &[0; 100],
        &[0xff; 9000],
    ] {
        assert!(matches!(
            refusal(&ledger, garbage, T0),
            Refusal::Statement(StatementError::Encoding { .. })
        ));
    }
}

/// Whatever is state is held, and reaches other nodes: in the index, in what is sent, in what is stored.
#[test]
fn statements_that_are_state_are_held_and_passed_on() {
    let net = Net::new(AdmissionRule::Invite);
    for (kind, bytes) in one_of_each() {
        if !kind.is_state() {
            continue;
        }
        let mut ledger = net.ledger();
        let now = T0.after(MINUTE);
        assert_eq!(
            ledger.insert_bytes(&bytes, now),
            Ok(Merged::New),
            "{kind:?}"
        );
        assert!(ledger.knows(&bytes), "{kind:?}");
        let item = ledger.verify(&bytes).unwrap();
        assert_eq!(item.bytes(), bytes);
        assert_eq!(ledger.insert(item, now), Ok(Merged::Known), "{kind:?}");
        assert_ne!(ledger.root(), net.ledger().root(), "{kind:?}");
        assert_eq!(ledger.statements().collect::<Vec<_>>(), [&bytes[..]]);
        let wanted = ledger.index().iter().map(|entry| entry.id).collect();
        assert_eq!(
            ledger.statements_of(&wanted).collect::<Vec<_>>(),
            [&bytes[..]]
        );
        let mut other = net.ledger();
        settle(&mut ledger, &mut other, now);
        assert!(other.knows(&bytes), "{kind:?}");
    }
}

/// The nodes under one text of `join-wireguard-net` take the same kinds. One that was pushed another would
/// take the sender for hostile, so a new kind of state needs another text: then its id and kinds replace those here.
#[test]
fn kinds_of_state_belong_to_the_promise_of_members() {
    let promise = texts::JOIN_WIREGUARD_NET.id().to_string();
    let agreed = match promise.as_str() {
        "bafkreibhggmajupqlhvbtfrpcezcczuhx3mq5lgq344tfk5geltyjbnkda" => [4, 5, 8],
        other => panic!("which kinds are state under {other}?"),
    };
    let state = Kind::ALL.iter().filter(|kind| kind.is_state());
    let state: Vec<u8> = state.map(|kind| *kind as u8).collect();
    assert_eq!(
        state, agreed,
        "another set of kinds needs another text of join-wireguard-net"
    );
}

/// Receipts are hints: one that does not hold is left out, and the promise stands.
#[test]
fn receipts_that_do_not_hold_are_left_out() {
    let (net, mut ledger, node) = scene();
    let other = Net::with(|charter| charter.created.0 += 1);
    let good = net.receipt(&key(0), &node, T0, T0);
    let of_another = net.receipt(&key(0), &net.admitted(5), T0, T0);
    let of_elsewhere = other.receipt(&key(0), &node, T0, T0);
    let future = T0.after(limits::CLOCK_SKEW + SECOND);
    let late = net.receipt(&key(0), &node, T0, future);
    let carried = |promise: &Node| {
        Member::decode(&promise.bytes(), &net.charter)
            .unwrap()
            .receipts()
            .to_vec()
    };
    for bad in [&of_another, &of_elsewhere, &late] {
        let promise = node.carrying(&[bad.clone(), good.clone()]);
        assert_eq!(carried(&promise), std::slice::from_ref(&good));
        assert!(ledger.clone().insert_bytes(&promise.bytes(), T0).is_ok());
    }
    let mut own = net.receipt_body(&node.key, &node, T0, T0);
    let by_itself = forge(&own, &node.key);
    own.witness = key(0).id();
    let forged = forge(&own, &node.key);
    let mut own = net.receipt_body(&key(0), &node, T0, T0);
    own.address_since = T0.after(SECOND);
    let before_it_saw = forge(&own, &key(0));
    for bytes in [by_itself, forged, before_it_saw, vec![], vec![0xff; 100]] {
        let promise = node.with(|body| body.receipts = vec![ByteVec::from(bytes)]);
        assert_eq!(carried(&promise), []);
    }
    // Also when the ledger has verified the node's receipts before.
    let first = node.carrying(std::slice::from_ref(&good));
    ledger.insert_bytes(&first.bytes(), T0).unwrap();
    let second = node.carrying(&[good.clone(), late]).at(2, T0);
    ledger.insert_bytes(&second.bytes(), T0).unwrap();
    let standing = ledger.members().get(&node.id()).unwrap();
    assert_eq!(standing.receipts(), [good]);
}

/// With everything at its most a promise fits into a statement, so that no node gets stuck with one
/// that it cannot sign.
#[test]
fn the_largest_promise_can_be_signed() {
    let net = Net::new(AdmissionRule::Invite);
    let last = (1..=6).fold(net.founder(), |issuer, n| {
        net.joined(&issuer, INVITES + n, limits::MAX_USES, n)
    });
    let receipts: Vec<_> = (0..4)
        .map(|n| net.receipt(&key(n), &last, T0, T0))
        .collect();
    let full = last.carrying(&receipts).with(|body| {
        body.sequence = u64::MAX;
        body.standing = Standing::Promised;
        body.ipv4 = Claim {
            address: net.candidate(&body.node, address::MAX_CANDIDATES - 1),
            number: address::MAX_CANDIDATES - 1,
        };
        let far = "[2001:db8:ffff:ffff:ffff:ffff:ffff:ffff]:65535";
        body.wireguard = vec![endpoint(2, far); limits::MAX_ENDPOINTS];
        body.quic = vec![endpoint(2, far); limits::MAX_ENDPOINTS];
        body.prefixes = (0..32)
            .map(|i| format!("2001:db8::{i}/128").parse().unwrap())
            .collect();
        body.prefixes.sort();
        body.label = "x".repeat(limits::MAX_LABEL).parse().unwrap();
    });
    let signed = full.promise();
    assert!(signed.bytes().len() < limits::MAX_STATEMENT);
    let mut ledger = net.ledger();
    assert_eq!(ledger.insert_bytes(signed.bytes(), T0), Ok(Merged::New));
}
