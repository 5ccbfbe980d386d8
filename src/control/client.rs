//! The side of the command line: one request, its answer. Blocking, because there is nothing else
//! to do meanwhile.

use std::fs;
use std::io;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use grid_promises::{Message, texts};
use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use serde::Deserialize;
use zeroize::Zeroizing;

use super::confidential::{Bytes, Confidential};
use super::{MAX_ANSWER, MORE, PROGRESS, check_length, connecting, frame, request};
use crate::advice;
use crate::exit::{Exit, Failure};
use crate::home::Home;
use crate::store::ServerLock;

/// How long a server may run without a socket: the time that it takes to start, to end, or to notice that
/// its socket is gone.
const MISSING: Duration = Duration::from_secs(5);
/// How often the socket is looked for.
const LOOK: Duration = Duration::from_millis(5);

/// A connection to the server of a home.
#[derive(Debug)]
pub struct Client {
    stream: UnixStream,
}

/// How things are going, as a sentence.
#[derive(Debug, Deserialize)]
struct Progress {
    text: String,
}

impl Client {
    /// Connects to the server of a home. `None`: none runs. One that is starting or ending, or whose socket
    /// somebody removed, is given a few seconds.
    ///
    /// # Errors
    /// As [`try_connect`](Self::try_connect); or a server runs, and there is no way to talk to it.
    pub fn connect(home: &Home) -> Result<Option<Self>, Failure> {
        let until = Instant::now() + MISSING;
        loop {
            if let Some(client) = Self::try_connect_until(home, until)? {
                return Ok(Some(client));
            }
            let Some(pid) = ServerLock::holder(home) else {
                return Ok(None);
            };
            if Instant::now() >= until {
                return Err(unreachable(home, &pid));
            }
            sleep(LOOK);
        }
    }

    /// Connects to the server of a home, if it can be connected to now.
    ///
    /// # Errors
    /// The socket may not be used by this user, its path is too long, whoever listens on it takes nobody, or
    /// the system refuses.
    pub fn try_connect(home: &Home) -> Result<Option<Self>, Failure> {
        Self::try_connect_until(home, Instant::now())
    }

    fn try_connect_until(home: &Home, until: Instant) -> Result<Option<Self>, Failure> {
        let [inside, elsewhere] = home.sockets();
        check_length(&inside)?;
        Self::try_connect_to(&inside, &elsewhere, home, until)
    }

    fn try_connect_to(
        inside: &Path,
        elsewhere: &Path,
        home: &Home,
        until: Instant,
    ) -> Result<Option<Self>, Failure> {
        match Self::try_connect_at(inside, home, until)? {
            None if check_length(elsewhere).is_ok() => Self::try_connect_at(elsewhere, home, until),
            found => Ok(found),
        }
    }

