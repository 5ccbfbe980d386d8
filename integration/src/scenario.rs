//! The registry of end-to-end tests, and running one of them inside a lab of its own.
//!
//! A scenario is a function that gets a fresh lab. The test harness starts threads, and namespaces
//! can be entered only without; so a test starts `lab scenario NAME` as a child process and looks
//! at its exit code: 0 passed, 77 skipped, anything else failed.

use std::process::{Command, Stdio};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};
use std::{fs, io, thread};

use anyhow::Result;

use crate::Missing;
use crate::kernel;
use crate::lab::Lab;
use crate::output::say;
use crate::supervise::{self, Ending};

/// The exit code that says: not run, because the machine lacks something.
pub const SKIPPED: u8 = 77;
/// The group whose scenarios need a kernel with WireGuard. Where this machine's has none, or this
/// user may not ask it, they are run in a kernel of the lab (see [`crate::kernel`]).
pub const ON_KERNEL: &str = "kernel";
/// How long one scenario may take.
const DEADLINE: Duration = Duration::from_secs(240);
/// How many scenarios may run at once.
const AT_ONCE: u32 = 2;

/// One end-to-end test.
pub struct Scenario {
    /// The test file that runs it: `tests/GROUP.rs`.
    pub group: &'static str,
    /// Its name, which is also the name of the test.
    pub name: &'static str,
    /// What it does with a fresh lab. [`Missing`] anywhere in its error means: skip.
    pub run: fn(&Lab) -> Result<()>,
}

/// How a scenario ended, as a test sees it.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It held.
    Passed,
    /// The machine lacks what is named.
    Skipped(String),
    /// It did not hold; the text is all that it printed.
    Failed(String),
}

/// Every scenario.
#[must_use]
pub fn all() -> Vec<&'static Scenario> {
    crate::scenarios::GROUPS.iter().copied().flatten().collect()
}

/// The names of the scenarios of one group, sorted.
#[must_use]
pub fn names(group: &str) -> Vec<&'static str> {
    let mut names: Vec<_> = all()
        .into_iter()
        .filter(|scenario| scenario.group == group)
        .map(|s| s.name)
        .collect();
    names.sort_unstable();
    names
}

/// Runs scenario `name` in namespaces of its own and returns the exit code.
///
/// # Errors
/// When there is no such scenario.
pub fn run_here(name: &str) -> Result<u8> {
    let Some(scenario) = all().into_iter().find(|scenario| scenario.name == name) else {
        anyhow::bail!("there is no scenario {name}; `lab scenario --list` lists them");
    };
    let ended = supervise::run(None, || {
        let outcome = Lab::new().and_then(|lab| (scenario.run)(&lab));
        report(outcome)
    });
    Ok(match ended {
        Ok(Ending::Ended(code)) => code,
        Ok(Ending::Kept(_)) => 1,
        Err(error) => report(Err(error)),
    })
}

fn report(outcome: Result<()>) -> u8 {
    match outcome {
        Ok(()) => 0,
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

/// Runs scenario `name` in a child process of `lab`, the path of that program. At most two run at
/// once in one process; the others wait.
///
/// # Errors
/// When the child cannot be started or watched.
pub fn run_in_child(lab: &str, name: &str) -> io::Result<Outcome> {
    let _turn = Turn::take();
    let elsewhere = names(ON_KERNEL).contains(&name)
        && !kernel::is_inside()
        && grid_wg::preflight(grid_wg::BackendChoice::Kernel, &grid_wg::Place::default()).is_err();
    // A file and not a pipe: a process that outlives the child could hold a pipe open.
    let output = tempfile::NamedTempFile::new()?;
    let mut child = Command::new(lab)
        .args(elsewhere.then_some("--kernel"))
        .args(["scenario", name])
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

static RUNNING: Mutex<u32> = Mutex::new(0);
static ENDED: Condvar = Condvar::new();

struct Turn;

impl Turn {
    fn take() -> Self {
        let running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
        let mut running = ENDED
            .wait_while(running, |running| *running >= AT_ONCE)
            .unwrap_or_else(PoisonError::into_inner);
        *running += 1;
        Self
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        *RUNNING.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        ENDED.notify_one();
    }
}

/// Makes one test for each named scenario of a group, and one that fails when the registry has a
/// scenario that is not named here.
#[macro_export]
macro_rules! scenario_tests {
    ($group:literal: $($name:ident),* $(,)?) => {
        $(
            #[test]
            fn $name() {
                let name = stringify!($name);
                match $crate::scenario::run_in_child(env!("CARGO_BIN_EXE_lab"), name) {
                    Ok($crate::scenario::Outcome::Passed) => {}
                    // Written past the harness, which would hide it when the test passes.
                    Ok($crate::scenario::Outcome::Skipped(reason)) => {
                        $crate::output::say(&format!("SKIPPED {name}: {reason}"));
                    }
                    Ok($crate::scenario::Outcome::Failed(text)) => panic!("{text}"),
                    Err(error) => panic!("cannot run the scenario: {error}"),
                }
            }
        )*

        #[test]
        fn every_scenario_of_the_group_has_a_test() {
            let mut named = vec![$(stringify!($name)),*];
            named.sort_unstable();
            assert_eq!(named, $crate::scenario::names($group));
        }
    };
}
