//! How a server begins and ends, and what commands say meanwhile. No network is founded, so that nothing
//! needs root.

#![allow(
    clippy::unwrap_used,
    reason = "this is a test, though clippy cannot see it in helpers"
)]

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Stdio;
use std::thread::{scope, sleep, spawn};
use std::time::{Duration, Instant};

use common::{Ran, TestHome, wait_for};
use grid::control::{connecting, frame};
use grid::home::Home;
use grid::store::ServerLock;
use grid_promises::{Message, texts};
use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{Backlog, listen};
use nix::unistd::Pid;

const IN_BACKGROUND: &[&str] = &["start-server", "--background"];
/// Fails in the server: there is nobody to ask.
const FAILING: &[&str] = &["join-wireguard-net", "zz", "--wait", "1s"];

/// A home whose servers listen on a port that nobody else has.
fn home() -> TestHome {
    let home = TestHome::new();
    home.write("config", "listen = \"127.0.0.1:0\"\n", 0o600);
    home
}

fn signal(pid: u32, signal: Signal) {
    kill(Pid::from_raw(pid.try_into().unwrap()), signal).unwrap();
}

/// The process that holds a home.
fn holder(home: &TestHome) -> Option<u32> {
    let home = Home::find(Some(&home.path())).unwrap();
    ServerLock::holder(&home).map(|pid| pid.parse().unwrap())
}

fn stop(home: &TestHome) {
    let ran = home.run(&["stop-server"]);
    assert_eq!((ran.code, ran.out.as_str()), (0, "the server stopped\n"));
    assert_eq!(holder(home), None);
}

#[test]
fn a_command_that_fails_stops_no_server_under_one_that_succeeds() {
    for _ in 0..6 {
        let home = home();
        let started = scope(|scope| {
            let failing: Vec<_> = (0..3).map(|_| scope.spawn(|| home.run(FAILING))).collect();
            let started = scope.spawn(|| home.run(IN_BACKGROUND)).join().unwrap();
            for ran in failing {
                assert_eq!(ran.join().unwrap().code, 1);
            }
            started
        });
        assert_eq!(started.code, 0, "{started:?}");
        let status = home.run(&["status"]);
        assert_eq!(status.code, 0, "{started:?}, but then {status:?}");
        stop(&home);
    }
}

#[test]
fn the_last_of_commands_that_fail_stops_the_server_that_was_started_for_them() {
    for _ in 0..3 {
        let home = home();
        scope(|scope| {
            let failing: Vec<_> = (0..4).map(|_| scope.spawn(|| home.run(FAILING))).collect();
            for ran in failing {
                let ran = ran.join().unwrap();
                assert_eq!((ran.code, ran.out.as_str()), (1, ""), "{ran:?}");
                assert!(ran.err.contains("knows no peers"), "{}", ran.err);
            }
        });
        assert_eq!(holder(&home), None);
    }
}

#[test]
fn a_socket_that_was_removed_comes_back() {
    let home = TestHome::new();
    let server = home.server();
    fs::remove_file(home.file("grid.sock")).unwrap();
    let status = home.run(&["status"]);
    assert_eq!((status.code, status.err.as_str()), (0, ""), "{status:?}");
    assert_eq!(common::mode(&home.file("grid.sock")), 0o600);
    fs::remove_file(home.file("grid.sock")).unwrap();
    let again = home.run(IN_BACKGROUND);
    assert_eq!(again.code, 0, "{again:?}");
    assert_eq!(again.err, "a server runs already\n");
    fs::remove_file(home.file("grid.sock")).unwrap();
    stop(&home);
    assert_eq!(server.code(), 0);
    assert!(!home.file("grid.sock").exists());
}

#[test]
fn a_server_in_the_background_keeps_nothing_of_its_caller_open() {
    let home = home();
    let (mut reading, writing) = std::io::pipe().unwrap();
    // The end to write to is inherited.
    nix::fcntl::fcntl(
        &writing,
        nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::empty()),
    )
    .unwrap();
    assert_eq!(home.run(IN_BACKGROUND).code, 0);
    drop(writing);
    let ended = spawn(move || std::io::Read::read(&mut reading, &mut [0]).unwrap());
    wait_for("the pipe to end", || ended.is_finished());
    assert_eq!(ended.join().unwrap(), 0);
    stop(&home);
}

#[test]
fn options_beside_a_server_that_runs_are_said_to_change_nothing() {
    let home = home();
    assert_eq!(home.run(IN_BACKGROUND).code, 0);
    assert_eq!(home.run(IN_BACKGROUND).code, 0);
    let with = [IN_BACKGROUND, &["--join-dir", "/nonexistent"]].concat();
    let ran = home.run(&with);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.err.contains("do not change it"), "{ran:?}");
    stop(&home);
}

