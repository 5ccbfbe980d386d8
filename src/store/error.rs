//! What can be wrong with a home, and what to do about it.

use std::path::PathBuf;

use grid_files::FileError;
use grid_files::atomic::Failed;

/// Something is wrong with a home. Nothing was changed; nothing is repaired silently.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Something is wrong with one of its files.
    #[error(transparent)]
    File(#[from] FileError),
    /// The configuration is broken.
    #[error("{path}:{line}:{column}: {why}", path = path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The column in characters, from 1.
        column: usize,
        /// What is wrong.
        why: String,
    },
    /// Another server holds the home.
    #[error("another server holds {home} (process {pid})", home = home.display())]
    Held {
        /// The home.
        home: PathBuf,
        /// Its process id, as it wrote it.
        pid: String,
    },
    /// The home was made on another machine.
    #[error(
        "{home} was made on another machine, which may still run as the same node",
        home = home.display()
    )]
    OtherMachine {
        /// The home.
        home: PathBuf,
    },
    /// The node's key cannot be used, and others know this home by it.
    #[error(
        "{path} {what}, and this home is that of a node that others know by this key; nothing was changed",
        path = path.display()
    )]
    NoKey {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// The home was made on this machine, and is no copy.
    #[error("{home} was made on this machine: it keeps its key", home = home.display())]
    SameMachine {
        /// The home.
        home: PathBuf,
    },
}

impl StoreError {
    pub(crate) fn damaged(path: impl Into<PathBuf>, why: impl Into<String>) -> Self {
        FileError::damaged(path, why).into()
    }
}

impl From<Failed> for StoreError {
    fn from(failed: Failed) -> Self {
        FileError::from(failed).into()
    }
}
