//! The rules of deterministic encoding, one data item after the other.
//!
//! `minicbor` reads the items; the place it moved to tells how many bytes it spent on a number,
//! and so whether that was the shortest form. Open arrays, maps and tags stand on a stack that
//! never grows beyond the allowed depth, so that deep nesting costs neither memory nor recursion.

use std::cmp::Ordering;
use std::ops::Range;

use minicbor::data::Type;
use minicbor::decode::{Decoder, Error};

use super::{Bounds, CborError, CborFault};

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
