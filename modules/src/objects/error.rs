//! What can go wrong with objects and caches, whether anything changed, and what to do next.

use std::io;
use std::path::PathBuf;

use grid_promises::ContentId;

use super::MAX_OBJECT;
use grid_files::ByteSize;
use grid_files::atomic::Failed;

/// Why a cache did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// The system refused. Objects that were stored before are untouched.
    #[error("cannot read {path}: {source}; the object store is as it was", path = path.display())]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The system refused. The object was not stored; those that were stored before are untouched.
    #[error(
        "cannot write {path}: {source}; the object is not stored, the others are as they were",
        path = path.display()
    )]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The bytes on disk were not the object. They were moved away, and the object can be fetched or
    /// put again: a later `get` finds nothing. A failing disk, or somebody wrote into the file.
    #[error(
        "the object {id} was damaged on disk{}; fetch or put it again",
        match aside {
            Some(path) => format!(" and is set aside as {}", path.display()),
            None => String::new(),
        }
    )]
    Damaged {
        /// The object.
        id: ContentId,
        /// Where the damaged bytes are now; `None` if another process moved them at the same time,
        /// or if the damage came while the object was read and is dealt with at the next read.
        aside: Option<PathBuf>,
    },
    /// The bytes that were to be stored are another object. Nothing was stored. Whoever sent them is
    /// wrong or hostile: ask somebody else.
    #[error("the bytes are not the object {expected}, they are {found}; nothing was stored")]
    NotTheObject {
        /// What was asked for.
        expected: ContentId,
        /// What came.
        found: Box<ContentId>,
    },
    /// More than [`MAX_OBJECT`]. Nothing was stored.
    #[error("an object can have {limit} at most; nothing was stored", limit = ByteSize(MAX_OBJECT))]
    TooLarge,
    /// Where the bytes of a new object came from could not be read. Nothing was stored.
    #[error("the bytes of the new object cannot be read: {0}; nothing was stored")]
    Source(io::Error),
    /// Something else stands where an object would be. Nothing was changed.
    #[error(
        "{path} is not a regular file (a link, a folder or a device), and the object store did not \
         make it; move it away",
        path = path.display()
    )]
    Foreign {
        /// The path.
        path: PathBuf,
    },
    /// A file was taken away while it was being written: unfinished files that nobody wrote to for
    /// a day are removed. Nothing was stored; try again.
    #[error("{path} was removed while it was written; nothing was stored, try again", path = path.display())]
    Abandoned {
        /// The unfinished file.
        path: PathBuf,
    },
    /// Other processes change the same object all the time. Nothing was changed; try again.
    #[error("other processes keep changing the object {id}; try again")]
    Contended {
        /// The object.
        id: ContentId,
    },
    /// What the roots reach is not known, because an object that names others is not here. Nothing
    /// was evicted. Fetch that object, or take it out of what reaches it.
    #[error(
        "nothing is evicted: {id} is not in the store, and what it names must be kept; fetch it \
         again, or choose another symbol table"
    )]
    Unreached {
        /// The object that is missing.
        id: ContentId,
    },
    /// The roots reach more objects than are looked at. Nothing was evicted.
    #[error("nothing is evicted: the roots reach more than {limit} objects")]
    TooMany {
        /// How many are looked at.
        limit: usize,
    },
    /// A cache that is not this machine's: a peer, a module. Nothing was stored.
    #[error("{cache}: {why}")]
    Elsewhere {
        /// Its name.
        cache: String,
        /// What happened, and what to do next.
        why: String,
    },
    /// An error in this program. Nothing was stored; please report it.
    #[error("{0}: that is an error in grid itself, please report it")]
    Bug(&'static str),
}

impl From<Failed> for CacheError {
    fn from(failed: Failed) -> Self {
        Self::Write {
            path: failed.path,
            source: failed.source,
        }
    }
}

/// A refused read of a path.
pub(super) fn read(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> CacheError {
    let path = path.into();
    // ELOOP is what O_NOFOLLOW says of a symbolic link.
    move |source| match source.raw_os_error() {
        Some(nix::libc::ELOOP) => CacheError::Foreign { path },
        _ => CacheError::Read { path, source },
    }
}

/// A refused change of a path.
pub(super) fn write(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> CacheError {
    let path = path.into();
    move |source| CacheError::Write { path, source }
}
