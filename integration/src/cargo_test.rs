//! `lab test`: the tests of the workspace, and one line of totals at the end.
//!
//! Cargo's output is passed through as it comes, both streams to standard output, because a line of
//! one is often about the other. When nothing has come for a while, this says what is being done.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io::{self, IsTerminal as _, PipeReader, Read as _, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::process::Command;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use crate::output::{print, say};
use crate::processes::{Process, descendants};
use crate::tally::Tally;

/// How long nothing may come before something is said.
const QUIET: Duration = Duration::from_secs(15);
/// How often it is looked whether cargo has ended. A process that a test left behind may hold its
/// output open.
const TURN: Duration = Duration::from_millis(500);
/// What each of cargo's messages in JSON begins with.
const MESSAGE: &[u8] = b"{\"reason\":";
/// With this, cargo takes its progress off the line.
const ERASE: &[u8] = b"\x1b[K";

/// Runs `cargo test` with `arguments`, on the whole workspace if they choose no package. Returns its
/// exit code.
///
/// # Errors
/// When cargo cannot be started.
pub fn run(arguments: &[OsString]) -> Result<u8> {
    let (reader, writer) = io::pipe().context("cannot make a pipe")?;
    let mut command = cargo(arguments);
    command.stdout(writer.try_clone()?).stderr(writer);
    let mut child = command.spawn().context("cannot run cargo")?;
    // It holds the ends of the pipe that only cargo may hold.
    drop(command);
    let output = read(reader);
    let mut transcript = Transcript::default();
    let mut heard = Instant::now();
    let status = loop {
        match output.recv_timeout(TURN) {
            Ok(bytes) => {
                heard = Instant::now();
                show(&transcript.take(&bytes));
            }
            Err(RecvTimeoutError::Disconnected) => break child.wait()?,
            Err(RecvTimeoutError::Timeout) => {
                if let Some(status) = child.try_wait()? {
                    break status;
                }
                if heard.elapsed() >= QUIET {
                    heard = Instant::now();
                    let line = if transcript.is_within_line() {
                        "\n"
                    } else {
                        ""
                    };
                    say(&format!("{line}... {}", doing(&descendants(child.id()))));
                }
            }
        }
    };
    show(&transcript.end());
    transcript.tally.end();
    if !status.success() && transcript.tally.is_good() {
        print("cargo ended before all tests had run: the reason stands above");
    } else if !status.success() {
        print("cargo stops after a test program that fails; `--no-fail-fast` runs the others too");
    }
    transcript
        .tally
        .report()
        .iter()
        .for_each(|line| print(line));
    let code = status.code().or(status.signal().map(|signal| 128 + signal));
    Ok(u8::try_from(code.unwrap_or(1)).unwrap_or(u8::MAX))
}

fn cargo(arguments: &[OsString]) -> Command {
    let cargo = std::env::var_os("CARGO").unwrap_or("cargo".into());
    let mut command = Command::new(cargo);
    command.arg("test");
    let options = arguments.iter().map(|argument| argument.to_string_lossy());
    let options: Vec<_> = options.take_while(|argument| argument != "--").collect();
    let is_given = |names: &[&str]| {
        options.iter().any(|option| {
            let name = option.split_once('=').map_or(&**option, |(name, _)| name);
            names.contains(&name) || (name.starts_with("-p") && names.contains(&"-p"))
        })
    };
    if !is_given(&["-p", "--package", "--workspace", "--all", "--manifest-path"]) {
        command.arg("--workspace");
    }
    if !is_given(&["--message-format"]) {
        command.arg("--message-format=json-render-diagnostics");
    }
    command.args(arguments);
    // What `cargo run` has set for the lab. Build scripts that look at it would run again.
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&name);
        }
    }
    let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    if io::stdout().is_terminal() && !set("NO_COLOR") {
        // Cargo sees a pipe; these have it write as it would to the terminal.
        for (name, value) in [
            ("CARGO_TERM_COLOR", "always"),
            ("CARGO_TERM_PROGRESS_WHEN", "always"),
            ("CARGO_TERM_PROGRESS_WIDTH", "80"),
        ] {
            if !set(name) {
                command.env(name, value);
            }
        }
    }
    command
}

