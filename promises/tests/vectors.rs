//! The vectors of the PromiseGrid documents, in both directions, and every case that must be
//! refused, each with the exact error.
// Helpers of tests may panic as the tests do.
#![allow(clippy::panic, clippy::unwrap_used)]

use grid_keys::{NodeKey, Secret};
use grid_promises::ContentId;
use grid_promises::cbor::{self, Bounds, CborError, CborFault};
use grid_promises::content_id::ContentIdError;
use grid_promises::envelope::{Envelope, EnvelopeError, GRID_PREFIX, GRID_TAG, LegacyEnvelope};
use grid_promises::message::{Message, MessageError};

const BOUNDS: Bounds = Bounds::bytes(1024);

/// The promise "" and nothing else.
const EMPTY_PROMISE: &str = "da6772696481d82a58250001551220e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
/// The same without the zero byte before the id: the older form.
const OLDER_FORM: &str =
    "da6772696481d82a582401551220e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
/// 7 in the long form, in an envelope of the older form.
const LONG_SEVEN: &str = "da6772696482d82a582401551220e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b8551807";

fn hex(text: &str) -> Vec<u8> {
    data_encoding::HEXLOWER.decode(text.as_bytes()).unwrap()
}

fn at(fault: CborFault, offset: usize) -> CborError {
    CborError { fault, offset }
}

#[test]
fn numbers_and_tags_have_the_documented_bytes() {
    assert_eq!(cbor::encode(&[23u64, 24, 1000]), hex("831718181903e8"));
    assert_eq!(
        cbor::decode::<[u64; 3]>(&hex("831718181903e8"), &BOUNDS),
        Ok([23, 24, 1000])
    );

    type Tagged = minicbor::data::Tagged<1001, String>;
    let tagged = Tagged::from("x".to_owned());
    assert_eq!(cbor::encode(&tagged), hex("d903e96178"));
    assert_eq!(
        cbor::decode::<Tagged>(&hex("d903e96178"), &BOUNDS),
        Ok(tagged)
    );
}

#[test]
fn the_envelope_of_the_empty_promise() {
    let bytes = hex(EMPTY_PROMISE);
    let promise = ContentId::of(b"");
    let envelope = Envelope::decode(&bytes, &BOUNDS).unwrap();
    assert_eq!(envelope.promise(), &promise);
    assert_eq!(
        envelope.promise().to_string(),
        "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku"
    );
    assert!(envelope.slots().is_empty());
    assert_eq!(envelope.raw(), bytes);
    assert_eq!(envelope.id(), ContentId::of(&bytes));
    assert_eq!(Envelope::encode(&promise, &[]), Ok(bytes));
}

#[test]
fn the_tag_spells_grid() {
    assert_eq!(GRID_TAG, 1_735_551_332);
    assert_eq!(&GRID_PREFIX[1..], b"grid");
}

#[test]
fn slots_stay_as_they_are() {
    let promise = ContentId::of(b"");
    let slots: [&[u8]; 3] = [&[0x17], &[0x82, 0x00, 0x80], &[0xd8, 0x2a, 0x40]];
    let bytes = Envelope::encode(&promise, &slots).unwrap();
    let envelope = Envelope::decode(&bytes, &BOUNDS).unwrap();
    assert_eq!(envelope.slots(), slots);
    assert_eq!(envelope.raw(), bytes);
}

#[test]
fn a_slot_that_is_not_one_item_is_not_encoded() {
    let promise = ContentId::of(b"");
    for (slot, fault, offset) in [
        (&[][..], CborFault::Truncated, 0),
        (&[0x18, 0x07], CborFault::NotShortest, 0),
        (&[0x00, 0x00], CborFault::TrailingBytes, 1),
    ] {
        let error = Envelope::encode(&promise, &[&[0x00], slot]).unwrap_err();
        assert_eq!((error.index, error.error), (1, at(fault, offset)));
    }
}

