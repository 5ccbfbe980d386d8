//! A process that cleans up after a lab that was killed: what its kernel left running, and its folder.
//!
//! Signals at the death of a parent do not reach all of a user-mode kernel's processes, and nothing
//! removes files. The keeper sleeps until the pipe from the lab ends, which the operating system sees
//! to however the lab ends.

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

/// A keeper. It is told off, not set to work, when this is dropped: who drops it cleans up itself.
pub(super) struct Keeper {
    process: Child,
    _life: PipeWriter,
}

impl Keeper {
    /// Starts the keeper of what is started with `folder` in its command line.
    pub(super) fn start(folder: &Path) -> io::Result<Self> {
        let (reader, life) = io::pipe()?;
        let process = Command::new("/proc/self/exe")
            .arg(COMMAND)
            .arg(folder)
            .stdin(reader)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // Signals of the terminal are not for it.
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
        // Before the pipe is closed, which would set it to work.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Is the keeper: waits until standard input ends, then ends every process group that has `folder` in
/// a command line, and removes it.
pub fn keep(folder: &OsStr) {
    let _ = io::stdin().read_to_end(&mut Vec::new());
    let path = Path::new(folder);
    // A name that only we can have given.
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
            // It may have ended in the meantime.
            let _ = killpg(group, Signal::SIGKILL);
        }
        thread::sleep(Duration::from_millis(20));
    }
    let _ = fs::remove_dir_all(path);
}

/// The process groups, but for this one, that have `folder` in the command line of a process.
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
