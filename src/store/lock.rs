//! One server per home.
//!
//! The lock is the kernel's (`flock`), so that it goes with its process however that ends. The file
//! says the process id for people; nothing trusts it, and on a full disk it says none. In a home that is read-only
//! and has no such file, the folder itself is locked.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::libc::O_NOFOLLOW;

use super::error::StoreError;
use crate::home::{Home, takes_no_files};
use grid_files::FileError;
use grid_files::disk::FILE_MODE;

/// How often the lock is tried.
const TRIES: u32 = 10;
/// How long to wait between two tries.
const PAUSE: Duration = Duration::from_millis(5);

/// Held for as long as the value lives.
#[derive(Debug)]
pub struct ServerLock(#[expect(dead_code, reason = "held, not read")] Flock<File>);

impl ServerLock {
    /// Takes the lock of a home.
    ///
    /// # Errors
    /// [`StoreError::Held`], or what the system says.
    pub fn take(home: &Home) -> Result<Self, StoreError> {
        let path = home.lock();
        let write = |source| FileError::Write {
            path: path.clone(),
            source,
        };
        let file = open(&path)
            .or_else(|error| open_as_it_is(home, error))
            .map_err(write)?;
        let mut lock = match exclusively(file) {
            Ok(lock) => lock,
            Err((file, Errno::EWOULDBLOCK)) => {
                return Err(StoreError::Held {
                    home: home.path().to_owned(),
                    pid: pid_in(file),
                });
            }
            Err((_, error)) => return Err(write(error.into()).into()),
        };
        // The lock is what counts.
        let _ = lock
            .set_len(0)
            .and_then(|()| lock.rewind())
            .and_then(|()| writeln!(lock, "{}", std::process::id()));
        Ok(Self(lock))
    }

    /// Whether a process holds the lock of a home now.
    #[must_use]
    pub fn is_held(home: &Home) -> bool {
        Self::holder(home).is_some()
    }

    /// The id of the process that holds the lock of a home now, as it wrote it.
    #[must_use]
    pub fn holder(home: &Home) -> Option<String> {
        let file = File::open(home.lock())
            .or_else(|_| File::open(home.path()))
            .ok()?;
        let (file, _) = Flock::lock(file, FlockArg::LockSharedNonblock).err()?;
        Some(pid_in(file))
    }
}

/// Takes the lock, and does not give up at once: whoever only asks for its holder has it for a moment.
fn exclusively(mut file: File) -> Result<Flock<File>, (File, Errno)> {
    for _ in 0..TRIES {
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Err((back, Errno::EWOULDBLOCK)) => file = back,
            done => return done,
        }
        sleep(PAUSE);
    }
    Flock::lock(file, FlockArg::LockExclusiveNonblock)
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(FILE_MODE)
        .custom_flags(O_NOFOLLOW)
        .open(path)
}

/// What can be locked in a home that takes no changes.
fn open_as_it_is(home: &Home, error: io::Error) -> io::Result<File> {
    if !takes_no_files(&error) {
        return Err(error);
    }
    File::open(home.lock()).or_else(|_| File::open(home.path()))
}

fn pid_in(file: File) -> String {
    let mut text = String::new();
    let read = file.take(16).read_to_string(&mut text);
    match text.trim() {
        pid if read.is_ok() && !pid.is_empty() && pid.bytes().all(|b| b.is_ascii_digit()) => {
            pid.to_owned()
        }
        _ => "unknown".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_at_a_time_and_the_holder_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::find(Some(dir.path())).unwrap();
        assert!(!ServerLock::is_held(&home));
        let lock = ServerLock::take(&home).unwrap();
        assert!(ServerLock::is_held(&home));
        let error = ServerLock::take(&home).unwrap_err().to_string();
        let pid = std::process::id().to_string();
        assert!(error.contains(&format!("(process {pid})")), "{error}");
        assert_eq!(ServerLock::holder(&home), Some(pid));
        drop(lock);
        assert!(!ServerLock::is_held(&home));
        ServerLock::take(&home).unwrap();
    }
}
