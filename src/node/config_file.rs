//! The configuration as it is now: the command line may change it while the server runs.

use std::os::unix::fs::MetadataExt as _;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use grid_promises::ContentId;
use parking_lot::Mutex;
use tracing::warn;

use crate::home::Home;
#[cfg(feature = "modules")]
use crate::store::StoreError;
use crate::store::{Config, Store};

/// For how long the accept list is believed without looking.
const BELIEVED: Duration = Duration::from_secs(1);

/// Which file the configuration was when it was read.
type Stamp = (u64, u64, Option<SystemTime>);

/// Reads the configuration again when its file is another than before.
#[derive(Debug)]
pub struct ConfigFile {
    home: Home,
    read: Mutex<(Option<Stamp>, Arc<Config>)>,
    /// When it was looked at last for a promise, and what it was.
    believed: Mutex<(Instant, Arc<Config>)>,
}

impl ConfigFile {
    /// As it was read when the server started.
    pub fn new(home: &Home, config: Config) -> Self {
        let config = Arc::new(config);
        Self {
            home: home.clone(),
            read: Mutex::new((None, Arc::clone(&config))),
            believed: Mutex::new((Instant::now(), config)),
        }
    }

    /// The configuration. One that cannot be read leaves the one before it standing. Blocks.
    pub fn now(&self) -> Arc<Config> {
        let stamp = std::fs::metadata(self.home.config())
            .ok()
            .map(|about| (about.ino(), about.len(), about.modified().ok()));
        let mut read = self.read.lock();
        if stamp.is_some() && read.0 != stamp {
            // Said once for each state of the file.
            read.0 = stamp;
            match Store::look(&self.home).config() {
                Ok(config) => read.1 = Arc::new(config),
                Err(error) => warn!("the configuration stays as it was: {error}"),
            }
        }
        Arc::clone(&read.1)
    }

    /// Whether this node takes part in a promise, as the configuration was at most a second ago.
    pub fn takes_part_in(&self, promise: &ContentId) -> bool {
        self.lately().takes_part_in(promise)
    }

    /// The configuration as it was at most a second ago.
    pub fn lately(&self) -> Arc<Config> {
        let mut believed = self.believed.lock();
        if believed.0.elapsed() > BELIEVED {
            // One look at a file, which is read only if it changed.
            *believed = (Instant::now(), self.now());
        }
        Arc::clone(&believed.1)
    }

    /// The home.
    #[cfg(feature = "modules")]
    pub const fn home(&self) -> &Home {
        &self.home
    }

    /// The judges of the home's networks, as they stand on disk. Blocks.
    #[cfg(feature = "modules")]
    pub fn judges(&self) -> Result<Vec<ContentId>, StoreError> {
        Store::look(&self.home).judges()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_seen_and_a_mistake_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::find(Some(dir.path())).unwrap();
        let file = ConfigFile::new(&home, Config::default());
        assert_eq!(file.now().cache_limit, None);
        for (text, bytes) in [
            ("cache_limit = \"1MiB\"\n", 1 << 20),
            ("cache_limit = \"junk\"\n", 1 << 20),
            ("cache_limit = \"20MiB\"\n", 20 << 20),
        ] {
            // Another file: as the program itself writes it.
            let new = dir.path().join("new");
            std::fs::write(&new, text).unwrap();
            std::fs::rename(&new, home.config()).unwrap();
            assert_eq!(file.now().cache_limit.unwrap().0, bytes, "{text}");
        }
    }
}
