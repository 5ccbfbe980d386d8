//! The text that a person carries: what is lost or altered on the way, and what cannot be used.

use data_encoding::BASE64URL_NOPAD;
use grid_promises::network::NetworkName;
use grid_promises::network::admission::{AdmissionError, Link, RawLink};
use grid_promises::network::invite::{Bootstrap, Invite, InviteError};
use grid_promises::network::statement::StatementError;
use grid_promises::network::void::Void;
use grid_promises::network::{AdmissionRule, Charter};
use grid_promises::{Timestamp, limits};
use minicbor::bytes::{ByteArray, ByteVec};
use minicbor::{Decode, Encode};
use sha2::{Digest, Sha256};

use crate::common::{DAY, INVITES, Net, SECOND, T0, encoded, forge, key};

/// The parts of an invite as `docs/wire.md` describes them, apart from the crate's own code.
#[derive(Clone, Encode, Decode)]
struct Parts {
    #[n(0)]
    #[cbor(with = "minicbor::bytes")]
    charter: Vec<u8>,
    #[n(1)]
    bootstrap: Vec<Bootstrap>,
    #[n(2)]
    #[cbor(with = "minicbor::bytes")]
    grant: Vec<u8>,
    #[n(3)]
    issuer: Vec<RawLink>,
    #[n(4)]
    #[cbor(with = "minicbor::bytes")]
    seed: Vec<u8>,
    #[n(5)]
    #[cbor(with = "minicbor::bytes")]
    secret: Vec<u8>,
    #[n(6)]
    acts: Vec<ByteVec>,
    #[n(7)]
    heads: Vec<ByteArray<32>>,
}

fn text_of(body: &[u8]) -> String {
    let sum = Sha256::digest([b"grid/1 invite\0", body].concat());
    let bytes = [body, &sum[..4]].concat();
    format!("grid-invite-1.{}", BASE64URL_NOPAD.encode(&bytes))
}

fn body_of(text: &str) -> Vec<u8> {
    let encoded = text.strip_prefix("grid-invite-1.").unwrap();
    let mut bytes = BASE64URL_NOPAD.decode(encoded.as_bytes()).unwrap();
    bytes.truncate(bytes.len() - 4);
    bytes
}

fn invite() -> Invite {
    let net = Net::new(AdmissionRule::Invite);
    let member = net.joined(&net.founder(), INVITES, 5, 1);
    net.invite(&member, INVITES + 1, 1)
}

fn text() -> String {
    invite().to_text().to_string()
}

fn refused(text: &str) -> InviteError {
    Invite::from_text(text).unwrap_err()
}

/// The error for an invite with this change in its parts, under a checksum that fits.
fn changed(change: impl FnOnce(&mut Parts)) -> InviteError {
    let body = body_of(&text());
    let mut parts: Parts = minicbor::decode(&body).unwrap();
    assert_eq!(encoded(&parts), body);
    change(&mut parts);
    refused(&text_of(&encoded(&parts)))
}

#[test]
fn an_invite_reads_back() {
    let invite = invite();
    let text = text();
    let read = Invite::from_text(&text).unwrap();
    assert_eq!(read.charter, invite.charter);
    assert_eq!(read.grant, invite.grant);
    assert_eq!(read.bootstrap, invite.bootstrap);
    assert_eq!(read.issuer, invite.issuer);
    assert_eq!(read.secret, invite.secret);
    assert_eq!(read.heads, invite.heads);
    assert_eq!(read.key.id(), invite.key.id());
    assert_eq!(*read.to_text(), text);
    assert_eq!(text_of(&body_of(&text)), text);
}

#[test]
fn no_flipped_bit_is_taken() {
    let text = text();
    for at in 0..text.len() {
        for bit in 0..7 {
            let mut changed = text.clone().into_bytes();
            changed[at] ^= 1 << bit;
            let changed = String::from_utf8(changed).unwrap();
            let expected = if at < "grid-invite-1.".len() {
                InviteError::NotAnInvite
            } else {
                InviteError::Damaged
            };
            assert_eq!(refused(&changed), expected, "bit {bit} of character {at}");
        }
    }
}

#[test]
fn no_cut_or_doubled_invite_is_taken() {
    let text = text();
    for length in 0..text.len() {
        let expected = match length {
            0 => InviteError::Empty,
            _ if length < "grid-invite-1.".len() => InviteError::NotAnInvite,
            _ => InviteError::Damaged,
        };
        assert_eq!(refused(&text[..length]), expected, "{length} characters");
    }
    for length in 1..text.len() {
        assert!(
            Invite::from_text(&text[length..]).is_err(),
            "without the first {length}"
        );
    }
    assert_eq!(refused(&format!("{text}{text}")), InviteError::Damaged);
    assert_eq!(refused(&format!("{text}=")), InviteError::Damaged);
}

