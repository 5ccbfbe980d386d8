//! A command line that must fail, and may change nothing.

use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use grid::control::waiting;

use super::state::State;
use crate::node::Node;
use crate::run::run_with_deadline;

const PATIENCE: Duration = Duration::from_secs(60);

/// The exit codes of the command line, as its help lists them.
pub(super) mod exit {
    pub(in super::super) const FAILED: i32 = 1;
    pub(in super::super) const USAGE: i32 = 2;
    pub(in super::super) const NO_SERVER: i32 = 3;
    pub(in super::super) const REFUSED: i32 = 4;
}

/// A command that must fail.
pub(super) struct MustFail<'a> {
    arguments: &'a [&'a str],
    input: &'a str,
    exit: i32,
    /// Parts of the sentence: what is wrong, and what to do.
    says: &'a [&'a str],
    /// Capabilities that the command and what it starts cannot have.
    without: &'static [u32],
}

impl<'a> MustFail<'a> {
    pub(super) fn new(arguments: &'a [&'a str], exit: i32, says: &'a [&'a str]) -> Self {
        Self {
            arguments,
            input: "",
            exit,
            says,
            without: &[],
        }
    }

    pub(super) fn input(self, input: &'a str) -> Self {
        Self { input, ..self }
    }

    pub(super) fn without(self, without: &'static [u32]) -> Self {
        Self { without, ..self }
    }

    /// Runs it on `node`, and checks everything that it may not change.
    pub(super) fn run_on(&self, node: &Node) -> Result<()> {
        let shown = self.arguments.join(" ");
        let before = State::of(node)?;
        let mut command = node.command("grid");
        command.args(self.arguments);
        give_up(&mut command, self.without);
        let begun = Instant::now();
        let output = run_with_deadline(command, self.input.as_bytes(), PATIENCE)?;
        self.judge(&output, begun.elapsed())
            .with_context(|| format!("`grid {shown}`: {output:?}"))?;
        before
            .same(&State::of(node)?)
            .with_context(|| format!("after `grid {shown}`"))
    }

    /// `took` is an upper bound of how long the command ran.
    fn judge(&self, output: &Output, took: Duration) -> Result<()> {
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.stdout.is_empty(), "it printed a result");
        ensure!(
            output.status.code() == Some(self.exit),
            "it ended with {}, not with {}",
            output.status,
            self.exit
        );
        for part in self.says {
            ensure!(said.contains(part), "it did not say {part:?}");
        }
        // In addition it may quote a server that ended.
        let others: Vec<&str> = said
            .lines()
            .filter(|line| !line.starts_with("grid: ") && !line.starts_with("  "))
            .filter(|line| !is_of_a_server(line) && !self.is_of_waiting(line, took))
            .collect();
        let sentences = said.lines().filter(|line| line.starts_with("grid: "));
        ensure!(sentences.count() == 1, "it did not say one thing");
        ensure!(others.is_empty(), "it said besides: {others:?}");
        ensure!(!said.contains("panicked"), "it panicked");
        Ok(())
    }

    /// Whether a line says what the command waits for. A quick command may not say it.
    fn is_of_waiting(&self, line: &str, took: Duration) -> bool {
        let net = self.arguments.get(1).and_then(|name| name.parse().ok());
        net.is_some_and(|net| {
            let all = [waiting::for_members(&net), waiting::for_an_answer(&net)];
            took >= waiting::PATIENCE && all.iter().any(|known| known == line)
        })
    }
}

/// Whether a line says that a server was started for the command, or stopped again.
fn is_of_a_server(line: &str) -> bool {
    line == "the server that was started is being stopped again"
        || line
            .strip_prefix("started a server in the background (process ")
            .and_then(|rest| rest.split_once("); its log is "))
            .is_some_and(|(process, _)| process.parse::<u32>().is_ok())
}

/// Removes capabilities from what a program can have, even as root (the bounding set of
/// `capabilities(7)`).
#[allow(unsafe_code)]
fn give_up(command: &mut Command, capabilities: &'static [u32]) {
    let drop = move || {
        for capability in capabilities {
            let capability = libc::c_ulong::from(*capability);
            // SAFETY: this operation takes an integer and touches no memory of ours.
            if unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) } != 0 {
                return Err(io::Error::last_os_error());
            }
        }
        Ok(())
    };
    // SAFETY: the closure neither allocates nor locks.
    unsafe { command.pre_exec(drop) };
}

/// Has a server complete its home, and stops it, so that later commands have nothing to change.
pub(super) fn prepare(node: &Node) -> Result<()> {
    node.grid_ok(&["start-server", "--background"], "")?;
    node.grid_ok(&["stop-server"], "").map(drop)
}
