//! An object on its way to the disk: written to a file of its own, synced, and only then given the
//! name by which it is found.
//!
//! The name follows from the bytes, or the bytes are compared with the name that was expected. So a
//! `put` cannot store the wrong object, whoever sent it.

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use grid_promises::ContentId;
use grid_promises::content_id::HashCode;

use super::disk::{Found, Objects, Seen};
use super::error::{CacheError, read, write};
use super::hash::Hasher;
use super::{MAX_OBJECT, Object};
use grid_files::RealDisk;
use grid_files::atomic::UNFINISHED;
use grid_files::disk::{Disk, Hold};

/// An unfinished file that nobody wrote to for this long has no writer any more.
pub const ABANDONED: Duration = Duration::from_secs(24 * 3600);
/// How much is written at once, in bytes.
const PIECE: usize = 1 << 20;
/// How many names are tried for an unfinished file, and how often is tried to put an object that others
/// put and evict at the same time.
const TRIES: usize = 1000;

/// An object that was stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Put {
    /// Its id.
    pub id: ContentId,
    /// Its length, in bytes.
    pub len: u64,
    /// How it came to be there.
    pub how: How,
}

/// How an object came to be in the store. In each case it is durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum How {
    /// It is new.
    New,
    /// It was there, and was verified.
    Present,
    /// It was there and damaged: the damaged one is set aside, here if this process did it.
    Replaced(Option<PathBuf>),
}

/// An object that is being written. Dropping it unfinished removes what was written.
#[derive(Debug)]
pub struct Incoming<D: Disk = RealDisk> {
    objects: Objects<D>,
    path: PathBuf,
    hasher: Option<Hasher>,
    /// What was taken and not yet written: less than [`PIECE`].
    waiting: Vec<u8>,
    written: u64,
    /// It has its final name: the first one may be somebody else's by now.
    is_named: bool,
}

impl<D: Disk> Objects<D> {
    /// Stores bytes under an id of this hash function. Durable when it returns.
    ///
    /// # Errors
    /// [`CacheError::TooLarge`], or what the system says.
    pub fn put(&self, code: HashCode, bytes: &[u8]) -> Result<Put, CacheError> {
        self.put_whole(ContentId::with(code, bytes), bytes)
    }

    /// Stores the object with this id, if the bytes are it. Durable when it returns.
    ///
    /// # Errors
    /// [`CacheError::NotTheObject`], or as [`put`](Self::put).
    pub fn put_as(&self, id: &ContentId, bytes: &[u8]) -> Result<Put, CacheError> {
        let put = ContentId::with(id.hash_code(), bytes);
        if put == *id {
            self.put_whole(put, bytes)
        } else {
            Err(CacheError::NotTheObject {
                expected: *id,
                found: put.into(),
            })
        }
    }

    /// Stores what a reader yields, which may be more than fits into memory.
    ///
    /// # Errors
    /// [`CacheError::Source`], or as [`put`](Self::put).
    pub fn put_from(
        &self,
        code: HashCode,
        source: &mut dyn Read,
        so_far: &mut dyn FnMut(u64),
    ) -> Result<Put, CacheError> {
        let mut incoming = self.receive(code)?;
        incoming.take_from(source, so_far)?;
        incoming.finish(None)
    }

    /// Begins to store an object that comes piece by piece.
    ///
    /// # Errors
    /// What the system says.
    pub fn receive(&self, code: HashCode) -> Result<Incoming<D>, CacheError> {
        let path = self.unfinished()?;
        Ok(Incoming {
            objects: self.clone(),
            path,
            hasher: Some(Hasher::new(code)),
            waiting: Vec::new(),
            written: 0,
            is_named: false,
        })
    }

    /// Stores a file that the caller wrote on the same file system, and whose bytes it gave to
    /// `hasher` from the first to the last: it is renamed. The file is taken over, whatever happens:
    /// it is an object afterwards, or gone. Durable when it returns.
    ///
    /// # Errors
    /// As [`Incoming::finish`]. Nothing is stored then.
    pub fn adopt(
        &self,
        path: PathBuf,
        len: u64,
        hasher: Hasher,
        expected: &ContentId,
    ) -> Result<Put, CacheError> {
        let incoming = Incoming {
            objects: self.clone(),
            path,
            hasher: Some(hasher),
            waiting: Vec::new(),
            written: len,
            is_named: false,
        };
        if len > MAX_OBJECT {
            return Err(CacheError::TooLarge);
        }
        incoming.finish(Some(expected))
    }

