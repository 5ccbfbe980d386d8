//! The rules of deterministic encoding, one data item after the other.
//!
//! `minicbor` reads the items; the place it moved to tells how many bytes it spent on a number,
//! and so whether that was the shortest form. Open arrays, maps and tags stand on a stack that
//! never grows beyond the allowed depth, so that deep nesting costs neither memory nor recursion.

use std::cmp::Ordering;
use std::ops::Range;

use minicbor::data::Type;
use minicbor::decode::{Decoder, Error};

use crate::cbor::bounds::Bounds;
use crate::cbor::error::{CborError, CborFault};

/// Checks that `bytes` are exactly one data item in deterministic encoding, within `bounds`.
///
/// Runs in time proportional to the input (times the depth, where maps are keys of maps) and in
/// memory proportional to the depth.
///
/// # Errors
/// The first rule that is broken, and where.
pub fn check(bytes: &[u8], bounds: &Bounds) -> Result<(), CborError> {
    if bytes.len() > bounds.max_bytes {
        let found = bytes.len();
        return Err(CborFault::TooLarge {
            found,
            max: bounds.max_bytes,
        }
        .at(bounds.max_bytes));
    }
    let mut open: Vec<Open> = Vec::new();
    let mut decoder = Decoder::new(bytes);
    let mut items = 0u64;
    loop {
        let start = decoder.position();
        if items == bounds.max_items {
            return Err(CborFault::TooManyItems {
                max: bounds.max_items,
            }
            .at(start));
        }
        items += 1;
        if let Some(container) = item(&mut decoder, bytes)? {
            if open.len() >= usize::from(bounds.max_depth) {
                return Err(CborFault::TooDeep {
                    max: bounds.max_depth,
                }
                .at(start));
            }
            open.push(container);
        }
        close(&mut open, bytes, decoder.position())?;
        if open.is_empty() {
            break;
        }
    }
    if decoder.position() == bytes.len() {
        Ok(())
    } else {
        Err(CborFault::TrailingBytes.at(decoder.position()))
    }
}

/// An array, map or tag that waits for the items inside it.
struct Open {
    /// Where its next item begins.
    next: usize,
    /// How many items are still to come; a pair of a map is two.
    missing: u64,
    /// For a map: the key before this one.
    keys: Option<Option<Range<usize>>>,
}

/// Reads one item, or the head of one that contains others.
///
/// The data type is looked at first and then read as that type, so that all that can go wrong in
/// between is that the input ends.
fn item(decoder: &mut Decoder<'_>, bytes: &[u8]) -> Result<Option<Open>, CborError> {
    let start = decoder.position();
    let truncated = |_: Error| CborFault::Truncated.at(start);
    let text_fault = |error: Error| {
        let fault = if error.is_end_of_input() {
            CborFault::Truncated
        } else {
            CborFault::Utf8
        };
        fault.at(start)
    };
    let (argument, content) = match decoder.datatype().map_err(truncated)? {
        Type::Bool | Type::Null => {
            decoder.set_position(start + 1);
            return Ok(None);
        }
        Type::U8 | Type::U16 | Type::U32 | Type::U64 => (decoder.u64().map_err(truncated)?, 0),
        Type::I8 | Type::I16 | Type::I32 | Type::I64 | Type::Int => {
            let number = i128::from(decoder.int().map_err(truncated)?);
            (u64::try_from(-1 - number).unwrap_or(u64::MAX), 0)
        }
        Type::Bytes => {
            let content = decoder.bytes().map_err(truncated)?.len();
            (content as u64, content)
        }
        Type::String => {
            let content = decoder.str().map_err(text_fault)?.len();
            (content as u64, content)
        }
        kind @ (Type::Array | Type::Map | Type::Tag) => {
            return container(decoder, kind, bytes).map(Some);
        }
        Type::BytesIndef | Type::StringIndef | Type::ArrayIndef | Type::MapIndef | Type::Break => {
            return Err(CborFault::Indefinite.at(start));
        }
        Type::F16 | Type::F32 | Type::F64 => return Err(CborFault::Float.at(start)),
        Type::Undefined | Type::Simple => return Err(CborFault::Simple.at(start)),
        Type::Unknown(_) => return Err(CborFault::Reserved.at(start)),
    };
    shortest(start, decoder.position() - content, argument)?;
    Ok(None)
}

