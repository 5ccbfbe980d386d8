//! An object that is not whole yet, on disk: `cache/partial/<id>.part`, and beside it
//! `<id>.progress`, which says which chunks of the file are there.
//!
//! The note is written after the file was synced, so it claims nothing that a power cut could take
//! back. It is not believed all the same: whoever goes on with a file compares every chunk in it with
//! the manifest first. So what is wrong at the end is the manifest's fault and not this disk's, and
//! nobody is accused of what a bad sector did.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use grid_promises::ContentId;
use grid_promises::modules::{Manifest, Progress};
use nix::libc::{O_CLOEXEC, O_NOFOLLOW};

use crate::objects::Hasher;
use grid_files::disk::{DIR_MODE, Disk as _, FILE_MODE, Hold};
use grid_files::{RealDisk, atomic};

/// A partial file that nobody wrote to for this long is given up.
const GIVEN_UP: Duration = Duration::from_secs(7 * 24 * 3600);
/// How much is read at once, in bytes.
const PIECE: usize = 256 * 1024;

/// A partial object. Everything here blocks.
#[derive(Debug)]
pub(super) struct Partial {
    folder: PathBuf,
    id: ContentId,
    file: Arc<File>,
    /// Nothing may be written any more: the file is about to become an object, or another manifest's.
    closed: RwLock<bool>,
}

impl Partial {
    /// Opens the partial file of an object, or begins one; and which of its chunks are there and
    /// right. From then on it is in use, and no collection takes it away, for as long as it is
    /// written to at least every few minutes ([`GRACE`](crate::objects::GRACE)).
    ///
    /// # Errors
    /// The system refuses.
    pub(super) fn open(
        folder: &Path,
        id: &ContentId,
        manifest: &Manifest,
    ) -> io::Result<(Self, Progress)> {
        DirBuilder::new()
            .recursive(true)
            .mode(DIR_MODE)
            .create(folder)?;
        let partial = Self {
            folder: folder.to_owned(),
            id: *id,
            file: Arc::new(take(folder, id)?),
            closed: RwLock::new(false),
        };
        let progress = partial.look(manifest)?;
        Ok((partial, progress))
    }

