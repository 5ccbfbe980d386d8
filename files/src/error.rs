//! What can be wrong with a file or a folder, and what to do about it.

use std::io;
use std::path::PathBuf;

use crate::atomic::Failed;

/// Something is wrong with a file. Nothing was changed; nothing is repaired silently.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The system refused.
    #[error("cannot read {path}: {source}", path = path.display())]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The system refused.
    #[error("cannot write {path}: {source}", path = path.display())]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file that holds a secret and that others can read or write.
    #[error(
        "{path} holds a secret, and others can open it (mode {mode:04o}); run `chmod 600 {path}`, \
         and replace the key if somebody may have read it",
        path = path.display()
    )]
    OpenToOthers {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A folder that others can write to.
    #[error(
        "others can write to {path} (mode {mode:04o}); run `chmod 700 {path}`",
        path = path.display()
    )]
    FolderOpen {
        /// The folder.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A folder that others can write to, and that is not the program's.
    #[error(
        "others can write to {path} (mode {mode:04o}); choose a folder of its own with --home",
        path = path.display()
    )]
    FolderShared {
        /// The folder.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The file is somebody else's.
    #[error(
        "{path} belongs to user {owner}, and this process runs as user {me}; run it as that user, \
         or choose another home with --home",
        path = path.display()
    )]
    OtherOwner {
        /// The file or folder.
        path: PathBuf,
        /// The user that it belongs to.
        owner: u32,
        /// The user of this process.
        me: u32,
    },
    /// Something else stands where a file should be.
    #[error(
        "{path} is not a regular file (a symbolic link, a folder or a device); put the file itself \
         there, or move it away",
        path = path.display()
    )]
    NotAFile {
        /// The path.
        path: PathBuf,
    },
    /// A file that should be there is not.
    #[error(
        "{path} is missing; restore it from a copy, or move its folder away and join again",
        path = path.display()
    )]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// The file cannot be what it should be.
    #[error(
        "{path} is damaged: {why}; restore it from a copy, or move it away",
        path = path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
}

impl FileError {
    /// A refused read of a path.
    pub fn read(path: impl Into<PathBuf>, source: io::Error) -> Self {
        let path = path.into();
        // What O_NOFOLLOW says of a symbolic link.
        if source.raw_os_error() == Some(nix::libc::ELOOP) {
            return Self::NotAFile { path };
        }
        if source.kind() == io::ErrorKind::NotFound {
            return Self::Missing { path };
        }
        Self::Read { path, source }
    }

    /// A file that cannot be what it should be.
    pub fn damaged(path: impl Into<PathBuf>, why: impl Into<String>) -> Self {
        Self::Damaged {
            path: path.into(),
            why: why.into(),
        }
    }
}

impl From<Failed> for FileError {
    fn from(failed: Failed) -> Self {
        Self::Write {
            path: failed.path,
            source: failed.source,
        }
    }
}