/// Reads the head of an array, map or tag.
fn container(decoder: &mut Decoder<'_>, kind: Type, bytes: &[u8]) -> Result<Open, CborError> {
    let start = decoder.position();
    let truncated = |_: Error| CborFault::Truncated.at(start);
    let indefinite = || CborFault::Indefinite.at(start);
    let (argument, missing) = match kind {
        Type::Array => {
            let length = decoder.array().map_err(truncated)?.ok_or_else(indefinite)?;
            (length, length)
        }
        Type::Map => {
            let pairs = decoder.map().map_err(truncated)?.ok_or_else(indefinite)?;
            (pairs, pairs.saturating_mul(2))
        }
        _ => (decoder.tag().map_err(truncated)?.as_u64(), 1),
    };
    shortest(start, decoder.position(), argument)?;
    // Every item takes a byte at least: a length that the input has no room for is a lie, and is
    // found out here instead of at the end of the input.
    if missing > (bytes.len() - decoder.position()) as u64 {
        return Err(CborFault::Truncated.at(start));
    }
    let keys = matches!(kind, Type::Map).then_some(None);
    Ok(Open {
        next: decoder.position(),
        missing,
        keys,
    })
}

/// Books the item that ended at `end`, and every container that ends with it.
fn close(open: &mut Vec<Open>, bytes: &[u8], end: usize) -> Result<(), CborError> {
    // A container that was just opened has not had an item yet, unless it is empty.
    let mut booked = open.last().is_some_and(|top| top.next == end);
    while let Some(top) = open.last_mut() {
        if !booked {
            let key = top.next..end;
            let is_key = top.missing % 2 == 0;
            if let Some(previous) = top.keys.as_mut().filter(|_| is_key) {
                if let Some(previous) = previous {
                    match bytes.get(previous.clone()).cmp(&bytes.get(key.clone())) {
                        Ordering::Less => {}
                        Ordering::Equal => return Err(CborFault::DuplicateKey.at(key.start)),
                        Ordering::Greater => return Err(CborFault::MapOrder.at(key.start)),
                    }
                }
                *previous = Some(key);
            }
            top.missing -= 1;
            top.next = end;
        }
        if top.missing > 0 {
            break;
        }
        open.pop();
        booked = false;
    }
    Ok(())
}

