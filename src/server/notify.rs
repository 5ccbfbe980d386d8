//! Tells the service manager how this server is doing, in the datagrams of sd_notify(3).
//!
//! Without a service manager it sends nothing. It decides nothing either: [`ready`](super::ready) says
//! when the server is ready, and the driver says that it is alive.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::time::Duration;

use tracing::{debug, warn};

/// How long to wait for room in the service manager's queue. The driver waits meanwhile.
const PATIENCE: Duration = Duration::from_millis(200);
/// The variables in which a service manager says where it listens and what it expects.
const VARIABLES: [&str; 3] = ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"];

/// The connection to the service manager, if there is one. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct Notifier(Option<Arc<Manager>>);

#[derive(Debug)]
struct Manager {
    socket: UnixDatagram,
    /// Named in every datagram instead of connected to once: the manager may restart in between.
    address: SocketAddr,
    watchdog: Option<Duration>,
}

impl Notifier {
    /// Reads the environment, and removes from it what child processes must not inherit.
    ///
    /// The process must have only one thread so far.
    ///
    /// # Errors
    /// A sentence for the log, if what the service manager wrote there makes no sense.
    pub(super) fn from_environment() -> Result<Self, String> {
        let [address, watchdog, pid] = VARIABLES.map(|name| {
            let value = std::env::var_os(name).filter(|value| !value.is_empty());
            if value.is_some() {
                // SAFETY: the process has one thread, so nobody else reads the environment.
                #[allow(unsafe_code)]
                unsafe {
                    std::env::remove_var(name);
                }
            }
            value
        });
        let Some(address) = address else {
            return Ok(Self::default());
        };
        let number = |value: Option<std::ffi::OsString>| -> Option<u64> {
            value.as_deref()?.to_str()?.parse().ok()
        };
        let is_mine = pid.is_none() || number(pid) == Some(u64::from(std::process::id()));
        let watchdog = number(watchdog).filter(|usec| is_mine && *usec > 0);
        Self::to(&address, watchdog.map(Duration::from_micros)).map_err(|error| {
            format!(
                "the service manager cannot be told how this server is doing: NOTIFY_SOCKET is {}: \
                 {error}",
                address.display()
            )
        })
    }

    /// Notifies a socket: a path, or `@` and an abstract name. After `watchdog` the manager takes silence
    /// for a fault.
    ///
    /// # Errors
    /// `address` is neither, or the system refuses.
    pub(super) fn to(address: &OsStr, watchdog: Option<Duration>) -> io::Result<Self> {
        let address = match address.as_bytes() {
            [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
            [b'/', ..] => SocketAddr::from_pathname(address)?,
            _ => return Err(io::ErrorKind::InvalidInput.into()),
        };
        let socket = UnixDatagram::unbound()?;
        socket.set_write_timeout(Some(PATIENCE))?;
        Ok(Self(Some(Arc::new(Manager {
            socket,
            address,
            watchdog,
        }))))
    }

    /// Whether there is a service manager.
    #[must_use]
    pub(super) const fn is_wanted(&self) -> bool {
        self.0.is_some()
    }

    /// How often to call [`alive`](Self::alive): twice in the time that the manager waits.
    #[must_use]
    pub(super) fn pause(&self) -> Option<Duration> {
        let watchdog = self.0.as_ref()?.watchdog?;
        Some((watchdog / 2).max(Duration::from_millis(1)))
    }

    pub(super) fn ready(&self, status: &str) {
        if let Err(error) = self.send(&format!("READY=1\nSTATUS={}", line(status))) {
            warn!("the service manager could not be told that this server is ready: {error}");
        }
    }

    /// Says in a line what this server is doing.
    pub(super) fn status(&self, status: &str) {
        self.say(&format!("STATUS={}", line(status)));
    }

    /// Satisfies the watchdog.
    pub(super) fn alive(&self) {
        self.say("WATCHDOG=1");
    }

    pub(super) fn stopping(&self) {
        self.say("STOPPING=1\nSTATUS=stopping");
    }

    fn say(&self, text: &str) {
        if let Err(error) = self.send(text) {
            debug!("the service manager could not be told {text:?}: {error}");
        }
    }

    fn send(&self, text: &str) -> io::Result<()> {
        let Some(manager) = &self.0 else {
            return Ok(());
        };
        let sent = manager
            .socket
            .send_to_addr(text.as_bytes(), &manager.address);
        sent.map(drop)
    }
}

/// Puts a text on one line: in a datagram a line feed begins another variable.
fn line(text: &str) -> String {
    text.replace(['\n', '\r'], " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(socket: &UnixDatagram) -> String {
        let mut room = [0; 256];
        let length = socket.recv(&mut room).unwrap();
        String::from_utf8(room[..length].to_vec()).unwrap()
    }

    #[test]
    fn a_path_and_an_abstract_name_are_reached() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let name = format!("grid-notify-test-{}", std::process::id());
        let by_name = SocketAddr::from_abstract_name(&name).unwrap();
        for (address, socket) in [
            (
                path.clone().into_os_string(),
                UnixDatagram::bind(&path).unwrap(),
            ),
            (
                format!("@{name}").into(),
                UnixDatagram::bind_addr(&by_name).unwrap(),
            ),
        ] {
            socket
                .set_read_timeout(Some(Duration::from_secs(5)))
                .unwrap();
            let notifier = Notifier::to(&address, Some(Duration::from_secs(60))).unwrap();
            assert!(notifier.is_wanted());
            assert_eq!(notifier.pause(), Some(Duration::from_secs(30)));
            notifier.ready("foo\nWATCHDOG=trigger");
            assert_eq!(heard(&socket), "READY=1\nSTATUS=foo WATCHDOG=trigger");
            notifier.alive();
            assert_eq!(heard(&socket), "WATCHDOG=1");
            notifier.stopping();
            assert_eq!(heard(&socket), "STOPPING=1\nSTATUS=stopping");
        }
    }

    #[test]
    fn a_manager_that_restarts_is_reached_again_and_a_full_one_holds_nobody_up() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let first = UnixDatagram::bind(&path).unwrap();
        let notifier = Notifier::to(path.as_os_str(), None).unwrap();
        drop(first);
        notifier.alive();
        std::fs::remove_file(&path).unwrap();
        let second = UnixDatagram::bind(&path).unwrap();
        notifier.alive();
        assert_eq!(heard(&second), "WATCHDOG=1");
        // Nobody reads, so the socket's queue fills up.
        let full = (0..10_000).any(|_| notifier.send("STATUS=x").is_err());
        assert!(full);
    }

    #[test]
    fn nonsense_is_no_address_and_nobody_is_told_nothing() {
        for bad in ["", "relative", "vsock:2:1", "/\0"] {
            assert!(Notifier::to(OsStr::new(bad), None).is_err(), "{bad:?}");
        }
        let nobody = Notifier::default();
        assert!(!nobody.is_wanted());
        assert_eq!(nobody.pause(), None);
        nobody.ready("x");
    }
}
