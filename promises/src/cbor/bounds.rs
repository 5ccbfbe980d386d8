//! How much of an input a caller is willing to read.

/// What a caller is willing to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// The longest input, in bytes.
    pub max_bytes: usize,
    /// How many arrays, maps and tags may stand inside one another.
    pub max_depth: u8,
    /// How many data items there may be in all. Arrays, maps and tags count as one each, and so
    /// does every item inside them.
    pub max_items: u64,
}

impl Bounds {
    /// The deepest nesting that anything in this crate needs or allows.
    pub const MAX_DEPTH: u8 = 16;

    /// Bounds for an input of up to `max_bytes`, with the usual depth of 16 and no more items than
    /// such an input has room for.
    #[must_use]
    pub const fn bytes(max_bytes: usize) -> Self {
        Self {
            max_bytes,
            max_depth: Self::MAX_DEPTH,
            max_items: max_bytes as u64,
        }
    }
}
