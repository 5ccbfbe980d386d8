//! The frame that all kinds share: signature, kind, bounds.

use grid_keys::NodeId;
use grid_promises::cbor::CborFault;
use grid_promises::network::act::Act;
use grid_promises::network::admission::{AdmissionRequest, Grant, GrantUse};
use grid_promises::network::member::{MemberPromise, PromiseError};
use grid_promises::network::receipt::Receipt;
use grid_promises::network::statement::{Kind, Signed, Statement, StatementError, peek_kind};
use grid_promises::network::trace::Trace;
use grid_promises::network::{AdmissionRule, Charter};
use grid_promises::{ContentId, limits};
use minicbor::bytes::ByteVec;

use crate::common::{
    INVITES, Net, encoded, first_unknown, forge, forge_raw, frame, key, one_of_each, unframe,
};

fn read<T: Statement>(bytes: &[u8]) -> Result<ContentId, StatementError> {
    Signed::<T>::decode(bytes).map(|signed| {
        assert_eq!(signed.bytes(), bytes);
        assert_eq!(signed.id(), ContentId::of(bytes));
        signed.id()
    })
}

/// Reads bytes as a statement of a kind.
fn decode(kind: Kind, bytes: &[u8]) -> Result<ContentId, StatementError> {
    match kind {
        Kind::Charter => read::<Charter>(bytes),
        Kind::Grant => read::<Grant>(bytes),
        Kind::GrantUse => read::<GrantUse>(bytes),
        Kind::Member => read::<MemberPromise>(bytes),
        Kind::Receipt => read::<Receipt>(bytes),
        Kind::Request => read::<AdmissionRequest>(bytes),
        Kind::Act => read::<Act>(bytes),
        Kind::Trace => {
            let charter = Net::new(AdmissionRule::Invite).charter;
            match Trace::decode(bytes, &charter) {
                Ok(trace) => Ok(trace.id()),
                Err(PromiseError::Statement(why)) => Err(why),
                Err(_) => Err(StatementError::Signature("trace")),
            }
        }
    }
}

/// One of each kind that is signed as a whole.
fn signed() -> impl Iterator<Item = (Kind, Vec<u8>)> {
    let all = one_of_each().into_iter();
    all.filter(|(kind, _)| *kind != Kind::Trace)
}

fn fault(result: Result<ContentId, StatementError>) -> CborFault {
    match result {
        Err(StatementError::Encoding { source, .. }) => source.fault,
        other => panic!("{other:?}"),
    }
}

#[test]
fn one_of_each_kind_reads_back() {
    let kinds: Vec<Kind> = one_of_each().iter().map(|(kind, _)| *kind).collect();
    assert_eq!(kinds, Kind::ALL, "the kit makes one of each kind");
    for (kind, bytes) in one_of_each() {
        assert_eq!(decode(kind, &bytes), Ok(ContentId::of(&bytes)), "{kind:?}");
        assert_eq!(peek_kind(&bytes), Some(kind as u8));
    }
}

#[test]
fn no_flipped_bit_is_taken() {
    for (kind, bytes) in one_of_each() {
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut changed = bytes.clone();
                changed[at] ^= 1 << bit;
                let result = decode(kind, &changed);
                assert!(result.is_err(), "{kind:?}, bit {bit} of byte {at}");
            }
        }
    }
}

#[test]
fn no_cut_statement_is_taken() {
    for (kind, bytes) in one_of_each() {
        for length in 0..bytes.len() {
            let result = decode(kind, &bytes[..length]);
            assert_eq!(fault(result), CborFault::Truncated, "{kind:?}, {length}");
        }
        let longer = [&bytes[..], &[0]].concat();
        assert_eq!(fault(decode(kind, &longer)), CborFault::TrailingBytes);
    }
}

#[test]
fn a_statement_of_another_kind_is_named() {
    for (kind, bytes) in signed() {
        for (other, _) in signed() {
            if other != kind {
                let expected = StatementError::Kind {
                    expected: other.name(),
                    got: kind as u8,
                };
                assert_eq!(decode(other, &bytes), Err(expected));
            }
        }
    }
}

/// The signed bytes begin with the kind's name, so that no signature serves for another kind, also
/// where two bodies look alike.
#[test]
fn a_signature_of_one_kind_does_not_serve_another() {
    let mut alike = Vec::new();
    for (kind, bytes) in signed() {
        let (_, body, signature) = unframe(&bytes);
        for (other, _) in signed() {
            if other == kind {
                continue;
            }
            match decode(other, &frame(other as u8, &body, &signature)) {
                Err(StatementError::Signature(name)) => {
                    assert_eq!(name, other.name());
                    alike.push((kind, other));
                }
                Err(StatementError::Encoding { .. }) => {}
                result => panic!("{kind:?} as {other:?}: {result:?}"),
            }
        }
    }
    assert_eq!(alike, []);
}

#[test]
fn kinds_that_nobody_knows_are_refused() {
    let (_, bytes) = one_of_each().remove(0);
    let (_, body, _) = unframe(&bytes);
    for unknown in [0, first_unknown(), 23, 24, 255] {
        let bytes = forge_raw(unknown, "charter", &body, &key(0));
        let expected = StatementError::Kind {
            expected: "charter",
            got: unknown,
        };
        assert_eq!(decode(Kind::Charter, &bytes), Err(expected));
    }
}

