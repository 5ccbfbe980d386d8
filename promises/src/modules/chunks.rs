//! Large objects travel in chunks, each of which is verified when it arrives.
//!
//! A [`Manifest`] lists the digests of an object's chunks. It is a function of the object's bytes and
//! of nothing else, so that all honest peers give the same manifest, its content ids can be compared,
//! and a chunk may come from any of them. A wrong chunk is found before the next one is asked for,
//! and it is known who sent it.
//!
//! A manifest is not bound to the content id of its object: whoever gives a false one is found out
//! when the whole object is verified, at the end. So the end is not optional: **an object is what its
//! own id verifies**, not what a manifest says. If every chunk fits and the object does not, the
//! manifest was false.
//!
//! On the wire: `[1, length, digests]`, the digests as one byte string.

use std::ops::Range;

use minicbor::{Decode, Encode};
use sha2::{Digest, Sha256};

use crate::cbor::{self, Bounds};
use crate::content_id::ContentId;
use crate::object::{self, ObjectError, Version};

/// The length of every chunk but the last, in bytes: 256 KiB.
///
/// Part of the protocol: another length would give other manifests. A quarter of the longest payload
/// of a message, so that a chunk travels in one message with room to spare. Small enough that a cut,
/// or a peer that lies, costs little, that several peers have something to do for an object of a few
/// MiB, and that a chunk for each of many peers fits into memory. Large enough that a round trip per
/// chunk is not what the transfer waits for, and that the manifest of the largest object (128 KiB)
/// still travels in one message.
pub const CHUNK_LEN: usize = 256 * 1024;
/// The largest object that travels, in bytes: 1 GiB.
pub const MAX_OBJECT: u64 = 1 << 30;
/// The most chunks that an object has.
pub const MAX_CHUNKS: u32 = 4096;

const _: () = assert!(MAX_CHUNKS as u64 * CHUNK_LEN as u64 == MAX_OBJECT);

/// The length of a digest (SHA-256), in bytes.
const DIGEST_LEN: usize = 32;

/// The chunks of an object: their number, their lengths, their digests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    length: u64,
    digests: Vec<[u8; DIGEST_LEN]>,
}

impl Manifest {
    /// The longest encoding, in bytes.
    pub const MAX_LEN: usize = MAX_CHUNKS as usize * DIGEST_LEN + 12;
    const BOUNDS: Bounds = Bounds {
        max_bytes: Self::MAX_LEN,
        max_depth: 1,
        max_items: 8,
    };

    /// The manifest of an object that is in memory. For others there is [`ManifestBuilder`].
    ///
    /// # Errors
    /// More than [`MAX_OBJECT`] bytes.
    pub fn of(object: &[u8]) -> Result<Self, ObjectTooLarge> {
        let mut builder = ManifestBuilder::new();
        builder.update(object)?;
        Ok(builder.finish())
    }

    /// The length of the object, in bytes.
    #[must_use]
    pub const fn length(&self) -> u64 {
        self.length
    }

    /// How many chunks there are: none for the empty object.
    #[must_use]
    pub fn chunk_count(&self) -> u32 {
        count(self.length)
    }

    /// Which bytes of the object the chunk of this index is. None if there is no such chunk.
    #[must_use]
    pub fn range_of(&self, index: u32) -> Option<Range<u64>> {
        range(self.length, index)
    }

    /// The sha2-256 content id of the chunk of this index. None if there is no such chunk.
    #[must_use]
    pub fn chunk_id(&self, index: u32) -> Option<ContentId> {
        ContentId::from_bytes(&[&SHA2_256_RAW[..], self.digest(index)?].concat()).ok()
    }

    /// Checks that `bytes` are the chunk of this index. Nothing is hashed unless the length is right.
    ///
    /// # Errors
    /// They are not, or there is no such chunk.
    pub fn verify_chunk(&self, index: u32, bytes: &[u8]) -> Result<(), ChunkError> {
        let (Some(range), Some(digest)) = (self.range_of(index), self.digest(index)) else {
            return Err(NoSuchChunk {
                index,
                count: self.chunk_count(),
            }
            .into());
        };
        let expected = range.end - range.start;
        if bytes.len() as u64 != expected {
            return Err(ChunkError::Length {
                index,
                expected,
                found: bytes.len(),
            });
        }
        if Sha256::digest(bytes)[..] != *digest {
            return Err(ChunkError::Digest { index });
        }
        Ok(())
    }