    fn try_connect_at(path: &Path, home: &Home, until: Instant) -> Result<Option<Self>, Failure> {
        loop {
            let error = match connecting::at_once(path) {
                Ok(stream) => return Ok(Some(Self { stream })),
                Err(error) => error,
            };
            let hint = match error.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => return Ok(None),
                io::ErrorKind::WouldBlock if Instant::now() < until => {
                    sleep(LOOK);
                    continue;
                }
                io::ErrorKind::WouldBlock => return Err(deaf(home, path)),
                io::ErrorKind::PermissionDenied => "; run this as the user whose home it is",
                _ => "",
            };
            return Err(Failure::new(
                Exit::NoServer,
                format!(
                    "cannot talk to the server at {}: {error}{hint}",
                    path.display()
                ),
            ));
        }
    }

    /// The process id of the server. `None` if it is in a PID namespace that cannot be seen from here.
    #[must_use]
    pub fn server(&self) -> Option<u32> {
        let credentials = getsockopt(&self.stream, PeerCredentials).ok()?;
        u32::try_from(credentials.pid())
            .ok()
            .filter(|pid| *pid != 0)
    }

    /// Sends a request and waits for its end, at most `limit` from one message to the next. What the
    /// request holds is wiped.
    ///
    /// # Errors
    /// What the server says, or that it says nothing.
    pub fn call(
        &mut self,
        message: Confidential,
        limit: Duration,
        mut progress: impl FnMut(&str),
    ) -> Result<Zeroizing<Vec<u8>>, Failure> {
        message
            .check_limits()
            .map_err(|error| Failure::usage(format!("the command is too long: {error}")))?;
        self.stream
            .set_read_timeout(Some(limit))
            .and_then(|()| self.stream.set_write_timeout(Some(limit)))
            .and_then(|()| frame::write(&mut self.stream, &message))
            .map_err(|error| self.lost(&error, limit))?;
        drop(message);
        let mut whole = Bytes::default();
        loop {
            let answer = frame::read(&mut self.stream)
                .and_then(|answer| answer.ok_or_else(|| io::ErrorKind::UnexpectedEof.into()))
                .map_err(|error| self.lost(&error, limit))?;
            let mut answer = Confidential::from(answer);
            let part = answer.take_payload();
            if answer.promise == texts::REFUSAL.id() {
                let refusal = serde_json::from_slice(&part).map(request::explain);
                return Err(refusal.unwrap_or_else(|_| unreadable()));
            }
            if answer.promise != texts::ANSWER.id() {
                return Err(unreadable());
            }
            match answer.args.first() {
                Some(arg) if arg == PROGRESS.as_bytes() => {
                    let said: Progress = serde_json::from_slice(&part).map_err(|_| unreadable())?;
                    progress(&said.text);
                }
                more => {
                    if whole.count() + part.len() > MAX_ANSWER {
                        return Err(unreadable());
                    }
                    whole.append(&part);
                    if more.is_none_or(|arg| arg != MORE.as_bytes()) {
                        return Ok(whole.into_inner());
                    }
                }
            }
        }
    }

    fn lost(&self, error: &io::Error, limit: Duration) -> Failure {
        match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
                let (who, remedy) = match self.server() {
                    Some(pid) => (
                        format!(" (process {pid})"),
                        format!("; if it hangs, `kill -9 {pid}` ends it"),
                    ),
                    None => (String::new(), String::new()),
                };
                Failure::new(
                    Exit::TimedOut,
                    format!(
                        "the server{who} did not answer within {} s; the request may still be carried out \
                         ({}){remedy}",
                        limit.as_secs(),
                        advice::STATUS
                    ),
                )
            }
            io::ErrorKind::InvalidData => unreadable(),
            _ => Failure::failed(format!(
                "the server ended before it answered; its log says why, and {} what was done",
                advice::STATUS
            )),
        }
    }

    /// Tells the server something, and does not wait for what it says to it. What goes wrong is not
    /// said either: use it for what may be lost.
    pub fn tell(mut self, message: &Message) {
        let _ = self
            .stream
            .set_write_timeout(Some(Duration::from_millis(100)))
            .and_then(|()| frame::write(&mut self.stream, message));
    }

    /// Waits until the server is gone, at most `limit`. Whether it is.
    ///
    /// That is a little later than the end of this connection: a process closes its sockets one after
    /// the other, and whoever starts the next server needs its ports.
    pub fn wait_for_end(mut self, limit: Duration) -> bool {
        let until = Instant::now() + limit;
        let process = getsockopt(&self.stream, PeerCredentials).map(|who| who.pid());
        let hung_up = self.stream.set_read_timeout(Some(limit)).is_ok()
            && matches!(frame::read(&mut self.stream), Ok(None));
        while let Ok(pid) = process
            && hung_up
            && is_running(pid)
        {
            if Instant::now() >= until {
                return false;
            }
            sleep(Duration::from_millis(1));
        }
        hung_up
    }
}

/// Whether a process still has what it had open. One in another PID namespace (0) cannot be looked at.
///
/// All of its threads have, until the last of them is gone. The first one may be gone before, and what the
/// process as a whole is said to be follows that one.
fn is_running(pid: i32) -> bool {
    let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else {
        return false;
    };
    // `pid (name) state ...`: the name may hold anything.
    let state = stat
        .rsplit(')')
        .next()
        .and_then(|rest| rest.trim_start().chars().next());
    if !matches!(state, None | Some('Z' | 'X')) {
        return true;
    }
    fs::read_dir(format!("/proc/{pid}/task")).is_ok_and(|threads| threads.count() > 1)
}