    /// What is there of it.
    fn look(&self, manifest: &Manifest) -> io::Result<Progress> {
        let noted = match read_small(&self.note(), Progress::MAX_LEN) {
            Ok(bytes) => Progress::decode(&bytes, manifest).ok(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        let Some(mut progress) = noted else {
            // Of another manifest, or damaged: nothing in the file is of use.
            self.file.set_len(0)?;
            self.file.set_len(manifest.length())?;
            return Ok(Progress::new(manifest));
        };
        self.file.set_len(manifest.length())?;
        for index in 0..progress.chunk_count() {
            if progress.has(index) && !self.is_right(manifest, index)? {
                // There is such a chunk: it was marked.
                let _ = progress.unmark(index);
            }
        }
        Ok(progress)
    }

    fn is_right(&self, manifest: &Manifest, index: u32) -> io::Result<bool> {
        let Some(range) = manifest.range_of(index) else {
            return Ok(false);
        };
        let length = usize::try_from(range.end - range.start).unwrap_or(0);
        let mut bytes = vec![0; length];
        self.file.read_exact_at(&mut bytes, range.start)?;
        Ok(manifest.verify_chunk(index, &bytes).is_ok())
    }

    /// The file, to read from.
    pub(super) fn file(&self) -> &Arc<File> {
        &self.file
    }

    /// Writes bytes that were verified, unless it is too late.
    ///
    /// # Errors
    /// The system refuses.
    pub(super) fn write(&self, bytes: &[u8], start: u64) -> io::Result<()> {
        let closed = self.closed.read().unwrap_or_else(PoisonError::into_inner);
        if *closed {
            return Ok(());
        }
        self.file.write_all_at(bytes, start)
    }

    /// Waits for those who write, and lets nobody write any more.
    pub(super) fn close(&self) {
        *self.closed.write().unwrap_or_else(PoisonError::into_inner) = true;
    }

    /// Where the file lies.
    pub(super) fn path(&self) -> PathBuf {
        self.folder.join(format!("{}.part", self.id))
    }

    fn note(&self) -> PathBuf {
        self.folder.join(self.note_name())
    }

    fn note_name(&self) -> String {
        format!("{}.progress", self.id)
    }

    /// Notes which chunks are there, once they are durable.
    ///
    /// # Errors
    /// The system refuses. The note that was there stands.
    pub(super) fn save(&self, progress: &Progress) -> io::Result<()> {
        self.file.sync_data()?;
        let bytes = progress.encode();
        atomic::write_file(&RealDisk, &self.folder, &self.note_name(), &bytes)
            .map_err(|failed| failed.source)
    }

    /// Removes the note: the file is an object now, or gone.
    pub(super) fn forget(&self) {
        // What cannot be removed is of no use to anybody, and goes with a later collection.
        let _ = std::fs::remove_file(self.note());
    }

    /// Removes file and note: the manifest was false.
    pub(super) fn discard(&self) {
        self.forget();
        let _ = std::fs::remove_file(self.path());
    }
}

/// Opens the file, and makes it look used, while nobody can take it away: a collection holds this lock
/// alone, and looks at the time again.
fn take(folder: &Path, id: &ContentId) -> io::Result<File> {
    let _lock = match folder.parent() {
        Some(cache) => Some(RealDisk.lock(cache, Hold::Shared)?),
        None => None,
    };
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(FILE_MODE)
        .custom_flags(O_NOFOLLOW | O_CLOEXEC)
        .open(folder.join(format!("{id}.part")))?;
    file.set_modified(SystemTime::now())?;
    Ok(file)
}

/// Hashes a file while it grows from its beginning. `grown` says up to where it has, in bytes.
///
/// # Errors
/// The file cannot be read.
pub(super) fn hash(
    file: &File,
    mut hasher: Hasher,
    grown: &std::sync::mpsc::Receiver<u64>,
) -> io::Result<Hasher> {
    let mut buffer = vec![0; PIECE];
    let mut done = 0;
    while let Ok(mut end) = grown.recv() {
        // What came meanwhile is one step.
        while let Ok(further) = grown.try_recv() {
            end = further;
        }
        while done < end {
            let room = usize::try_from(end - done).unwrap_or(PIECE).min(PIECE);
            let piece = buffer.get_mut(..room).unwrap_or_default();
            file.read_exact_at(piece, done)?;
            hasher.update(piece);
            done += room as u64;
        }
    }
    Ok(hasher)
}

/// Removes partial files that nobody goes on with; how many.
///
/// # Errors
/// The system refuses.
pub(crate) fn sweep(folder: &Path) -> io::Result<usize> {
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        other => other?,
    };
    let mut gone = 0;
    for entry in entries {
        let entry = entry?;
        let modified = entry.metadata().and_then(|about| about.modified());
        let is_old = modified.is_ok_and(|modified| {
            let age = SystemTime::now().duration_since(modified);
            age.is_ok_and(|age| age >= GIVEN_UP)
        });
        if is_old && std::fs::remove_file(entry.path()).is_ok() {
            gone += 1;
        }
    }
    Ok(gone)
}

/// How many bytes the disk of a folder, or of the nearest one above it that is there, has free.
pub(super) fn free(folder: &Path) -> Option<u64> {
    folder.ancestors().find_map(|folder| {
        let about = nix::sys::statvfs::statvfs(folder).ok()?;
        Some(
            about
                .blocks_available()
                .saturating_mul(about.fragment_size()),
        )
    })
}

fn read_small(path: &Path, limit: usize) -> io::Result<Vec<u8>> {
    use io::Read as _;
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(O_NOFOLLOW | O_CLOEXEC)
        .open(path)?;
    let mut bytes = Vec::new();
    file.take(limit as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use grid_promises::content_id::HashCode;

    fn content(length: usize) -> Vec<u8> {
        (0..=250).cycle().take(length).collect()
    }

    fn write(
        partial: &Partial,
        progress: &mut Progress,
        manifest: &Manifest,
        bytes: &[u8],
        index: u32,
    ) {
        let range = manifest.range_of(index).unwrap();
        let (start, end) = (
            range.start.try_into().unwrap(),
            range.end.try_into().unwrap(),
        );
        let chunk: &[u8] = &bytes[start..end];
        partial.file().write_all_at(chunk, range.start).unwrap();
        progress.mark(index).unwrap();
    }

    #[test]
    fn a_cut_download_goes_on_with_what_is_right_in_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("cache/partial");
        let bytes = content(5 * PIECE + 17);
        let (id, manifest) = (ContentId::of(&bytes), Manifest::of(&bytes).unwrap());
        let (partial, mut progress) = Partial::open(&folder, &id, &manifest).unwrap();
        for index in [0, 2, 3, 5] {
            write(&partial, &mut progress, &manifest, &bytes, index);
        }
        partial.save(&progress).unwrap();
        // Written and not noted; and one that the disk damaged.
        write(&partial, &mut progress, &manifest, &bytes, 1);
        partial
            .file()
            .write_all_at(b"!", 3 * PIECE as u64 + 9)
            .unwrap();
        partial.close();
        partial.write(b"?", 0).unwrap();
        drop(partial);
        let (partial, progress) = Partial::open(&folder, &id, &manifest).unwrap();
        assert_eq!(progress.missing().collect::<Vec<_>>(), [1, 3, 4]);

        // A damaged note, and another manifest, begin anew.
        std::fs::write(partial.note(), b"junk").unwrap();
        let (partial, progress) = Partial::open(&folder, &id, &manifest).unwrap();
        assert_eq!(progress.chunks_here(), 0);
        partial.save(&progress).unwrap();
        let other = Manifest::of(&content(100)).unwrap();
        let (partial, progress) = Partial::open(&folder, &id, &other).unwrap();
        assert_eq!((progress.chunks_here(), progress.chunk_count()), (0, 1));
        assert_eq!(partial.path().metadata().unwrap().len(), 100);
        partial.discard();
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 0);
    }

