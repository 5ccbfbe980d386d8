//! In which network namespace an interface lives.
//!
//! The interface, its addresses, routes and rules live in the named namespace; the UDP sockets of
//! WireGuard stay in the caller's, so that programs in the namespace reach the world through the
//! tunnel and in no other way ("network namespaces" in WireGuard's documentation).
//!
//! What it refuses to do: make or remove a namespace, or change that of the calling thread. A
//! thread of its own enters, opens sockets, and ends; a socket keeps the namespace in which it was
//! opened.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::thread;

use nix::errno::Errno;
use nix::sched::{CloneFlags, setns};

use crate::error::Error;

/// Where ip-netns(8) keeps the names of network namespaces.
const NAMES: &str = "/run/netns";

/// Where an interface lives. The default is the network namespace of the calling thread.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place(Option<Netns>);

/// A network namespace: a name, as ip-netns(8) gives them, or the absolute path of a file that
/// stands for one, such as `/proc/PID/ns/net`. Prints as it was written.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Netns(String);

/// Why a text names no network namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotANetns {
    /// Empty, or longer than a file name (255 bytes) or path (4095 bytes) can be.
    #[error(
        "the name of a network namespace has 1 to 255 bytes, its path up to 4095; this has {0}"
    )]
    Length(usize),
    /// `.` and `..`, a relative path, or a control character.
    #[error(
        "this is neither the name of a network namespace (as `ip netns list` shows them) nor an \
         absolute path"
    )]
    Form,
}

impl Netns {
    /// The file that stands for the namespace.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        // Joined to an absolute path, the folder drops out.
        Path::new(NAMES).join(&self.0)
    }

    /// Opens the namespace, which keeps it alive. That it is one is seen when it is entered.
    fn open(&self) -> Result<File, Error> {
        let mut options = OpenOptions::new();
        // A path may name anything: a pipe, for which nobody shall wait.
        let flags = libc::O_NONBLOCK | libc::O_CLOEXEC;
        let opened = options.read(true).custom_flags(flags).open(self.path());
        opened.map_err(|source| self.error(source))
    }

    fn error(&self, source: io::Error) -> Error {
        let netns = self.clone();
        match source.raw_os_error() {
            Some(libc::ENOENT | libc::ENOTDIR) => Error::NoNetns { netns },
            Some(libc::EPERM | libc::EACCES) => Error::NetnsDenied { netns, source },
            Some(libc::EINVAL) => Error::NotANetns { netns },
            _ => Error::os(format!("entering the network namespace {netns}"), source),
        }
    }
}

impl Place {
    /// The named network namespace.
    #[must_use]
    pub const fn in_netns(netns: Netns) -> Self {
        Self(Some(netns))
    }

    /// The named network namespace. `None`: that of the calling thread.
    #[must_use]
    pub const fn netns(&self) -> Option<&Netns> {
        self.0.as_ref()
    }

    /// Opens the place.
    pub(crate) fn open(&self) -> Result<Inside, Error> {
        let entered = self.0.as_ref().map(|netns| {
            let file = netns.open()?;
            Ok::<_, Error>((netns.clone(), file))
        });
        Ok(Inside(entered.transpose()?))
    }

    /// Runs `work` at the place, on another thread if need be.
    pub(crate) fn run<T: Send>(
        &self,
        work: impl FnOnce() -> Result<T, Error> + Send,
    ) -> Result<T, Error> {
        self.open()?.run(work)
    }
}

/// A place that was opened: it stays the same one, whatever becomes of its name.
pub(crate) struct Inside(Option<(Netns, File)>);

impl Inside {
    /// The file of the namespace. `None`: that of the calling thread.
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
                    .map_err(|errno: Errno| netns.error(errno.into()))?;
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

impl TryFrom<&str> for Netns {
    type Error = NotANetns;

    fn try_from(text: &str) -> Result<Self, NotANetns> {
        let absolute = text.starts_with('/');
        let longest = if absolute { 4095 } else { 255 };
        if text.is_empty() || text.len() > longest {
            return Err(NotANetns::Length(text.len()));
        }
        let is_name = !text.contains('/') && !matches!(text, "." | "..");
        if text.chars().any(char::is_control) || !(absolute || is_name) {
            return Err(NotANetns::Form);
        }
        Ok(Self(text.to_owned()))
    }
}

impl FromStr for Netns {
    type Err = NotANetns;

    fn from_str(text: &str) -> Result<Self, NotANetns> {
        text.try_into()
    }
}

impl fmt::Display for Netns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
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
    fn a_name_and_a_path_name_a_namespace() {
        let path = |text: &str| text.parse::<Netns>().unwrap().path();
        assert_eq!(path("blue"), Path::new("/run/netns/blue"));
        assert_eq!(path("/proc/1/ns/net"), Path::new("/proc/1/ns/net"));
        assert_eq!("...".parse::<Netns>().unwrap().to_string(), "...");
    }

    #[test]
    fn what_could_lead_elsewhere_is_refused() {
        let long = "a".repeat(256);
        for (text, why) in [
            ("", NotANetns::Length(0)),
            (long.as_str(), NotANetns::Length(256)),
            (".", NotANetns::Form),
            ("..", NotANetns::Form),
            ("../blue", NotANetns::Form),
            ("a/b", NotANetns::Form),
            ("a\nb", NotANetns::Form),
            ("/a\0b", NotANetns::Form),
        ] {
            assert_eq!(text.parse::<Netns>(), Err(why), "{text:?}");
        }
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