fn read(mut from: PipeReader) -> Receiver<Vec<u8>> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        let mut buffer = [0; 1 << 14];
        while let Ok(length @ 1..) = from.read(&mut buffer) {
            let bytes = buffer.get(..length).unwrap_or_default().to_vec();
            if sender.send(bytes).is_err() {
                break;
            }
        }
    });
    receiver
}

fn show(bytes: &[u8]) {
    let mut stdout = io::stdout().lock();
    // A reader that has gone away does not end the tests.
    let _ = stdout.write_all(bytes).and_then(|()| stdout.flush());
}

/// Separates the messages in JSON from what is shown, and has every line counted.
#[derive(Default)]
struct Transcript {
    tally: Tally,
    /// The line that has begun.
    line: Vec<u8>,
    /// How much of it has been shown.
    shown: usize,
}

impl Transcript {
    /// Takes what came, and returns what is to be shown of it.
    fn take(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut to_show = Vec::new();
        for byte in bytes {
            self.line.push(*byte);
            // Cargo ends a line of progress with a carriage return and writes over it.
            if matches!(byte, b'\n' | b'\r') {
                to_show.extend(self.end());
            }
        }
        if !self.may_be_message() {
            to_show.extend(self.unseen());
        }
        to_show
    }

    /// Ends the line. Returns what of it has not been shown yet.
    fn end(&mut self) -> Vec<u8> {
        let text = strip_styles(&String::from_utf8_lossy(&self.line));
        let to_show = if self.line.starts_with(MESSAGE) || text.as_bytes().starts_with(MESSAGE) {
            self.tally.message(text.trim());
            Vec::new()
        } else {
            self.tally.line(&text);
            self.unseen()
        };
        self.line.clear();
        self.shown = 0;
        to_show
    }

    fn unseen(&mut self) -> Vec<u8> {
        let unseen = self.line.get(self.shown..).unwrap_or_default().to_vec();
        self.shown = self.line.len();
        unseen
    }

    /// Whether the line that has begun can still turn out to be a message.
    fn may_be_message(&self) -> bool {
        let line = self.line.strip_prefix(ERASE).unwrap_or(&self.line);
        line.starts_with(MESSAGE) || MESSAGE.starts_with(line) || ERASE.starts_with(line)
    }

    fn is_within_line(&self) -> bool {
        self.shown > 0
    }
}

/// Text without the escape sequences that colour it and erase lines.
fn strip_styles(text: &str) -> String {
    let mut plain = String::new();
    let mut rest = text;
    while let Some((before, sequence)) = rest.split_once("\x1b[") {
        plain.push_str(before);
        let end = sequence.find(|letter: char| letter.is_ascii_alphabetic());
        rest = end.map_or("", |end| sequence.get(end + 1..).unwrap_or_default());
    }
    plain.push_str(rest);
    plain
}

/// What cargo's processes do, for people.
fn doing(processes: &[Process]) -> String {
    let mut all = BTreeSet::new();
    for process in processes {
        let after = |word: &str| {
            let at = process
                .arguments
                .iter()
                .position(|argument| argument == word)?;
            process.arguments.get(at + 1).map(String::as_str)
        };
        let path = process.arguments.first().map_or("", String::as_str);
        let program = path.rsplit('/').next().unwrap_or_default();
        let folder = path.rsplit('/').nth(1).unwrap_or_default();
        let what = match program {
            "rustc" => after("--crate-name").map(|name| format!("compiling {name}")),
            "rustdoc" => Some("testing documentation".to_owned()),
            "ld" | "ld.lld" | "rust-lld" | "mold" => Some("linking".to_owned()),
            "lab" => after("scenario").map(|name| format!("running scenario {name}")),
            _ if program.starts_with("build-script") => Some(format!(
                "running the build script of {}",
                without_hash(folder)
            )),
            _ if folder == "deps" => Some(format!("running tests: {}", without_hash(program))),
            _ => None,
        };
        all.extend(what);
    }
    if all.is_empty() {
        return "cargo is still running".to_owned();
    }
    all.into_iter().collect::<Vec<_>>().join(", ")
}