    /// The bytes of the manifest, which is an object itself.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        cbor::encode(&Fields {
            version: Version,
            length: self.length,
            digests: self.digests.as_flattened(),
        })
    }

    /// The sha2-256 content id of the manifest.
    #[must_use]
    pub fn id(&self) -> ContentId {
        ContentId::of(&self.encode())
    }

    /// Reads a manifest that takes up all of `bytes`.
    ///
    /// # Errors
    /// Not the encoding of a manifest of this version, of an object that is too large, or with another
    /// number of digests than an object of that length has.
    pub fn decode(bytes: &[u8]) -> Result<Self, ManifestError> {
        let fields: Fields<'_> = object::read("manifest", bytes, &Self::BOUNDS)?;
        let length = fields.length;
        if length > MAX_OBJECT {
            return Err(ObjectTooLarge { length }.into());
        }
        let expected = count(length) as usize * DIGEST_LEN;
        let (digests, rest) = fields.digests.as_chunks();
        if fields.digests.len() != expected || !rest.is_empty() {
            return Err(ManifestError::Digests {
                length,
                expected,
                found: fields.digests.len(),
            });
        }
        Ok(Self {
            length,
            digests: digests.to_vec(),
        })
    }

    fn digest(&self, index: u32) -> Option<&[u8]> {
        let digest = self.digests.get(usize::try_from(index).ok()?)?;
        Some(digest)
    }
}

/// Makes the manifest of an object that comes in pieces of any lengths. Keeps the digests and the
/// state of one hash, nothing of the object.
#[derive(Clone, Debug, Default)]
pub struct ManifestBuilder {
    length: u64,
    digests: Vec<[u8; DIGEST_LEN]>,
    /// The chunk that is not complete.
    open: Sha256,
    /// How many bytes of it there were.
    filled: usize,
}

impl ManifestBuilder {
    /// Nothing of the object yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The next bytes of the object.
    ///
    /// # Errors
    /// The object has more than [`MAX_OBJECT`] bytes with them. They were not taken then.
    pub fn update(&mut self, mut bytes: &[u8]) -> Result<(), ObjectTooLarge> {
        let length = self.length.saturating_add(bytes.len() as u64);
        if length > MAX_OBJECT {
            return Err(ObjectTooLarge { length });
        }
        self.length = length;
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(CHUNK_LEN - self.filled));
            self.open.update(now);
            self.filled += now.len();
            if self.filled == CHUNK_LEN {
                self.close();
            }
            bytes = later;
        }
        Ok(())
    }

    /// The manifest of all the bytes that there were.
    #[must_use]
    pub fn finish(mut self) -> Manifest {
        if self.filled > 0 {
            self.close();
        }
        Manifest {
            length: self.length,
            digests: self.digests,
        }
    }

    fn close(&mut self) {
        self.digests.push(self.open.finalize_reset().into());
        self.filled = 0;
    }
}

/// How many chunks an object of this length has.
pub(super) fn count(length: u64) -> u32 {
    u32::try_from(length.div_ceil(CHUNK_LEN as u64)).unwrap_or(u32::MAX)
}

/// Which bytes of an object of this length a chunk is.
pub(super) fn range(length: u64, index: u32) -> Option<Range<u64>> {
    let start = u64::from(index) * CHUNK_LEN as u64;
    (start < length).then(|| start..length.min(start + CHUNK_LEN as u64))
}

/// What the binary form of a sha2-256 content id begins with.
const SHA2_256_RAW: [u8; 4] = [0x01, 0x55, 0x12, 0x20];

#[derive(Encode, Decode)]
struct Fields<'a> {
    #[n(0)]
    version: Version,
    #[n(1)]
    length: u64,
    #[b(2)]
    #[cbor(with = "minicbor::bytes")]
    digests: &'a [u8],
}

/// An object that does not travel: it is too large. Nothing was changed; it will be too large again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an object of {length} bytes is larger than the {MAX_OBJECT} bytes allowed")]
pub struct ObjectTooLarge {
    /// Its length, in bytes, as far as it is known.
    pub length: u64,
}

/// An index beyond the chunks of an object. A mistake of the caller, or of a peer that was believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no chunk {index}: the object has {count}, counted from 0")]
pub struct NoSuchChunk {
    /// The index, from 0.
    pub index: u32,
    /// How many chunks there are.
    pub count: u32,
}

/// Bytes that are not the chunk that was asked for. Drop them, note who sent them, and ask another
/// peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChunkError {
    /// There is no such chunk.
    #[error(transparent)]
    NoSuchChunk(#[from] NoSuchChunk),
    /// More or fewer bytes than the chunk has.
    #[error("chunk {index} has {expected} bytes, not {found}")]
    Length {
        /// Which one, from 0.
        index: u32,
        /// The length of the chunk, in bytes.
        expected: u64,
        /// How many bytes there are.
        found: usize,
    },
    /// Other bytes than the chunk has.
    #[error("the bytes are not those of chunk {index}")]
    Digest {
        /// Which one, from 0.
        index: u32,
    },
}

/// What is not a manifest. Nothing was changed; the same bytes will fail again. From a peer it is
/// that peer's fault, or a newer version: ask another.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// Damaged, something else, or of another version.
    #[error(transparent)]
    Object(#[from] ObjectError),
    /// Of an object that is too large.
    #[error(transparent)]
    TooLarge(#[from] ObjectTooLarge),
    /// Another number of digests than the object has chunks.
    #[error("the digests of an object of {length} bytes take {expected} bytes, not {found}")]
    Digests {
        /// The length of the object, in bytes.
        length: u64,
        /// The length of the digests that it has, in bytes.
        expected: usize,
        /// The length of those that there are, in bytes.
        found: usize,
    },
}