/// Checks that a head from `start` to `end` is the shortest for its argument (RFC 8949 section
/// 4.2.1).
fn shortest(start: usize, end: usize, argument: u64) -> Result<(), CborError> {
    let needed = match argument {
        0..=23 => 1,
        24..=0xff => 2,
        0x100..=0xffff => 3,
        0x1_0000..=0xffff_ffff => 5,
        _ => 9,
    };
    if end - start == needed {
        Ok(())
    } else {
        Err(CborFault::NotShortest.at(start))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use minicbor::Encoder;
    use proptest::prelude::*;

    const BOUNDS: Bounds = Bounds {
        max_bytes: 1 << 16,
        max_depth: 4,
        max_items: 1000,
    };

    fn hex(text: &str) -> Vec<u8> {
        data_encoding::HEXLOWER.decode(text.as_bytes()).unwrap()
    }

    #[test]
    fn deterministic_items_pass() {
        for text in [
            "00",
            "17",
            "1818",
            "18ff",
            "190100",
            "19ffff",
            "1a00010000",
            "1affffffff",
            "1b0000000100000000",
            "1bffffffffffffffff",
            "20",
            "37",
            "3818",
            "38ff",
            "390100",
            "3a00010000",
            "3b0000000100000000",
            "3bffffffffffffffff",
            "40",
            "4100",
            "60",
            "6161",
            "62c3bc",
            "80",
            "8100",
            "831718181903e8",
            "d903e96178",
            "c000",
            "a0",
            "a10000",
            "a200000100",
            "a3000018ff002000",
            "a2410000426161f6",
            "f4",
            "f5",
            "f6",
            "81818180",
            "a1a1000080",
            "a2a1000080a1000180",
        ] {
            assert_eq!(check(&hex(text), &BOUNDS), Ok(()), "{text}");
        }
    }

    #[test]
    fn everything_else_is_refused_with_the_place() {
        use CborFault as F;
        for (text, fault, offset) in [
            ("", F::Truncated, 0),
            ("18", F::Truncated, 0),
            ("1900", F::Truncated, 0),
            ("8217", F::Truncated, 0),
            ("82d82a", F::Truncated, 1),
            ("820018", F::Truncated, 2),
            ("81d82a", F::Truncated, 1),
            ("4200", F::Truncated, 0),
            ("5bffffffffffffffff00", F::Truncated, 0),
            ("7bffffffffffffffff00", F::Truncated, 0),
            ("9bffffffffffffffff00", F::Truncated, 0),
            ("bbffffffffffffffff00", F::Truncated, 0),
            ("bb800000000000000000", F::Truncated, 0),
            ("a1", F::Truncated, 0),
            ("a100", F::Truncated, 0),
            ("0000", F::TrailingBytes, 1),
            ("8000", F::TrailingBytes, 1),
            ("a0ff", F::TrailingBytes, 1),
            ("1807", F::NotShortest, 0),
            ("1817", F::NotShortest, 0),
            ("190017", F::NotShortest, 0),
            ("1900ff", F::NotShortest, 0),
            ("1a0000ffff", F::NotShortest, 0),
            ("1b00000000ffffffff", F::NotShortest, 0),
            ("3817", F::NotShortest, 0),
            ("3900ff", F::NotShortest, 0),
            ("3b00000000ffffffff", F::NotShortest, 0),
            ("580100", F::NotShortest, 0),
            ("780161", F::NotShortest, 0),
            ("980100", F::NotShortest, 0),
            ("9800", F::NotShortest, 0),
            ("b8010000", F::NotShortest, 0),
            ("d81700", F::NotShortest, 0),
            ("811807", F::NotShortest, 1),
            ("a1001807", F::NotShortest, 2),
            ("5f4100ff", F::Indefinite, 0),
            ("7f6161ff", F::Indefinite, 0),
            ("9f00ff", F::Indefinite, 0),
            ("bf0000ff", F::Indefinite, 0),
            ("ff", F::Indefinite, 0),
            ("81ff", F::Indefinite, 1),
            ("f93c00", F::Float, 0),
            ("fa3f800000", F::Float, 0),
            ("fb3ff0000000000000", F::Float, 0),
            ("f7", F::Simple, 0),
            ("e0", F::Simple, 0),
            ("f3", F::Simple, 0),
            ("f820", F::Simple, 0),
            ("f814", F::Simple, 0),
            ("1c", F::Reserved, 0),
            ("3d", F::Reserved, 0),
            ("5e", F::Reserved, 0),
            ("fc", F::Reserved, 0),
            ("a201000000", F::MapOrder, 3),
            ("a2616100410000", F::MapOrder, 4),
            ("a21818001700", F::MapOrder, 4),
            ("a200000001", F::DuplicateKey, 3),
            ("81a200000001", F::DuplicateKey, 4),
            ("a2a0008000", F::MapOrder, 3),
            ("61ff", F::Utf8, 0),
            ("62c328", F::Utf8, 0),
            ("63eda080", F::Utf8, 0),
            ("8181818180", F::TooDeep { max: 4 }, 4),
            ("c1c1c1c1c100", F::TooDeep { max: 4 }, 4),
            ("a100a100a100a100a0", F::TooDeep { max: 4 }, 8),
        ] {
            assert_eq!(check(&hex(text), &BOUNDS), Err(fault.at(offset)), "{text}");
        }
    }

    #[test]
    fn bounds_are_met_exactly() {
        let two = [0x82, 0x00, 0x00];
        let bounds = |max_bytes, max_depth, max_items| Bounds {
            max_bytes,
            max_depth,
            max_items,
        };
        assert_eq!(check(&two, &bounds(3, 1, 3)), Ok(()));
        assert_eq!(
            check(&two, &bounds(2, 1, 3)),
            Err(CborFault::TooLarge { found: 3, max: 2 }.at(2))
        );
        assert_eq!(
            check(&two, &bounds(3, 0, 3)),
            Err(CborFault::TooDeep { max: 0 }.at(0))
        );
        assert_eq!(
            check(&two, &bounds(3, 1, 2)),
            Err(CborFault::TooManyItems { max: 2 }.at(2))
        );
        assert_eq!(
            check(&[0], &bounds(1, 0, 0)),
            Err(CborFault::TooManyItems { max: 0 }.at(0))
        );
    }

    /// What a test generates: every kind of item that is allowed.
    #[derive(Clone, Debug)]
    enum Item {
        Unsigned(u64),
        Negative(u64),
        Bytes(Vec<u8>),
        Text(String),
        Array(Vec<Item>),
        Map(Vec<(Item, Item)>),
        Tag(u64, Box<Item>),
        Bool(bool),
        Null,
    }

    /// Writes an item with the library's encoder, maps in the order of their encoded keys.
    fn write(item: &Item, out: &mut Vec<u8>) {
        let mut e = Encoder::new(out);
        match item {
            Item::Unsigned(n) => _ = e.u64(*n).unwrap(),
            Item::Negative(n) => {
                let int = minicbor::data::Int::try_from(-1 - i128::from(*n)).unwrap();
                e.int(int).unwrap();
            }
            Item::Bytes(bytes) => _ = e.bytes(bytes).unwrap(),
            Item::Text(text) => _ = e.str(text).unwrap(),
            Item::Array(items) => {
                e.array(items.len() as u64).unwrap();
                items.iter().for_each(|item| write(item, e.writer_mut()));
            }
            Item::Map(pairs) => {
                let pairs: std::collections::BTreeMap<Vec<u8>, &Item> = pairs
                    .iter()
                    .map(|(key, value)| (encoded(key), value))
                    .collect();
                e.map(pairs.len() as u64).unwrap();
                for (key, value) in pairs {
                    e.writer_mut().extend_from_slice(&key);
                    write(value, e.writer_mut());
                }
            }
            Item::Tag(tag, item) => {
                e.tag(minicbor::data::Tag::new(*tag)).unwrap();
                write(item, e.writer_mut());
            }
            Item::Bool(b) => _ = e.bool(*b).unwrap(),
            Item::Null => _ = e.null().unwrap(),
        }
    }

    fn encoded(item: &Item) -> Vec<u8> {
        let mut out = Vec::new();
        write(item, &mut out);
        out
    }

    /// Numbers around the places where an encoding grows by a byte.
    fn number() -> impl Strategy<Value = u64> {
        (0u32..=64, any::<u64>()).prop_map(|(bits, n)| n.checked_shr(bits).unwrap_or(0))
    }

    fn any_item() -> impl Strategy<Value = Item> {
        let leaf = prop_oneof![
            number().prop_map(Item::Unsigned),
            number().prop_map(Item::Negative),
            prop::collection::vec(any::<u8>(), 0..40).prop_map(Item::Bytes),
            ".{0,30}".prop_map(Item::Text),
            any::<bool>().prop_map(Item::Bool),
            Just(Item::Null),
        ];
        leaf.prop_recursive(5, 60, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Item::Array),
                prop::collection::vec((inner.clone(), inner.clone()), 0..6).prop_map(Item::Map),
                (number(), inner).prop_map(|(tag, item)| Item::Tag(tag, Box::new(item))),
            ]
        })
    }

    const WIDE: Bounds = Bounds::bytes(1 << 20);

    proptest! {
        #[test]
        fn what_is_encoded_well_passes(item in any_item()) {
            let bytes = encoded(&item);
            prop_assert_eq!(check(&bytes, &WIDE), Ok(()));
        }

        #[test]
        fn every_proper_prefix_is_truncated_and_every_suffix_trails(
            item in any_item(), at in any::<prop::sample::Index>(), more in any::<u8>(),
        ) {
            let mut bytes = encoded(&item);
            let cut = at.index(bytes.len());
            let error = check(&bytes[..cut], &WIDE).unwrap_err();
            prop_assert_eq!(error.fault, CborFault::Truncated);
            let end = bytes.len();
            bytes.push(more);
            prop_assert_eq!(check(&bytes, &WIDE), Err(CborFault::TrailingBytes.at(end)));
        }

        #[test]
        fn arbitrary_bytes_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = check(&bytes, &WIDE);
            let _ = check(&bytes, &BOUNDS);
        }
    }
}
