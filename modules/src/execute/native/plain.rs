//! An ordinary program in the person's terminal: it gets the arguments, the terminal, and the last
//! word on the exit code.
//!
//! It runs in the folder and the process group of this program, so that Ctrl-C and job control work
//! as if the shell had started it, and without deadline: the person is there. Of the environment it
//! gets what programs in a terminal need, and nothing else: other variables may hold secrets.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;

use grid_promises::ContentId;
use nix::sys::signal::{SigHandler, Signal, signal};

use super::sealed::Sealed;

/// What the program inherits of this one's environment.
const ENVIRONMENT: [&str; 16] = [
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "SHELL",
    "PWD",
    "TMPDIR",
    "LANG",
    "LC_ALL",
    "LC_CTYPE",
    "TZ",
    "TERM",
    "COLORTERM",
    "NO_COLOR",
    "COLUMNS",
    "LINES",
];

/// A program to run once.
#[derive(Debug)]
pub struct Plain {
    sealed: Sealed,
    name: OsString,
    args: Vec<OsString>,
}

impl Plain {
    /// The program under the name by which the person called it, with its arguments.
    #[must_use]
    pub const fn new(sealed: Sealed, name: OsString, args: Vec<OsString>) -> Self {
        Self { sealed, name, args }
    }

    /// Runs it, and waits for its end. The result is its exit code; for one that was ended by a
    /// signal, 128 and the signal's number, as shells have it.
    ///
    /// While it runs, SIGINT and SIGQUIT, which the terminal sends to both, are left to it: call
    /// this in a process that does nothing else.
    ///
    /// # Errors
    /// It could not be started.
    pub fn run(self) -> Result<u8, PlainError> {
        let failed = |error: io::Error| PlainError {
            id: *self.sealed.id(),
            why: self.sealed.why_not(&error),
        };
        let mut command = self.sealed.command(&self.name);
        command.args(&self.args).env_clear();
        for name in ENVIRONMENT {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        let mut child = command.spawn().map_err(failed)?;
        // Not before: what is ignored would be ignored by the child too.
        let _left_to_it = Ignored::new([Signal::SIGINT, Signal::SIGQUIT]);
        child.wait().map(code).map_err(failed)
    }
}

fn code(status: ExitStatus) -> u8 {
    let code = match (status.code(), status.signal()) {
        (Some(code), _) => code,
        (None, Some(signal)) => 128 + signal,
        (None, None) => 1,
    };
    // The system has eight bits for it.
    u8::try_from(code & 0xff).unwrap_or(1)
}

/// Signals that this process ignores until this is dropped.
struct Ignored(Vec<(Signal, SigHandler)>);

impl Ignored {
    fn new(signals: [Signal; 2]) -> Self {
        let ignore = |which| {
            // SAFETY: "ignore" is no handler that could run. What was there is put back on drop.
            #[allow(unsafe_code)]
            let before = unsafe { signal(which, SigHandler::SigIgn) };
            before.ok().map(|before| (which, before))
        };
        Self(signals.into_iter().filter_map(ignore).collect())
    }
}

impl Drop for Ignored {
    fn drop(&mut self) {
        for (which, before) in &self.0 {
            // SAFETY: the handler that was there before is as good as it was then.
            #[allow(unsafe_code)]
            let _ = unsafe { signal(*which, *before) };
        }
    }
}

/// A program that could not be started. It did not run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot start {id}: {why}")]
pub struct PlainError {
    /// The executable.
    pub id: ContentId,
    /// What the system said, and what to do.
    pub why: String,
}

#[cfg(test)]
mod tests {
    use super::super::AllowList;
    use super::*;

    fn run(script: &str, args: &[&str]) -> Result<u8, PlainError> {
        let id = ContentId::of(script.as_bytes());
        let allowed = AllowList::new([id]).check(&id).unwrap();
        let sealed = Sealed::new(allowed, script.as_bytes()).unwrap();
        let args = args.iter().map(OsString::from).collect();
        Plain::new(sealed, "name".into(), args).run()
    }

    #[test]
    fn arguments_go_in_and_the_exit_code_comes_out() {
        assert_eq!(run("#!/bin/sh\nexit \"$1\"\n", &["0"]), Ok(0));
        assert_eq!(run("#!/bin/sh\nexit \"$1\"\n", &["7", "x y"]), Ok(7));
        assert_eq!(
            run("#!/bin/sh\ntest \"$2\" = 'x y'\n", &["7", "x y"]),
            Ok(0)
        );
        assert_eq!(run("#!/bin/sh\nkill -9 $$\n", &[]), Ok(137));
    }

    #[test]
    fn the_environment_is_the_short_list() {
        let script = "#!/bin/sh\ntest -n \"$PATH\" && test -z \"$CARGO_MANIFEST_DIR\"\n";
        assert!(std::env::var_os("CARGO_MANIFEST_DIR").is_some());
        assert_eq!(run(script, &[]), Ok(0));
    }

    #[test]
    fn what_cannot_start_is_an_error() {
        let error = run("#!/nowhere/interpreter\n", &[]).unwrap_err();
        assert!(error.why.contains("interpreter"), "{error}");
    }
}
