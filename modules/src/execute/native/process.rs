//! A process that is held by its group, its pipes and its deadline.
//!
//! The process leads a group of its own. However the exchange ends, the whole group is ended with
//! SIGKILL before this returns, and before the leader is reaped: until then nobody else can have its
//! number. A descendant that left the group (`setsid`) is not found; it cannot hold up anything here,
//! because nothing waits for a pipe once the leader has ended.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, FromRawFd as _, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::time::Instant;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use crate::execute::guest_log::GuestLog;
use crate::execute::limits::MAX_LOG_LINE;

/// How a process ended, and what it wrote.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) status: ExitStatus,
    pub(super) output: Vec<u8>,
}

/// Why there is no end of its own to tell of. The process was ended.
#[derive(Debug)]
pub(super) enum Failed {
    /// It could not be started.
    Start(io::Error),
    /// It did not end in time.
    Deadline,
    /// It wrote more than it may.
    Flooded,
    /// The system failed.
    System(io::Error),
}

/// Starts a process, gives it its input, and takes its output, until it ends. Its standard error
/// goes to the log, line by line.
pub(super) fn exchange(
    command: &mut Command,
    input: &[u8],
    max_output: usize,
    until: Instant,
    log: &mut GuestLog,
) -> Result<Ended, Failed> {
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0);
    let mut group = Group(command.spawn().map_err(Failed::Start)?);
    let mut pipes = Pipes::of(&mut group.0, input, max_output).map_err(Failed::System)?;
    let carried = pipes.carry(until, log);
    group.end();
    let status = group.0.wait().map_err(Failed::System)?;
    carried?;
    Ok(Ended {
        status,
        output: pipes.output,
    })
}

/// A process and all that it started. Ended when dropped.
struct Group(Child);

impl Group {
    fn end(&self) {
        // Fails only when nobody is left. The leader is not reaped yet, so the number is its own.
        if let Ok(id) = i32::try_from(self.0.id()) {
            let _ = killpg(Pid::from_raw(id), Signal::SIGKILL);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Once reaped, its number may be somebody else's.
        if let Ok(None) = self.0.try_wait() {
            self.end();
            let _ = self.0.wait();
        }
    }
}

struct Pipes<'a> {
    leader: OwnedFd,
    stdin: Option<ChildStdin>,
    input: &'a [u8],
    stdout: Option<std::process::ChildStdout>,
    output: Vec<u8>,
    max_output: usize,
    stderr: Option<std::process::ChildStderr>,
    line: Vec<u8>,
}

