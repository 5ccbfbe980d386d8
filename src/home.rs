//! Where a node keeps what it keeps. Knows paths and nothing of what is in them.

use std::env;
use std::path::{Path, PathBuf};

/// The home of a node that belongs to the machine and not to a person.
pub const SYSTEM_HOME: &str = "/var/lib/grid";

/// The folder of one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Home(PathBuf);

impl Home {
    /// The folder that was named; else `$GRID_HOME`, `~/.grid`, `/var/lib/grid`. Always absolute. Root
    /// without a `~/.grid` means the machine's node, if there is one.
    ///
    /// # Errors
    /// A relative path while the working directory is gone.
    pub fn find(named: Option<&Path>) -> std::io::Result<Self> {
        let set = |name| env::var_os(name).filter(|value| !value.is_empty());
        let path = match named {
            Some(path) => path.to_owned(),
            None => match (set("GRID_HOME"), set("HOME")) {
                (Some(home), _) => home.into(),
                (None, Some(user)) => {
                    let own = PathBuf::from(user).join(".grid");
                    let is_root = || nix::unistd::geteuid().is_root();
                    if !own.exists() && is_root() && Path::new(SYSTEM_HOME).is_dir() {
                        SYSTEM_HOME.into()
                    } else {
                        own
                    }
                }
                (None, None) => SYSTEM_HOME.into(),
            },
        };
        std::path::absolute(path).map(Self)
    }

    /// The folder itself.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The configuration.
    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.0.join("config")
    }

    /// The folder of the node's keys.
    #[must_use]
    pub fn keys(&self) -> PathBuf {
        self.0.join("keys")
    }

    /// The folder of known peers, one file each.
    #[must_use]
    pub fn peers(&self) -> PathBuf {
        self.0.join("peers")
    }

    /// The folder of networks, one folder each.
    #[must_use]
    pub fn nets(&self) -> PathBuf {
        self.0.join("nets")
    }

    /// The folder of objects and memoised calls.
    #[cfg(feature = "modules")]
    #[must_use]
    pub fn cache(&self) -> grid_modules::CacheDir {
        grid_modules::CacheDir::new(self.0.join("cache"))
    }

    /// The control socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.0.join("grid.sock")
    }

    /// The lock that the server holds.
    #[must_use]
    pub fn lock(&self) -> PathBuf {
        self.0.join("server.lock")
    }

    /// The log of a server in the background.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.0.join("server.log")
    }
}