/// `NAME` of `NAME-HASH`.
fn without_hash(name: &str) -> &str {
    name.rsplit_once('-').map_or(name, |(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_hidden_and_everything_else_is_shown_at_once() {
        let mut transcript = Transcript::default();
        for (came, shown) in [
            ("   Compiling a v1\n", "   Compiling a v1\n"),
            // A message in two pieces, and the first letters of one that is none.
            ("{\"rea", ""),
            ("son\":\"build-finished\",\"success\":true}\n", ""),
            ("{\"re", ""),
            ("ally\":1}", "{\"really\":1}"),
            ("\n", "\n"),
            // Cargo's progress on a terminal, and a message written over it.
            ("\x1b[K   Building 1/2\r", "\x1b[K   Building 1/2\r"),
            ("\x1b[K{\"reason\":\"x\"}\n", ""),
            ("test it ... ", "test it ... "),
            ("ok\n", "ok\n"),
        ] {
            let got = transcript.take(came.as_bytes());
            assert_eq!(String::from_utf8(got).unwrap(), shown, "{came:?}");
        }
        assert!(!transcript.is_within_line());
    }

    #[test]
    fn what_does_not_end_in_a_line_feed_is_shown_and_read() {
        let mut transcript = Transcript::default();
        transcript.take(b"     Running tests/a.rs (target/debug/deps/a-1)\n");
        let shown = transcript.take(b"\x1b[1mtest result: ok. 2 passed; 0 failed\x1b[0m");
        assert!(shown.starts_with(b"\x1b[1mtest result"));
        assert_eq!(transcript.end(), b"");
        assert_eq!(transcript.tally.report(), ["2 passed, 0 failed, 0 skipped"]);
    }

    #[test]
    fn the_workspace_is_tested_unless_a_package_is_chosen() {
        let words = |arguments: &[&str]| -> Vec<String> {
            let arguments: Vec<OsString> = arguments.iter().map(OsString::from).collect();
            let command = cargo(&arguments);
            let words = command
                .get_args()
                .map(|word| word.to_string_lossy().into_owned());
            words.collect()
        };
        let json = "--message-format=json-render-diagnostics";
        assert_eq!(words(&[]), ["test", "--workspace", json]);
        assert_eq!(
            words(&["-p", "x", "--", "--nocapture"]),
            ["test", json, "-p", "x", "--", "--nocapture"]
        );
        assert_eq!(words(&["-px"]), ["test", json, "-px"]);
        assert_eq!(
            words(&["--package=x", "--message-format=short"]),
            ["test", "--package=x", "--message-format=short"]
        );
        assert_eq!(
            words(&["--", "-p"]),
            ["test", "--workspace", json, "--", "-p"]
        );
    }

    #[test]
    fn processes_are_described_by_what_they_do() {
        let process = |line: &str| Process::new(line.split(' ').map(str::to_owned).collect());
        let all = [
            "/usr/lib/rust/bin/rustc --crate-name wasmtime --edition=2024",
            "/usr/bin/ld -o x",
            "/src/grid/target/debug/build/aws-lc-sys-897a100244146d99/build-script-main",
            "/src/grid/target/debug/deps/scenarios-2222222222222222 life::",
            "/src/grid/target/debug/lab scenario a_killed_server_comes_back_as_itself",
            "sleep 5",
        ]
        .map(process);
        assert_eq!(
            doing(&all),
            "compiling wasmtime, linking, running scenario a_killed_server_comes_back_as_itself, \
             running tests: scenarios, running the build script of aws-lc-sys"
        );
        assert_eq!(doing(&[]), "cargo is still running");
    }
}