/// Mail programs break lines and terminals add spaces; nothing else may stand in an invite.
#[test]
fn white_space_is_ignored() {
    let text = text();
    let mut broken = String::from(" \n");
    for (at, c) in text.chars().enumerate() {
        broken.push(c);
        if at % 20 == 0 {
            broken.push_str("\r\n\t ");
        }
    }
    assert!(Invite::from_text(&broken).is_ok());
    for blank in ["", " ", "\n\n", "\u{a0}\u{2003}"] {
        assert_eq!(refused(blank), InviteError::Empty);
    }
    assert_eq!(refused(&text.replace("1.", "1.>")), InviteError::Damaged);
}

#[test]
fn what_is_no_invite_is_called_so() {
    for other in [
        "hello",
        "grid-invite-2.AAAA",
        "GRID-INVITE-1.AAAA",
        "https://example.org/grid-invite-1.AAAA",
        "grid-invite-1",
    ] {
        assert_eq!(refused(other), InviteError::NotAnInvite, "{other}");
    }
    let long = format!("grid-invite-1.{}", "A".repeat(limits::MAX_INVITE_TEXT));
    assert_eq!(refused(&long), InviteError::TooLong);
    assert_eq!(
        refused(&" ".repeat(limits::MAX_INVITE_TEXT + 1)),
        InviteError::TooLong
    );
}

#[test]
fn parts_that_are_no_cbor_are_malformed() {
    for body in [&b""[..], b"\x80", b"\xff", b"\x86", &[0x81; 20]] {
        let error = refused(&text_of(body));
        assert!(matches!(error, InviteError::Malformed(_)), "{error:?}");
    }
    let mut longer = body_of(&text());
    longer.push(0);
    assert!(matches!(
        refused(&text_of(&longer)),
        InviteError::Malformed(_)
    ));
}

#[test]
fn every_part_is_verified() {
    let net = Net::new(AdmissionRule::Invite);
    let other = Net::with(|charter| charter.created.0 += 1);
    let grant = net.grant(&key(0), INVITES + 1, 1);

    assert_eq!(
        changed(|parts| parts.charter[40] ^= 1),
        InviteError::Statement(StatementError::Signature("charter"))
    );
    assert_eq!(
        changed(|parts| *parts.grant.last_mut().unwrap() ^= 1),
        InviteError::Statement(StatementError::Signature("invite grant"))
    );
    // Another charter: grant and chain are not for it.
    assert_eq!(
        changed(|parts| parts.charter = other.charter.bytes().to_vec()),
        InviteError::Admission(AdmissionError::OtherNetwork)
    );
    assert_eq!(
        changed(|parts| parts.grant = other.grant(&key(1), INVITES + 1, 1).bytes().to_vec()),
        InviteError::Admission(AdmissionError::OtherNetwork)
    );
    // A grant of another issuer than the chain leads to.
    assert_eq!(
        changed(|parts| parts.grant = grant.bytes().to_vec()),
        InviteError::Admission(AdmissionError::Broken)
    );
    // No chain, for a grant of somebody who is no owner.
    assert_eq!(
        changed(|parts| parts.issuer.clear()),
        InviteError::Admission(AdmissionError::Void(Void::NotAdmitted))
    );
    assert_eq!(
        changed(|parts| parts.issuer = vec![parts.issuer[0].clone(); 7]),
        InviteError::Admission(AdmissionError::TooLong)
    );
    // Another key than the one that was granted.
    let malformed = |why: &str| InviteError::Malformed(why.to_owned());
    assert_eq!(
        changed(|parts| parts.seed[0] ^= 1),
        malformed("its key is not the one that was granted")
    );
    for length in [31, 33] {
        let error = changed(|parts| parts.secret = vec![0; length]);
        assert!(matches!(error, InviteError::Malformed(_)), "{error:?}");
    }
}

#[test]
fn no_more_acts_are_named_than_an_invite_names() {
    let most = limits::MAX_HEADS;
    let with = |count| {
        let body = body_of(&text());
        let mut parts: Parts = minicbor::decode(&body).unwrap();
        parts.heads = vec![ByteArray::from([1; 32]); count];
        Invite::from_text(&text_of(&encoded(&parts)))
    };
    assert_eq!(with(most).unwrap().heads.len(), most);
    let expected = InviteError::Malformed("it names more acts than an invite does".to_owned());
    assert_eq!(with(most + 1).unwrap_err(), expected);
}

#[test]
fn bootstrap_nodes_have_addresses_that_can_be_reached() {
    let expected = InviteError::Malformed("a bootstrap node has no usable address".to_owned());
    let with = |addr: &str| {
        let addr = addr.parse().unwrap();
        changed(|parts| parts.bootstrap[0].quic.push(addr))
    };
    for addr in [
        "0.0.0.0:51821",
        "192.0.2.1:0",
        "224.0.0.1:51821",
        "255.255.255.255:51821",
        "[::]:51821",
        "[ff02::1]:51821",
    ] {
        assert_eq!(with(addr), expected, "{addr}");
    }
    assert_eq!(changed(|parts| parts.bootstrap[0].quic.clear()), expected);
    let many = |n: usize| vec!["192.0.2.1:1".parse().unwrap(); n];
    assert_eq!(
        changed(|parts| parts.bootstrap[0].quic = many(17)),
        expected
    );
    assert_eq!(
        changed(|parts| parts.bootstrap = vec![parts.bootstrap[0].clone(); 17]),
        expected
    );
}

