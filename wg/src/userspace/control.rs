//! The configuration socket, which makes `wg show NAME` and `wg set NAME` work on a userspace device.
//!
//! It serves one client at a time, with limits on size and time: a silent client blocks nothing but
//! this socket. Only the owner of the process can open it.

use std::fs;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::{Mode, fchmod};
use socket2::{Domain, SockAddr, Socket, Type};
use zeroize::Zeroizing;

use super::device::ConfigureError;
use super::engine::Handle;
use crate::if_name::IfName;
use crate::uapi::{self, Request, SetRequest};

/// Where `wg` looks for sockets.
const DIRECTORY: &str = "/var/run/wireguard";
/// How long a client may take to send its request, and then to read the answer.
const PATIENCE: Duration = Duration::from_secs(5);
const BACKLOG: i32 = 8;

/// The socket and its thread. Dropping it ends the thread and removes the file.
pub(super) struct Control {
    path: PathBuf,
    /// Device and inode of the file: a file that somebody else put there is not removed.
    identity: (u64, u64),
    stop: UnixStream,
    thread: Option<JoinHandle<()>>,
}

impl Control {
    /// Opens the socket for a device.
    ///
    /// # Errors
    /// `AddrInUse` if another process answers there, otherwise what the file system says.
    pub(super) fn open(name: &IfName, handle: Handle) -> io::Result<Self> {
        let path = Path::new(DIRECTORY).join(format!("{name}.sock"));
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(DIRECTORY)?;
        clear_leftover(&path)?;
        let listener = bind(&path)?;
        let metadata = fs::symlink_metadata(&path)?;
        let (stop, stopped) = UnixStream::pair()?;
        let thread = Builder::new()
            .name(format!("wg-{name}-ctl"))
            .spawn(move || serve(&listener, &stopped, &handle))?;
        let identity = (metadata.dev(), metadata.ino());
        Ok(Self {
            path,
            identity,
            stop,
            thread: Some(thread),
        })
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        let ours = fs::symlink_metadata(&self.path)
            .is_ok_and(|metadata| (metadata.dev(), metadata.ino()) == self.identity);
        if ours {
            let _ = fs::remove_file(&self.path);
        }
        let _ = self.stop.shutdown(std::net::Shutdown::Both);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Removes the socket of a process that has ended. One that still answers is left alone.
fn clear_leftover(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(metadata) if metadata.file_type().is_socket() => match UnixStream::connect(path) {
            Ok(_) => Err(io::ErrorKind::AddrInUse.into()),
            Err(_) => fs::remove_file(path),
        },
        Ok(_) => Err(io::ErrorKind::AlreadyExists.into()),
    }
}

/// Binds with mode 0600 from the start: Linux gives the file the mode of the socket.
fn bind(path: &Path) -> io::Result<UnixListener> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    fchmod(socket.as_fd(), Mode::S_IRUSR | Mode::S_IWUSR)?;
    socket.bind(&SockAddr::unix(path)?)?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(OwnedFd::from(socket).into())
}

fn serve(listener: &UnixListener, stopped: &UnixStream, handle: &Handle) {
    loop {
        let mut fds = [
            PollFd::new(stopped.as_fd(), PollFlags::POLLIN),
            PollFd::new(listener.as_fd(), PollFlags::POLLIN),
        ];
        match poll(&mut fds, PollTimeout::NONE) {
            Ok(_) => {}
            Err(nix::errno::Errno::EINTR) => continue,
            Err(_) => return,
        }
        if fds[0].any() != Some(false) {
            return;
        }
        if let Ok((client, _)) = listener.accept() {
            // If the client has gone, nobody needs the answer.
            let _ = answer(&client, stopped, handle);
        }
    }
}

fn answer(mut client: &UnixStream, stopped: &UnixStream, handle: &Handle) -> io::Result<()> {
    client.set_nonblocking(false)?;
    client.set_write_timeout(Some(PATIENCE))?;
    let request = read_request(client, stopped)?;
    let (text, errno) = match uapi::parse(&request) {
        Ok(Request::Get) => match handle.describe() {
            Ok(text) => (text, 0),
            Err(_) => (Zeroizing::default(), libc::EIO),
        },
        Ok(Request::Set(set)) => (Zeroizing::default(), apply(set, handle)),
        Err(error) => (Zeroizing::default(), error.errno()),
    };
    client.write_all(text.as_bytes())?;
    client.write_all(format!("errno={errno}\n\n").as_bytes())
}

fn apply(set: SetRequest, handle: &Handle) -> i32 {
    let SetRequest {
        replace_peers,
        steps,
    } = set;
    match handle.apply(replace_peers, steps) {
        Ok(Ok(())) => 0,
        Ok(Err(ConfigureError::Port(_, error) | ConfigureError::Mark(error))) => {
            error.raw_os_error().unwrap_or(libc::EIO)
        }
        Ok(Err(ConfigureError::Random)) | Err(_) => libc::EIO,
    }
}

/// Reads up to the empty line that ends a request, or the end of the stream.
fn read_request(mut client: &UnixStream, stopped: &UnixStream) -> io::Result<Zeroizing<Vec<u8>>> {
    let deadline = Instant::now() + PATIENCE;
    let mut request = Zeroizing::new(Vec::with_capacity(4096));
    let mut chunk = Zeroizing::new([0; 4096]);
    while !request.ends_with(b"\n\n") && request.len() <= uapi::MAX_REQUEST {
        let left = deadline
            .saturating_duration_since(Instant::now())
            .as_millis();
        let timeout = PollTimeout::from(u16::try_from(left).unwrap_or(u16::MAX));
        let mut fds = [
            PollFd::new(client.as_fd(), PollFlags::POLLIN),
            PollFd::new(stopped.as_fd(), PollFlags::POLLIN),
        ];
        if poll(&mut fds, timeout)? == 0 || fds[1].any() != Some(false) {
            return Err(io::ErrorKind::TimedOut.into());
        }
        match client.read(&mut *chunk)? {
            0 => break,
            count => request.extend_from_slice(chunk.get(..count).unwrap_or_default()),
        }
    }
    Ok(request)
}
