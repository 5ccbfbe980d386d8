//! A lab that stays up (`--keep`): noting where it is, entering one of its nodes, ending it.
//!
//! The note is one file in a folder that only this user can read. It is never trusted blindly: a
//! process counts as the lab's init only if it also started at the time in the note.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Write as _};
use std::os::fd::{AsFd as _, FromRawFd as _, OwnedFd};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

use anyhow::{Context as _, Result, bail};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, setns};
use nix::sys::signal::{SigHandler, Signal, signal};
use nix::unistd::geteuid;
use serde::{Deserialize, Serialize};

use crate::holder::{HOME, NODE_DIR, TEMPORARY};
use crate::lab::{DIRECTORY, Listed};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Note {
    /// Process id of the lab's init in the namespace of the person who keeps it.
    init: i32,
    /// When it started, in clock ticks since boot (field 22 of `/proc/PID/stat`).
    started: u64,
}

/// The folder that holds the note of a kept lab. Find it before entering namespaces: afterwards this
/// process may have another user id.
pub struct Place {
    dir: PathBuf,
    owner: u32,
}

impl Place {
    /// `$XDG_RUNTIME_DIR/grid-lab`, or `/tmp/grid-lab-UID` without it. Nothing is created.
    #[must_use]
    pub fn of_this_user() -> Self {
        let owner = geteuid().as_raw();
        let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
        let dir = match runtime.filter(|dir| dir.is_absolute() && dir.is_dir()) {
            Some(dir) => dir.join("grid-lab"),
            None => PathBuf::from(format!("/tmp/grid-lab-{owner}")),
        };
        Self { dir, owner }
    }

    fn file(&self) -> PathBuf {
        self.dir.join("lab.json")
    }

    /// Refuses a folder that somebody else could have put there.
    fn check(&self) -> Result<()> {
        let dir = self.dir.display();
        let about = fs::symlink_metadata(&self.dir).with_context(|| format!("cannot use {dir}"))?;
        // Inside a user namespace the owner reads as 0; both mean this user.
        let mine = about.uid() == self.owner || about.uid() == geteuid().as_raw();
        if !about.is_dir() || !mine || about.mode() & 0o077 != 0 {
            bail!("{dir} is not a folder that only this user can use: remove it and try again");
        }
        Ok(())
    }

    fn read(&self) -> Result<Option<Note>> {
        if !self.dir.exists() {
            return Ok(None);
        }
        self.check()?;
        match fs::read(self.file()) {
            Ok(bytes) => {
                let file = self.file();
                let note = serde_json::from_slice(&bytes).with_context(|| {
                    format!("{} is damaged: remove it and try again", file.display())
                })?;
                Ok(Some(note))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).context("cannot read where the kept lab is"),
        }
    }

    /// The init of the kept lab, if there is one.
    fn running(&self) -> Result<Option<Note>> {
        Ok(self
            .read()?
            .filter(|note| started(note.init).is_some_and(|at| at == note.started)))
    }

    /// Fails if a lab is already kept.
    ///
    /// # Errors
    /// Names its process and says how to end it.
    pub fn require_free(&self) -> Result<()> {
        if let Some(note) = self.running()? {
            bail!(
                "a lab is up already (process {}): end it with `cargo lab down` first",
                note.init
            );
        }
        Ok(())
    }

    /// Notes that the lab with process `init` is kept.
    ///
    /// # Errors
    /// When the folder is not this user's own, or cannot be written.
    pub fn note(&self, init: i32) -> Result<()> {
        match DirBuilder::new().mode(0o700).create(&self.dir) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(error).with_context(|| format!("cannot make {}", self.dir.display()));
            }
            _ => self.check()?,
        }
        let started = started(init).context("the lab ended before it could be written down")?;
        let temporary = self.dir.join("lab.json.new");
        let mut file = File::options()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .custom_flags(libc::O_NOFOLLOW)
            .open(&temporary)?;
        file.write_all(&serde_json::to_vec(&Note { init, started })?)?;
        fs::rename(temporary, self.file())?;
        Ok(())
    }

    /// Ends the kept lab and waits until every process in it is gone. Returns its process id, or
    /// `None` when none was up.
    ///
    /// # Errors
    /// When it does not end within ten seconds.
    pub fn down(&self) -> Result<Option<i32>> {
        let noted = self.read()?;
        let mut ended = None;
        if let Some(note) = noted
            && let Some(handle) = open_process(note.init)
            // Checked after the handle was opened: from here on it cannot become another process.
            && started(note.init) == Some(note.started)
        {
            kill_process(&handle)?;
            let mut fds = [PollFd::new(handle.as_fd(), PollFlags::POLLIN)];
            if poll(&mut fds, PollTimeout::from(10_000_u16))? == 0 {
                bail!(
                    "process {} does not end; its lab may still be up",
                    note.init
                );
            }
            ended = Some(note.init);
        }
        if noted.is_some() {
            fs::remove_file(self.file())?;
            // Others may keep files of their own there.
            let _ = fs::remove_dir(&self.dir);
        }
        Ok(ended)
    }

    /// Runs `command`, or a shell, on node `name` of the kept lab.
    ///
    /// # Errors
    /// When no lab is up, it has no such node, or this user may not enter it.
    pub fn enter(&self, name: &str, command: &[String]) -> Result<ExitStatus> {
        let note = self
            .running()?
            .context("no lab is up: start one with `cargo lab up --keep`")?;
        enter_namespaces(note.init, &["user", "mnt", "pid"])?;
        // From here on /proc is the lab's.
        let nodes: Vec<Listed> = serde_json::from_slice(&fs::read(DIRECTORY)?)?;
        let Some(node) = nodes.iter().find(|node| node.name == name) else {
            let names: Vec<&str> = nodes.iter().map(|node| node.name.as_str()).collect();
            bail!("the lab has no node {name}; it has {}", names.join(", "));
        };
        enter_namespaces(i32::try_from(node.holder)?, &["net", "uts", "mnt"])?;
        let shell = std::env::var("SHELL").unwrap_or_else(|_| "/bin/sh".to_owned());
        let shell = if Path::new(&shell).exists() {
            shell
        } else {
            "/bin/sh".to_owned()
        };
        let (program, arguments) = match command.split_first() {
            Some((program, arguments)) => (program.as_str(), arguments),
            None => (shell.as_str(), [].as_slice()),
        };
        let path = std::env::var("PATH").unwrap_or_default();
        let mut child = Command::new(program)
            .args(arguments)
            .env("PATH", format!("/run/grid-lab/bin:{path}:/usr/sbin:/sbin"))
            .env("HOME", NODE_DIR)
            .env("GRID_HOME", HOME)
            .env("TMPDIR", TEMPORARY)
            .env_remove("XDG_RUNTIME_DIR")
            .spawn()
            .with_context(|| format!("cannot run {program} on node {name}"))?;
        // Ctrl-C is for the program on the node.
        for ignored in [Signal::SIGINT, Signal::SIGQUIT] {
            ignore(ignored);
        }
        Ok(child.wait()?)
    }
}