#[test]
fn what_must_be_refused_is_refused() {
    use EnvelopeError as E;
    let id = "01551220e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    let slot0 = |bytes: &str| format!("da6772696481d82a{bytes}");
    for (text, error) in [
        // From the documents.
        ("da00000000824040".to_owned(), E::NotGrid),
        ("da677269648140".to_owned(), E::NoPromise),
        ("da67726964a0".to_owned(), E::NotAnArray),
        (
            "da67726964a26249444201026954696d657374616d701a60359700".to_owned(),
            E::NotAnArray,
        ),
        (
            LONG_SEVEN.to_owned(),
            E::Cbor(at(CborFault::NotShortest, 46)),
        ),
        (OLDER_FORM.to_owned(), E::NoPrefix),
        // Further ways to be wrong.
        (String::new(), E::Cbor(at(CborFault::Truncated, 0))),
        ("da6772".to_owned(), E::Cbor(at(CborFault::Truncated, 0))),
        (
            "da67726964".to_owned(),
            E::Cbor(at(CborFault::Truncated, 0)),
        ),
        ("da67726965".to_owned(), E::NotGrid),
        ("db0000000067726964".to_owned(), E::NotGrid),
        ("80".to_owned(), E::NotGrid),
        ("da6772696480".to_owned(), E::NoPromise),
        ("da6772696481f6".to_owned(), E::NoPromise),
        ("da6772696481d82b40".to_owned(), E::NoPromise),
        ("da6772696481d82a6161".to_owned(), E::NoPromise),
        ("da67726964d82a40".to_owned(), E::NotAnArray),
        (
            "da677269649fff".to_owned(),
            E::Cbor(at(CborFault::Indefinite, 5)),
        ),
        (
            "da677269649bffffffffffffffff".to_owned(),
            E::Cbor(at(CborFault::Truncated, 5)),
        ),
        (
            format!("{EMPTY_PROMISE}00"),
            E::Cbor(at(CborFault::TrailingBytes, 47)),
        ),
        (slot0("40"), E::NoPrefix),
        (slot0("4100"), E::Promise(ContentIdError::Malformed)),
        (slot0(&format!("582600{id}00")), {
            E::Promise(ContentIdError::TrailingBytes { count: 1 })
        }),
        (
            slot0(&format!("582500{}", id.replacen("0155", "0170", 1))),
            E::Promise(ContentIdError::Codec { found: 0x70 }),
        ),
    ] {
        assert_eq!(
            Envelope::decode(&hex(&text), &BOUNDS),
            Err(error.clone()),
            "{text}"
        );
        // A message is an envelope first.
        assert_eq!(
            Message::decode(&hex(&text), &BOUNDS),
            Err(MessageError::Envelope(error)),
            "{text}"
        );
    }
}

#[test]
fn the_older_form_is_read_where_it_is_asked_for() {
    let bytes = hex(OLDER_FORM);
    let envelope = LegacyEnvelope::decode(&bytes, &BOUNDS).unwrap();
    assert_eq!(envelope.promise(), &ContentId::of(b""));
    assert!(envelope.slots().is_empty());
    assert_eq!(envelope.raw(), bytes);
    assert_eq!(envelope.id(), ContentId::of(&bytes));

    assert_eq!(
        LegacyEnvelope::decode(&hex(LONG_SEVEN), &BOUNDS),
        Err(EnvelopeError::Cbor(at(CborFault::NotShortest, 46)))
    );
    assert_eq!(
        LegacyEnvelope::decode(&hex(EMPTY_PROMISE), &BOUNDS),
        Err(EnvelopeError::NotLegacy)
    );
}

#[test]
fn a_message_has_the_documented_slots() {
    let promise = ContentId::of(b"");
    let module = ContentId::of(b"I will say hello");
    let message = Message::new(promise)
        .module(module)
        .arg("a")
        .arg("")
        .payload([0xff]);
    let bytes = message.encode();

    let mut expected = hex(EMPTY_PROMISE);
    expected[5] = 0x85;
    expected.extend(hex("d82a582500"));
    expected.extend(module.to_bytes());
    expected.extend(hex("8241614041fff6"));
    assert_eq!(bytes, expected);
    assert_eq!(
        Message::decode(&bytes, &Message::BOUNDS),
        Ok(message.clone())
    );
    assert_eq!(message.id(), ContentId::of(&bytes));

    let least = Message::new(promise);
    assert_eq!(least.encode()[47..], hex("f68040f6"));
    assert_eq!(
        Message::decode(&least.encode(), &Message::BOUNDS),
        Ok(least)
    );
}

#[test]
fn a_proof_signs_the_message_without_it() {
    let key = NodeKey::from_seed(&Secret::new([7; 32]));
    let mut message = Message::new(ContentId::of(b"")).arg("x").payload("y");
    let unsigned = message.encode();
    assert_eq!(message.signing_bytes(), unsigned);
    message.sign(&key);
    assert_eq!(message.signing_bytes(), unsigned);
    assert_eq!(message.proof, Some(key.sign(&unsigned)));

    // All but the proof is the same, and the proof is a byte string of 64 bytes.
    let signed = message.encode();
    let (body, proof) = signed.split_at(unsigned.len() - 1);
    assert_eq!(body, &unsigned[..unsigned.len() - 1]);
    assert_eq!(proof[..2], [0x58, 64]);
    assert_eq!(proof.len(), 66);
    assert_eq!(Message::decode(&signed, &Message::BOUNDS), Ok(message));
}

