//! An object whose bytes are what its id says. There is no other way to have an [`Object`] than to
//! verify one, so that whoever is given one need not ask where it came from.
//!
//! Up to [`IN_MEMORY`] an object from disk is read at once and verified. A larger one is verified
//! first, from its first byte to its last, and handed out after that: nobody acts on the beginning of
//! an object whose end is damaged. That pass also hashes each chunk of [`CHUNK`] by itself. The hashes
//! of the chunks stay in memory with the open file, and each chunk that is handed out later is
//! compared with its own: what changed on disk after the pass is found, any part can be read by
//! itself, and no list of hashes lies on disk where it could be damaged or forged. The price is a
//! second read of large objects.

use std::fmt;
use std::io::{self, Read, Write};
use std::sync::Arc;

use grid_promises::ContentId;
use grid_promises::modules::SymbolTable;

use super::MAX_OBJECT;
use super::error::CacheError;
use super::hash::Hasher;
use grid_files::disk::{OpenFile, ReadAt};

/// The longest object that is held in memory when it comes from disk, in bytes. The longest symbol
/// table fits.
pub const IN_MEMORY: u64 = 4 << 20;
const _: () = assert!(SymbolTable::MAX_LEN as u64 <= IN_MEMORY);
/// How much of a larger one is read at once, in bytes.
pub const CHUNK: usize = 256 << 10;

/// A verified object. Cloning it copies no bytes.
#[derive(Clone)]
pub struct Object {
    id: ContentId,
    body: Body,
}

#[derive(Clone)]
enum Body {
    Memory(Arc<[u8]>),
    File(Arc<Chunked>),
}

/// A verified file, and what each of its chunks was then.
struct Chunked {
    content: Box<dyn ReadAt>,
    len: u64,
    hashes: Vec<blake3::Hash>,
}

impl Object {
    /// The object with this id, if the bytes are it.
    ///
    /// # Errors
    /// [`CacheError::NotTheObject`], [`CacheError::TooLarge`].
    pub fn verified(id: ContentId, bytes: impl Into<Arc<[u8]>>) -> Result<Self, CacheError> {
        let bytes = bytes.into();
        if bytes.len() as u64 > MAX_OBJECT {
            return Err(CacheError::TooLarge);
        }
        if id.verify(&bytes).is_err() {
            return Err(CacheError::NotTheObject {
                expected: id,
                found: ContentId::with(id.hash_code(), &bytes).into(),
            });
        }
        let body = Body::Memory(bytes);
        Ok(Self { id, body })
    }

    /// Its id.
    #[must_use]
    pub const fn id(&self) -> &ContentId {
        &self.id
    }

    /// Its length, in bytes.
    #[must_use]
    pub fn len(&self) -> u64 {
        match &self.body {
            Body::Memory(bytes) => bytes.len() as u64,
            Body::File(file) => file.len,
        }
    }

    /// Whether it is the object of zero bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Its bytes, if they are in memory: those of every object up to [`IN_MEMORY`] are.
    #[must_use]
    pub fn bytes(&self) -> Option<&[u8]> {
        match &self.body {
            Body::Memory(bytes) => Some(bytes),
            Body::File(_) => None,
        }
    }

    /// The chunk that begins at `number * CHUNK`; empty behind the end.
    ///
    /// # Errors
    /// [`CacheError::Damaged`]: the file changed since it was verified. Drop what was read of the
    /// object before; the next `get` sets it aside.
    pub fn chunk(&self, number: usize) -> Result<Vec<u8>, CacheError> {
        let begin = number.saturating_mul(CHUNK);
        match &self.body {
            Body::Memory(bytes) => {
                let end = begin.saturating_add(CHUNK).min(bytes.len());
                Ok(bytes.get(begin..end).unwrap_or_default().to_vec())
            }
            Body::File(file) => file.chunk(number, begin as u64).ok_or(CacheError::Damaged {
                id: self.id,
                aside: None,
            }),
        }
    }

    /// The bytes from the first to the last, a verified chunk at a time. An error of the reader is a
    /// [`CacheError`] inside.
    #[must_use]
    pub fn reader(&self) -> impl Read + use<> {
        Reader {
            object: self.clone(),
            next: 0,
            chunk: io::Cursor::new(Vec::new()),
        }
    }

