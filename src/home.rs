//! Where a node keeps what it keeps. Knows paths and nothing of what is in them.

use std::env;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use grid_promises::ContentId;

/// The home of a node that belongs to the machine and not to a person.
pub const SYSTEM_HOME: &str = "/var/lib/grid";

/// Whether a folder takes no new files: it is read-only, or its disk is full, or has no place for a file.
pub(crate) fn takes_no_files(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ReadOnlyFilesystem
            | io::ErrorKind::StorageFull
            | io::ErrorKind::QuotaExceeded
    )
}

/// The folder of one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Home {
    path: PathBuf,
    is_named: bool,
}

impl Home {
    /// The folder that was named; else `$GRID_HOME`, `~/.grid`, `/var/lib/grid`. Always absolute. Root
    /// without a `~/.grid` means the machine's node, if there is one.
    ///
    /// # Errors
    /// A relative path while the working directory is gone.
    pub fn find(named: Option<&Path>) -> io::Result<Self> {
        let set = |name| env::var_os(name).filter(|value| !value.is_empty());
        let named = named.map(Path::to_owned);
        let named = named.or_else(|| set("GRID_HOME").map(PathBuf::from));
        let is_named = named.is_some();
        let path = match (named, set("HOME")) {
            (Some(home), _) => home,
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
        };
        let path = std::path::absolute(path)?;
        Ok(Self { path, is_named })
    }

    /// Whether somebody named the folder, with `--home` or `GRID_HOME`.
    #[must_use]
    pub const fn is_named(&self) -> bool {
        self.is_named
    }

    /// Whether there is no such folder, nobody named it, and the machine has a node of its own: whoever
    /// looks probably means that one.
    #[must_use]
    pub fn is_beside_the_machines(&self) -> bool {
        self.is_beside(Path::new(SYSTEM_HOME))
    }

    fn is_beside(&self, machines: &Path) -> bool {
        !self.is_named && self.path != machines && !self.path.exists() && machines.is_dir()
    }

    /// The folder itself.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The configuration.
    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.path.join("config")
    }

    /// The folder of the node's keys.
    #[must_use]
    pub fn keys(&self) -> PathBuf {
        self.path.join("keys")
    }

    /// The folder of known peers, one file each.
    #[must_use]
    pub fn peers(&self) -> PathBuf {
        self.path.join("peers")
    }

    /// The folder of networks, one folder each.
    #[must_use]
    pub fn nets(&self) -> PathBuf {
        self.path.join("nets")
    }

    /// The folder of objects and memoised calls.
    #[cfg(feature = "modules")]
    #[must_use]
    pub fn cache(&self) -> grid_modules::CacheDir {
        grid_modules::CacheDir::new(self.path.join("cache"))
    }

    /// Where the control socket of a server here may be, first where it is made if that can be: in the home; else where
    /// this user's programs keep such things while they run. Whether it can be may change, so that both are tried each time.
    #[must_use]
    pub fn sockets(&self) -> [PathBuf; 2] {
        let inside = self.path.join("grid.sock");
        [inside, self.socket_in(&runtime_dir())]
    }

    /// The control socket in a folder that serves other homes too.
    fn socket_in(&self, folder: &Path) -> PathBuf {
        let id = ContentId::of(self.path.as_os_str().as_bytes()).to_string();
        let short: String = id.chars().take(16).collect();
        folder.join(short).join("grid.sock")
    }

    /// The lock that the server holds.
    #[must_use]
    pub fn lock(&self) -> PathBuf {
        self.path.join("server.lock")
    }

    /// The log of a server in the background.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.path.join("server.log")
    }
}

/// Where this user's programs keep what is gone when the machine restarts. Nobody else can write there.
fn runtime_dir() -> PathBuf {
    let user = nix::unistd::geteuid();
    if user.is_root() {
        return "/run/grid".into();
    }
    let named = env::var_os("XDG_RUNTIME_DIR").filter(|value| !value.is_empty());
    let folder = named.map_or_else(|| format!("/run/user/{user}").into(), PathBuf::from);
    folder.join("grid")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn read_only_homes_have_sockets_of_their_own_elsewhere() {
        let home = |path: &str| Home {
            path: path.into(),
            is_named: true,
        };
        let elsewhere = |path| home(path).socket_in(Path::new("/run/grid"));
        assert_ne!(elsewhere("/a"), elsewhere("/b"));
        // As short as a path of a socket has to be.
        assert!(elsewhere("/a").as_os_str().len() < 60);
        let dir = tempfile::tempdir().unwrap();
        let own = home(dir.path().to_str().unwrap());
        assert_eq!(own.sockets()[0], dir.path().join("grid.sock"));
    }

    #[test]
    fn a_user_without_a_home_is_beside_the_machines_node() {
        let dir = tempfile::tempdir().unwrap();
        let (machines, own) = (dir.path().join("machines"), dir.path().join("own"));
        let home = |is_named| Home {
            path: own.clone(),
            is_named,
        };
        assert!(!home(false).is_beside(&machines), "the machine has none");
        std::fs::create_dir(&machines).unwrap();
        assert!(home(false).is_beside(&machines));
        assert!(!home(true).is_beside(&machines), "it was named");
        std::fs::create_dir(&own).unwrap();
        assert!(!home(false).is_beside(&machines), "the user has one");
    }
}