impl<'a> Pipes<'a> {
    fn of(child: &mut Child, input: &'a [u8], max_output: usize) -> io::Result<Self> {
        let pipes = Self {
            leader: pidfd(child)?,
            stdin: child.stdin.take(),
            input,
            stdout: child.stdout.take(),
            output: Vec::new(),
            max_output,
            stderr: child.stderr.take(),
            line: Vec::new(),
        };
        let ends = [
            descriptor(&pipes.stdin),
            descriptor(&pipes.stdout),
            descriptor(&pipes.stderr),
        ];
        for end in ends.into_iter().flatten() {
            fcntl(end, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        }
        Ok(pipes)
    }

    /// Until the leader has ended, or the deadline, or too much output.
    fn carry(&mut self, until: Instant, log: &mut GuestLog) -> Result<(), Failed> {
        loop {
            let ended = self.wait(until)?;
            self.write().map_err(Failed::System)?;
            self.read_output()?;
            self.read_errors(log).map_err(Failed::System)?;
            if ended {
                // What was in the pipes when it ended has been read; what a descendant may write
                // after that does not count.
                self.end_line(log);
                return Ok(());
            }
        }
    }

    /// Waits until something can be done. Whether the leader has ended.
    fn wait(&self, until: Instant) -> Result<bool, Failed> {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Failed::Deadline);
        }
        // A millisecond more, so as not to wake just before the deadline.
        let timeout = i32::try_from(left.as_millis() + 1).unwrap_or(i32::MAX);
        let timeout = PollTimeout::try_from(timeout).unwrap_or(PollTimeout::MAX);
        let mut watched = vec![PollFd::new(self.leader.as_fd(), PollFlags::POLLIN)];
        let sides = [
            (descriptor(&self.stdin), PollFlags::POLLOUT),
            (descriptor(&self.stdout), PollFlags::POLLIN),
            (descriptor(&self.stderr), PollFlags::POLLIN),
        ];
        watched.extend(
            sides
                .into_iter()
                .filter_map(|(pipe, flags)| Some(PollFd::new(pipe?, flags))),
        );
        match poll(&mut watched, timeout) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(Failed::System(error.into())),
        }
        Ok(watched.first().and_then(PollFd::any) == Some(true))
    }

    fn write(&mut self) -> io::Result<()> {
        while let Some(stdin) = &mut self.stdin {
            match stdin.write(self.input) {
                _ if self.input.is_empty() => self.stdin = None,
                Ok(count) => self.input = self.input.get(count..).unwrap_or_default(),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // It need not read what it is told.
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => self.stdin = None,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn read_output(&mut self) -> Result<(), Failed> {
        let (output, max) = (&mut self.output, self.max_output);
        let fits = drain(&mut self.stdout, usize::MAX, |bytes| {
            output.extend_from_slice(bytes);
            output.len() <= max
        });
        match fits {
            Ok(true) => Ok(()),
            Ok(false) => Err(Failed::Flooded),
            Err(error) => Err(Failed::System(error)),
        }
    }

    fn read_errors(&mut self, log: &mut GuestLog) -> io::Result<()> {
        let line = &mut self.line;
        // Not more at a time than a pipe holds, so that whoever floods it cannot keep us here.
        drain(&mut self.stderr, 64 * 1024, |bytes| {
            for byte in bytes {
                if *byte == b'\n' {
                    log.line(&String::from_utf8_lossy(line));
                    line.clear();
                } else if line.len() <= MAX_LOG_LINE {
                    line.push(*byte);
                }
            }
            true
        })
        .map(drop)
    }

    fn end_line(&mut self, log: &mut GuestLog) {
        if !self.line.is_empty() {
            log.line(&String::from_utf8_lossy(&self.line));
        }
    }
}

fn descriptor(pipe: &Option<impl AsFd>) -> Option<BorrowedFd<'_>> {
    pipe.as_ref().map(AsFd::as_fd)
}

/// Reads what is there, up to `max` bytes and a little more, for as long as `take` wants more. At
/// the end the pipe is closed. Whether `take` always wanted more.
fn drain(
    pipe: &mut Option<impl Read>,
    max: usize,
    mut take: impl FnMut(&[u8]) -> bool,
) -> io::Result<bool> {
    let mut buffer = [0; 8 * 1024];
    let mut seen = 0;
    while let Some(open) = pipe {
        if seen >= max {
            break;
        }
        match open.read(&mut buffer) {
            Ok(0) => *pipe = None,
            Ok(count) => {
                seen += count;
                if !take(buffer.get(..count).unwrap_or_default()) {
                    return Ok(false);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}

/// A descriptor that is readable once the process has ended (Linux 5.3).
fn pidfd(child: &Child) -> io::Result<OwnedFd> {
    let flags: nix::libc::c_uint = 0;
    // SAFETY: a system call that takes two numbers. The child is not reaped, so the number is its.
    #[allow(unsafe_code)]
    let result = unsafe { nix::libc::syscall(nix::libc::SYS_pidfd_open, child.id(), flags) };
    let descriptor = Errno::result(result)?;
    let descriptor = i32::try_from(descriptor).map_err(io::Error::other)?;
    // SAFETY: a new descriptor, which nobody else has; close-on-exec is set.
    #[allow(unsafe_code)]
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}
