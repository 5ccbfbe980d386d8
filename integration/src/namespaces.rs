//! Working inside a node's namespaces from this process: sockets on a separate thread, programs in
//! a child process.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::thread;

use nix::sched::{CloneFlags, setns};

/// Open handles on the namespaces of one node. They keep the namespaces alive.
#[derive(Debug)]
pub struct Namespaces {
    net: File,
    mnt: File,
    uts: File,
}

impl Namespaces {
    /// Opens the namespaces of process `pid`.
    ///
    /// # Errors
    /// `NotFound` when the process is gone.
    pub fn of_process(pid: u32) -> io::Result<Self> {
        let open = |kind: &str| File::open(format!("/proc/{pid}/ns/{kind}"));
        Ok(Self {
            net: open("net")?,
            mnt: open("mnt")?,
            uts: open("uts")?,
        })
    }

    /// The network namespace, for requests that name one.
    #[must_use]
    pub fn net(&self) -> &File {
        &self.net
    }

    /// Runs `work` on a new thread inside the network namespace. Sockets that it returns stay in that
    /// namespace.
    ///
    /// # Errors
    /// When the thread cannot be started or cannot enter, or when `work` panics.
    pub fn in_net<T: Send>(&self, work: impl FnOnce() -> T + Send) -> io::Result<T> {
        thread::scope(|scope| {
            let inside = move || -> io::Result<T> {
                setns(&self.net, CloneFlags::CLONE_NEWNET)?;
                Ok(work())
            };
            thread::Builder::new()
                .name("in-namespace".into())
                .spawn_scoped(scope, inside)?
                .join()
                .map_err(|_| io::Error::other("the work inside the namespace panicked"))?
        })
    }

    /// Makes `command` start inside all of the node's namespaces, in the root directory.
    #[allow(unsafe_code)]
    pub fn place(&self, command: &mut Command) {
        let handles = [
            (self.net.as_raw_fd(), libc::CLONE_NEWNET),
            (self.uts.as_raw_fd(), libc::CLONE_NEWUTS),
            (self.mnt.as_raw_fd(), libc::CLONE_NEWNS),
        ];
        let enter = move || {
            for (fd, kind) in handles {
                // SAFETY: `setns` takes two integers, touches no memory of ours, and is a bare
                // system call, so it is safe between fork and exec.
                if unsafe { libc::setns(fd, kind) } != 0 {
                    return Err(io::Error::last_os_error());
                }
            }
            Ok(())
        };
        // SAFETY: the closure neither allocates nor locks. The descriptors are those of this
        // process at the time of the fork: should they have been closed by then, `setns` fails.
        unsafe { command.pre_exec(enter) };
    }
}
