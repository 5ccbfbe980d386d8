//! The objects on disk: where they lie, how they are read, and what happens to damaged ones.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use grid_promises::ContentId;

use super::error::{CacheError, read, write};
use super::object::{Checked, Object, check};
use crate::CacheDir;
use grid_files::RealDisk;
use grid_files::disk::{About, Disk, Hold, OpenFile};

/// How exact the time is at which an object was used last. It is the modification time of its file,
/// which nothing else needs, because objects do not change. A read sets it if it is older than this,
/// and syncs nothing: a power cut may take a few minutes of recency back, and nothing more.
pub const RECENCY: Duration = Duration::from_secs(5 * 60);
/// How often an object is looked at again that others change meanwhile.
const TRIES: usize = 8;
/// The most damaged copies of one object that are kept apart.
const MAX_DAMAGED: usize = 1000;

/// The objects of a home. Cloning it makes another handle to the same folder.
#[derive(Debug)]
pub struct Objects<D = RealDisk> {
    pub(super) inner: Arc<Inner<D>>,
}

#[derive(Debug)]
pub(super) struct Inner<D> {
    /// `cache/`.
    root: PathBuf,
    pub(super) disk: D,
    /// Folders whose names this process made durable, or found durable.
    durable: Mutex<BTreeSet<PathBuf>>,
    pub(super) written: AtomicU64,
}

impl<D> Clone for Objects<D> {
    fn clone(&self) -> Self {
        let inner = Arc::clone(&self.inner);
        Self { inner }
    }
}

/// Which file an object was when it was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) identity: (u64, u64),
    pub(super) modified: SystemTime,
}

impl From<About> for Seen {
    fn from(about: About) -> Self {
        Self {
            identity: about.identity,
            modified: about.modified,
        }
    }
}

/// What reading an object came to.
pub(super) enum Found {
    Nothing,
    Whole(Object, Seen),
    /// Set aside.
    Damaged(Option<PathBuf>),
}

impl Objects<RealDisk> {
    /// The objects in a folder of the file system. Does nothing yet: folders are made by the first
    /// `put`, and a folder without them holds no objects.
    #[must_use]
    pub fn of(cache: &CacheDir) -> Self {
        Self::on(cache.path().to_owned(), RealDisk)
    }
}

impl<D: Disk> Objects<D> {
    pub(super) fn on(root: PathBuf, disk: D) -> Self {
        let (durable, written) = (Mutex::default(), AtomicU64::new(0));
        Self {
            inner: Arc::new(Inner {
                root,
                disk,
                durable,
                written,
            }),
        }
    }

    /// The object, if it is here, verified.
    ///
    /// # Errors
    /// [`CacheError::Damaged`]: it was here, was set aside, and can be fetched or put again. What the
    /// system says.
    pub fn get(&self, id: &ContentId) -> Result<Option<Object>, CacheError> {
        self.get_telling(id, &mut |_| {})
    }

