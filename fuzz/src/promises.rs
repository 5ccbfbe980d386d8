//! The decoders of `grid-promises`.
//!
//! Each target says what must hold for every input; that nothing panics, overflows or runs out of
//! memory goes without saying and is watched by the fuzzer.

use grid_promises::ContentId;
use grid_promises::cbor::{self, Bounds};
use grid_promises::envelope::{Envelope, LegacyEnvelope};
use grid_promises::message::Message;
use minicbor::data::Type;
use minicbor::{Decoder, Encoder};

/// A target: its name, which is that of its corpus folder too, and its body.
pub type Target = (&'static str, fn(&[u8]));

/// All targets of this file.
pub const TARGETS: &[Target] = &[
    ("content_id", content_id),
    ("cbor_check", cbor_check),
    ("envelope", envelope),
    ("message", message),
];

/// An id has one binary form and one text form.
pub fn content_id(data: &[u8]) {
    if let Ok(id) = ContentId::from_bytes(data) {
        assert_eq!(id.to_bytes(), data);
        assert_eq!(id.to_string().parse(), Ok(id));
        assert!(data.len() <= ContentId::MAX_LEN);
    }
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    if let Ok(id) = text.parse::<ContentId>() {
        assert_eq!(id.to_string(), text);
        assert_eq!(ContentId::from_bytes(&id.to_bytes()), Ok(id));
        assert!(text.len() <= ContentId::MAX_TEXT_LEN);
    }
}

/// The checks accept what the encoder would have written, and nothing else.
pub fn cbor_check(data: &[u8]) {
    let bounds = Bounds {
        max_items: u64::MAX,
        ..Bounds::bytes(1 << 16)
    };
    let checked = cbor::check(data, &bounds);
    let mut decoder = Decoder::new(data);
    let mut written = Vec::new();
    let canonical = data.len() <= bounds.max_bytes
        && rewrite(&mut decoder, &mut written, bounds.max_depth).is_some()
        && written == data;
    assert_eq!(checked.is_ok(), canonical, "{checked:?}");
    if let Err(error) = checked {
        assert!(error.offset <= data.len());
    }
}

/// Reads one item leniently and writes it again: a second opinion on what is deterministic. None
/// for what has no deterministic form here. Recursive, and so no deeper than `depth`.
fn rewrite(d: &mut Decoder<'_>, out: &mut Vec<u8>, depth: u8) -> Option<()> {
    let mut e = Encoder::new(&mut *out);
    match d.datatype().ok()? {
        Type::Bool => _ = e.bool(d.bool().ok()?),
        Type::Null => _ = (d.null().ok()?, e.null()),
        Type::U8 | Type::U16 | Type::U32 | Type::U64 => _ = e.u64(d.u64().ok()?),
        Type::I8 | Type::I16 | Type::I32 | Type::I64 | Type::Int => _ = e.int(d.int().ok()?),
        Type::Bytes => _ = e.bytes(d.bytes().ok()?),
        Type::String => _ = e.str(d.str().ok()?),
        Type::Tag => {
            _ = e.tag(d.tag().ok()?);
            rewrite(d, out, depth.checked_sub(1)?)?;
        }
        Type::Array => {
            let length = d.array().ok()??;
            _ = e.array(length);
            let depth = depth.checked_sub(1)?;
            for _ in 0..length {
                rewrite(d, out, depth)?;
            }
        }
        Type::Map => {
            let length = d.map().ok()??;
            _ = e.map(length);
            let depth = depth.checked_sub(1)?;
            let mut last = None;
            for _ in 0..length {
                let mut key = Vec::new();
                rewrite(d, &mut key, depth)?;
                if last.as_ref() >= Some(&key) {
                    return None;
                }
                out.extend_from_slice(&key);
                last = Some(key);
                rewrite(d, out, depth)?;
            }
        }
        _ => return None,
    }
    Some(())
}

/// An envelope encodes to the bytes it was read from, and is of one form or of the other.
pub fn envelope(data: &[u8]) {
    let bounds = Bounds::bytes(1 << 16);
    let envelope = Envelope::decode(data, &bounds);
    let legacy = LegacyEnvelope::decode(data, &bounds);
    if let Ok(envelope) = &envelope {
        let again = Envelope::encode(envelope.promise(), envelope.slots());
        assert_eq!(again.as_deref(), Ok(data));
        assert_eq!(envelope.id(), ContentId::of(data));
    }
    if let Ok(legacy) = &legacy {
        assert_eq!(legacy.raw(), data);
        // Put into today's form it says the same.
        let today = Envelope::encode(legacy.promise(), legacy.slots()).unwrap_or_default();
        let wide = Bounds::bytes(data.len() + 16);
        let today = Envelope::decode(&today, &wide);
        assert!(today.is_ok_and(|today| {
            today.promise() == legacy.promise() && today.slots() == legacy.slots()
        }));
    }
    assert!(envelope.is_err() || legacy.is_err());
}

/// A message is an envelope, within its limits, and encodes to the bytes it was read from.
pub fn message(data: &[u8]) {
    let Ok(message) = Message::decode(data, &Message::BOUNDS) else {
        return;
    };
    assert_eq!(message.encode(), data);
    assert_eq!(message.id(), ContentId::of(data));
    assert_eq!(message.check_limits(), Ok(()));
    assert!(Envelope::decode(data, &Message::BOUNDS).is_ok());
    let unsigned = Message {
        proof: None,
        ..message
    };
    assert_eq!(
        Message::decode(&unsigned.signing_bytes(), &Message::BOUNDS),
        Ok(unsigned)
    );
}
