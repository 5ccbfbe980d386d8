//! The network namespace of an interface.
//!
//! The interface, its addresses, routes and rules live in the named namespace; WireGuard's UDP
//! sockets stay in the caller's, so that programs in the namespace reach the world only through the
//! tunnel ("network namespaces" in WireGuard's documentation).
//!
//! What it refuses to do: create or remove a namespace, or change that of the calling thread. A
//! separate thread enters, opens sockets, and ends; a socket stays in the namespace in which it was
//! opened.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::thread;

use nix::errno::Errno;
use nix::sched::{CloneFlags, setns};

use crate::error::Error;
use crate::netns::Netns;

/// Where an interface lives. The default is the network namespace of the calling thread.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place(Option<Netns>);

impl Place {
    /// In this network namespace.
    #[must_use]
    pub const fn in_netns(netns: Netns) -> Self {
        Self(Some(netns))
    }

    /// Its network namespace. `None`: that of the calling thread.
    #[must_use]
    pub const fn netns(&self) -> Option<&Netns> {
        self.0.as_ref()
    }

    /// Opens the namespace, so that it stays the same one whatever becomes of its name.
    pub(crate) fn open(&self) -> Result<Inside, Error> {
        let entered = self.0.as_ref().map(|netns| {
            let file = open(netns)?;
            Ok::<_, Error>((netns.clone(), file))
        });
        Ok(Inside(entered.transpose()?))
    }

    /// Runs `work` there, on another thread if necessary.
    pub(crate) fn run<T: Send>(
        &self,
        work: impl FnOnce() -> Result<T, Error> + Send,
    ) -> Result<T, Error> {
        self.open()?.run(work)
    }
}

/// A place whose namespace is open.
pub(crate) struct Inside(Option<(Netns, File)>);

impl Inside {
    /// The file that refers to the namespace. `None`: that of the calling thread.
    pub(crate) const fn file(&self) -> Option<&File> {
        match &self.0 {
            Some((_, file)) => Some(file),
            None => None,
        }
    }

    /// As [`Place::run`].
    pub(crate) fn run<T: Send>(
        &self,
        work: impl FnOnce() -> Result<T, Error> + Send,
    ) -> Result<T, Error> {
        let Some((netns, file)) = &self.0 else {
            return work();
        };
        let failed = |source| {
            Error::os(
                format!("starting a thread for the network namespace {netns}"),
                source,
            )
        };
        thread::scope(|scope| {
            let inside = || {
                setns(file, CloneFlags::CLONE_NEWNET)
                    .map_err(|errno: Errno| entering(netns, errno.into()))?;
                work()
            };
            let thread = thread::Builder::new()
                .name("wg-netns".to_owned())
                .spawn_scoped(scope, inside)
                .map_err(failed)?;
            thread
                .join()
                .unwrap_or_else(|_| Err(failed(io::Error::other("it panicked"))))
        })
    }
}

/// Opens the namespace, which keeps it alive. Whether the file is a namespace shows when a thread
/// enters it.
fn open(netns: &Netns) -> Result<File, Error> {
    let mut options = OpenOptions::new();
    // The path may be of anything, even a pipe: never block on it.
    let flags = libc::O_NONBLOCK | libc::O_CLOEXEC;
    let opened = options.read(true).custom_flags(flags).open(netns.path());
    opened.map_err(|source| entering(netns, source))
}

fn entering(netns: &Netns, source: io::Error) -> Error {
    let netns = netns.clone();
    match source.raw_os_error() {
        Some(libc::ENOENT | libc::ENOTDIR) => Error::NoNetns { netns },
        Some(libc::EPERM | libc::EACCES) => Error::NetnsDenied { netns, source },
        Some(libc::EINVAL) => Error::NotANetns { netns },
        _ => Error::os(format!("entering the network namespace {netns}"), source),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> Error {
        let place = Place::in_netns(text.parse().unwrap());
        place.run(|| Ok(())).unwrap_err()
    }

    #[test]
    fn what_is_no_namespace_is_told_apart() {
        let missing = error("/proc/self/ns/no-such");
        assert!(matches!(missing, Error::NoNetns { .. }), "{missing:?}");
        assert!(missing.to_string().contains("ip netns add"), "{missing}");
        // Opening works for everybody, entering needs a namespace and the right to it.
        let other = error("/dev/null");
        assert!(
            matches!(other, Error::NotANetns { .. } | Error::NetnsDenied { .. }),
            "{other:?}"
        );
    }

    #[test]
    fn the_default_place_is_where_the_caller_is() {
        let here = thread::current().id();
        let there = Place::default().run(|| Ok(thread::current().id())).unwrap();
        assert_eq!(here, there);
        assert_eq!(Place::default().netns(), None);
    }
}