#[allow(unsafe_code)]
fn ignore(which: Signal) {
    // SAFETY: no handler is installed, so none can run at a bad moment.
    let _ = unsafe { signal(which, SigHandler::SigIgn) };
}

fn enter_namespaces(pid: i32, kinds: &[&str]) -> Result<()> {
    let open = |kind: &&str| -> Result<(File, CloneFlags)> {
        let path = format!("/proc/{pid}/ns/{kind}");
        let file = File::open(&path).with_context(|| format!("cannot open {path}"))?;
        let flag = match *kind {
            "user" => CloneFlags::CLONE_NEWUSER,
            "mnt" => CloneFlags::CLONE_NEWNS,
            "pid" => CloneFlags::CLONE_NEWPID,
            "net" => CloneFlags::CLONE_NEWNET,
            _ => CloneFlags::CLONE_NEWUTS,
        };
        Ok((file, flag))
    };
    // All are opened before any is entered: entering one can take away the right to open another.
    let opened: Vec<_> = kinds.iter().map(open).collect::<Result<_>>()?;
    let same_user_namespace = fs::read_link(format!("/proc/{pid}/ns/user")).ok()
        == fs::read_link("/proc/self/ns/user").ok();
    for (file, flag) in &opened {
        if *flag == CloneFlags::CLONE_NEWUSER && same_user_namespace {
            continue;
        }
        setns(file, *flag).context("cannot enter the lab's namespaces")?;
    }
    Ok(())
}

/// When process `pid` started; `None` when there is none.
fn started(pid: i32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the program's name in parentheses, and may hold anything.
    let (_, rest) = stat.rsplit_once(") ")?;
    rest.split(' ').nth(19)?.parse().ok()
}

#[allow(unsafe_code)]
fn open_process(pid: i32) -> Option<OwnedFd> {
    // SAFETY: the call takes two integers and returns a new descriptor or -1.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    let fd = i32::try_from(fd).ok().filter(|fd| *fd >= 0)?;
    // SAFETY: the kernel has just made this descriptor for us.
    Some(unsafe { OwnedFd::from_raw_fd(fd) })
}

#[allow(unsafe_code)]
fn kill_process(handle: &OwnedFd) -> io::Result<()> {
    use std::os::fd::AsRawFd as _;
    let null = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: a null siginfo is allowed and means what `kill` would send.
    let sent = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            handle.as_raw_fd(),
            libc::SIGKILL,
            null,
            0,
        )
    };
    if sent == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(dir: &tempfile::TempDir) -> Place {
        Place {
            dir: dir.path().join("grid-lab"),
            owner: geteuid().as_raw(),
        }
    }

    #[test]
    fn only_a_process_that_started_at_the_noted_time_counts() {
        let dir = tempfile::tempdir().unwrap();
        let place = place(&dir);
        let me = i32::try_from(std::process::id()).unwrap();
        assert!(place.running().unwrap().is_none());
        place.note(me).unwrap();
        assert_eq!(place.running().unwrap().map(|note| note.init), Some(me));
        assert!(
            place
                .require_free()
                .unwrap_err()
                .to_string()
                .contains("lab down")
        );

        // The number has since been given to another process.
        let stale = Note {
            init: me,
            started: started(me).unwrap() + 1,
        };
        fs::write(place.file(), serde_json::to_vec(&stale).unwrap()).unwrap();
        place.require_free().unwrap();
        assert_eq!(
            place.down().unwrap(),
            None,
            "this very process would have been killed"
        );
        assert!(!place.file().exists());
    }

    #[test]
    fn a_folder_that_others_can_use_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let place = place(&dir);
        DirBuilder::new().mode(0o755).create(&place.dir).unwrap();
        assert!(
            place
                .note(1)
                .unwrap_err()
                .to_string()
                .contains("only this user")
        );
        fs::remove_dir(&place.dir).unwrap();
        std::os::unix::fs::symlink(dir.path(), &place.dir).unwrap();
        assert!(
            place
                .note(1)
                .unwrap_err()
                .to_string()
                .contains("only this user")
        );
    }
}
