//! How far a download is: which chunks of an object are here.
//!
//! Lies beside the partial file, so that a cut download goes on where it was. It is a note, not a
//! proof: it does not say that the bytes in the file are the right ones. Mark a chunk after it was
//! verified and written; verify the whole object in the end.
//!
//! On disk: `[1, manifest, bits]`, one bit for each chunk: that of chunk `i` is bit `i % 8` (from the
//! lowest) of byte `i / 8`. The bits behind the last chunk are zero. At most 600 bytes.

use minicbor::{Decode, Encode};

use super::chunks::{CHUNK_LEN, MAX_CHUNKS, Manifest, NoSuchChunk, count, range};
use crate::cbor::{self, Bounds};
use crate::content_id::ContentId;
use crate::object::{self, ObjectError, Version};

/// Which chunks of one manifest are here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    manifest: ContentId,
    length: u64,
    bits: Vec<u8>,
}

impl Progress {
    /// The longest encoding, in bytes.
    pub const MAX_LEN: usize = MAX_CHUNKS as usize / 8 + 5 + 5 + ContentId::MAX_LEN;
    const BOUNDS: Bounds = Bounds {
        max_bytes: Self::MAX_LEN,
        max_depth: 2,
        max_items: 8,
    };

    /// No chunk is here.
    #[must_use]
    pub fn new(manifest: &Manifest) -> Self {
        let bytes = manifest.chunk_count().div_ceil(8);
        Self {
            manifest: manifest.id(),
            length: manifest.length(),
            bits: vec![0; bytes as usize],
        }
    }

    /// The manifest that the chunks are of.
    #[must_use]
    pub const fn manifest(&self) -> &ContentId {
        &self.manifest
    }

    /// How many chunks the object has.
    #[must_use]
    pub fn chunk_count(&self) -> u32 {
        count(self.length)
    }

    /// Notes that a chunk is here. Returns whether it was missing.
    ///
    /// # Errors
    /// There is no such chunk. Nothing was changed.
    pub fn mark(&mut self, index: u32) -> Result<bool, NoSuchChunk> {
        let (byte, bit) = self.place(index)?;
        let was_missing = *byte & bit == 0;
        *byte |= bit;
        Ok(was_missing)
    }

    /// Notes that a chunk is missing: it was found to be damaged. Returns whether it was here.
    ///
    /// # Errors
    /// There is no such chunk. Nothing was changed.
    pub fn unmark(&mut self, index: u32) -> Result<bool, NoSuchChunk> {
        let (byte, bit) = self.place(index)?;
        let was_here = *byte & bit != 0;
        *byte &= !bit;
        Ok(was_here)
    }

    /// Whether a chunk is here. Not if there is no such chunk.
    #[must_use]
    pub fn has(&self, index: u32) -> bool {
        let byte = self.bits.get((index / 8) as usize);
        byte.is_some_and(|byte| byte & (1 << (index % 8)) != 0)
    }

    /// The chunks that are missing, ascending.
    pub fn missing(&self) -> impl Iterator<Item = u32> + '_ {
        (0..self.chunk_count()).filter(|index| !self.has(*index))
    }

    /// How many chunks are here.
    #[must_use]
    pub fn chunks_here(&self) -> u32 {
        self.bits.iter().map(|byte| byte.count_ones()).sum()
    }

    /// How many bytes of the object are here.
    #[must_use]
    pub fn bytes_here(&self) -> u64 {
        let full = u64::from(self.chunks_here()) * CHUNK_LEN as u64;
        let last = self.chunk_count().saturating_sub(1);
        match range(self.length, last) {
            Some(range) if self.has(last) => full - CHUNK_LEN as u64 + (range.end - range.start),
            _ => full,
        }
    }

    /// Whether no chunk is missing. What is complete is still to be verified as a whole.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.chunks_here() == self.chunk_count()
    }

    /// The bytes for the disk.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        cbor::encode(&Fields {
            version: Version,
            manifest: self.manifest,
            bits: &self.bits,
        })
    }

    /// Reads how far a download of this manifest's object was. `bytes` are all of it.
    ///
    /// # Errors
    /// Not the encoding of a progress of this version, or not of this manifest. Start again with
    /// [`Progress::new`]; nothing is lost but what was fetched before.
    pub fn decode(bytes: &[u8], manifest: &Manifest) -> Result<Self, ProgressError> {
        let fields: Fields<'_> = object::read("progress", bytes, &Self::BOUNDS)?;
        let none = Self::new(manifest);
        if fields.manifest != none.manifest {
            return Err(ProgressError::OtherManifest {
                found: fields.manifest,
            });
        }
        let spare = (8 - none.chunk_count() % 8) % 8;
        let spare_is_zero = fields
            .bits
            .last()
            .is_none_or(|last| last.leading_zeros() >= spare);
        if fields.bits.len() != none.bits.len() || !spare_is_zero {
            return Err(ProgressError::Bits {
                chunks: none.chunk_count(),
            });
        }
        Ok(Self {
            bits: fields.bits.to_vec(),
            ..none
        })
    }

    /// The byte and the bit in it that stand for a chunk.
    fn place(&mut self, index: u32) -> Result<(&mut u8, u8), NoSuchChunk> {
        let count = self.chunk_count();
        let byte = self.bits.get_mut((index / 8) as usize);
        match byte.filter(|_| index < count) {
            Some(byte) => Ok((byte, 1 << (index % 8))),
            None => Err(NoSuchChunk { index, count }),
        }
    }
}

#[derive(Encode, Decode)]
struct Fields<'a> {
    #[n(0)]
    version: Version,
    #[n(1)]
    manifest: ContentId,
    #[b(2)]
    #[cbor(with = "minicbor::bytes")]
    bits: &'a [u8],
}

/// What is not the progress of this download. Nothing was changed; start the download again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProgressError {
    /// Damaged, something else, or of another version.
    #[error(transparent)]
    Object(#[from] ObjectError),
    /// Of another object, or of the same one as another peer described it.
    #[error("the progress is that of another manifest ({found})")]
    OtherManifest {
        /// The manifest that it names.
        found: ContentId,
    },
    /// Not one bit for each chunk, or bits behind the last one.
    #[error("the progress has not one bit for each of {chunks} chunks")]
    Bits {
        /// How many chunks there are.
        chunks: u32,
    },
}
