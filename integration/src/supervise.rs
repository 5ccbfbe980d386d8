//! Entering the lab's own namespaces, and making sure that they end with the lab.
//!
//! Three processes: the *outer* one stays on the host, forwards nothing and changes nothing there;
//! the *init* is process 1 of the lab's PID namespace; the *lab* does the work. When the outer
//! process dies, by any signal, the kernel kills init (`PR_SET_PDEATHSIG`); when init dies, the
//! kernel kills everything in the PID namespace; when the last process is gone, so are the network
//! and mount namespaces. No step of this relies on code that runs at the end.
//!
//! Call nothing here once the process has a second thread: a process with threads cannot enter a
//! user namespace.

use std::fs;
use std::io::{self, PipeReader, PipeWriter, Read as _, Write as _};
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl;
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork, getegid, geteuid};

use crate::mounts;
use crate::requirements::{self, Missing};
use crate::signals::Blocked;

/// Where the lab keeps its own files: a tmpfs in its own mount namespace.
pub const LAB_DIR: &str = "/run/grid-lab";
/// The program `grid` as the nodes see it: this executable under its other name.
pub const GRID: &str = "/run/grid-lab/bin/grid";

/// How a lab ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// Everything is gone; this is the exit code to pass on.
    Ended(u8),
    /// The lab stays up. The number is the process id, on the host, of its init; killing that
    /// process ends the lab.
    Kept(i32),
}

/// Runs `inside` in fresh user (without root), PID, mount, network, UTS and IPC namespaces.
///
/// `inside` returns the exit code; it runs in a child process, so its changes to memory are not seen
/// here. With `keep`, an exit code of 0 leaves the namespaces and all processes in them running:
/// `keep` is called in this process with the process id of init, and notes what is needed to find the
/// lab again. Until it has returned, the lab still dies with this process.
///
/// # Errors
/// [`Missing`] when this machine or this user cannot have such namespaces. Nothing was changed.
pub fn run(
    keep: Option<&dyn Fn(i32) -> Result<()>>,
    inside: impl FnOnce() -> u8,
) -> Result<Ending> {
    require_single_thread()?;
    enter_user_namespace_if_needed()?;
    let (status_reader, status_writer) = io::pipe().context("cannot make a pipe")?;
    let (life_reader, life_writer) = io::pipe().context("cannot make a pipe")?;

    let signals = Blocked::new()?;
    match fork_once()? {
        ForkResult::Child => {
            drop(life_writer);
            drop(status_reader);
            let code = init(
                keep.is_some(),
                signals.before(),
                life_reader,
                status_writer,
                inside,
            );
            std::process::exit(code.into());
        }
        ForkResult::Parent { child } => {
            drop(life_reader);
            drop(status_writer);
            let ended = watch(child, &signals, status_reader);
            match (ended, keep) {
                (Ok(Watched::WantsToStay(status)), Some(keep)) => {
                    let kept = keep(child.as_raw()).and_then(|()| let_go(life_writer, status));
                    if kept.is_err() {
                        end(child);
                    }
                    kept.map(|()| Ending::Kept(child.as_raw()))
                }
                (Ok(Watched::WantsToStay(_)), None) => bail!("the lab stays although nobody asked"),
                (Ok(Watched::Ended(code)), _) => Ok(Ending::Ended(code)),
                (Err(error), _) => {
                    end(child);
                    Err(error)
                }
            }
        }
    }
}

enum Watched {
    Ended(u8),
    WantsToStay(PipeReader),
}

/// Ends the lab: when `waitpid` returns, the kernel has ended every process in it.
fn end(init: Pid) {
    // It may have ended by itself in the meantime, which is what we want.
    let _ = kill(init, Signal::SIGKILL);
    let _ = waitpid(init, None);
}

/// Tells init that it may outlive this process, and waits until it does.
fn let_go(mut life: PipeWriter, mut status: PipeReader) -> Result<()> {
    life.write_all(b"stay")
        .context("the lab ended before it could be kept")?;
    let mut complaint = String::new();
    status.read_to_string(&mut complaint)?;
    if complaint.is_empty() {
        Ok(())
    } else {
        bail!("cannot keep the lab: {complaint}")
    }
}

