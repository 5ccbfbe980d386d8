//! Telling the service manager how this server is doing, in the datagrams of sd_notify(3).
//!
//! Without a service manager nothing is sent. It refuses to decide anything: when this server is ready is
//! in [`ready`](super::ready), and that the driver turns is said by the driver.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::time::Duration;

use tracing::{debug, warn};

/// How long a service manager may take to have room for a datagram. The driver waits for it.
const PATIENCE: Duration = Duration::from_millis(200);
/// The variables by which a service manager says where it listens and what it expects.
const VARIABLES: [&str; 3] = ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"];

/// The way to the service manager. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct Notifier(Option<Arc<Manager>>);

#[derive(Debug)]
struct Manager {
    socket: UnixDatagram,
    /// Named for every datagram, and not connected to: the manager may have restarted in between.
    address: SocketAddr,
    watchdog: Option<Duration>,
}

impl Notifier {
    /// Reads the environment, and removes from it what is only for this process.
    ///
    /// Only for a process that has one thread so far.
    ///
    /// # Errors
    /// What a service manager wrote there makes no sense, as a sentence for the log.
    pub(super) fn from_environment() -> Result<Self, String> {
        let [address, watchdog, pid] = VARIABLES.map(|name| {
            let value = std::env::var_os(name).filter(|value| !value.is_empty());
            if value.is_some() {
                // SAFETY: the process has one thread, so that nobody reads the environment meanwhile.
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

    /// The way to a socket: a path, or `@` and an abstract name. `watchdog` is the time after which the
    /// manager takes silence for a fault.
    ///
    /// # Errors
    /// It is neither, or the system refuses.
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

    /// Whether anybody listens.
    #[must_use]
    pub(super) const fn is_wanted(&self) -> bool {
        self.0.is_some()
    }

    /// How often [`alive`](Self::alive) has to be said: twice in the time that the manager waits.
    #[must_use]
    pub(super) fn pause(&self) -> Option<Duration> {
        let watchdog = self.0.as_ref()?.watchdog?;
        Some((watchdog / 2).max(Duration::from_millis(1)))
    }

    /// This server is ready.
    pub(super) fn ready(&self, status: &str) {
        if let Err(error) = self.send(&format!("READY=1\nSTATUS={}", line(status))) {
            warn!("the service manager could not be told that this server is ready: {error}");
        }
    }

    /// What this server is doing.
    pub(super) fn status(&self, status: &str) {
        self.say(&format!("STATUS={}", line(status)));
    }

    /// The driver turns.
    pub(super) fn alive(&self) {
        self.say("WATCHDOG=1");
    }

    /// This server is about to end.
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

/// In a datagram a line feed begins another variable.
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
        // Nobody reads: the queue of the socket is full at some time.
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
