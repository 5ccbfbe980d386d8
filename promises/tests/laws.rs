//! What holds for every message: one value, one encoding; damage is noticed or is another value;
//! nothing that arrives can do harm.
// Helpers of tests may panic as the tests do.
#![allow(clippy::panic, clippy::unwrap_used)]

mod common;
#[path = "laws/ledgers.rs"]
mod ledgers;
#[path = "laws/room.rs"]
mod room;
#[path = "laws/tally.rs"]
mod tally;

use grid_keys::{NodeKey, Secret};
use grid_promises::ContentId;
use grid_promises::cbor::{Bounds, CborFault};
use grid_promises::content_id::HashCode;
use grid_promises::envelope::{Envelope, EnvelopeError, GRID_PREFIX, LegacyEnvelope};
use grid_promises::message::{Message, MessageError, ProofError};
use proptest::prelude::*;

fn any_id() -> impl Strategy<Value = ContentId> {
    let code = prop_oneof![
        Just(HashCode::Sha2_256),
        Just(HashCode::Sha2_512),
        Just(HashCode::Blake3)
    ];
    (code, any::<[u8; 8]>()).prop_map(|(code, bytes)| ContentId::with(code, &bytes))
}

fn bytes(max: usize) -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..=max)
}

fn any_message() -> impl Strategy<Value = Message> {
    let proof = prop::option::of(prop::array::uniform32(any::<u8>()));
    let args = prop::collection::vec(bytes(300), 0..=Message::MAX_ARGS);
    (
        any_id(),
        prop::option::of(any_id()),
        args,
        bytes(70_000),
        proof,
    )
        .prop_map(|(promise, module, args, payload, proof)| {
            let proof = proof.map(|half| {
                let mut whole = [0; 64];
                whole[..32].copy_from_slice(&half);
                whole
            });
            Message {
                promise,
                module,
                args,
                payload,
                proof,
            }
        })
}

fn example() -> Message {
    let mut message = Message::new(ContentId::of(b"a promise"))
        .module(ContentId::of(b"a module"))
        .arg("first")
        .arg("")
        .payload("payload");
    message.sign(&NodeKey::from_seed(&Secret::new([7; 32])));
    message
}

/// Decodes in every way there is. What decodes must encode to what it was.
fn is_itself_or_refused(bytes: &[u8]) {
    if let Ok(envelope) = Envelope::decode(bytes, &Message::BOUNDS) {
        let again = Envelope::encode(envelope.promise(), envelope.slots());
        assert_eq!(again.as_deref(), Ok(bytes));
    }
    if let Ok(envelope) = LegacyEnvelope::decode(bytes, &Message::BOUNDS) {
        assert_eq!(envelope.raw(), bytes);
    }
    if let Ok(message) = Message::decode(bytes, &Message::BOUNDS) {
        assert_eq!(message.encode(), bytes);
        assert_eq!(message.id(), ContentId::of(bytes));
    }
}

proptest! {
    #[test]
    fn a_message_reads_back(message in any_message()) {
        let bytes = message.encode();
        let read = Message::decode(&bytes, &Message::BOUNDS);
        prop_assert_eq!(read.as_ref(), Ok(&message));
        prop_assert_eq!(message.check_limits(), Ok(()));
        prop_assert_eq!(read.map(|message| message.encode()), Ok(bytes));
    }

    #[test]
    fn a_message_that_was_cut_is_refused(
        message in any_message(), at in any::<prop::sample::Index>(),
    ) {
        let bytes = message.encode();
        let cut = Message::decode(&bytes[..at.index(bytes.len())], &Message::BOUNDS);
        prop_assert!(
            matches!(
                &cut,
                Err(MessageError::Envelope(EnvelopeError::Cbor(error)))
                    if error.fault == CborFault::Truncated
            ),
            "{cut:?}"
        );
    }

    #[test]
    fn arbitrary_bytes_do_no_harm(bytes in bytes(200)) {
        is_itself_or_refused(&bytes);
    }

    #[test]
    fn arbitrary_bytes_after_the_prefix_do_no_harm(bytes in bytes(200)) {
        is_itself_or_refused(&[&GRID_PREFIX[..], &bytes].concat());
    }

    /// Slots that are good CBOR of any shape reach the code behind the strictness checks.
    #[test]
    fn arbitrary_slots_do_no_harm(promise in any_id(), slots in prop::collection::vec(
        prop_oneof![
            Just(vec![0xf6]), Just(vec![0x80]), Just(vec![0x40]), Just(vec![0xa0]),
            Just(vec![0x81, 0x40]), Just(vec![0x81, 0xf6]), Just(vec![0xd8, 0x2a, 0x40]),
            Just(vec![0xd8, 0x2a, 0x41, 0x00]), Just(vec![0xd8, 0x2b, 0x00]), Just(vec![0x17]),
            Just([&[0x58, 64][..], &[1; 64]].concat()),
        ],
        0..7,
    )) {
        let slots: Vec<&[u8]> = slots.iter().map(Vec::as_slice).collect();
        is_itself_or_refused(&Envelope::encode(&promise, &slots).unwrap());
    }
}