#[test]
fn an_invite_has_its_network_and_its_time() {
    let invite = invite();
    let name: NetworkName = "foo".parse().unwrap();
    let bar: NetworkName = "bar".parse().unwrap();
    for now in [T0, T0.after(DAY), T0.before(limits::CLOCK_SKEW)] {
        assert_eq!(invite.check(&name, now), Ok(()), "{now}");
    }
    assert_eq!(
        invite.check(&bar, T0),
        Err(InviteError::OtherNetwork {
            invited: name.clone(),
            asked: bar,
        })
    );
    assert_eq!(
        invite.check(&name, T0.after(DAY + SECOND)),
        Err(InviteError::Expired { ago: 1 })
    );
    assert_eq!(
        invite.check(&name, T0.before(limits::CLOCK_SKEW + SECOND)),
        Err(InviteError::Future { ahead: 301 })
    );
    assert_eq!(
        invite.check(&name, Timestamp(0)),
        Err(InviteError::Future { ahead: T0.0 })
    );
    assert_eq!(
        invite.check(&name, Timestamp(u64::MAX)),
        Err(InviteError::Expired {
            ago: u64::MAX - T0.after(DAY).0
        })
    );
}

#[test]
fn an_invite_admits_a_node_that_everybody_can_verify() {
    let net = Net::new(AdmissionRule::Invite);
    let invite = invite();
    let admission = invite.admit(key(2).id()).unwrap();
    assert_eq!(admission.links().len(), 2);
    assert_eq!(admission.verify(&net.charter, &key(2).id()), Ok(()));
    assert_eq!(
        admission.verify(&net.charter, &key(3).id()),
        Err(AdmissionError::Broken)
    );
    let joined = |admission: &grid_promises::network::admission::Admission| match admission.links()
    {
        [.., Link { used, .. }] => used.joined,
        other => panic!("{other:?}"),
    };
    // By no clock but the issuer's.
    assert_eq!(joined(&admission), T0);
}

/// A node that an invite's issuer came in by needs no admission from its own guest, and a chain that
/// comes back to a node is refused.
#[test]
fn nodes_on_the_way_to_the_issuer_keep_their_admission() {
    let net = Net::new(AdmissionRule::Invite);
    let a = net.joined(&net.founder(), INVITES, 5, 1);
    let b = net.joined(&a, INVITES + 1, 5, 2);
    let c = net.joined(&b, INVITES + 2, 5, 3);
    let invite = net.invite(&c, INVITES + 3, 1);
    for node in [&net.founder(), &a, &b, &c] {
        assert_eq!(invite.admit(node.id()), Ok(node.admission.clone()));
    }
    let first = net.invite(&net.founder(), INVITES, 1);
    assert_eq!(first.admit(key(0).id()), Ok(Default::default()));
}

#[test]
fn an_invite_at_the_end_of_the_longest_chain_admits_nobody() {
    let net = Net::new(AdmissionRule::Invite);
    let mut node = net.founder();
    for n in 0..6 {
        let invite = net.invite(&node, INVITES + n, 1);
        assert!(invite.admit(key(50).id()).is_ok(), "{n} links");
        node = net.joined(&node, INVITES + n, 5, n + 1);
    }
    let last = net.invite(&node, INVITES + 6, 1);
    assert_eq!(last.admit(key(50).id()), Err(AdmissionError::TooLong));
    assert_eq!(last.admit(node.id()), Err(AdmissionError::TooLong));
    // The longest text that there is.
    let text = last.to_text();
    assert!(text.len() < limits::MAX_INVITE_TEXT, "{}", text.len());
    assert!(Invite::from_text(&text).is_ok());
}

#[test]
fn nothing_secret_is_printed() {
    let text = format!("{:?}", invite());
    assert_eq!(text.matches("[redacted]").count(), 2, "{text}");
    for secret in [invite().key.seed().expose(), invite().secret.expose()] {
        assert!(!text.contains(&format!("{secret:?}")), "{text}");
        assert!(
            !text.contains(&data_encoding::HEXLOWER.encode(secret)),
            "{text}"
        );
    }
}

/// The parts are signed one by one, so that a forged charter cannot carry a true grant.
#[test]
fn a_charter_of_the_same_name_by_another_founder_is_another_network() {
    let forged = {
        let mut charter = crate::common::charter();
        charter.founder = key(66).id();
        charter.owners = vec![key(66).id()];
        charter.ipv6 = Charter::ipv6_prefix(&key(66).id(), &charter.nonce);
        forge(&charter, &key(66))
    };
    assert_eq!(
        changed(|parts| parts.charter = forged),
        InviteError::Admission(AdmissionError::OtherNetwork)
    );
}
