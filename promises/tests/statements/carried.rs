//! The admission that a person carries: every part of it is verified, and it serves one node.

use data_encoding::BASE64URL_NOPAD;
use grid_keys::NodeId;
use grid_promises::limits;
use grid_promises::network::AdmissionRule;
use grid_promises::network::act::{Act, Action};
use grid_promises::network::carried::{Carried, CarriedError};
use grid_promises::network::invite::Bootstrap;
use grid_promises::network::statement::{Signed, StatementError};
use minicbor::bytes::ByteVec;
use minicbor::{Decode, Encode};
use sha2::{Digest, Sha256};

use crate::common::{Net, encoded, forge, key};

/// The parts of one as `docs/wire.md` describes them, apart from the crate's own code.
#[derive(Clone, Encode, Decode)]
struct Parts {
    #[n(0)]
    #[cbor(with = "minicbor::bytes")]
    charter: Vec<u8>,
    #[n(1)]
    bootstrap: Vec<Bootstrap>,
    #[n(2)]
    node: NodeId,
    #[n(3)]
    acts: Vec<ByteVec>,
}

fn text_of(body: &[u8]) -> String {
    let sum = Sha256::digest([b"grid/1 carried admission\0", body].concat());
    let bytes = [body, &sum[..4]].concat();
    format!("grid-admission-1.{}", BASE64URL_NOPAD.encode(&bytes))
}

/// The founder admits node 7.
fn carried() -> Carried {
    let net = Net::new(AdmissionRule::Approve);
    Carried {
        charter: net.charter.clone(),
        bootstrap: vec![Bootstrap {
            node: key(0).id(),
            quic: vec!["192.0.2.1:51821".parse().unwrap()],
        }],
        node: key(7).id(),
        acts: vec![admits(&net, 7)],
    }
}

fn admits(net: &Net, node: u16) -> Signed<Act> {
    net.does(Action::Admit {
        nodes: vec![key(node).id()],
        over: Vec::new(),
    })
}

fn refused(text: &str) -> CarriedError {
    Carried::from_text(text).unwrap_err()
}

/// The error for an admission with this change in its parts, under a checksum that fits.
fn changed(change: impl FnOnce(&mut Parts)) -> CarriedError {
    let text = carried().to_text();
    let encoded_parts = text.strip_prefix("grid-admission-1.").unwrap();
    let mut body = BASE64URL_NOPAD.decode(encoded_parts.as_bytes()).unwrap();
    body.truncate(body.len() - 4);
    let mut parts: Parts = minicbor::decode(&body).unwrap();
    assert_eq!(encoded(&parts), body);
    assert_eq!(text_of(&body), text);
    change(&mut parts);
    refused(&text_of(&encoded(&parts)))
}

#[test]
fn an_admission_reads_back_and_serves_its_node() {
    let admission = carried();
    let text = admission.to_text();
    let broken: String = text.chars().flat_map(|c| [c, '\n']).collect();
    for text in [&text, &broken] {
        assert_eq!(Carried::from_text(text), Ok(admission.clone()));
    }
    let foo = admission.charter.name.clone();
    assert_eq!(admission.check(&foo, &key(7).id()), Ok(()));
    let other = admission.check(&foo, &key(8).id());
    assert_eq!(other, Err(CarriedError::OtherNode(key(7).id())));
    let bar = admission.check(&"bar".parse().unwrap(), &key(7).id());
    assert!(matches!(bar, Err(CarriedError::OtherNetwork { .. })));
}

#[test]
fn what_was_altered_on_the_way_is_refused() {
    let text = carried().to_text();
    for (place, letter) in text.char_indices() {
        let other = if letter == 'A' { "B" } else { "A" };
        let mut altered = text.clone();
        altered.replace_range(place..=place, other);
        assert!(Carried::from_text(&altered).is_err(), "at {place}");
        assert!(
            Carried::from_text(&text[..place]).is_err(),
            "cut at {place}"
        );
    }
    assert_eq!(refused(""), CarriedError::NotAnAdmission);
    assert_eq!(refused("grid-invite-1.AAAA"), CarriedError::NotAnAdmission);
    let long = " ".repeat(limits::MAX_INVITE_TEXT + 1);
    assert_eq!(refused(&long), CarriedError::TooLong);
}

#[test]
fn every_part_of_it_is_verified() {
    let net = Net::new(AdmissionRule::Approve);
    let other = Net::with(|charter| {
        charter.admission = AdmissionRule::Approve;
        charter.created.0 += 1;
    });
    let malformed = |why: &str| CarriedError::Malformed(why.to_owned());
    let act = |act: &Signed<Act>| ByteVec::from(act.bytes().to_vec());
    assert_eq!(
        changed(|parts| parts.charter[40] ^= 1),
        CarriedError::Statement(StatementError::Signature("charter"))
    );
    assert_eq!(
        changed(|parts| *parts.acts[0].last_mut().unwrap() ^= 1),
        CarriedError::Statement(StatementError::Signature("act"))
    );
    // Whom nobody admits.
    let node = key(8).id();
    assert_eq!(
        changed(|parts| parts.node = node),
        CarriedError::NotAdmitted
    );
    assert_eq!(
        changed(|parts| parts.acts.clear()),
        CarriedError::NotAdmitted
    );
    // Acts of another network, and of one who is no owner.
    let strange = "it has acts of another network, or of nobody in it";
    let foreign = act(&admits(&other, 7));
    assert_eq!(
        changed(|parts| parts.acts.push(foreign)),
        malformed(strange)
    );
    let mut body = net.act_body(&key(7));
    body.action = admits(&net, 7).action.clone();
    let own = ByteVec::from(forge(&body, &key(7)));
    assert_eq!(changed(|parts| parts.acts = vec![own]), malformed(strange));
    // A revocation beside the admission.
    let revoked = act(&net.does(Action::Revoke { node: key(7).id() }));
    assert_eq!(
        changed(|parts| parts.acts.push(revoked)),
        CarriedError::NotAdmitted
    );
    let many = "it has more acts than it can need";
    assert_eq!(
        changed(|parts| parts.acts = vec![parts.acts[0].clone(); 18]),
        malformed(many)
    );
    let nowhere = "a bootstrap node has no usable address";
    assert_eq!(
        changed(|parts| parts.bootstrap[0].quic.clear()),
        malformed(nowhere)
    );
    assert_eq!(
        changed(|parts| parts.bootstrap[0].quic[0].set_port(0)),
        malformed(nowhere)
    );
    // A network with a secret, which is not in here.
    let invites = Net::new(AdmissionRule::Invite);
    assert_eq!(
        changed(|parts| parts.charter = invites.charter.bytes().to_vec()),
        malformed("its network does not admit in that way")
    );
}
