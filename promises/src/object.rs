//! What documents of all sorts have in common: an array whose first element is a version.
//!
//! A version that is not known is told apart from damage, so that a person learns that a newer
//! program wrote the object. Nothing of such an object is read or guessed at.

use minicbor::decode::{Decode, Decoder, Error as DecodeError};
use minicbor::encode::{Encode, Encoder, Error as EncodeError, Write};

use crate::cbor::{self, Bounds, CborError, CborFault};

/// The version of all of them: what they begin with.
pub const VERSION: u64 = 1;

/// Bytes that are no object of the expected sort. Nothing was changed; the same bytes will fail
/// again. From a peer, damage is its fault; a newer version is normal.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ObjectError {
    /// Not deterministic CBOR, beyond the bounds, or of another shape.
    #[error("the {sort} is damaged or something else: {source}")]
    Encoding {
        /// What was expected.
        sort: &'static str,
        /// Where and how it is wrong.
        source: CborError,
    },
    /// A version that this program does not know.
    #[error(
        "the {sort} has version {found}, and this program reads version {VERSION}: \
         a newer program is needed"
    )]
    Version {
        /// What was expected.
        sort: &'static str,
        /// The version that it begins with.
        found: u64,
    },
}

/// Reads an object that takes up all of `bytes`. Broken CBOR is found before an unknown version, and
/// that before another shape.
pub(crate) fn read<'b, T>(
    sort: &'static str,
    bytes: &'b [u8],
    bounds: &Bounds,
) -> Result<T, ObjectError>
where
    T: Decode<'b, ()> + Encode<()>,
{
    cbor::decode(bytes, bounds).map_err(|source| {
        let of_another_shape = matches!(
            source.fault,
            CborFault::Unexpected { .. } | CborFault::NotTheEncoding
        );
        match version(bytes) {
            Some(found) if of_another_shape && found != VERSION => {
                ObjectError::Version { sort, found }
            }
            _ => ObjectError::Encoding { sort, source },
        }
    })
}

/// The number that an array begins with.
fn version(bytes: &[u8]) -> Option<u64> {
    let mut decoder = Decoder::new(bytes);
    match decoder.array().ok()?? {
        0 => None,
        _ => decoder.u64().ok(),
    }
}

/// The first field of every object: the number [`VERSION`], and no other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Version;

impl<C> Encode<C> for Version {
    fn encode<W: Write>(&self, e: &mut Encoder<W>, _: &mut C) -> Result<(), EncodeError<W::Error>> {
        e.u64(VERSION)?.ok()
    }
}

impl<'b, C> Decode<'b, C> for Version {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, DecodeError> {
        let at = d.position();
        if d.u64()? == VERSION {
            Ok(Self)
        } else {
            Err(DecodeError::message("a version that is not known").at(at))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, minicbor::Encode, minicbor::Decode)]
    struct Thing {
        #[n(0)]
        version: Version,
        #[n(1)]
        text: String,
    }

    fn thing(bytes: &[u8]) -> Result<Thing, ObjectError> {
        read("thing", bytes, &Bounds::bytes(16))
    }

    #[test]
    fn a_newer_version_is_told_apart_from_damage() {
        let version = |found| {
            Err(ObjectError::Version {
                sort: "thing",
                found,
            })
        };
        assert!(thing(&[0x82, 0x01, 0x61, 0x61]).is_ok());
        assert_eq!(thing(&[0x82, 0x02, 0x61, 0x61]), version(2));
        assert_eq!(thing(&[0x82, 0x00, 0x61, 0x61]), version(0));
        // Of a shape that this version has not, also with fewer fields.
        assert_eq!(thing(&[0x81, 0x19, 0x01, 0x00]), version(256));
        assert_eq!(thing(&[0x83, 0x02, 0x01, 0xa0]), version(2));
    }

    #[test]
    fn damage_is_not_taken_for_a_version() {
        for bytes in [
            &[][..],
            &[0x80],
            &[0x01],
            &[0x81, 0x20],
            &[0x81, 0x61, 0x61],
            &[0x81, 0x01],
            &[0x82, 0x01, 0x02],
            &[0x83, 0x01, 0x61, 0x61, 0x00],
            // Version 2, but not its only encoding, cut short, followed by more, too long.
            &[0x81, 0x18, 0x02],
            &[0x82, 0x02],
            &[0x81, 0x02, 0x00],
            &[0x9f, 0x02, 0xff],
            &[0x02; 17],
        ] {
            let result = thing(bytes);
            assert!(
                matches!(result, Err(ObjectError::Encoding { .. })),
                "{result:?} for {bytes:02x?}"
            );
        }
    }
}
