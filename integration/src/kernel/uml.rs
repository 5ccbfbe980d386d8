//! User-mode Linux: a kernel that is a program. Its first process sees this machine's root file system
//! through the host's system calls (hostfs).

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result};

use super::cache;
use super::channels::channels;
use super::job;
use super::request::Run;
use super::watch::Machine;

/// The kernel that does the job in `folder`.
pub(super) fn machine(run: &Run, folder: &Path) -> Result<Machine> {
    let kernel = cache::uml()?;
    // A name without spaces, whatever this executable is called.
    let init = folder.join("init");
    let own = std::env::current_exe().context("cannot find this executable")?;
    symlink(own, &init)?;
    let (readers, writers) = channels()?;
    let console = folder.join("console");
    let file = File::create(&console)?;
    let mut command = Command::new(&kernel);
    command
        .arg(format!("mem={}M", run.memory_mib))
        .args(["root=/dev/root", "rootfstype=hostfs", "ro", "quiet"])
        .args(["con=null", "con0=null,fd:2", "ssl=null"])
        .arg(format!("uml_dir={}/", folder.display()))
        .arg(format!("init={}", init.display()));
    for (line, number) in writers.numbers().iter().enumerate() {
        command.arg(format!("ssl{line}=null,fd:{number}"));
    }
    if run.simulated_time {
        command.arg("time-travel=inf-cpu");
    }
    command
        .args(["--", job::COMMAND])
        .arg(folder)
        .env("TMPDIR", memory_folder(folder))
        .stdin(Stdio::null())
        .stdout(file.try_clone()?)
        .stderr(file);
    Ok(Machine {
        command,
        readers,
        writers,
        console,
        helpers: Vec::new(),
    })
}

/// Where the kernel keeps the file that is its memory, which would be slow on a disk.
fn memory_folder(otherwise: &Path) -> PathBuf {
    let shared = Path::new("/dev/shm");
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let fits = mounts.lines().any(|line| {
        let mut fields = line.split(' ').skip(1);
        let here = fields.next() == Some("/dev/shm") && fields.next() == Some("tmpfs");
        // The guest's programs are mapped from there, as executable.
        here && !fields
            .next()
            .is_some_and(|o| o.split(',').any(|o| o == "noexec"))
    });
    if fits { shared } else { otherwise }.to_owned()
}
