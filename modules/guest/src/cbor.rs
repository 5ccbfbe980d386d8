//! As much CBOR as a guest needs: heads in their shortest form, byte strings, text, arrays, tags.
//!
//! The node has checked what comes in. This reads it with suspicion all the same, and never beyond
//! its end.

use alloc::vec::Vec;

pub(crate) const UNSIGNED: u8 = 0;
pub(crate) const BYTES: u8 = 2;
pub(crate) const TEXT: u8 = 3;
pub(crate) const ARRAY: u8 = 4;
pub(crate) const TAG: u8 = 6;
/// The whole byte of the simple value null.
pub(crate) const NULL: u8 = 0xf6;

/// What is left to read.
pub(crate) struct Reader<'a>(pub(crate) &'a [u8]);

impl<'a> Reader<'a> {
    /// Takes a byte that has to be this one.
    pub(crate) fn is(&mut self, byte: u8) -> bool {
        match self.0.strip_prefix(&[byte]) {
            Some(rest) => {
                self.0 = rest;
                true
            }
            None => false,
        }
    }

    /// The number in a head of this major type. None, with nothing taken in, if it is another or not
    /// in its shortest form.
    pub(crate) fn head(&mut self, major: u8) -> Option<u64> {
        let (first, rest) = self.0.split_first()?;
        if first >> 5 != major {
            return None;
        }
        let small = first & 0x1f;
        let length = match small {
            0..24 => 0,
            24..28 => 1 << (small - 24),
            _ => return None,
        };
        let (number, rest) = rest.split_at_checked(length)?;
        let value = number
            .iter()
            .fold(0, |value, byte| value << 8 | u64::from(*byte));
        let (value, least) = match small {
            0..24 => (u64::from(small), 0),
            24 => (value, 24),
            25 => (value, 1 << 8),
            26 => (value, 1 << 16),
            _ => (value, 1 << 32),
        };
        if value < least {
            return None;
        }
        self.0 = rest;
        Some(value)
    }

    /// The content of a byte string or a text.
    pub(crate) fn string(&mut self, major: u8) -> Option<&'a [u8]> {
        let length = usize::try_from(self.head(major)?).ok()?;
        let (string, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(string)
    }
}

/// Writes a head in its shortest form.
pub(crate) fn head(out: &mut Vec<u8>, major: u8, value: u64) {
    let bytes = value.to_be_bytes();
    let (small, length) = match value {
        0..24 => {
            out.push(major << 5 | bytes[7]);
            return;
        }
        24..0x100 => (24, 1),
        0x100..0x1_0000 => (25, 2),
        0x1_0000..0x1_0000_0000 => (26, 4),
        _ => (27, 8),
    };
    out.push(major << 5 | small);
    out.extend_from_slice(bytes.split_at(8 - length).1);
}

/// Writes a byte string or a text.
pub(crate) fn string(out: &mut Vec<u8>, major: u8, content: &[u8]) {
    head(out, major, content.len() as u64);
    out.extend_from_slice(content);
}

/// Writes a content id: tag 42 over a byte string of a zero byte and the binary id.
pub(crate) fn id(out: &mut Vec<u8>, id: &[u8]) {
    head(out, TAG, 42);
    head(out, BYTES, id.len() as u64 + 1);
    out.push(0);
    out.extend_from_slice(id);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_read_back_in_their_shortest_form() {
        for value in [
            0,
            23,
            24,
            255,
            256,
            65_535,
            65_536,
            0xffff_ffff,
            0x1_0000_0000,
            u64::MAX,
        ] {
            let mut out = Vec::new();
            head(&mut out, BYTES, value);
            let mut reader = Reader(&out);
            assert_eq!(reader.head(BYTES), Some(value));
            assert!(reader.0.is_empty());
            assert_eq!(Reader(&out).head(TEXT), None);
            for cut in 0..out.len() {
                assert_eq!(Reader(&out[..cut]).head(BYTES), None);
            }
        }
    }

    #[test]
    fn longer_forms_are_refused() {
        for bytes in [
            &[0x18, 23][..],
            &[0x19, 0, 255],
            &[0x1a, 0, 0, 255, 255],
            &[0x1b, 0, 0, 0, 0, 255, 255, 255, 255],
            &[0x1c],
            &[0x1f],
        ] {
            assert_eq!(Reader(bytes).head(UNSIGNED), None, "{bytes:02x?}");
        }
    }

    #[test]
    fn strings_end_where_the_input_does() {
        assert_eq!(
            Reader(&[0x43, 1, 2, 3, 4]).string(BYTES),
            Some(&[1, 2, 3][..])
        );
        assert_eq!(Reader(&[0x43, 1, 2]).string(BYTES), None);
        assert_eq!(
            Reader(&[0x5b, 255, 255, 255, 255, 255, 255, 255, 255]).string(BYTES),
            None
        );
    }
}
