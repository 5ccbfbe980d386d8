//! Connecting to a control socket without waiting for whoever listens on it.

use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::net::UnixStream;
use std::path::Path;

use nix::sys::socket::sockopt::PeerCredentials;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, getsockopt, socket};

/// Connects at once or not at all. The stream blocks.
///
/// # Errors
/// [`WouldBlock`](io::ErrorKind::WouldBlock): somebody listens, and has not taken those who came before. Others
/// as of [`UnixStream::connect`].
pub fn at_once(path: &Path) -> io::Result<UnixStream> {
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let socket = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    connect(socket.as_raw_fd(), &UnixAddr::new(path)?)?;
    let stream = UnixStream::from(socket);
    stream.set_nonblocking(false)?;
    Ok(stream)
}

/// Whether somebody listens.
#[must_use]
pub fn is_listened_on(path: &Path) -> bool {
    match at_once(path) {
        Ok(_) => true,
        Err(error) => error.kind() == io::ErrorKind::WouldBlock,
    }
}

/// Whether a socket is of this process, or of nobody: what another process listens on is its own.
#[must_use]
pub fn is_of(path: &Path, process: u32) -> bool {
    match at_once(path) {
        Ok(stream) => getsockopt(&stream, PeerCredentials)
            .is_ok_and(|who| u32::try_from(who.pid()) == Ok(process)),
        Err(error) => error.kind() == io::ErrorKind::ConnectionRefused,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use nix::sys::socket::{Backlog, listen};

    use super::*;

    #[test]
    fn whoever_takes_nobody_is_not_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sock");
        assert!(!is_listened_on(&path));
        let listener = UnixListener::bind(&path).unwrap();
        let own = std::process::id();
        assert!(is_of(&path, own) && !is_of(&path, own + 1));
        listen(&listener, Backlog::new(0).unwrap()).unwrap();
        let mut waiting = Vec::new();
        let full = (0..100).any(|_| match at_once(&path) {
            Ok(stream) => {
                waiting.push(stream);
                false
            }
            Err(error) => error.kind() == io::ErrorKind::WouldBlock,
        });
        assert!(full && is_listened_on(&path));
        drop(listener);
        assert!(!is_listened_on(&path) && is_of(&path, own + 1));
    }
}
