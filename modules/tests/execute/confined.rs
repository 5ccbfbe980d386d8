//! Executables that peers call: a real one that tries to get at the home, the server and more power.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use grid_modules::execute::native::{AllowList, Confinement, Framed, Sealed};
use grid_modules::execute::{Budget, CallError, Executor as _, Limits};
use grid_promises::{ContentId, Message};

use super::native::{frame, printf};
use super::{call, verdicts};

const TIME: Duration = Duration::from_secs(10);

/// A home with a key and a socket that answers.
struct Home {
    dir: tempfile::TempDir,
    _socket: UnixListener,
}

impl Home {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let key = dir.path().join("node.key");
        fs::write(&key, "secret").unwrap();
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
        let socket = UnixListener::bind(dir.path().join("grid.sock")).unwrap();
        Self {
            dir,
            _socket: socket,
        }
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    /// The executable that tries everything, built for this home.
    fn probe(&self) -> Vec<u8> {
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/execute/probe.c");
        let built = self.path().join("probe");
        let define =
            |name: &str, file: &str| format!("-D{name}=\"{}\"", self.path().join(file).display());
        let status = Command::new("cc")
            .args([&define("KEY", "node.key"), &define("SOCKET", "grid.sock")])
            .arg("-o")
            .arg(&built)
            .arg(source)
            .status()
            .unwrap();
        assert!(status.success());
        fs::read(built).unwrap()
    }

    fn confined(&self, code: &[u8]) -> [Framed; 2] {
        let id = ContentId::of(code);
        let usual = Confinement::new(&id, self.path()).unwrap();
        // As where the server is not root, or may not become another user.
        let same_user = usual.clone().of_the_same_user();
        [usual, same_user].map(|confinement| open(code).confined(confinement))
    }
}

fn open(code: &[u8]) -> Framed {
    let id = ContentId::of(code);
    let allowed = AllowList::new([id]).check(&id).unwrap();
    let budget = Budget {
        fuel: 0,
        time: TIME,
    };
    let limits = Limits {
        accept: budget,
        handle: budget,
        ..Limits::default()
    };
    Framed::new(Sealed::new(allowed, code).unwrap(), verdicts(), &limits)
}

#[test]
fn an_executable_of_a_peer_gets_at_nothing_of_the_home_or_the_server() {
    let home = Home::new();
    let probe = home.probe();
    // The probe is good: unconfined, it reads the key, writes, connects, leaves its group and reaches its parent.
    let CallError::Exit { how } = open(&probe).handle(&call(&[]), b"").unwrap_err() else {
        panic!("another end");
    };
    let done: u8 = how.strip_prefix("exit code ").unwrap().parse().unwrap();
    assert_eq!(done & 0b11_0111, 0b11_0111, "{how}");
    for confined in home.confined(&probe) {
        let answer = confined.handle(&call(&["a"]), b"payload").unwrap();
        assert_eq!(answer, call(&["a"]).payload("payload"));
    }
}

#[test]
fn what_an_executable_of_a_peer_starts_ends_with_its_call() {
    let home = Home::new();
    let answer = printf(&frame(&Message::new(ContentId::of(b"p"))));
    // Out of its group, if it can.
    let script = |seconds: &str| {
        format!(
            "#!/bin/sh\n(setsid sleep {seconds} || exec sleep {seconds}) > /dev/null 2>&1 &\n\
             sleep 0.3; {answer}\n"
        )
    };
    // Unconfined, it goes on for as long as it likes.
    let id = |seconds: &str| format!("sleep\0{seconds}\0");
    open(script("7").as_bytes())
        .handle(&call(&[]), b"")
        .unwrap();
    assert_eq!(running(&id("7")), 1);
    for confined in home.confined(script("3971").as_bytes()) {
        confined.handle(&call(&[]), b"").unwrap();
        let begun = Instant::now();
        while running(&id("3971")) > 0 {
            assert!(begun.elapsed() < TIME, "it goes on");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// How many processes have this command line.
fn running(command: &str) -> usize {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let lines = processes.filter_map(|process| fs::read(process.path().join("cmdline")).ok());
    lines.filter(|line| line == command.as_bytes()).count()
}