#[test]
fn whoever_listens_in_its_place_and_takes_nobody_hangs_no_server_and_no_command() {
    let home = home();
    assert_eq!(home.run(IN_BACKGROUND).code, 0);
    let pid = holder(&home).unwrap();
    let socket = home.file("grid.sock");
    fs::remove_file(&socket).unwrap();
    let deaf = UnixListener::bind(&socket).unwrap();
    listen(&deaf, Backlog::new(0).unwrap()).unwrap();
    let mut waiting = Vec::new();
    while let Ok(stream) = connecting::at_once(&socket) {
        waiting.push(stream);
    }
    // The server looks for its socket meanwhile.
    sleep(Duration::from_secs(3));
    let begun = Instant::now();
    let ran = home.run(&["status"]);
    assert_eq!(ran.code, 5, "{ran:?}");
    assert!(ran.err.contains(&format!("process {pid} runs")), "{ran:?}");
    assert!(begun.elapsed() < Duration::from_secs(15));
    signal(pid, Signal::SIGTERM);
    wait_for("the server to end", || holder(&home).is_none());
}

#[test]
fn a_server_without_a_socket_is_named() {
    let test = home();
    let home = Home::find(Some(&test.path())).unwrap();
    let _held = ServerLock::take(&home).unwrap();
    let pid = std::process::id();
    scope(|scope| {
        for words in [&["status"][..], &["stop-server"], IN_BACKGROUND, FAILING] {
            let test = &test;
            scope.spawn(move || {
                let ran = test.run(words);
                assert_eq!((ran.code, ran.out.as_str()), (3, ""), "{words:?}: {ran:?}");
                let said = format!("process {pid} runs for this home");
                assert!(ran.err.contains(&said), "{words:?}: {}", ran.err);
                assert!(ran.err.contains("grid.sock"), "{words:?}: {}", ran.err);
            });
        }
    });
}

#[test]
fn a_server_that_is_ending_is_replaced() {
    let home = home();
    assert_eq!(home.run(IN_BACKGROUND).code, 0);
    for _ in 0..5 {
        let old = holder(&home).unwrap();
        signal(old, Signal::SIGTERM);
        let ran = home.run(IN_BACKGROUND);
        assert_eq!(ran.code, 0, "{ran:?}");
        let new = holder(&home).unwrap();
        assert_ne!(new, old, "{ran:?}");
        assert!(ran.err.contains(&format!("(process {new})")), "{ran:?}");
        assert_eq!(home.run(&["status"]).code, 0);
    }
    stop(&home);
}

#[test]
fn a_server_that_hangs_is_named_soon() {
    let home = TestHome::new();
    let server = home.server();
    signal(server.pid(), Signal::SIGSTOP);
    let pid = server.pid();
    scope(|scope| {
        for words in [&["status"][..], &["stop-server"], IN_BACKGROUND] {
            let home = &home;
            scope.spawn(move || {
                let begun = Instant::now();
                let ran = home.run(words);
                assert_eq!((ran.code, ran.out.as_str()), (5, ""), "{words:?}: {ran:?}");
                assert!(begun.elapsed() < Duration::from_secs(20), "{words:?}");
                for said in [format!("process {pid}"), format!("`kill -9 {pid}`")] {
                    assert!(ran.err.contains(&said), "{words:?}: {}", ran.err);
                }
            });
        }
    });
    signal(server.pid(), Signal::SIGCONT);
}

#[test]
fn a_hangup_and_a_quit_end_a_server_that_has_a_terminal() {
    for deadly in [Signal::SIGHUP, Signal::SIGQUIT] {
        let home = TestHome::new();
        let server = home.server();
        signal(server.pid(), deadly);
        wait_for("the log to say so", || {
            server.log().contains(&format!("stopped by {deadly}"))
        });
        assert_eq!(server.code(), 0, "{deadly}");
        assert!(!home.file("grid.sock").exists());
    }
}

#[test]
fn signals_for_other_daemons_are_ignored() {
    let home = home();
    assert_eq!(home.run(IN_BACKGROUND).code, 0);
    let pid = holder(&home).unwrap();
    for harmless in [
        Signal::SIGHUP,
        Signal::SIGUSR1,
        Signal::SIGUSR2,
        Signal::SIGALRM,
    ] {
        signal(pid, harmless);
        sleep(Duration::from_millis(100));
        assert_eq!(home.run(&["status"]).code, 0, "after {harmless}");
        assert_eq!(holder(&home), Some(pid), "after {harmless}");
    }
    stop(&home);
}

#[test]
fn a_server_under_nohup_survives_the_hangup() {
    let home = home();
    let mut shell = std::process::Command::new("/bin/sh");
    let mut server = shell
        .args(["-c", "trap '' HUP; exec \"$0\" start-server"])
        .arg(env!("CARGO_BIN_EXE_grid"))
        .env("GRID_HOME", home.path())
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    wait_for("the server to answer", || home.file("grid.sock").exists());
    signal(server.id(), Signal::SIGHUP);
    sleep(Duration::from_millis(200));
    assert_eq!(home.run(&["status"]).code, 0);
    stop(&home);
    assert!(server.wait().unwrap().success());
}

