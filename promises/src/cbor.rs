//! Strict deterministic CBOR (RFC 8949 section 4.2.1) on top of `minicbor`.
//!
//! `minicbor` reads and writes data items; this file decides which of them are allowed. One value
//! has one encoding, so that everybody who holds the same value computes the same hash.
//!
//! Refused: numbers, lengths and tags that are not in their shortest form, indefinite lengths,
//! floats, simple values other than `false`, `true` and `null`, maps with unsorted or repeated
//! keys, text that is not UTF-8, trailing bytes, and input beyond the caller's [`Bounds`]. Nothing
//! is allocated by a length that the input claims. What tags mean is left to the caller.

mod bounds;
mod check;
mod error;

pub use bounds::Bounds;
pub use check::check;
pub use error::{CborError, CborFault};

use minicbor::decode::Decoder;
use minicbor::encode::Write;
use minicbor::{Decode, Encode};

/// Decodes one data item that takes up all of `bytes`.
///
/// The bytes are [`check`]ed first and then decoded; the value must encode to the very bytes it was
/// read from. That refuses what a derived decoder would pass over: array elements that it does
/// not know, a trailing `null` where a field is optional, a number in a tag that it ignores.
///
/// # Errors
/// The bytes are not deterministic CBOR within `bounds`, or not the encoding of a `T`.
pub fn decode<'b, T>(bytes: &'b [u8], bounds: &Bounds) -> Result<T, CborError>
where
    T: Decode<'b, ()> + Encode<()>,
{
    check(bytes, bounds)?;
    let mut decoder = Decoder::new(bytes);
    let value: T = decoder
        .decode()
        .map_err(|error| CborError::from_minicbor(&error, decoder_position(&error, bytes)))?;
    if decoder.position() != bytes.len() {
        return Err(CborFault::TrailingBytes.at(decoder.position()));
    }
    let mut same = SameAs { bytes, position: 0 };
    match minicbor::encode(&value, &mut same) {
        Ok(()) if same.position == bytes.len() => Ok(value),
        _ => Err(CborFault::NotTheEncoding.at(same.position)),
    }
}

fn decoder_position(error: &minicbor::decode::Error, bytes: &[u8]) -> usize {
    error.position().unwrap_or(0).min(bytes.len())
}

/// The deterministic encoding of a value.
///
/// An [`Encode`] implementation that reports an error of its own, or writes what [`check`] would
/// refuse, is a mistake in this program: builds with debug assertions stop there. Other builds
/// return what no decoder accepts (in the first case: no bytes at all).
#[must_use]
pub fn encode<T: Encode<()> + ?Sized>(value: &T) -> Vec<u8> {
    encode_into(Vec::new(), value)
}

/// As [`encode`], into a buffer that is empty and may have room.
#[must_use]
pub(crate) fn encode_into<T: Encode<()> + ?Sized>(mut out: Vec<u8>, value: &T) -> Vec<u8> {
    if let Err(error) = minicbor::encode(value, &mut out) {
        debug_assert!(false, "an encoder failed: {error}");
        return Vec::new();
    }
    debug_assert_eq!(
        check(
            &out,
            &Bounds {
                max_bytes: usize::MAX,
                max_depth: u8::MAX,
                max_items: u64::MAX
            }
        ),
        Ok(()),
        "an encoder wrote what is not deterministic CBOR"
    );
    out
}

/// Compares what is written with bytes that are at hand, and stops at the first difference.
struct SameAs<'a> {
    bytes: &'a [u8],
    position: usize,
}

/// What was written is not what was expected.
struct Differs;

impl Write for SameAs<'_> {
    type Error = Differs;

    fn write_all(&mut self, written: &[u8]) -> Result<(), Differs> {
        let rest = self.bytes.get(self.position..).unwrap_or_default();
        if !rest.starts_with(written) {
            return Err(Differs);
        }
        self.position += written.len();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Encode, Decode)]
    struct Pair {
        #[n(0)]
        number: u8,
        #[n(1)]
        text: Option<String>,
    }

    const BOUNDS: Bounds = Bounds::bytes(64);

    fn fault(bytes: &[u8]) -> CborFault {
        decode::<Pair>(bytes, &BOUNDS).unwrap_err().fault
    }

    #[test]
    fn a_value_reads_back() {
        let pair = Pair {
            number: 7,
            text: Some("x".into()),
        };
        assert_eq!(encode(&pair), [0x82, 0x07, 0x61, 0x78]);
        assert_eq!(decode(&encode(&pair), &BOUNDS), Ok(pair));
    }

    /// A derived decoder passes over what it does not know; a second reader would hash it.
    #[test]
    fn what_the_value_has_no_room_for_is_refused() {
        assert_eq!(
            fault(&[0x83, 0x07, 0x61, 0x78, 0x00]),
            CborFault::NotTheEncoding
        );
        assert_eq!(fault(&[0x82, 0x07, 0xf6]), CborFault::NotTheEncoding);
    }

    #[test]
    fn another_shape_is_refused_with_its_place() {
        let error = decode::<Pair>(&[0x82, 0x61, 0x78, 0x61, 0x78], &BOUNDS).unwrap_err();
        assert!(
            matches!(error.fault, CborFault::Unexpected { .. }),
            "{error}"
        );
        assert_eq!(error.offset, 1);
        assert!(matches!(fault(&[0x80]), CborFault::Unexpected { .. }));
        assert!(matches!(
            fault(&[0x81, 0x19, 0x01, 0x00]),
            CborFault::Unexpected { .. }
        ));
    }

    #[test]
    fn strictness_comes_before_the_value() {
        assert_eq!(fault(&[0x81, 0x18, 0x07]), CborFault::NotShortest);
        assert_eq!(fault(&[0x9f, 0x07, 0xff]), CborFault::Indefinite);
        assert_eq!(fault(&[0x81, 0x07, 0x00]), CborFault::TrailingBytes);
        assert_eq!(fault(&[0; 65]), CborFault::TooLarge { found: 65, max: 64 });
    }

    /// Two items in a row is what an encoder must never write.
    struct Broken;

    impl Encode<()> for Broken {
        fn encode<W: Write>(
            &self,
            e: &mut minicbor::Encoder<W>,
            (): &mut (),
        ) -> Result<(), minicbor::encode::Error<W::Error>> {
            e.u8(0)?.u8(0)?.ok()
        }
    }

    #[test]
    #[should_panic(expected = "not deterministic CBOR")]
    #[cfg(debug_assertions)]
    fn a_broken_encoder_is_noticed() {
        let _ = encode(&Broken);
    }
}