    /// Bytes whose id is known already: an object that is there need not be written first.
    fn put_whole(&self, id: ContentId, bytes: &[u8]) -> Result<Put, CacheError> {
        let len = bytes.len() as u64;
        if len > MAX_OBJECT {
            return Err(CacheError::TooLarge);
        }
        let put = |how| Put { id, len, how };
        let (is_there, damaged) = self.confirm(&id)?;
        if is_there {
            return Ok(put(damaged.map_or(How::Present, How::Replaced)));
        }
        let incoming = Incoming {
            objects: self.clone(),
            path: self.unfinished()?,
            hasher: None,
            waiting: Vec::new(),
            written: 0,
            is_named: false,
        };
        for piece in bytes.chunks(PIECE) {
            incoming.append(piece)?;
        }
        let later = incoming.name(&id)?;
        self.inner.written.fetch_add(len, Ordering::Relaxed);
        Ok(put(match damaged.or(later) {
            Some(aside) => How::Replaced(aside),
            None => How::New,
        }))
    }

    /// A new empty file in `cache/incoming/`.
    fn unfinished(&self) -> Result<PathBuf, CacheError> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let folder = self.incoming();
        self.ensure(&folder)?;
        for _ in 0..TRIES {
            let number = NUMBER.fetch_add(1, Ordering::Relaxed);
            let name = format!("{}-{number}{UNFINISHED}", std::process::id());
            let path = folder.join(name);
            match self.disk().create(&path) {
                // Left by a process that had the same number, or being written by one that has it in
                // another container.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(write(path)(error)),
                Ok(()) => return Ok(path),
            }
        }
        let full = io::Error::other("it is full of unfinished files; empty it");
        Err(write(folder)(full))
    }

    /// Whether the object is there, whole, durable, and safe from whoever is evicting; and whether a
    /// damaged one was found and set aside.
    fn confirm(&self, id: &ContentId) -> Result<(bool, Option<Option<PathBuf>>), CacheError> {
        for _ in 0..TRIES {
            let seen = match self.find(id, &mut |_| {})? {
                Found::Nothing => return Ok((false, None)),
                Found::Damaged(aside) => return Ok((false, Some(aside))),
                Found::Whole(_, seen) => seen,
            };
            let _lock = self.lock(Hold::Shared)?;
            if self.is_still(id, seen)? {
                let path = self.path(id);
                // Before the lock is let go: who wants to evict it sees that it is wanted.
                self.disk()
                    .touch(&path, SystemTime::now())
                    .map_err(write(&path))?;
                // Who put it may have been stopped before its name was durable.
                self.sync_shard(&path)?;
                return Ok((true, None));
            }
        }
        Err(CacheError::Contended { id: *id })
    }

    /// Whether the file of an object is the one that was seen. The lock is held.
    fn is_still(&self, id: &ContentId, seen: Seen) -> Result<bool, CacheError> {
        let path = self.path(id);
        match self.disk().about(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(read(path)(error)),
            Ok(about) => Ok(about.identity == seen.identity),
        }
    }

    fn sync_shard(&self, path: &Path) -> Result<(), CacheError> {
        let Some(shard) = path.parent() else {
            return Err(CacheError::Bug("an object has no folder"));
        };
        self.ensure(shard)?;
        self.disk().sync_dir(shard).map_err(write(shard))
    }
}

impl<D: Disk> Incoming<D> {
    /// Takes the next piece.
    ///
    /// # Errors
    /// [`CacheError::TooLarge`], or what the system says. Drop it then.
    pub fn take(&mut self, mut bytes: &[u8]) -> Result<(), CacheError> {
        let len = self.len().saturating_add(bytes.len() as u64);
        if len > MAX_OBJECT {
            return Err(CacheError::TooLarge);
        }
        if let Some(hasher) = &mut self.hasher {
            hasher.update(bytes);
        }
        while self.waiting.len() + bytes.len() >= PIECE {
            let (now, later) = bytes.split_at(PIECE.saturating_sub(self.waiting.len()));
            self.waiting.extend_from_slice(now);
            self.flush()?;
            bytes = later;
        }
        self.waiting.extend_from_slice(bytes);
        Ok(())
    }

    /// Takes all that a reader yields; `so_far` is told how many bytes came.
    ///
    /// # Errors
    /// [`CacheError::Source`], or as [`take`](Self::take).
    pub fn take_from(
        &mut self,
        source: &mut dyn Read,
        so_far: &mut dyn FnMut(u64),
    ) -> Result<(), CacheError> {
        let mut buffer = vec![0; super::CHUNK];
        loop {
            match source.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(count) => {
                    self.take(buffer.get(..count).unwrap_or_default())?;
                    so_far(self.len());
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(CacheError::Source(error)),
            }
        }
    }

