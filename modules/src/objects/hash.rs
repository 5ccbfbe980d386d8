//! A content id made from bytes that come one piece after the other. Knows how the three hash
//! functions of content ids are fed; what an id looks like is decided in `grid-promises`.

use grid_promises::ContentId;
use grid_promises::content_id::HashCode;
use sha2::Digest as _;

use super::error::CacheError;

/// Hashes an object piece by piece.
#[derive(Debug)]
pub struct Hasher {
    code: HashCode,
    state: State,
}

#[derive(Debug)]
enum State {
    Sha256(sha2::Sha256),
    Sha512(sha2::Sha512),
    // Ten times as large as the others.
    Blake3(Box<blake3::Hasher>),
}

impl Hasher {
    /// A hasher for ids of this hash function.
    #[must_use]
    pub fn new(code: HashCode) -> Self {
        let state = match code {
            HashCode::Sha2_256 => State::Sha256(sha2::Sha256::new()),
            HashCode::Sha2_512 => State::Sha512(sha2::Sha512::new()),
            HashCode::Blake3 => State::Blake3(Box::new(blake3::Hasher::new())),
        };
        Self { code, state }
    }

    /// Takes the next piece.
    pub fn update(&mut self, bytes: &[u8]) {
        match &mut self.state {
            State::Sha256(state) => state.update(bytes),
            State::Sha512(state) => state.update(bytes),
            State::Blake3(state) => drop(state.update(bytes)),
        }
    }

    /// The content id of all pieces.
    ///
    /// # Errors
    /// [`CacheError::Bug`]: the id has a form that `grid-promises` does not read.
    pub fn finish(self) -> Result<ContentId, CacheError> {
        match self.state {
            State::Sha256(state) => id(self.code, &state.finalize()),
            State::Sha512(state) => id(self.code, &state.finalize()),
            State::Blake3(state) => id(self.code, state.finalize().as_bytes()),
        }
    }
}

/// CIDv1, raw, hash code, length, digest: four numbers below 128 take one byte each.
fn id(code: HashCode, digest: &[u8]) -> Result<ContentId, CacheError> {
    let length = u8::try_from(digest.len()).unwrap_or(u8::MAX);
    let mut bytes = vec![0x01, 0x55, code as u8, length];
    bytes.extend_from_slice(digest);
    ContentId::from_bytes(&bytes).map_err(|_| CacheError::Bug("a digest makes no content id"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn pieces_have_the_id_of_the_whole(
            bytes in proptest::collection::vec(any::<u8>(), 0..5000), piece in 1usize..700,
        ) {
            for code in [HashCode::Sha2_256, HashCode::Sha2_512, HashCode::Blake3] {
                let mut hasher = Hasher::new(code);
                bytes.chunks(piece).for_each(|piece| hasher.update(piece));
                prop_assert_eq!(hasher.finish().unwrap(), ContentId::with(code, &bytes));
            }
        }
    }
}
