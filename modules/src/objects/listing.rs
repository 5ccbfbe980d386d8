//! What is in the cache: which objects, how many bytes, and whether they are whole. Sizes are those
//! of the files' contents; what the file system adds to round them up is not counted.

use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use grid_promises::{ContentId, Message};

use super::disk::{Found, Objects, Seen};
use super::error::{CacheError, read};
use grid_files::disk::{About, Disk, Entry};

/// How deep folders of memoised calls are followed: promise, module, arguments.
const MAX_DEPTH: usize = Message::MAX_ARGS + 2;

/// A file that has the name of an object. It was not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The object.
    pub id: ContentId,
    /// The length of the file, in bytes.
    pub len: u64,
    /// When it was put or read last, up to [`RECENCY`](super::RECENCY) too early.
    pub used: SystemTime,
    pub(super) identity: (u64, u64),
}

impl Listed {
    pub(super) const fn seen(&self) -> Seen {
        Seen {
            identity: self.identity,
            modified: self.used,
        }
    }
}

/// A number of files and their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amount {
    /// How many files.
    pub count: u64,
    /// How many bytes they hold.
    pub bytes: u64,
}

impl Amount {
    pub(super) const fn add(&mut self, bytes: u64) {
        self.count = self.count.saturating_add(1);
        self.bytes = self.bytes.saturating_add(bytes);
    }

    pub(super) const fn subtract(&mut self, bytes: u64) {
        self.count = self.count.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(bytes);
    }
}

/// What takes room in `cache/`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sizes {
    /// Objects.
    pub objects: Amount,
    /// Objects that are being written, or whose writer is gone.
    pub incoming: Amount,
    /// Objects that were damaged. A person who has no more use for them may remove them.
    pub damaged: Amount,
    /// Memoised calls.
    pub calls: Amount,
    /// Files of downloads that were not finished yet, or were cut.
    pub partial: Amount,
    /// Files that lie among the objects without having the name of one. They are left alone.
    pub foreign: Amount,
}

impl Sizes {
    /// All of it, in bytes.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.objects
            .bytes
            .saturating_add(self.incoming.bytes)
            .saturating_add(self.damaged.bytes)
            .saturating_add(self.calls.bytes)
            .saturating_add(self.partial.bytes)
            .saturating_add(self.foreign.bytes)
    }
}

/// An object that an audit found damaged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DamagedObject {
    /// The object.
    pub id: ContentId,
    /// Where its bytes are now; `None` if another process moved them.
    pub aside: Option<PathBuf>,
}

/// What an audit found.
#[derive(Debug, Default)]
pub struct Audit {
    /// What was read and is whole.
    pub whole: Amount,
    /// What was damaged and is set aside.
    pub damaged: Vec<DamagedObject>,
    /// What could not be looked at, and why.
    pub unread: Vec<(ContentId, CacheError)>,
}

impl<D: Disk> Objects<D> {
    /// Every object, in ascending order of ids. Nothing is read or verified.
    ///
    /// # Errors
    /// What the system says.
    pub fn list(&self) -> Result<Vec<Listed>, CacheError> {
        let mut all = Vec::new();
        self.each_file(&mut |name, about| {
            if let Some(id) = name.filter(|_| about.is_regular) {
                all.push(Listed {
                    id,
                    len: about.len,
                    used: about.modified,
                    identity: about.identity,
                });
            }
        })?;
        all.sort_by_key(|listed| listed.id);
        Ok(all)
    }

    /// What takes room in `cache/`. Looks at every file.
    ///
    /// # Errors
    /// What the system says.
    pub fn sizes(&self) -> Result<Sizes, CacheError> {
        let mut sizes = Sizes::default();
        self.each_file(&mut |name, about| match name {
            Some(_) if about.is_regular => sizes.objects.add(about.len),
            _ => sizes.foreign.add(about.len),
        })?;
        sizes.incoming = self.amount(self.incoming())?;
        sizes.damaged = self.amount(self.damaged())?;
        sizes.calls = self.amount(self.calls())?;
        sizes.partial = self.amount(self.partial())?;
        Ok(sizes)
    }

    /// Reads every object and verifies it; damaged ones are set aside. When they were used last stays
    /// as it is. `so_far` is told after each piece how many bytes were read, of how many.
    ///
    /// # Errors
    /// The list cannot be read. What is wrong with single objects is in the [`Audit`].
    pub fn audit(&self, so_far: &mut dyn FnMut(u64, u64)) -> Result<Audit, CacheError> {
        let all = self.list()?;
        let total = all.iter().map(|listed| listed.len).sum();
        let mut audit = Audit::default();
        let mut done = 0;
        for listed in all {
            match self.find(&listed.id, &mut |bytes| so_far(done + bytes, total)) {
                Ok(Found::Whole(object, _)) => audit.whole.add(object.len()),
                // Evicted since it was listed.
                Ok(Found::Nothing) => {}
                Ok(Found::Damaged(aside)) => {
                    let id = listed.id;
                    audit.damaged.push(DamagedObject { id, aside });
                }
                Err(error) => audit.unread.push((listed.id, error)),
            }
            done += listed.len;
            so_far(done, total);
        }
        Ok(audit)
    }

    /// Every file among the objects, with the id whose place it has.
    fn each_file(&self, each: &mut dyn FnMut(Option<ContentId>, &About)) -> Result<(), CacheError> {
        let objects = self.objects();
        for shard in self.entries(&objects)? {
            let folder = objects.join(&shard.name);
            if !shard.is_dir {
                if let Some(about) = self.look(&folder)? {
                    each(None, &about);
                }
                continue;
            }
            for entry in self.entries(&folder)? {
                let path = folder.join(&entry.name);
                let id = format!("{}{}", entry.name, shard.name).parse();
                let id = id.ok().filter(|id| self.path(id) == path);
                if let Some(about) = self.look(&path)? {
                    each(id, &about);
                }
            }
        }
        Ok(())
    }

    /// The files in a folder and in those below it.
    pub(super) fn amount(&self, folder: PathBuf) -> Result<Amount, CacheError> {
        let mut amount = Amount::default();
        self.each_below(folder, &mut |_, about| amount.add(about.len))?;
        Ok(amount)
    }

    /// Every file in a folder and in those below it.
    pub(super) fn each_below(
        &self,
        folder: PathBuf,
        each: &mut dyn FnMut(PathBuf, &About),
    ) -> Result<(), CacheError> {
        let mut folders = vec![(folder, 0)];
        while let Some((folder, depth)) = folders.pop() {
            for entry in self.entries(&folder)? {
                let path = folder.join(&entry.name);
                if entry.is_dir && depth < MAX_DEPTH {
                    folders.push((path, depth + 1));
                } else if let Some(about) = self.look(&path)? {
                    each(path, &about);
                }
            }
        }
        Ok(())
    }

    /// What is in a folder; nothing if it is not there.
    pub(super) fn entries(&self, folder: &Path) -> Result<Vec<Entry>, CacheError> {
        match self.disk().list(folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            other => other.map_err(read(folder)),
        }
    }

    /// What is known of a file; others may remove it at any time.
    pub(super) fn look(&self, path: &Path) -> Result<Option<About>, CacheError> {
        match self.disk().about(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            other => other.map(Some).map_err(read(path)),
        }
    }
}