#[allow(unsafe_code)]
fn fork_once() -> Result<ForkResult> {
    // SAFETY: `run` and `init` have checked that this process has one thread, so the child may go
    // on using the allocator and everything else.
    unsafe { fork() }.context("cannot start a process")
}

fn require_single_thread() -> Result<()> {
    let threads = fs::read_dir("/proc/self/task")
        .context("cannot read /proc/self/task")?
        .count();
    if threads != 1 {
        bail!("the lab must be entered before threads are started, and there are {threads}");
    }
    Ok(())
}

/// Puts this process where its next child becomes process 1 of a new PID namespace.
fn enter_user_namespace_if_needed() -> Result<()> {
    let (uid, gid) = (geteuid(), getegid());
    if uid.is_root() {
        match unshare(CloneFlags::CLONE_NEWPID) {
            Ok(()) => return Ok(()),
            // Root without capabilities, as in a container: do as an ordinary user does.
            Err(Errno::EPERM) => {}
            Err(error) => bail!("cannot make a PID namespace: {error}"),
        }
    }
    unshare(CloneFlags::CLONE_NEWUSER).map_err(requirements::explain_user_namespace)?;
    // The kernel wants this written before an unprivileged process may map its group.
    fs::write("/proc/self/setgroups", "deny").context("cannot write /proc/self/setgroups")?;
    fs::write("/proc/self/uid_map", format!("0 {uid} 1"))
        .context("cannot map the user id into the user namespace")?;
    fs::write("/proc/self/gid_map", format!("0 {gid} 1"))
        .context("cannot map the group id into the user namespace")?;
    unshare(CloneFlags::CLONE_NEWPID).map_err(requirements::explain_user_namespace)?;
    Ok(())
}

/// The outer process: waits until init ends or says that the lab is kept, or for a signal.
fn watch(init: Pid, signals: &Blocked, mut status: PipeReader) -> Result<Watched> {
    let signals = signals.listen()?;
    let mut interrupted = None;
    let mut failure = String::new();
    let mut status_open = true;
    loop {
        let mut fds = vec![PollFd::new(signals.as_fd(), PollFlags::POLLIN)];
        if status_open {
            fds.push(PollFd::new(status.as_fd(), PollFlags::POLLIN));
        }
        match poll(&mut fds, PollTimeout::NONE) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => bail!("cannot wait for the lab: {error}"),
        }
        let status_ready = fds.get(1).is_some_and(|fd| fd.any().unwrap_or(false));
        if status_ready {
            let mut text = [0; 4096];
            match status.read(&mut text) {
                Ok(0) | Err(_) => status_open = false,
                Ok(length) => {
                    let text = String::from_utf8_lossy(text.get(..length).unwrap_or_default());
                    if text == KEPT {
                        return Ok(Watched::WantsToStay(status));
                    }
                    failure.push_str(&text);
                }
            }
        }
        if let Some(signal) = signals.request_to_end() {
            interrupted = Some(signal);
            // Not `end`: the code below reaps it.
            let _ = kill(init, Signal::SIGKILL);
        }
        let code = match waitpid(init, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(_, code)) => code,
            Ok(WaitStatus::Signaled(_, signal, _)) => 128 + signal as i32,
            Ok(_) | Err(Errno::EINTR) => continue,
            Err(error) => bail!("cannot wait for the lab: {error}"),
        };
        // What init wrote just before it ended may still be in the pipe.
        if status_open {
            let _ = status.read_to_string(&mut failure);
        }
        if !failure.is_empty() {
            return Err(Missing(failure).into());
        }
        let code = interrupted.map_or(code, |signal| 128 + signal);
        return Ok(Watched::Ended(u8::try_from(code).unwrap_or(u8::MAX)));
    }
}

const KEPT: &str = "kept";