    /// Writes all of it; `so_far` is told after each chunk how many bytes were written.
    ///
    /// # Errors
    /// What `out` says, or a [`CacheError`] inside. What was written is incomplete then.
    pub fn copy_to(&self, out: &mut dyn Write, so_far: &mut dyn FnMut(u64)) -> io::Result<()> {
        if let Some(bytes) = self.bytes() {
            out.write_all(bytes)?;
            so_far(self.len());
            return Ok(());
        }
        let mut done = 0;
        for number in 0.. {
            let chunk = self.chunk(number).map_err(io::Error::other)?;
            if chunk.is_empty() {
                break;
            }
            out.write_all(&chunk)?;
            done += chunk.len() as u64;
            so_far(done);
        }
        Ok(())
    }
}

impl fmt::Debug for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Object({}, {} bytes)", self.id.short(), self.len())
    }
}

impl Chunked {
    fn chunk(&self, number: usize, offset: u64) -> Option<Vec<u8>> {
        let Some(hash) = self.hashes.get(number) else {
            return Some(Vec::new());
        };
        let mut buffer = vec![0; CHUNK];
        let count = fill(&*self.content, &mut buffer, offset).ok()?;
        buffer.truncate(count);
        (blake3::hash(&buffer) == *hash).then_some(buffer)
    }
}

struct Reader {
    object: Object,
    next: usize,
    chunk: io::Cursor<Vec<u8>>,
}

impl Read for Reader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.chunk.position() == self.chunk.get_ref().len() as u64 {
            let chunk = self.object.chunk(self.next).map_err(io::Error::other)?;
            self.chunk = io::Cursor::new(chunk);
            self.next += 1;
        }
        self.chunk.read(buffer)
    }
}

/// What was found when a file was read that should be an object.
pub(super) enum Checked {
    /// It is.
    Whole(Object),
    /// It is not, or the disk cannot read it. The file is still open, so that its identity is still
    /// its own.
    Damaged(OpenFile),
}

/// Reads a regular file and verifies it. `so_far` is told how many bytes were read.
///
/// # Errors
/// The system refuses for another reason than that the disk failed.
pub(super) fn check(
    id: ContentId,
    file: OpenFile,
    so_far: &mut dyn FnMut(u64),
) -> io::Result<Checked> {
    let checked = if file.about.len <= IN_MEMORY {
        small(id, &file)
    } else {
        large(id, &file, so_far)
    };
    match checked {
        Ok(Some(Verified::Small(bytes))) => Ok(Checked::Whole(Object {
            id,
            body: Body::Memory(bytes.into()),
        })),
        Ok(Some(Verified::Large(len, hashes))) => {
            let content = file.content;
            let chunked = Chunked {
                content,
                len,
                hashes,
            };
            Ok(Checked::Whole(Object {
                id,
                body: Body::File(Arc::new(chunked)),
            }))
        }
        Ok(None) => Ok(Checked::Damaged(file)),
        // A sector that cannot be read is damage like any other, and has the same remedy.
        Err(error) if error.raw_os_error() == Some(nix::libc::EIO) => Ok(Checked::Damaged(file)),
        Err(error) => Err(error),
    }
}

enum Verified {
    Small(Vec<u8>),
    Large(u64, Vec<blake3::Hash>),
}

fn small(id: ContentId, file: &OpenFile) -> io::Result<Option<Verified>> {
    let room = usize::try_from(file.about.len.min(IN_MEMORY)).unwrap_or(0);
    // One more, to see a file that grew.
    let mut bytes = vec![0; room + 1];
    let count = fill(&*file.content, &mut bytes, 0)?;
    bytes.truncate(count);
    Ok((count <= room && id.verify(&bytes).is_ok()).then_some(Verified::Small(bytes)))
}

fn large(
    id: ContentId,
    file: &OpenFile,
    so_far: &mut dyn FnMut(u64),
) -> io::Result<Option<Verified>> {
    let mut hasher = Hasher::new(id.hash_code());
    let mut hashes = Vec::new();
    let mut buffer = vec![0; CHUNK];
    let mut done = 0;
    while done <= MAX_OBJECT {
        let count = fill(&*file.content, &mut buffer, done)?;
        let Some(chunk) = buffer.get(..count).filter(|chunk| !chunk.is_empty()) else {
            break;
        };
        hasher.update(chunk);
        hashes.push(blake3::hash(chunk));
        done += count as u64;
        so_far(done);
    }
    let is_whole = done <= MAX_OBJECT && hasher.finish().is_ok_and(|found| found == id);
    Ok(is_whole.then_some(Verified::Large(done, hashes)))
}

