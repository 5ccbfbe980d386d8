//! An executable that speaks messages: one process per call.
//!
//! It is started with one argument, `accept` or `handle`, in the folder `/`, with an environment of
//! its own: `GRID_ABI=1`, `PATH`, and what says language and time zone. For a peer, it is confined: its
//! folder is an empty one, and it inherits nothing of the environment. On its standard input it gets
//! one message in a frame (four bytes of length, big-endian, and the message), then the end. On its
//! standard output it writes one frame with its answer, and nothing else. It ends with exit code 0
//! before its deadline; else the answer does not count. What it writes to standard error comes to
//! this node's log, bounded.

use std::ffi::OsStr;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};

use grid_promises::{Message, frame};

use super::confined::Confinement;
use super::process::{self, Failed};
use super::sealed::Sealed;
use crate::execute::error::CallError;
use crate::execute::executor::{Executor, Verdict, Verdicts, shown_message};
use crate::execute::guest_log::GuestLog;
use crate::execute::limits::{Limits, MAX_ANSWER};

/// What the process inherits of this one's environment.
const ENVIRONMENT: [&str; 5] = ["PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ"];

/// Where one that is confined finds programs: it inherits nothing.
const PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// An executable that speaks messages.
#[derive(Debug)]
pub struct Framed {
    sealed: Sealed,
    verdicts: Verdicts,
    accept: Duration,
    handle: Duration,
    confinement: Option<Confinement>,
}

impl Framed {
    /// The executable, with the times of these limits.
    #[must_use]
    pub const fn new(sealed: Sealed, verdicts: Verdicts, limits: &Limits) -> Self {
        Self {
            sealed,
            verdicts,
            accept: limits.accept.time,
            handle: limits.handle.time,
            confinement: None,
        }
    }

    /// The same, confined: for the calls of peers.
    #[must_use]
    pub fn confined(self, confinement: Confinement) -> Self {
        Self {
            confinement: Some(confinement),
            ..self
        }
    }

    fn run(
        &self,
        entry: &str,
        time: Duration,
        parms: &Message,
        payload: &[u8],
    ) -> Result<Message, CallError> {
        let until = Instant::now() + time;
        let message = shown_message(parms, payload);
        message.check_limits().map_err(CallError::Parms)?;
        let mut input = Vec::new();
        frame::write(&mut input, &message).map_err(lost)?;
        let mut command = self.sealed.command(OsStr::new("grid-module"));
        command.arg(entry).env_clear().env("GRID_ABI", "1");
        // Until the process and its group have ended.
        let _folder = match &self.confinement {
            None => {
                environment(command.current_dir("/"));
                None
            }
            Some(confinement) => {
                command.env("PATH", PATH);
                let keep = self.sealed.descriptor();
                Some(confinement.apply(&mut command, keep, time).map_err(lost)?)
            }
        };
        let mut log = GuestLog::new(*self.sealed.id());
        let ended = process::exchange(&mut command, &input, MAX_ANSWER + 4, until, &mut log)
            .map_err(|failed| self.failed(failed, time))?;
        if !ended.status.success() {
            let how = how(ended.status);
            return Err(CallError::Exit { how });
        }
        read_answer(&ended.output)
    }

    fn failed(&self, failed: Failed, time: Duration) -> CallError {
        match failed {
            Failed::Start(error) => CallError::Start {
                program: *self.sealed.id(),
                why: self.sealed.why_not(&error),
            },
            Failed::Deadline => CallError::Deadline { after: time },
            Failed::Flooded => CallError::AnswerTooLong {
                found: MAX_ANSWER + 1,
                max: MAX_ANSWER,
            },
            Failed::System(error) => lost(error),
        }
    }
}

impl Executor for Framed {
    fn accept(&self, parms: &Message) -> Result<Verdict, CallError> {
        let answer = self.run("accept", self.accept, parms, b"")?;
        self.verdicts.read(answer)
    }

    fn handle(&self, parms: &Message, payload: &[u8]) -> Result<Message, CallError> {
        self.run("handle", self.handle, parms, payload)
    }
}

fn environment(command: &mut Command) {
    for name in ENVIRONMENT {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
}

/// One frame, with nothing after it. For the fuzzer, and not for programs.
#[doc(hidden)]
pub fn read_answer(output: &[u8]) -> Result<Message, CallError> {
    let mut rest = output;
    let message = frame::read(&mut rest).map_err(|error| CallError::NotAFrame {
        why: error.to_string(),
    })?;
    if !rest.is_empty() {
        return Err(CallError::NotAFrame {
            why: format!("{} bytes follow it", rest.len()),
        });
    }
    message.ok_or(CallError::NoAnswer)
}

fn lost(error: std::io::Error) -> CallError {
    CallError::Process {
        why: error.to_string(),
    }
}

fn how(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => status.to_string(),
    }
}