/// Process 1: sets up the namespaces, starts the lab, reaps, and ends when the lab ends.
fn init(
    keep: bool,
    original_mask: SigSet,
    mut life: PipeReader,
    mut status: PipeWriter,
    inside: impl FnOnce() -> u8,
) -> u8 {
    let prepared = die_with_parent(&life).and_then(|()| prepare_namespaces());
    let child = prepared.and_then(|()| fork_once());
    let lab = match child {
        Ok(ForkResult::Parent { child }) => child,
        Ok(ForkResult::Child) => {
            drop(status);
            let code = match original_mask.thread_set_mask() {
                Ok(()) => inside(),
                Err(_) => 1,
            };
            std::process::exit(code.into());
        }
        Err(error) => {
            let _ = write!(status, "{error:#}");
            return 1;
        }
    };
    let code = reap_until(lab);
    if !(keep && code == 0) {
        return code;
    }
    if let Err(error) = stay(&mut life, &mut status) {
        let _ = write!(status, "{error:#}");
        return 1;
    }
    drop(status);
    // Reap for as long as anything runs in here.
    while waitpid(None::<Pid>, None).is_ok() {}
    0
}

/// Init's side of [`let_go`].
fn stay(life: &mut PipeReader, status: &mut PipeWriter) -> Result<()> {
    status.write_all(KEPT.as_bytes())?;
    life.read_exact(&mut [0; 4]).context("the parent ended")?;
    prctl::set_pdeathsig(None)?;
    detach_from_terminal()
}

/// Starts a session of its own and gives up the terminal and the standard streams.
///
/// # Errors
/// What `setsid`, `open` or `dup2` answer.
pub(crate) fn detach_from_terminal() -> Result<()> {
    // A process that already leads a session or a group has nothing to detach.
    match nix::unistd::setsid() {
        Ok(_) | Err(Errno::EPERM) => {}
        Err(error) => return Err(error.into()),
    }
    std::env::set_current_dir("/")?;
    let null = fs::File::options()
        .read(true)
        .write(true)
        .open("/dev/null")?;
    nix::unistd::dup2_stdin(&null)?;
    nix::unistd::dup2_stdout(&null)?;
    nix::unistd::dup2_stderr(&null)?;
    Ok(())
}

fn die_with_parent(life: &PipeReader) -> Result<()> {
    prctl::set_pdeathsig(Signal::SIGKILL).context("cannot tie the lab to its parent")?;
    // The parent may have died before the line above; then its end of the pipe is closed.
    let mut fds = [PollFd::new(life.as_fd(), PollFlags::POLLIN)];
    poll(&mut fds, PollTimeout::ZERO)?;
    if fds[0].any().unwrap_or(false) {
        bail!("the lab was ended while it started");
    }
    Ok(())
}

fn reap_until(lab: Pid) -> u8 {
    loop {
        match waitpid(None::<Pid>, None) {
            Ok(WaitStatus::Exited(pid, code)) if pid == lab => {
                return u8::try_from(code).unwrap_or(u8::MAX);
            }
            Ok(WaitStatus::Signaled(pid, signal, _)) if pid == lab => {
                return u8::try_from(128 + signal as i32).unwrap_or(u8::MAX);
            }
            Ok(_) | Err(Errno::EINTR) => {}
            Err(_) => return 1,
        }
    }
}

fn prepare_namespaces() -> Result<()> {
    let flags = CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWNET
        | CloneFlags::CLONE_NEWUTS
        | CloneFlags::CLONE_NEWIPC;
    unshare(flags).map_err(|error| anyhow::anyhow!("cannot make namespaces: {error}"))?;
    mounts::make_private()?;
    mounts::kernel_view("proc", "/proc").context(
        "the lab needs a /proc of its own (a container that hides parts of /proc forbids it: run \
         the lab on the host, or start the container with `--privileged`)",
    )?;
    // By its path rather than /proc/self/exe, which still leads into the namespace that we left; and
    // before a new /run hides it, should it be there.
    let executable = fs::read_link("/proc/self/exe").and_then(fs::File::open).context(
        "cannot open this executable again (was it rebuilt or moved while it started? try again)",
    )?;
    mounts::empty("/run", "0755")?;
    for dir in ["/run/wireguard", "/run/grid-lab/bin", "/run/grid-lab/node"] {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(dir)?;
    }
    if fs::canonicalize("/var/run").is_ok_and(|path| path != Path::new("/run")) {
        mounts::bind("/run", "/var/run")?;
    }
    // A bind mount rather than a link: the program then finds itself under the name `grid`.
    fs::write(GRID, "")?;
    mounts::bind(&format!("/proc/self/fd/{}", executable.as_raw_fd()), GRID)?;
    nix::unistd::sethostname("grid-lab")?;
    Ok(())
}