    /// How many bytes were taken.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.written + self.waiting.len() as u64
    }

    /// Whether none was.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Stores what was taken. With an id that is expected, only if it is that object. Durable when it
    /// returns.
    ///
    /// # Errors
    /// [`CacheError::NotTheObject`], or what the system says. Nothing is stored then.
    pub fn finish(mut self, expected: Option<&ContentId>) -> Result<Put, CacheError> {
        let hasher = self.hasher.take();
        let id = hasher
            .ok_or(CacheError::Bug("an object was finished twice"))?
            .finish()?;
        if let Some(expected) = expected.filter(|expected| **expected != id) {
            let (expected, found) = (*expected, id.into());
            return Err(CacheError::NotTheObject { expected, found });
        }
        self.flush()?;
        let len = self.written;
        let objects = self.objects.clone();
        let (is_there, damaged) = objects.confirm(&id)?;
        let how = if is_there {
            How::Present
        } else {
            let later = self.name(&id)?;
            objects.inner.written.fetch_add(len, Ordering::Relaxed);
            damaged.or(later).map_or(How::New, How::Replaced)
        };
        Ok(Put { id, len, how })
    }

    fn flush(&mut self) -> Result<(), CacheError> {
        self.append(&self.waiting)?;
        self.written += self.waiting.len() as u64;
        self.waiting.clear();
        Ok(())
    }

    fn append(&self, bytes: &[u8]) -> Result<(), CacheError> {
        self.objects
            .disk()
            .append(&self.path, bytes)
            .map_err(|error| self.failed(error))
    }

    /// Gives what was written its name. `Some` if a damaged object was in the way that appeared since
    /// it was looked for.
    fn name(mut self, id: &ContentId) -> Result<Option<Option<PathBuf>>, CacheError> {
        let objects = self.objects.clone();
        let disk = objects.disk();
        disk.sync_file(&self.path)
            .map_err(|error| self.failed(error))?;
        let path = objects.path(id);
        let shard = path
            .parent()
            .ok_or(CacheError::Bug("an object has no folder"))?;
        objects.ensure(shard)?;
        let mut damaged = None;
        for _ in 0..TRIES {
            let lock = objects.lock(Hold::Shared)?;
            if !objects.has(id)? {
                disk.rename(&self.path, &path)
                    .map_err(|error| self.failed(error))?;
                self.is_named = true;
                disk.sync_dir(shard).map_err(write(shard))?;
                return Ok(damaged);
            }
            drop(lock);
            // Somebody else put it meanwhile.
            match objects.confirm(id)? {
                (true, _) => return Ok(damaged),
                (false, aside) => damaged = damaged.or(aside),
            }
        }
        Err(CacheError::Contended { id: *id })
    }

    fn failed(&self, source: io::Error) -> CacheError {
        let path = self.path.clone();
        match source.kind() {
            io::ErrorKind::NotFound => CacheError::Abandoned { path },
            _ => CacheError::Write { path, source },
        }
    }
}

impl<D: Disk> Drop for Incoming<D> {
    fn drop(&mut self) {
        if !self.is_named {
            // What cannot be removed is abandoned, and goes with a later collection.
            let _ = self.objects.disk().remove_file(&self.path);
        }
    }
}

impl<D: Disk> Objects<D> {
    /// Stores an object that was verified elsewhere.
    pub(super) fn put_object(&self, object: &Object) -> Result<Put, CacheError> {
        if let Some(bytes) = object.bytes() {
            return self.put_whole(*object.id(), bytes);
        }
        let mut incoming = self.receive(object.id().hash_code())?;
        incoming.take_from(&mut object.reader(), &mut |_| {})?;
        incoming.finish(Some(object.id()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::CacheDir;

    #[test]
    fn what_is_too_large_is_not_stored() {
        let dir = tempfile::tempdir().unwrap();
        let objects = Objects::of(&CacheDir::new(dir.path().join("cache")));
        let mut incoming = objects.receive(HashCode::Blake3).unwrap();
        incoming.take(b"first").unwrap();
        // As if a gigabyte less two bytes had come before.
        incoming.written = MAX_OBJECT - 7;
        assert!(matches!(incoming.take(b"abc"), Err(CacheError::TooLarge)));
        incoming.take(b"ab").unwrap();
        assert_eq!(incoming.len(), MAX_OBJECT);
        let rest = incoming.take_from(&mut &b"c"[..], &mut |_| {});
        assert!(matches!(rest, Err(CacheError::TooLarge)));
        drop(incoming);
        assert_eq!(objects.sizes().unwrap().total(), 0);
    }
}
