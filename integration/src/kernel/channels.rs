//! The ways out of a kernel: standard output, standard error, and how the command ended.
//!
//! Pipes on this side, serial lines on the other. They carry bytes in one direction, so that output
//! arrives at once and in order.

use std::io::{self, PipeReader, PipeWriter};
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};

use nix::fcntl::{FcntlArg, fcntl};

/// The names of the channels, in the order of their numbers.
pub(super) const NAMES: [&str; 3] = ["stdout", "stderr", "status"];

/// What the channel `status` says once the command has ended: this, its exit code, a line feed.
pub(super) const EXIT: &str = "exit ";
/// Or this, and why the command could not be started.
pub(super) const FAILED: &str = "failed ";

/// The ends on this side.
pub(super) struct Readers {
    pub(super) stdout: PipeReader,
    pub(super) stderr: PipeReader,
    pub(super) status: PipeReader,
}

/// The ends that the kernel's process inherits. Drop them once it has started.
pub(super) struct Writers([OwnedFd; 3]);

impl Writers {
    /// The numbers that the descriptors have in every child process.
    pub(super) fn numbers(&self) -> [i32; 3] {
        self.0.each_ref().map(|fd| fd.as_raw_fd())
    }
}

/// Makes the three channels.
pub(super) fn channels() -> io::Result<(Readers, Writers)> {
    let (stdout, out) = io::pipe()?;
    let (stderr, err) = io::pipe()?;
    let (status, end) = io::pipe()?;
    let readers = Readers {
        stdout,
        stderr,
        status,
    };
    Ok((
        readers,
        Writers([inherited(&out)?, inherited(&err)?, inherited(&end)?]),
    ))
}

#[allow(unsafe_code)]
fn inherited(writer: &PipeWriter) -> io::Result<OwnedFd> {
    // Above the numbers that programs use by themselves.
    let number = fcntl(writer, FcntlArg::F_DUPFD(16))?;
    // SAFETY: the kernel has just given us this descriptor, and nobody else knows of it.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}