/// Somebody listens, and takes no connections.
fn deaf(home: &Home, path: &Path) -> Failure {
    let remedy = match ServerLock::holder(home) {
        Some(pid) => {
            format!("process {pid} runs for this home; if it hangs, `kill -9 {pid}` ends it")
        }
        None => "no server runs for this home; end the process that listens there".to_owned(),
    };
    Failure::new(
        Exit::TimedOut,
        format!(
            "whoever listens at {} takes no connections: {remedy}",
            path.display()
        ),
    )
}

/// A server runs that cannot be talked to.
fn unreachable(home: &Home, pid: &str) -> Failure {
    let [inside, _] = home.sockets();
    Failure::new(
        Exit::NoServer,
        format!(
            "process {pid} runs for this home but its control socket is gone: it is starting or ending, or \
             {} was removed. If that lasts, `kill {pid}` stops it, and `kill -9 {pid}` if it hangs",
            inside.display()
        ),
    )
}

fn unreadable() -> Failure {
    Failure::failed(format!(
        "the server answered what cannot be read: it is of another version; {}",
        advice::restart()
    ))
}

#[cfg(test)]
mod tests {
    use nix::libc;
    use nix::sched::{CloneFlags, clone};
    use nix::sys::signal::{Signal, kill};
    use nix::sys::wait::waitpid;
    use nix::unistd::{ForkResult, Pid, fork};

    use super::*;

    /// One that was started while the home was read-only goes on elsewhere when it is not any longer, and a unit of systemd
    /// sees a home read-only that its server can write to.
    #[test]
    fn a_server_is_found_where_it_listens_whatever_the_home_looks_like() {
        let dir = tempfile::tempdir().expect("a folder");
        let home = Home::find(Some(dir.path())).expect("a home");
        let sockets = ["inside", "elsewhere"].map(|name| dir.path().join(name));
        let [inside, elsewhere] = &sockets;
        let now = Instant::now();
        let found = || Client::try_connect_to(inside, elsewhere, &home, now);
        let is_found = || found().is_ok_and(|client| client.is_some());
        for socket in &sockets {
            assert!(!is_found());
            let listener = std::os::unix::net::UnixListener::bind(socket).expect("is made");
            assert!(is_found(), "{}", socket.display());
            drop(listener);
        }
        assert!(!is_found());
    }

    /// A process whose first thread ends at once, and which goes on in another one.
    #[allow(unsafe_code)]
    fn headless() -> Pid {
        let mut stack = vec![0; 64 << 10];
        let thread = CloneFlags::CLONE_VM
            | CloneFlags::CLONE_FS
            | CloneFlags::CLONE_FILES
            | CloneFlags::CLONE_SIGHAND
            | CloneFlags::CLONE_THREAD
            | CloneFlags::CLONE_SYSVSEM;
        // SAFETY: between the fork and its end the child makes three system calls and touches no lock. The
        // thread has a stack that nobody frees, for the child never leaves this function.
        match unsafe { fork() }.expect("forks") {
            ForkResult::Parent { child } => child,
            ForkResult::Child => unsafe {
                let goes_on = Box::new(|| {
                    loop {
                        libc::pause();
                    }
                });
                let _ = clone(goes_on, &mut stack, thread, None);
                libc::syscall(libc::SYS_exit, 0);
                libc::_exit(1);
            },
        }
    }

    fn eventually(mut holds: impl FnMut() -> bool) -> bool {
        (0..1000).any(|_| {
            let does = holds();
            if !does {
                sleep(Duration::from_millis(5));
            }
            does
        })
    }

    #[test]
    fn a_process_runs_until_its_last_thread_ended() {
        let pid = headless();
        let stat = format!("/proc/{pid}/stat");
        assert!(eventually(
            || fs::read_to_string(&stat).is_ok_and(|stat| stat.contains(") Z "))
        ));
        assert!(is_running(pid.as_raw()));
        kill(pid, Signal::SIGKILL).expect("it is there");
        assert!(eventually(|| !is_running(pid.as_raw())));
        waitpid(pid, None).expect("it ended");
    }
}