#[test]
fn wait_online_does_not_wait_for_what_cannot_come() {
    let home = TestHome::new();
    fs::create_dir(home.path()).unwrap();
    let listener = UnixListener::bind(home.file("grid.sock")).unwrap();
    let other_version = spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        frame::read(&mut stream).unwrap().unwrap();
        let failure = serde_json::json!({ "exit": "usage", "text": "of another version" });
        let refusal = Message::new(texts::REFUSAL.id()).payload(failure.to_string());
        frame::write(&mut stream, &refusal).unwrap();
    });
    let begun = Instant::now();
    let ran = home.run(&["wait-online", "--timeout", "20s"]);
    assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{ran:?}");
    assert_eq!(ran.err, "grid: of another version\n");
    assert!(begun.elapsed() < Duration::from_secs(10));
    other_version.join().unwrap();
}

#[cfg(feature = "modules")]
#[test]
fn a_server_that_was_started_to_adopt_names_in_vain_is_stopped_again() {
    let home = home();
    let ran = home.run(&["adopt-symbols", "nobody"]);
    assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{ran:?}");
    assert!(ran.err.contains("started a server"), "{}", ran.err);
    assert!(ran.err.contains("is being stopped again"), "{}", ran.err);
    assert_eq!(holder(&home), None);
}

#[test]
fn a_rehearsal_beside_a_server_plans_nothing() {
    let home = TestHome::new();
    let server = home.server();
    let ran = home.run(&["start-server", "--dry-run"]);
    assert_eq!((ran.code, ran.out.as_str()), (0, ""), "{ran:?}");
    let pid = format!("process {}", server.pid());
    assert!(ran.err.contains(&pid), "{}", ran.err);
}

#[test]
fn a_home_whose_path_is_too_long_for_a_socket_is_told_so() {
    let home = TestHome::new();
    let long = home.path().join("x".repeat(100));
    for words in [&["status"][..], IN_BACKGROUND, &["start-server"]] {
        let ran = home
            .command(words)
            .env("GRID_HOME", &long)
            .output()
            .unwrap();
        let said = String::from_utf8(ran.stderr).unwrap();
        assert_eq!(ran.status.code(), Some(2), "{words:?}: {said}");
        assert!(said.contains("may have 107"), "{words:?}: {said}");
        assert!(!said.contains("user"), "{words:?}: {said}");
    }
}

#[test]
fn a_folder_in_the_place_of_the_socket_is_named() {
    let home = home();
    fs::create_dir(home.file("grid.sock")).unwrap();
    let ran = home.run(&["start-server"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(
        ran.err
            .contains("grid.sock cannot be made: a folder is in its place"),
        "{}",
        ran.err
    );
    assert!(!ran.err.contains("107"), "{}", ran.err);
}

#[test]
fn a_stranger_at_a_socket_that_was_opened_is_refused_with_the_reason() {
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let home = TestHome::new();
    let _server = home.server();
    let open = |path: &Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    open(home.path().parent().unwrap(), 0o755);
    open(&home.path(), 0o711);
    open(&home.file("grid.sock"), 0o666);
    // The program itself may lie where strangers cannot go.
    let program = home.path().parent().unwrap().join("grid");
    fs::copy(env!("CARGO_BIN_EXE_grid"), &program).unwrap();
    let output = std::process::Command::new(&program)
        .env_clear()
        .env("GRID_HOME", home.path())
        .arg("status")
        .uid(65_534)
        .gid(65_534)
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(4), "{said}");
    assert!(said.contains("user 65534 does not own"), "{said}");
}

#[test]
fn what_cannot_be_is_said_before_a_server_is_started() {
    let home = TestHome::new();
    let fails = |ran: Ran, said: &str| {
        assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{ran:?}");
        assert!(ran.err.starts_with("grid: "), "{}", ran.err);
        assert!(ran.err.contains(said), "{}", ran.err);
        assert!(!home.path().exists(), "a home was made");
    };
    let join = ["join-wireguard-net", "foo", "-"];
    fails(home.run_with(&join, "hello"), "not an invite");
    fails(home.run_with(&join, ""), "empty");
    for (range, said) in [
        ("10.77.3.0/16", "host bits set"),
        ("10.77.3.0/31", "8 to 30"),
    ] {
        let create = ["create-wireguard-net", "foo", "--ipv4", range];
        fails(home.run(&create), said);
    }
    let ran = home.run(&["create-wireguard-net", "foo", "--ipv4", "8.0.0.0/8"]);
    assert_eq!(ran.code, 4, "{ran:?}");
    assert!(ran.err.contains("--allow-public"), "{ran:?}");
    assert!(!home.path().exists(), "a home was made");
}
