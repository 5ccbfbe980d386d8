//! Netlink attributes: nested lists of type, length and value, aligned to four bytes.
//!
//! They are not taken from a library for two reasons: these messages hold keys and must be wiped,
//! and a list of peers must be cut where a message is full.

use zeroize::Zeroizing;

const HEADER: usize = 4;
/// The type's upper bits mean "nested" and "network byte order"; those that the kernel sets are
/// ignored.
const TYPE_MASK: u16 = 0x3fff;
const NESTED: u16 = 0x8000;

/// Attributes under construction. Wiped on drop.
pub(super) struct Writer(Zeroizing<Vec<u8>>);

/// A nest that is still open.
#[must_use]
pub(super) struct Nest(usize);

impl Writer {
    /// An empty list that can grow to `capacity` bytes without leaving copies in memory.
    pub(super) fn new(capacity: usize) -> Self {
        Self(Zeroizing::new(Vec::with_capacity(capacity)))
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Appends raw bytes: the header before the attributes.
    pub(super) fn raw(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    pub(super) fn put(&mut self, kind: u16, value: &[u8]) {
        let nest = self.open_as(kind);
        self.0.extend_from_slice(value);
        self.close(nest);
    }

    pub(super) fn open(&mut self, kind: u16) -> Nest {
        self.open_as(kind | NESTED)
    }

    fn open_as(&mut self, kind: u16) -> Nest {
        let at = self.0.len();
        self.0.extend_from_slice(&[0; 2]);
        self.0.extend_from_slice(&kind.to_ne_bytes());
        Nest(at)
    }

    /// Closes a nest. The caller keeps messages below 64 KiB; see [`super::commands`].
    pub(super) fn close(&mut self, nest: Nest) {
        let length = u16::try_from(self.0.len() - nest.0).unwrap_or(u16::MAX);
        if let Some(field) = self.0.get_mut(nest.0..nest.0 + 2) {
            field.copy_from_slice(&length.to_ne_bytes());
        }
        let aligned = self.0.len().next_multiple_of(4);
        self.0.resize(aligned, 0);
    }
}

/// The size of an attribute with a value of this length.
pub(super) const fn space(value: usize) -> usize {
    HEADER + value.next_multiple_of(4)
}

/// A list of attributes whose lengths contradict each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// Iterates over attributes: type without its flag bits, and value. Ends after the first error.
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Iterator for Reader<'a> {
    type Item = Result<(u16, &'a [u8]), Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let split = split(self.0);
        self.0 = split.map_or(&[], |(_, _, rest)| rest);
        Some(split.map(|(kind, value, _)| (kind, value)).ok_or(Malformed))
    }
}

fn split(bytes: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let ([l0, l1, k0, k1], _) = bytes.split_first_chunk::<HEADER>()?;
    let length = usize::from(u16::from_ne_bytes([*l0, *l1]));
    let value = bytes.get(HEADER..length)?;
    let rest = bytes.get(length.next_multiple_of(4)..).unwrap_or(&[]);
    Some((u16::from_ne_bytes([*k0, *k1]) & TYPE_MASK, value, rest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_written_is_read(list in proptest::collection::vec((0u16..0x3fff, proptest::collection::vec(any::<u8>(), 0..40)), 0..20)) {
            let mut writer = Writer::new(0);
            let nest = writer.open(7);
            for (kind, value) in &list {
                let before = writer.len();
                writer.put(*kind, value);
                prop_assert_eq!(writer.len() - before, space(value.len()));
            }
            writer.close(nest);
            let outer: Vec<_> = Reader(writer.bytes()).collect::<Result<_, _>>().unwrap();
            prop_assert_eq!(outer.len(), 1);
            prop_assert_eq!(outer[0].0, 7);
            let inner: Vec<_> = Reader(outer[0].1).map(|a| a.map(|(k, v)| (k, v.to_vec()))).collect::<Result<_, _>>().unwrap();
            prop_assert_eq!(inner, list);
        }

        #[test]
        fn any_bytes_are_an_ordinary_event(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let read = Reader(&bytes).count();
            prop_assert!(read <= bytes.len() / HEADER + 1);
        }
    }

    #[test]
    fn lengths_that_lie_end_the_list() {
        for length in [0u16, 3, 9, u16::MAX] {
            let mut bytes = [0, 0, 1, 0, 1, 2, 3, 4];
            bytes[..2].copy_from_slice(&length.to_ne_bytes());
            assert_eq!(
                Reader(&bytes).collect::<Vec<_>>(),
                [Err(Malformed)],
                "{length}"
            );
        }
        assert_eq!(Reader(&[1, 0]).collect::<Vec<_>>(), [Err(Malformed)]);
    }
}
