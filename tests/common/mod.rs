//! Runs the program in homes of its own. Nothing here needs root.

#![allow(dead_code, reason = "each test file uses a part of it")]
#![allow(
    clippy::unwrap_used,
    reason = "this is a test, though clippy cannot see it"
)]

use std::fs;
use std::io::{Read, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::{JoinHandle, sleep, spawn};
use std::time::{Duration, Instant};

/// A home that goes when it is dropped.
pub(crate) struct TestHome {
    dir: tempfile::TempDir,
}

/// How a command ended.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl TestHome {
    pub(crate) fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
        }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.dir.path().join("home")
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, content: &str, mode: u32) {
        let path = self.file(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    }

    pub(crate) fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_grid"));
        command
            .env_clear()
            .env("GRID_HOME", self.path())
            .env("LC_ALL", "C")
            .args(words);
        command
    }

    pub(crate) fn run(&self, words: &[&str]) -> Ran {
        self.run_with(words, "")
    }

    /// Runs a command to its end, at most half a minute.
    pub(crate) fn run_with(&self, words: &[&str], input: &str) -> Ran {
        let mut child = self
            .command(words)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // A command that does not read its input may close it.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        // Meanwhile: a pipe holds 64 KiB, and a script for completions is longer.
        let out = read_all(child.stdout.take().unwrap());
        let err = read_all(child.stderr.take().unwrap());
        wait_for(&format!("{words:?} to end"), || {
            child.try_wait().unwrap().is_some()
        });
        Ran {
            code: child.wait().unwrap().code().unwrap_or(-1),
            out: out.join().unwrap(),
            err: err.join().unwrap(),
        }
    }

    /// A file with a recovery key, of no network.
    pub(crate) fn recovery_key(&self) -> String {
        let paper = self.dir.path().join("paper");
        fs::write(&paper, "003G-W58W-4CN3-2E1Z-8S6N-8PV2-D5R7-EZM5-Q8X7\n").unwrap();
        paper.to_str().unwrap().to_owned()
    }

    /// Starts a server in the foreground, on a port that nobody else has.
    pub(crate) fn server(&self) -> Server<'_> {
        let child = self
            .command(&["start-server", "--listen", "127.0.0.1:0", "-vv"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(self.dir.path().join("log")).unwrap())
            .spawn()
            .unwrap();
        let mut server = Server { home: self, child };
        wait_for("the server to answer", || {
            assert!(
                server.child.try_wait().unwrap().is_none(),
                "{}",
                server.log()
            );
            self.file("grid.sock").exists()
        });
        server
    }
}

/// A server that is killed when it is dropped.
pub(crate) struct Server<'a> {
    home: &'a TestHome,
    child: Child,
}

impl Server<'_> {
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.home.dir.path().join("log")).unwrap()
    }

    /// Waits until it ended by itself.
    pub(crate) fn code(mut self) -> i32 {
        wait_for("the server to end", || {
            self.child.try_wait().unwrap().is_some()
        });
        self.child.wait().unwrap().code().unwrap_or(-1)
    }
}

impl Drop for Server<'_> {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn read_all(mut pipe: impl Read + Send + 'static) -> JoinHandle<String> {
    spawn(move || {
        let mut text = String::new();
        pipe.read_to_string(&mut text).unwrap();
        text
    })
}

pub(crate) fn wait_for(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(
            begun.elapsed() < Duration::from_secs(30),
            "waited in vain for {what}"
        );
        sleep(Duration::from_millis(5));
    }
}

pub(crate) fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}
