//! How guests get at objects of the store: the trait that the caller gives.

use std::time::Instant;

use grid_promises::ContentId;

/// Where the call `get` looks.
pub trait Objects: Send + Sync {
    /// The object with an id, of at most `max_len` bytes. It may block, but not beyond `until`: a
    /// guest that waits here cannot be interrupted. The bytes are verified again by who asks.
    ///
    /// # Errors
    /// The object cannot be had.
    fn get(&self, id: &ContentId, max_len: usize, until: Instant) -> Result<Vec<u8>, ObjectError>;
}

/// Why an object cannot be had. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ObjectError {
    /// It is not there: normal. It may be later.
    #[error("it is not here")]
    Missing,
    /// It is longer than was asked for.
    #[error("it is longer than the {max} bytes allowed")]
    TooLong {
        /// The longest allowed, in bytes.
        max: usize,
    },
    /// The store failed, or gave other bytes than the id names. `grid cas verify` looks at the
    /// whole store.
    #[error("the store cannot give it: {why}")]
    Failed {
        /// What it says.
        why: String,
    },
}

/// No objects at all.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoObjects;

impl Objects for NoObjects {
    fn get(&self, _: &ContentId, _: usize, _: Instant) -> Result<Vec<u8>, ObjectError> {
        Err(ObjectError::Missing)
    }
}
