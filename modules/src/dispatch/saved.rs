//! The file that a node's dispatch tree survives in (`cache/routes`).
//!
//! The tree itself is `grid_promises::routes`. The file is a cache: one that cannot be read is set
//! aside, and the tree fills again by use.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use grid_promises::routes::{Limits, Routes};
use tracing::warn;

use crate::cache_dir::CacheDir;

/// The longest file that is read, in bytes: more than any tree within its limits has.
const MAX_FILE: u64 = 256 << 20;

/// The file that a node's tree is kept in.
#[derive(Clone, Debug)]
pub struct RoutesFile(PathBuf);

impl RoutesFile {
    /// That in a folder.
    #[must_use]
    pub fn of(cache: &CacheDir) -> Self {
        Self(cache.routes())
    }

    /// The tree, as it was saved last. `None` if it never was.
    ///
    /// # Errors
    /// The file cannot be read, or does not hold a tree. It was not touched.
    pub fn read(&self) -> io::Result<Option<Routes>> {
        let length = match fs::metadata(&self.0) {
            Ok(about) => about.len(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let invalid = |why: String| io::Error::new(io::ErrorKind::InvalidData, why);
        if length > MAX_FILE {
            return Err(invalid(format!("it has {length} bytes")));
        }
        let bytes = fs::read(&self.0)?;
        let routes = Routes::import(&bytes, Limits::STANDARD);
        routes.map(Some).map_err(|error| invalid(error.to_string()))
    }

    /// The tree, as it was saved last; an empty one if there is none. A damaged file is set aside,
    /// where it is not read again, and the log says so.
    #[must_use]
    pub fn read_or_empty(&self) -> Routes {
        let error = match self.read() {
            Ok(routes) => return routes.unwrap_or_default(),
            Err(error) => error,
        };
        let path = self.0.display();
        let aside = self.0.with_extension("damaged");
        match fs::rename(&self.0, &aside) {
            Ok(()) => warn!(
                "{path} cannot be read: {error}; it is now {}, and who keeps which promise is \
                 learned anew",
                aside.display()
            ),
            Err(left) => warn!(
                "{path} cannot be read: {error}, nor be set aside: {left}; who keeps which promise \
                 is learned anew"
            ),
        }
        Routes::default()
    }

    /// Saves an exported tree in the place of the one before, all at once.
    ///
    /// # Errors
    /// The disk's. The file before still stands then.
    pub fn write(&self, bytes: &[u8]) -> io::Result<()> {
        let folder = self.0.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(folder)?;
        let temporary = self.0.with_extension("new.tmp");
        let mut file = fs::File::create(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, &self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::now;
    use grid_promises::ContentId;
    use grid_promises::routes::{Key, Target};

    #[test]
    fn a_tree_is_found_again_and_a_damaged_one_is_set_aside() {
        let dir = tempfile::tempdir().unwrap();
        let cache = CacheDir::new(dir.path().join("cache"));
        let file = RoutesFile::of(&cache);
        assert!(file.read_or_empty().is_empty());
        let mut routes = Routes::default();
        let key = Key::promise(ContentId::of(b"p"));
        routes
            .accepted(key, &Target::builtin("fetch"), now())
            .unwrap();
        file.write(&routes.export()).unwrap();
        assert_eq!(file.read_or_empty().export(), routes.export());
        let mut bytes = routes.export();
        bytes.pop();
        file.write(&bytes).unwrap();
        assert!(file.read().is_err());
        assert!(file.read_or_empty().is_empty());
        assert!(file.read().unwrap().is_none(), "it was set aside");
        let aside = cache.path().join("routes.damaged");
        assert_eq!(fs::read(aside).unwrap(), bytes);
    }
}