    #[test]
    fn a_file_is_hashed_while_it_grows() {
        let dir = tempfile::tempdir().unwrap();
        let bytes = content(3 * PIECE + 5);
        let (id, manifest) = (ContentId::of(&bytes), Manifest::of(&bytes).unwrap());
        let (partial, _) = Partial::open(dir.path(), &id, &manifest).unwrap();
        let (grow, grown) = std::sync::mpsc::channel();
        let file = Arc::clone(partial.file());
        let hashing = std::thread::spawn(move || {
            hash(&file, Hasher::new(HashCode::Sha2_256), &grown).unwrap()
        });
        partial.file().write_all_at(&bytes, 0).unwrap();
        for end in [PIECE, 2 * PIECE + 1, bytes.len()] {
            grow.send(end as u64).unwrap();
        }
        drop(grow);
        assert_eq!(hashing.join().unwrap().finish().unwrap(), id);
    }

    #[test]
    fn old_ones_go() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(sweep(&dir.path().join("none")).unwrap(), 0);
        for (name, age) in [("old.part", GIVEN_UP * 2), ("new.part", GIVEN_UP / 2)] {
            let file = File::create(dir.path().join(name)).unwrap();
            file.set_modified(SystemTime::now() - age).unwrap();
        }
        assert_eq!(sweep(dir.path()).unwrap(), 1);
        assert!(dir.path().join("new.part").exists());
        assert!(free(&dir.path().join("not/here")).unwrap() > 0);
    }
}
