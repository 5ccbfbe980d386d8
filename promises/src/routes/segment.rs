//! One segment of a key as the tree keeps it.
//!
//! A lookup compares a segment with several others. Short ones lie in the index itself, so that this
//! touches no other memory; longer ones are shared by the index and their node.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::sync::Arc;

/// The longest segment that is kept in place, in bytes: what makes the type three words long.
const SHORT: usize = 22;

/// A byte string, in the order of its bytes.
#[derive(Clone)]
pub(super) enum Segment {
    Short { length: u8, bytes: [u8; SHORT] },
    Long(Arc<[u8]>),
}

impl Segment {
    pub(super) fn as_slice(&self) -> &[u8] {
        match self {
            Self::Short { length, bytes } => bytes.get(..usize::from(*length)).unwrap_or(bytes),
            Self::Long(bytes) => bytes,
        }
    }
}

impl From<&[u8]> for Segment {
    fn from(segment: &[u8]) -> Self {
        let mut bytes = [0; SHORT];
        match (bytes.get_mut(..segment.len()), u8::try_from(segment.len())) {
            (Some(place), Ok(length)) => {
                place.copy_from_slice(segment);
                Self::Short { length, bytes }
            }
            _ => Self::Long(segment.into()),
        }
    }
}

// Equality and order are those of the bytes, as looking up by bytes demands.

impl Borrow<[u8]> for Segment {
    fn borrow(&self) -> &[u8] {
        self.as_slice()
    }
}

impl PartialEq for Segment {
    fn eq(&self, other: &Self) -> bool {
        self.as_slice() == other.as_slice()
    }
}

impl Eq for Segment {}

impl PartialOrd for Segment {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Segment {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_slice().cmp(other.as_slice())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_is_its_bytes_whether_short_or_long() {
        let texts: Vec<Vec<u8>> = (0..=40u8).map(|length| (0..length).collect()).collect();
        let segments: Vec<Segment> = texts.iter().map(|text| text.as_slice().into()).collect();
        for (segment, text) in segments.iter().zip(&texts) {
            assert_eq!(segment.as_slice(), text);
            assert_eq!(
                matches!(segment, Segment::Short { .. }),
                text.len() <= SHORT
            );
        }
        assert!(segments.is_sorted_by(|a, b| a < b));
        assert_eq!(size_of::<Segment>(), 24);
    }
}