#[test]
fn another_nodes_signature_is_refused() {
    for (kind, bytes) in signed() {
        let (_, body, _) = unframe(&bytes);
        let stranger = forge_raw(kind as u8, kind.name(), &body, &key(99));
        let expected = StatementError::Signature(kind.name());
        assert_eq!(decode(kind, &stranger), Err(expected));
    }
}

/// Signatures under keys of small order hold for many messages (RFC 8032 section 5.1.7 leaves it
/// open); here they hold for none.
#[test]
fn a_weak_key_signs_nothing() {
    let mut identity = [0; 32];
    identity[0] = 1;
    let (_, bytes) = one_of_each().remove(2);
    let mut used = Signed::<GrantUse>::decode(&bytes).unwrap().body().clone();
    used.invite = NodeId(identity);
    // R is the identity and S is zero: the textbook check `[8][S]B = [8]R + [8][k]A` holds.
    let mut signature = [0; 64];
    signature[0] = 1;
    let bytes = frame(Kind::GrantUse as u8, &encoded(&used), &signature);
    let expected = StatementError::Signature("invite use");
    assert_eq!(decode(Kind::GrantUse, &bytes), Err(expected));
}

#[test]
fn length_and_depth_are_bounded_before_anything_else() {
    let long = vec![0; limits::MAX_STATEMENT + 1];
    let expected = CborFault::TooLarge {
        found: limits::MAX_STATEMENT + 1,
        max: limits::MAX_STATEMENT,
    };
    assert_eq!(fault(decode(Kind::Member, &long)), expected);

    let deep = [vec![0x81; 9], vec![0]].concat();
    assert_eq!(
        fault(decode(Kind::Member, &deep)),
        CborFault::TooDeep { max: 8 }
    );
    // Inside the body too, which is a byte string to whoever reads the frame.
    let framed = forge_raw(Kind::Member as u8, "member promise", &deep, &key(1));
    assert_eq!(
        fault(decode(Kind::Member, &framed)),
        CborFault::TooDeep { max: 8 }
    );

    // A body that claims to be as long as memory, and a list that claims to be.
    let claims = [0x83, 5, 0x5b, 0x7f, 255, 255, 255, 255, 255, 255, 255];
    assert_eq!(fault(decode(Kind::Member, &claims)), CborFault::Truncated);
    let list = forge_raw(
        5,
        "member promise",
        &[0x9b, 0, 0, 1, 0, 0, 0, 0, 0],
        &key(1),
    );
    assert!(decode(Kind::Member, &list).is_err());
}

#[test]
fn one_value_has_one_encoding() {
    let (_, bytes) = one_of_each().remove(2);
    let (kind, body, signature) = unframe(&bytes);
    // The kind in two bytes where one is enough.
    let mut long_kind = bytes.clone();
    long_kind.splice(1..2, [0x18, kind]);
    assert_eq!(
        fault(decode(Kind::GrantUse, &long_kind)),
        CborFault::NotShortest
    );
    // An indefinite array around the same items.
    let mut open = vec![0x9f];
    open.extend_from_slice(&bytes[1..]);
    open.push(0xff);
    assert_eq!(fault(decode(Kind::GrantUse, &open)), CborFault::Indefinite);
    // A fourth item, and a fifth in the body, signed for real.
    let mut four = frame(kind, &body, &signature);
    four[0] = 0x84;
    four.push(0xf6);
    assert_eq!(
        fault(decode(Kind::GrantUse, &four)),
        CborFault::NotTheEncoding
    );
    let mut wider = body.clone();
    wider[0] += 1;
    wider.push(0xf6);
    let wider = forge_raw(kind, "invite use", &wider, &key(INVITES));
    assert_eq!(
        fault(decode(Kind::GrantUse, &wider)),
        CborFault::NotTheEncoding
    );
    // The last item in a longer form, signed for real.
    let mut loose = body;
    let time = loose.len() - 5;
    loose.splice(time..=time, [0x1b, 0, 0, 0, 0]);
    let loose = forge_raw(kind, "invite use", &loose, &key(INVITES));
    assert_eq!(
        fault(decode(Kind::GrantUse, &loose)),
        CborFault::NotShortest
    );
}

#[test]
fn nothing_is_signed_that_would_not_be_read() {
    let (_, bytes) = one_of_each().remove(6);
    let request = Signed::<AdmissionRequest>::decode(&bytes)
        .unwrap()
        .body()
        .clone();
    let invalid = |why| StatementError::Invalid {
        kind: "admission request",
        why,
    };
    assert_eq!(
        Signed::sign(request.clone(), &key(1)).unwrap_err(),
        invalid("it has to be signed by another key")
    );
    assert_eq!(
        Signed::sign(request.clone(), &key(4)).unwrap().bytes(),
        bytes
    );
    assert_eq!(forge(&request, &key(4)), bytes);

    let net = Net::new(AdmissionRule::Invite);
    let promise = net.founder().with(|body| {
        body.receipts = vec![ByteVec::from(vec![0; limits::MAX_STATEMENT])];
    });
    assert_eq!(
        Signed::sign(promise.body, &key(0)).unwrap_err(),
        StatementError::Invalid {
            kind: "member promise",
            why: "it is longer than a statement may be",
        }
    );
}