    /// As [`get`](Self::get); `so_far` is told how many bytes of a large object were verified.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn get_telling(
        &self,
        id: &ContentId,
        so_far: &mut dyn FnMut(u64),
    ) -> Result<Option<Object>, CacheError> {
        match self.find(id, so_far)? {
            Found::Nothing => Ok(None),
            Found::Damaged(aside) => Err(CacheError::Damaged { id: *id, aside }),
            Found::Whole(object, seen) => {
                let now = SystemTime::now();
                // Also if it is from the future: a clock was wrong.
                if now
                    .duration_since(seen.modified)
                    .is_ok_and(|age| age < RECENCY)
                {
                    return Ok(Some(object));
                }
                // Recency is a hint. A disk that is read-only gives its objects all the same.
                let _ = self.disk().touch(&self.path(id), now);
                Ok(Some(object))
            }
        }
    }

    /// Whether a file is here for the object. It is not read: only [`get`](Self::get) verifies.
    ///
    /// # Errors
    /// What the system says.
    pub fn has(&self, id: &ContentId) -> Result<bool, CacheError> {
        let path = self.path(id);
        match self.disk().about(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(read(path)(error)),
            Ok(about) => Ok(about.is_regular),
        }
    }

    /// How many bytes this process put since it started: a cheap way to know when a
    /// [`collect`](Self::collect) may be due, which walks the whole folder.
    #[must_use]
    pub fn written(&self) -> u64 {
        self.inner.written.load(Ordering::Relaxed)
    }

    /// Reads the object and verifies it, and sets it aside if it is damaged.
    pub(super) fn find(
        &self,
        id: &ContentId,
        so_far: &mut dyn FnMut(u64),
    ) -> Result<Found, CacheError> {
        let path = self.path(id);
        for _ in 0..TRIES {
            let file = match self.disk().open(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Nothing),
                other => other.map_err(read(&path))?,
            };
            if !file.about.is_regular {
                return Err(CacheError::Foreign { path });
            }
            let seen = Seen::from(file.about);
            match check(*id, file, so_far).map_err(read(&path))? {
                Checked::Whole(object) => return Ok(Found::Whole(object, seen)),
                Checked::Damaged(file) => match self.set_aside(id, &path, &file)? {
                    Aside::Moved(aside) => return Ok(Found::Damaged(Some(aside))),
                    Aside::Gone => return Ok(Found::Damaged(None)),
                    Aside::Replaced => {}
                },
            }
        }
        Err(CacheError::Contended { id: *id })
    }

    /// Moves a damaged file to `cache/damaged/`, unless a good one has taken its place.
    fn set_aside(&self, id: &ContentId, path: &Path, file: &OpenFile) -> Result<Aside, CacheError> {
        let folder = self.damaged();
        self.ensure(&folder)?;
        let _lock = self.lock(Hold::Alone)?;
        match self.disk().about(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Aside::Gone),
            Err(error) => return Err(read(path)(error)),
            // While it is open, no other file has its identity.
            Ok(about) if about.identity != file.about.identity => return Ok(Aside::Replaced),
            Ok(_) => {}
        }
        let aside = self.free_name(&folder, id)?;
        self.disk().rename(path, &aside).map_err(write(path))?;
        self.disk().sync_dir(&folder).map_err(write(&folder))?;
        if let Some(shard) = path.parent() {
            self.disk().sync_dir(shard).map_err(write(shard))?;
        }
        Ok(Aside::Moved(aside))
    }

    fn free_name(&self, folder: &Path, id: &ContentId) -> Result<PathBuf, CacheError> {
        let names = (0..MAX_DAMAGED).map(|number| match number {
            0 => folder.join(id.to_string()),
            number => folder.join(format!("{id}.{number}")),
        });
        for path in names {
            match self.disk().about(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(path),
                Err(error) => return Err(read(path)(error)),
                Ok(_) => {}
            }
        }
        let full = io::Error::other("it holds too many damaged copies of one object; empty it");
        Err(write(folder)(full))
    }

    /// Makes a folder of the cache, with those above it, and makes their names durable.
    pub(super) fn ensure(&self, folder: &Path) -> Result<(), CacheError> {
        let mut made = self.make(folder);
        let is_orphan = made
            .as_ref()
            .is_err_and(|error| error.kind() == io::ErrorKind::NotFound);
        if is_orphan && folder != self.inner.root {
            // `cache/` is new, or somebody removed it: it is a cache.
            self.ensure_parent(folder)?;
            made = self.make(folder);
        }
        let is_new = made.map_err(write(folder))?;
        // Who made it may have been stopped before its name was durable.
        if !is_new && self.is_durable(folder) {
            return Ok(());
        }
        if folder != self.inner.root {
            self.ensure_parent(folder)?;
        }
        self.make_durable(folder)
    }

    fn ensure_parent(&self, folder: &Path) -> Result<(), CacheError> {
        self.ensure(folder.parent().unwrap_or(&self.inner.root))
    }

    /// Makes one folder; whether it is new.
    fn make(&self, folder: &Path) -> io::Result<bool> {
        match self.disk().make_dir(folder) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            other => other.map(|()| true),
        }
    }

    fn make_durable(&self, folder: &Path) -> Result<(), CacheError> {
        if let Some(parent) = folder.parent() {
            self.disk().sync_dir(parent).map_err(write(parent))?;
        }
        self.durable_folders().insert(folder.to_owned());
        Ok(())
    }

    fn is_durable(&self, folder: &Path) -> bool {
        self.durable_folders().contains(folder)
    }

    fn durable_folders(&self) -> std::sync::MutexGuard<'_, BTreeSet<PathBuf>> {
        // Whoever panicked with it had inserted a path or not.
        let durable = self.inner.durable.lock();
        durable.unwrap_or_else(PoisonError::into_inner)
    }

    /// The lock of the whole cache. Whoever holds it waits for nobody.
    pub(super) fn lock(&self, hold: Hold) -> Result<D::Lock, CacheError> {
        let root = &self.inner.root;
        self.disk().lock(root, hold).map_err(write(root))
    }

    pub(super) fn disk(&self) -> &D {
        &self.inner.disk
    }

    /// Where an object lies.
    pub(super) fn path(&self, id: &ContentId) -> PathBuf {
        let text = id.to_string();
        let (rest, shard) = text
            .split_at_checked(text.len().saturating_sub(2))
            .unwrap_or_default();
        self.objects().join(shard).join(rest)
    }

    /// The folder of folders of objects.
    pub(super) fn objects(&self) -> PathBuf {
        self.inner.root.join("objects")
    }

    /// The folder of objects that are being written.
    pub(super) fn incoming(&self) -> PathBuf {
        self.inner.root.join("incoming")
    }

    /// The folder of objects that were damaged.
    pub(super) fn damaged(&self) -> PathBuf {
        self.inner.root.join("damaged")
    }

    /// The folder of memoised calls.
    pub(super) fn calls(&self) -> PathBuf {
        self.inner.root.join("calls")
    }

    /// The folder of unfinished downloads.
    pub(super) fn partial(&self) -> PathBuf {
        self.inner.root.join("partial")
    }
}

enum Aside {
    Moved(PathBuf),
    /// Somebody else moved it.
    Gone,
    /// Another file has its name now.
    Replaced,
}