#[test]
fn no_change_of_one_byte_goes_unnoticed() {
    let original = example();
    let bytes = original.encode();
    for at in 0..bytes.len() {
        for flip in 1..=255 {
            let mut changed = bytes.clone();
            changed[at] ^= flip;
            is_itself_or_refused(&changed);
            assert_ne!(
                Message::decode(&changed, &Message::BOUNDS),
                Ok(original.clone())
            );
        }
    }
}

#[test]
fn no_loss_or_repetition_of_one_byte_goes_unnoticed() {
    let bytes = example().encode();
    for at in 0..bytes.len() {
        let mut shorter = bytes.clone();
        shorter.remove(at);
        is_itself_or_refused(&shorter);
        let mut longer = bytes.clone();
        longer.insert(at, bytes[at]);
        is_itself_or_refused(&longer);
    }
}

#[test]
fn a_proof_holds_for_one_message_and_one_key() {
    let key = NodeKey::from_seed(&Secret::new([7; 32]));
    let message = example();
    assert_eq!(message.verify(&key.id()), Ok(()));

    let stranger = NodeKey::from_seed(&Secret::new([8; 32])).id();
    assert_eq!(message.verify(&stranger), Err(ProofError::Wrong));
    let unsigned = Message {
        proof: None,
        ..message.clone()
    };
    assert_eq!(unsigned.verify(&key.id()), Err(ProofError::Missing));

    let mut proof = message.proof.unwrap();
    proof[0] ^= 1;
    for changed in [
        Message {
            promise: ContentId::of(b"another promise"),
            ..message.clone()
        },
        Message {
            module: None,
            ..message.clone()
        },
        Message {
            args: vec![b"first".to_vec()],
            ..message.clone()
        },
        Message {
            args: vec![vec![], b"first".to_vec()],
            ..message.clone()
        },
        Message {
            payload: b"payloae".to_vec(),
            ..message.clone()
        },
        // The same bytes, moved from one place to another.
        Message {
            args: vec![b"firs".to_vec(), b"t".to_vec()],
            ..message.clone()
        },
        Message {
            proof: Some(proof),
            ..message.clone()
        },
    ] {
        assert_eq!(
            changed.verify(&key.id()),
            Err(ProofError::Wrong),
            "{changed:?}"
        );
    }

    // Signing again replaces the proof and does not sign it.
    let mut again = message.clone();
    again.sign(&key);
    assert_eq!(again, message);
}

#[test]
fn a_message_shows_no_content_in_logs() {
    let text = format!(
        "{:?}",
        example().arg("grid-invite").payload("network secret")
    );
    assert!(
        !text.contains("invite") && !text.contains("secret"),
        "{text}"
    );
    let bytes = format!("{:?}", b"network secret");
    assert!(!text.contains(bytes.trim_matches(['[', ']'])), "{text}");
}

#[test]
fn bounds_of_the_caller_hold() {
    let bytes = example().encode();
    let refused = |bounds: Bounds| match Message::decode(&bytes, &bounds) {
        Err(MessageError::Envelope(EnvelopeError::Cbor(error))) => error.fault,
        other => panic!("{other:?}"),
    };
    let exact = Bounds {
        max_bytes: bytes.len(),
        max_depth: 3,
        max_items: 11,
    };
    assert_eq!(Message::decode(&bytes, &exact), Ok(example()));
    let (found, max) = (bytes.len(), bytes.len() - 1);
    assert_eq!(
        refused(Bounds {
            max_bytes: max,
            ..exact
        }),
        CborFault::TooLarge { found, max }
    );
    assert_eq!(
        refused(Bounds {
            max_depth: 1,
            ..exact
        }),
        CborFault::TooDeep { max: 1 }
    );
    assert_eq!(
        refused(Bounds {
            max_items: 10,
            ..exact
        }),
        CborFault::TooManyItems { max: 10 }
    );
}
