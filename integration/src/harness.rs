//! Running scenarios, each in a lab of its own.
//!
//! A test harness starts threads, but namespaces can be entered only by a process without; so each test
//! starts `lab scenario NAME` as a child process. Its exit code says how it went: 0 passed, 77 skipped,
//! anything else failed.

use std::process::{Command, Stdio};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};
use std::{fs, io, thread};

use anyhow::{Context as _, Result};

use crate::kernel;
use crate::lab::Lab;
use crate::output::say;
use crate::requirements::{Missing, SKIPPED};
use crate::scenario::{Group, Runs, Scenario};
use crate::scenarios;
use crate::supervise::{self, Ending};

/// How long one scenario may take.
const DEADLINE: Duration = Duration::from_secs(240);
/// How many scenarios of a group may run at once.
const AT_ONCE: u32 = 2;

/// How a scenario ended, as a test sees it.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    Passed,
    /// The machine lacks what is named.
    Skipped(String),
    /// It failed; the text is everything that it printed.
    Failed(String),
}

/// Runs the scenario called `name` in namespaces of its own and returns the exit code.
///
/// # Errors
/// When there is no such scenario.
pub fn run_here(name: &str) -> Result<u8> {
    let (_, scenario) = scenarios::find(name).with_context(|| {
        format!("there is no scenario {name}; `lab scenario --list` lists them")
    })?;
    let ended = supervise::run(None, || {
        report(Lab::new().and_then(|lab| (scenario.run)(&lab)))
    });
    Ok(match ended {
        Ok(Ending::Ended(code)) => code,
        Ok(Ending::Kept(_)) => 1,
        Err(error) => report(Err(error)),
    })
}

fn report(outcome: Result<()>) -> u8 {
    match outcome {
        Ok(()) => {
            say("ok");
            0
        }
        Err(error) => match error.downcast_ref::<Missing>() {
            Some(missing) => {
                say(&format!("SKIPPED: {missing}"));
                SKIPPED
            }
            None => {
                say(&format!("FAILED: {error:#}"));
                1
            }
        },
    }
}

/// Runs a scenario of `group` in a child process of `lab`, the path of that program. Waits for its
/// turn: in one process at most two scenarios run at once, and only of one group.
///
/// # Errors
/// When the child cannot be started or watched.
pub fn run_in_child(lab: &str, group: &Group, scenario: &Scenario) -> io::Result<Outcome> {
    let _turn = Turn::take(group.name);
    let elsewhere = group.runs == Runs::WithWireGuard
        && !kernel::is_inside()
        && grid_wg::preflight(grid_wg::BackendChoice::Kernel, &grid_wg::Place::default()).is_err();
    // A file rather than a pipe: a process that outlives the child could hold a pipe open.
    let output = tempfile::NamedTempFile::new()?;
    let mut child = Command::new(lab)
        .args(elsewhere.then_some("--kernel"))
        .args(["scenario", scenario.name])
        .stdin(Stdio::null())
        .stdout(output.reopen()?)
        .stderr(output.reopen()?)
        .spawn()?;
    let started = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break Some(status);
        }
        if started.elapsed() > DEADLINE {
            child.kill()?;
            child.wait()?;
            break None;
        }
        thread::sleep(Duration::from_millis(20));
    };
    let text = String::from_utf8_lossy(&fs::read(output.path())?).into_owned();
    let code = status.map(|status| status.code());
    Ok(match code {
        Some(Some(0)) => Outcome::Passed,
        Some(Some(code)) if code == i32::from(SKIPPED) => {
            let reason = text
                .lines()
                .rev()
                .find_map(|line| line.strip_prefix("SKIPPED: "));
            Outcome::Skipped(reason.unwrap_or(text.trim()).to_owned())
        }
        Some(Some(code)) => Outcome::Failed(format!("exit code {code}\n{text}")),
        Some(None) => Outcome::Failed(format!("killed by a signal\n{text}")),
        None => Outcome::Failed(format!("not done after {} s\n{text}", DEADLINE.as_secs())),
    })
}

/// Which group runs, and how many of its scenarios.
static RUNNING: Mutex<(&str, u32)> = Mutex::new(("", 0));
static ENDED: Condvar = Condvar::new();

/// The right to run one scenario, until it is dropped. Groups do not overlap: some measure times, or
/// load both processors of a small machine.
struct Turn;

impl Turn {
    fn take(group: &'static str) -> Self {
        let running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
        let mut running = ENDED
            .wait_while(running, |(other, count)| {
                *count >= AT_ONCE || (*count > 0 && *other != group)
            })
            .unwrap_or_else(PoisonError::into_inner);
        *running = (group, running.1 + 1);
        Self
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        RUNNING.lock().unwrap_or_else(PoisonError::into_inner).1 -= 1;
        // All of them: one waiting for its group could be woken while another could go on.
        ENDED.notify_all();
    }
}