/// Reads until the buffer is full or the content ends.
fn fill(content: &dyn ReadAt, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut done = 0;
    while let Some(rest) = buffer.get_mut(done..).filter(|rest| !rest.is_empty()) {
        match content.read_at(rest, offset + done as u64) {
            Ok(0) => break,
            Ok(count) => done += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::time::SystemTime;

    use grid_promises::content_id::HashCode;
    use proptest::prelude::*;

    use super::*;
    use grid_files::disk::About;

    /// A file that a test can change while it is open.
    #[derive(Clone)]
    struct Held(Arc<Mutex<Vec<u8>>>);

    impl ReadAt for Held {
        fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
            self.0.lock().unwrap().read_at(buffer, offset)
        }
    }

    fn held(bytes: Vec<u8>) -> (Held, OpenFile) {
        let about = About {
            len: bytes.len() as u64,
            modified: SystemTime::UNIX_EPOCH,
            identity: (0, 0),
            is_regular: true,
        };
        let held = Held(Arc::new(Mutex::new(bytes)));
        let content = Box::new(held.clone());
        (held, OpenFile { about, content })
    }

    fn whole(id: ContentId, file: OpenFile) -> Option<Object> {
        match check(id, file, &mut |_| {}).unwrap() {
            Checked::Whole(object) => Some(object),
            Checked::Damaged(_) => None,
        }
    }

    fn long(length: usize) -> Vec<u8> {
        (0..=250).cycle().take(length).collect()
    }

    #[test]
    fn what_is_not_the_object_is_none() {
        let id = ContentId::with(HashCode::Blake3, b"a");
        let error = Object::verified(id, *b"b").unwrap_err().to_string();
        assert!(error.contains(&id.to_string()), "{error}");
        assert_eq!(
            Object::verified(id, *b"a").unwrap().bytes(),
            Some(&b"a"[..])
        );
    }

    #[test]
    fn every_length_around_a_border_reads_back() {
        let small = usize::try_from(IN_MEMORY).unwrap();
        for length in [0, 1, CHUNK, small - 1, small, small + 1, small + CHUNK] {
            let bytes = long(length);
            let id = ContentId::of(&bytes);
            let object = whole(id, held(bytes.clone()).1).unwrap();
            assert_eq!(object.len(), length as u64);
            assert_eq!(object.bytes().is_some(), length <= small);
            let mut read = Vec::new();
            object.reader().read_to_end(&mut read).unwrap();
            assert!(read == bytes, "{length}");
            let mut copied = Vec::new();
            object.copy_to(&mut copied, &mut |_| {}).unwrap();
            assert!(copied == bytes, "{length}");
            assert!(object.chunk(usize::MAX).unwrap().is_empty());
        }
    }

    #[test]
    fn a_file_that_changes_after_it_was_verified_is_not_handed_out() {
        let bytes = long(usize::try_from(IN_MEMORY).unwrap() + 3 * CHUNK);
        let (file, open) = held(bytes.clone());
        let object = whole(ContentId::of(&bytes), open).unwrap();
        file.0.lock().unwrap()[2 * CHUNK + 7] ^= 1;
        assert_eq!(object.chunk(1).unwrap(), bytes[CHUNK..2 * CHUNK]);
        assert!(matches!(object.chunk(2), Err(CacheError::Damaged { .. })));
        let mut copied = Vec::new();
        assert!(object.copy_to(&mut copied, &mut |_| {}).is_err());
        assert_eq!(copied.len(), 2 * CHUNK);
        assert!(object.reader().read_to_end(&mut copied).is_err());
        file.0.lock().unwrap().truncate(CHUNK);
        assert!(object.chunk(1).is_err());
        assert!(object.chunk(0).is_ok());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn no_flip_and_no_cut_is_taken_for_the_object(
            length in prop_oneof![1usize..2000, (1usize << 20) + 1..(1 << 20) + 2000],
            at in any::<prop::sample::Index>(), flip in 1u8.., cut in any::<bool>(),
        ) {
            let mut bytes = long(length);
            let id = ContentId::with(HashCode::Blake3, &bytes);
            let at = at.index(length);
            if cut { bytes.truncate(at) } else { bytes[at] ^= flip }
            prop_assert!(whole(id, held(bytes).1).is_none());
        }
    }
}