#[test]
fn a_message_of_another_shape_is_refused() {
    use MessageError as E;
    let promise = ContentId::of(b"");
    let id = hex("d82a58250001551220");
    let mut short_id = vec![0xd8, 0x2a, 0x41, 0x00];
    let decode = |slots: &[&[u8]]| {
        Message::decode(
            &Envelope::encode(&promise, slots).unwrap(),
            &Message::BOUNDS,
        )
        .unwrap_err()
    };
    let (null, list, bytes): (&[u8], &[u8], &[u8]) = (&[0xf6], &[0x80], &[0x40]);

    assert_eq!(decode(&[]), E::SlotCount { found: 1 });
    assert_eq!(decode(&[null, list, bytes]), E::SlotCount { found: 4 });
    assert_eq!(
        decode(&[null, list, bytes, null, null]),
        E::SlotCount { found: 6 }
    );

    assert_eq!(decode(&[bytes, list, bytes, null]), E::ModuleShape);
    assert_eq!(
        decode(&[&[0xd8, 0x2b, 0x40], list, bytes, null]),
        E::ModuleShape
    );
    assert_eq!(
        decode(&[&[0xd8, 0x2a, 0x40], list, bytes, null]),
        E::ModuleShape
    );
    assert_eq!(
        decode(&[&short_id, list, bytes, null]),
        E::Module(ContentIdError::Malformed)
    );
    short_id[1] = 0x29;
    assert_eq!(decode(&[&short_id, list, bytes, null]), E::ModuleShape);
    let whole = [id, vec![0; 32]].concat();
    assert_eq!(decode(&[&whole, bytes, bytes, null]), E::ArgsShape);

    assert_eq!(decode(&[null, null, bytes, null]), E::ArgsShape);
    assert_eq!(decode(&[null, &[0xa0], bytes, null]), E::ArgsShape);
    assert_eq!(
        decode(&[null, &[0x82, 0x40, 0x60], bytes, null]),
        E::ArgShape { index: 1 }
    );

    assert_eq!(decode(&[null, list, null, null]), E::PayloadShape);
    assert_eq!(decode(&[null, list, &[0x60], null]), E::PayloadShape);

    assert_eq!(decode(&[null, list, bytes, bytes]), E::ProofShape);
    assert_eq!(decode(&[null, list, bytes, &[0x00]]), E::ProofShape);
    for length in [63, 65] {
        let proof = [vec![0x58, length], vec![0; usize::from(length)]].concat();
        assert_eq!(decode(&[null, list, bytes, &proof]), E::ProofShape);
    }
}

#[test]
fn the_limits_of_a_message_are_met_exactly() {
    let promise = ContentId::of(b"");
    let full = Message {
        module: Some(promise),
        args: vec![vec![1; Message::MAX_ARG_LEN]; Message::MAX_ARGS],
        payload: vec![2; Message::MAX_PAYLOAD],
        proof: Some([3; 64]),
        ..Message::new(promise)
    };
    assert_eq!(full.check_limits(), Ok(()));
    let bytes = full.encode();
    assert!(bytes.len() <= Message::MAX_LEN);
    assert_eq!(Message::decode(&bytes, &Message::BOUNDS), Ok(full));

    for (message, error) in [
        (
            Message {
                args: vec![vec![]; 65],
                ..Message::new(promise)
            },
            MessageError::TooManyArgs { found: 65 },
        ),
        (
            Message::new(promise).arg("").arg(vec![0; 4097]),
            MessageError::ArgTooLong {
                index: 1,
                found: 4097,
            },
        ),
        (
            Message::new(promise).payload(vec![0; Message::MAX_PAYLOAD + 1]),
            MessageError::PayloadTooLong {
                found: Message::MAX_PAYLOAD + 1,
            },
        ),
    ] {
        assert_eq!(message.check_limits(), Err(error.clone()));
        assert_eq!(
            Message::decode(&message.encode(), &Message::BOUNDS),
            Err(error)
        );
    }

    let over = vec![0; Message::MAX_LEN + 1];
    assert_eq!(Message::decode(&over, &Message::BOUNDS), {
        Err(MessageError::Envelope(EnvelopeError::NotGrid))
    });
    let mut over = over;
    over[..5].copy_from_slice(&GRID_PREFIX);
    assert_eq!(
        Message::decode(&over, &Message::BOUNDS),
        Err(MessageError::Envelope(EnvelopeError::Cbor(at(
            CborFault::TooLarge {
                found: over.len(),
                max: Message::MAX_LEN
            },
            Message::MAX_LEN
        ))))
    );
}
