//! What a whole command costs, from starting the process to its end: `cargo bench -p grid --bench
//! command`.
//!
//! A module that was published and run before is called by its name, beside a native program that
//! prints the same (`benches/native/hello.rs`, built here by the compiler that `rustc` is) and beside
//! the system's `echo`. They run in turns, so that whatever else the machine does hits all of them.

#![allow(
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a benchmark that cannot run has nothing else to say"
)]

use std::ffi::OsStr;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

const ROUNDS: usize = 500;
const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// A process that is killed when it is dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// One of those that are compared.
struct Runner<'a> {
    name: &'static str,
    /// What is run in one of the rounds, and what it has to print.
    command: Box<dyn Fn(usize) -> (Command, String) + 'a>,
    times: Vec<Duration>,
}

impl<'a> Runner<'a> {
    fn new(name: &'static str, command: impl Fn(usize) -> (Command, String) + 'a) -> Self {
        Self {
            name,
            command: Box::new(command),
            times: Vec::with_capacity(ROUNDS),
        }
    }

    fn run(&mut self, round: usize) {
        let (mut command, expected) = (self.command)(round);
        let begun = Instant::now();
        let output = command.output().expect("the program starts");
        self.times.push(begun.elapsed());
        let said = String::from_utf8_lossy(&output.stdout);
        let complains = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}: {complains}", self.name);
        assert_eq!(said.trim_end(), expected, "{}", self.name);
    }

    /// Prints the times, and returns the median in milliseconds.
    fn report(&mut self, native: Option<f64>) -> f64 {
        self.times.sort();
        let at = |part: usize| {
            let time = self.times.get(self.times.len() * part / 100);
            time.map_or(f64::NAN, |time| time.as_secs_f64() * 1e3)
        };
        let median = at(50);
        let ratio = native.map_or(1.0, |native| median / native);
        println!(
            "{:<34} median {median:7.3} ms, 10% {:7.3}, 90% {:7.3}, ratio {ratio:.2}",
            self.name,
            at(10),
            at(90),
        );
        median
    }
}

fn main() {
    let dir = tempfile::tempdir().expect("a folder");
    let native = native(dir.path());
    let (quiet, served) = (dir.path().join("quiet"), dir.path().join("served"));
    publish(&quiet);
    publish(&served);
    let _server = server(&served);
    let world = |mut command: Command| {
        command.arg("world");
        (command, "hello, world".to_owned())
    };
    let mut runners = [
        Runner::new("native hello", |_| world(Command::new(&native))),
        Runner::new("echo", |_| {
            let mut command = Command::new("/bin/echo");
            command.arg("hello, world");
            (command, "hello, world".to_owned())
        }),
        Runner::new("grid --version", |_| {
            let version = concat!("grid ", env!("CARGO_PKG_VERSION"));
            (grid(&quiet, ["--version"]), version.to_owned())
        }),
        Runner::new("grid hello world", |_| world(grid(&quiet, ["hello"]))),
        Runner::new("grid hello world, server running", |_| {
            world(grid(&served, ["hello"]))
        }),
        // Nothing that was computed before: the module runs.
        Runner::new("grid hello NEW", |round| {
            let whom = format!("{round:010}");
            (grid(&quiet, ["hello", &whom]), format!("hello, {whom}"))
        }),
    ];
    // The first two rounds fill caches, and are not counted.
    for round in 0..ROUNDS + 2 {
        for runner in &mut runners {
            runner.run(round);
            if round < 2 {
                runner.times.clear();
            }
        }
    }
    let mut native = None;
    for runner in &mut runners {
        let median = runner.report(native);
        native = native.or(Some(median));
    }
}

/// The program that the others are compared with.
fn native(dir: &Path) -> PathBuf {
    let program = dir.join("hello");
    let status = Command::new("rustc")
        .args(["--edition=2024", "-O", "-C", "strip=symbols", "-o"])
        .arg(&program)
        .arg(format!("{ROOT}/benches/native/hello.rs"))
        .status();
    assert!(status.expect("rustc runs").success(), "it does not compile");
    program
}

fn grid(home: &Path, words: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_grid"));
    command.env_clear().env("GRID_HOME", home).args(words);
    command
}

fn publish(home: &Path) {
    let guest = format!("{ROOT}/examples/guests/hello-rust.wasm");
    let status = grid(home, ["publish", "hello", &guest])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    assert!(status.expect("the program starts").success(), "no room");
}

fn server(home: &Path) -> Running {
    let child = grid(home, ["start-server", "--listen", "127.0.0.1:0"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the program starts");
    let server = Running(child);
    let begun = Instant::now();
    while UnixStream::connect(home.join("grid.sock")).is_err() {
        assert!(begun.elapsed() < Duration::from_secs(20), "nobody answers");
        sleep(Duration::from_millis(2));
    }
    server
}
