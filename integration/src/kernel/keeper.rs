//! A process that cleans up after a lab that was killed: the kernel's processes, and its folder.
//!
//! `PR_SET_PDEATHSIG` does not reach all processes of a user-mode kernel, and removes no files. The
//! keeper sleeps until the pipe from the lab is closed, which the operating system does however the
//! lab ends.

use std::ffi::OsStr;
use std::fs;
use std::io::{self, PipeWriter, Read as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::{Pid, getpgid, getpgrp};

/// How the name of each kernel's folder begins: only such a folder is cleaned up.
pub(super) const PREFIX: &str = "grid-lab-";
/// The word that makes `lab` call [`keep`].
pub const COMMAND: &str = "kernel-keeper";

/// A keeper. Dropping this dismisses it, without any cleaning up: whoever drops it does that.
pub(super) struct Keeper {
    process: Child,
    _life: PipeWriter,
}

impl Keeper {
    /// Starts a keeper for all processes that have `folder` in their command line.
    pub(super) fn start(folder: &Path) -> io::Result<Self> {
        let (reader, life) = io::pipe()?;
        let process = Command::new("/proc/self/exe")
            .arg(COMMAND)
            .arg(folder)
            .stdin(reader)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // Signals from the terminal are not meant for it.
            .process_group(0)
            .spawn()?;
        Ok(Self {
            process,
            _life: life,
        })
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        // Before the pipe is closed, which would make it clean up.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Acts as the keeper: waits until standard input ends, kills every process group that has `folder` in
/// a command line, and removes the folder.
pub fn keep(folder: &OsStr) {
    let _ = io::stdin().read_to_end(&mut Vec::new());
    let path = Path::new(folder);
    // A name that only a lab gives.
    let ours = path
        .file_name()
        .is_some_and(|name| name.as_bytes().starts_with(PREFIX.as_bytes()));
    if !ours {
        return;
    }
    for _ in 0..100 {
        let groups = groups_of(folder.as_bytes());
        if groups.is_empty() {
            break;
        }
        for group in groups {
            // It may have ended since.
            let _ = killpg(group, Signal::SIGKILL);
        }
        thread::sleep(Duration::from_millis(20));
    }
    let _ = fs::remove_dir_all(path);
}

/// The process groups, except this one, with a process that has `folder` in its command line.
fn groups_of(folder: &[u8]) -> Vec<Pid> {
    let entries = fs::read_dir("/proc").into_iter().flatten();
    let mut groups: Vec<Pid> = entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|pid| {
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            line.windows(folder.len()).any(|part| part == folder)
        })
        .filter_map(|pid| getpgid(Some(Pid::from_raw(pid))).ok())
        .filter(|group| *group != getpgrp())
        .collect();
    groups.sort();
    groups.dedup();
    groups
}
