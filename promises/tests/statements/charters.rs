//! What cannot found a network.

use grid_keys::NodeId;
use grid_promises::ContentId;
use grid_promises::network::Charter;
use grid_promises::network::statement::{Signed, StatementError};

use crate::common::{Net, charter, forge, key};

/// Why a charter with this change is refused. It is signed for real.
fn why(change: impl FnOnce(&mut Charter)) -> &'static str {
    let mut body = charter();
    change(&mut body);
    match Signed::<Charter>::decode(&forge(&body, &key(0))) {
        Err(StatementError::Invalid {
            kind: "charter",
            why,
        }) => why,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_network_is_the_content_id_of_the_charter() {
    let net = Net::with(|_| {});
    assert_eq!(net.id().0, ContentId::of(net.charter.bytes()));
    let other = Net::with(|charter| charter.created.0 += 1);
    assert_ne!(net.id(), other.id());
}

#[test]
fn ranges_that_hosts_cannot_have_are_refused() {
    let range = |text: &str| why(|charter| charter.ipv4 = text.parse().unwrap());
    let length = "the prefix length of an IPv4 range must be 8 to 30";
    let unicast = "the IPv4 range is not one that hosts can have";
    for (text, expected) in [
        ("10.0.0.0/7", length),
        ("10.0.0.0/31", length),
        ("10.0.0.0/32", length),
        ("0.0.0.0/0", length),
        ("0.0.0.0/8", unicast),
        ("127.0.0.0/8", unicast),
        ("127.1.0.0/16", unicast),
        ("169.254.0.0/16", unicast),
        ("224.0.0.0/8", unicast),
        ("240.0.0.0/8", unicast),
        ("255.255.255.0/24", unicast),
    ] {
        assert_eq!(range(text), expected, "{text}");
    }
}

#[test]
fn the_ipv6_prefix_follows_from_the_founder_and_the_nonce() {
    let expected = "the IPv6 prefix does not follow from the founder's key";
    assert_eq!(why(|c| c.nonce[0] ^= 1), expected);
    assert_eq!(why(|c| c.ipv6 = "2001:db8::/64".parse().unwrap()), expected);
    assert_eq!(
        why(|c| c.ipv6 = Charter::ipv6_prefix(&key(1).id(), &c.nonce)),
        expected
    );
    assert!(charter().ipv6.addr().is_unique_local());
}

#[test]
fn the_owners_are_a_set_with_the_founder() {
    let founder = key(0).id();
    let count = "a network has 1 to 16 owners";
    let set = "the owners are not a set of node keys";
    assert_eq!(why(|c| c.owners.clear()), count);
    let many = |n: u16| {
        let mut owners: Vec<NodeId> = (0..n).map(|n| key(n).id()).collect();
        owners.sort();
        owners
    };
    assert_eq!(why(|c| c.owners = many(17)), count);
    let sixteen = Net::with(|c| c.owners = many(16));
    assert!(sixteen.charter.is_owner(&key(15).id()));
    assert!(!sixteen.charter.is_owner(&key(16).id()));
    assert_eq!(why(|c| c.owners = vec![founder, founder]), set);
    assert_eq!(
        why(|c| c.owners = many(16).into_iter().rev().collect()),
        set
    );
    // A key of small order: anybody could sign with it.
    assert_eq!(why(|c| c.owners.insert(0, NodeId([0; 32]))), set);
    assert_eq!(
        why(|c| c.owners = vec![key(1).id()]),
        "the founder is not among the owners"
    );
}

#[test]
fn a_charter_that_another_signed_is_refused() {
    let bytes = forge(&charter(), &key(1));
    assert_eq!(
        Signed::<Charter>::decode(&bytes).unwrap_err(),
        StatementError::Signature("charter")
    );
}

/// Names travel as plain text, so that the reader's rules and not the writer's count.
#[test]
fn names_that_break_the_rules_are_refused() {
    let good = forge(&charter(), &key(0));
    let (kind, body, _) = crate::common::unframe(&good);
    // `63 66 6f 6f`: the text "foo", the first item of the body.
    assert_eq!(body[1..5], *b"\x63foo");
    for name in [
        "",
        "Foo",
        "2foo",
        "a b",
        "../x",
        "lo",
        "all",
        "sixteen-bytes-xx",
        "f\u{f6}",
    ] {
        let mut changed = vec![body[0], 0x60 + u8::try_from(name.len()).unwrap()];
        changed.extend_from_slice(name.as_bytes());
        changed.extend_from_slice(&body[5..]);
        let bytes = crate::common::forge_raw(kind, "charter", &changed, &key(0));
        assert_eq!(
            Signed::<Charter>::decode(&bytes).unwrap_err(),
            StatementError::Invalid {
                kind: "charter",
                why: "the network's name breaks the rules for names",
            },
            "{name}"
        );
    }
}
