//! Reading single files with suspicion: whose they are, and who else can open them.

use std::io;
use std::path::Path;

use zeroize::Zeroizing;

use crate::disk::Disk;
use crate::error::FileError;

/// The most bytes of a file that is not a list of statements.
pub const SMALL: u64 = 256 * 1024;

/// Who may see a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Privacy {
    /// Its owner only: it holds a secret.
    Secret,
    /// Whoever the folder lets in.
    Plain,
}

/// Reads files as the user `me`.
pub struct Reader<'a, D> {
    /// Where they are.
    pub disk: &'a D,
    /// The user of this process, to whom they have to belong.
    pub me: u32,
}

impl<D: Disk> Reader<'_, D> {
    /// The content of a file that is not empty; `None` if there is no such file.
    ///
    /// # Errors
    /// It is longer than `limit` bytes, empty, no file, somebody else's, or not private enough; or what
    /// the system says.
    pub fn optional(
        &self,
        path: &Path,
        limit: u64,
        privacy: Privacy,
    ) -> Result<Option<Zeroizing<Vec<u8>>>, FileError> {
        let found = match self.disk.read(path, limit) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other.map_err(|error| FileError::read(path, error))?,
        };
        let path = || path.to_owned();
        if !found.regular {
            return Err(FileError::NotAFile { path: path() });
        }
        if found.owner != self.me {
            return Err(FileError::OtherOwner {
                path: path(),
                owner: found.owner,
                me: self.me,
            });
        }
        if privacy == Privacy::Secret && found.mode & 0o077 != 0 {
            return Err(FileError::OpenToOthers {
                path: path(),
                mode: found.mode,
            });
        }
        if found.bytes.is_empty() {
            return Err(FileError::damaged(path(), "it is empty"));
        }
        Ok(Some(found.bytes))
    }

    /// As [`optional`](Self::optional), of at most [`SMALL`] bytes; a missing file is an error.
    ///
    /// # Errors
    /// As [`optional`](Self::optional).
    pub fn required(&self, path: &Path, privacy: Privacy) -> Result<Zeroizing<Vec<u8>>, FileError> {
        self.optional(path, SMALL, privacy)?
            .ok_or_else(|| FileError::Missing {
                path: path.to_owned(),
            })
    }

    /// A file of at most [`SMALL`] bytes that holds text.
    ///
    /// # Errors
    /// As [`optional`](Self::optional), or it is not UTF-8.
    pub fn text(
        &self,
        path: &Path,
        privacy: Privacy,
    ) -> Result<Option<Zeroizing<String>>, FileError> {
        let Some(bytes) = self.optional(path, SMALL, privacy)? else {
            return Ok(None);
        };
        let text =
            std::str::from_utf8(&bytes).map_err(|_| FileError::damaged(path, "it is not text"))?;
        Ok(Some(Zeroizing::new(text.to_owned())))
    }
}
