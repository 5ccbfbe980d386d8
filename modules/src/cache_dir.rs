//! Where a node keeps objects and what it computed from them. Knows paths and nothing of what is in them.

use std::path::{Path, PathBuf};

/// The folder `cache/` of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheDir(PathBuf);

impl CacheDir {
    /// The folder with this path. It need not exist.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// The folder itself.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The folder of memoised calls.
    #[must_use]
    pub fn calls(&self) -> PathBuf {
        self.0.join("calls")
    }

    /// The folder of compiled modules.
    #[must_use]
    pub fn compiled(&self) -> PathBuf {
        self.0.join("compiled")
    }

    /// The folder of unfinished downloads.
    #[must_use]
    pub fn partial(&self) -> PathBuf {
        self.0.join("partial")
    }

    /// The file of the dispatch tree.
    #[must_use]
    pub fn routes(&self) -> PathBuf {
        self.0.join("routes")
    }
}
