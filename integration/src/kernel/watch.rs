//! Watching a kernel from outside: passing on its output, and ending it in time.
//!
//! The kernel's processes are one process group. It is ended here when the command has ended, when
//! the time is up, or when this process gets a signal; and by the keeper when this process is killed.

use std::io::{Read, Write};
use std::os::fd::AsFd as _;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Command;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl;
use nix::sys::signal::{SigSet, Signal, killpg};
use nix::unistd::{Pid, setpgid};

use super::channels::{EXIT, FAILED, Readers, Writers};
use crate::signals::{Blocked, Listener};

/// A kernel that is ready to start.
pub(super) struct Machine {
    pub(super) command: Command,
    pub(super) readers: Readers,
    pub(super) writers: Writers,
    /// The file for the kernel's own messages.
    pub(super) console: PathBuf,
    /// Processes that serve the kernel and end with it.
    pub(super) helpers: Vec<Helper>,
}

/// A process that ends when this is dropped.
pub(super) struct Helper(pub(super) std::process::Child);

impl Drop for Helper {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = killpg(pid(&self.0), Signal::SIGKILL);
        let _ = self.0.wait();
    }
}

/// How a kernel ended.
#[derive(Debug)]
pub(super) enum Ended {
    /// The command's exit code.
    Exit(u8),
    /// The signal that this process got.
    Signal(u8),
    TimeUp,
    /// The kernel ran, but could not run the command.
    Failed(String),
    /// The kernel ended before the command did.
    Broken(String),
}

/// Starts the kernel and waits until its command has ended.
pub(super) fn watch(machine: Machine, limit: Duration) -> Result<Ended> {
    let signals = Blocked::new()?;
    let Machine {
        mut command,
        readers,
        writers,
        helpers,
        ..
    } = machine;
    let started = Instant::now();
    tie(&mut command, signals.before());
    let child = command.spawn().with_context(|| {
        let program = command.get_program().to_string_lossy().into_owned();
        format!("cannot start {program}")
    })?;
    drop(writers);
    let mut child = Helper(child);
    let stdout = pump(readers.stdout, std::io::stdout());
    let stderr = pump(readers.stderr, std::io::stderr());
    let status = collect(readers.status);
    let ended = wait(&mut child, &signals.listen()?, &status, started + limit);
    drop(child);
    drop(helpers);
    // With the last of the kernel's processes gone, the pipes have ended.
    for pumped in [stdout, stderr] {
        let _ = pumped.recv_timeout(Duration::from_secs(5));
    }
    ended
}

/// Makes the process lead its own group, and die with this one.
#[allow(unsafe_code)]
pub(super) fn tie(command: &mut Command, mask: SigSet) {
    let tie = move || {
        setpgid(Pid::from_raw(0), Pid::from_raw(0))?;
        prctl::set_pdeathsig(Signal::SIGTERM)?;
        mask.thread_set_mask()?;
        Ok(())
    };
    // SAFETY: three bare system calls, which neither allocate nor lock.
    unsafe { command.pre_exec(tie) };
}

fn pid(child: &std::process::Child) -> Pid {
    Pid::from_raw(i32::try_from(child.id()).unwrap_or(i32::MAX))
}

fn wait(
    child: &mut Helper,
    signals: &Listener,
    status: &Receiver<Option<String>>,
    until: Instant,
) -> Result<Ended> {
    loop {
        if let Ok(said) = status.try_recv() {
            return Ok(understand(said.as_deref()));
        }
        if let Some(number) = signals.request_to_end() {
            return Ok(Ended::Signal(u8::try_from(number).unwrap_or(1)));
        }
        if child.0.try_wait()?.is_some() {
            // Its last word may still be in the pipe.
            let said = status.recv_timeout(Duration::from_secs(2));
            return Ok(understand(said.ok().flatten().as_deref()));
        }
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(Ended::TimeUp);
        }
        let turn = left.min(Duration::from_millis(20));
        let mut fds = [PollFd::new(signals.as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, PollTimeout::try_from(turn)?) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => bail!("cannot wait for the kernel: {error}"),
        }
    }
}

fn understand(said: Option<&str>) -> Ended {
    let Some(said) = said else {
        return Ended::Broken("the kernel ended before the command did".to_owned());
    };
    if let Some(code) = said.strip_prefix(EXIT).and_then(|c| c.trim().parse().ok()) {
        return Ended::Exit(code);
    }
    match said.strip_prefix(FAILED) {
        Some(why) => Ended::Failed(why.trim().to_owned()),
        None => Ended::Broken(format!("its last word was {:?}", said.trim())),
    }
}

fn pump(mut from: impl Read + Send + 'static, mut to: impl Write + Send + 'static) -> Receiver<()> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        let mut buffer = [0; 1 << 14];
        // When nobody reads any more, keep emptying the pipe: the command must not block.
        let mut heard = true;
        while let Ok(length @ 1..) = from.read(&mut buffer) {
            let bytes = buffer.get(..length).unwrap_or_default();
            heard = heard && to.write_all(bytes).and_then(|()| to.flush()).is_ok();
        }
        let _ = sender.send(());
    });
    receiver
}

/// The first line; `None` if there is none.
fn collect(mut from: impl Read + Send + 'static) -> Receiver<Option<String>> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        let mut said = Vec::new();
        let mut buffer = [0; 256];
        while let Ok(length @ 1..) = from.read(&mut buffer) {
            said.extend_from_slice(buffer.get(..length).unwrap_or_default());
            if said.contains(&b'\n') || said.len() > 1 << 14 {
                break;
            }
        }
        let said = (!said.is_empty()).then(|| String::from_utf8_lossy(&said).into_owned());
        let _ = sender.send(said);
    });
    receiver
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_words_are_understood() {
        assert!(matches!(understand(Some("exit 42\n")), Ended::Exit(42)));
        for (said, why) in [
            (None, "before the command"),
            (Some("exit many\n"), "many"),
            (Some("exit 256\n"), "256"),
        ] {
            match understand(said) {
                Ended::Broken(text) => assert!(text.contains(why), "{text}"),
                other => panic!("{other:?}"),
            }
        }
        match understand(Some("failed no such file\n")) {
            Ended::Failed(text) => assert_eq!(text, "no such file"),
            other => panic!("{other:?}"),
        }
    }
}
