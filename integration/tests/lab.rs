//! The lab, tested from outside: it leaves nothing behind, however it ends.

// Clippy's allowance for tests covers test functions only, not what they share.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use grid_integration::output::say;
use grid_integration::requirements::SKIPPED;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const LAB: &str = env!("CARGO_BIN_EXE_lab");

fn lab(arguments: &[&str]) -> Command {
    let mut command = Command::new(LAB);
    command
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// Whether this machine can have namespaces at all; says so if it cannot.
fn can_run(test: &str) -> bool {
    let output = lab(&["scenario", "nodes_reach_one_another"])
        .output()
        .unwrap();
    if output.status.code() == Some(SKIPPED.into()) {
        say(&format!(
            "SKIPPED {test}: {}",
            String::from_utf8_lossy(&output.stderr)
                .trim()
                .trim_start_matches("SKIPPED: ")
        ));
        return false;
    }
    assert!(output.status.success(), "{output:?}");
    true
}

/// A waiting lab of two nodes, and what it consists of.
struct Waiting {
    child: Child,
    /// Its processes, as the host numbers them: the outer one, init, the lab, the holders.
    tree: Vec<i32>,
    network_namespaces: Vec<PathBuf>,
}

impl Waiting {
    fn start() -> Self {
        let mut child = lab(&["up", "--bare", "--nodes", "2", "--wait"])
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let up = lines.any(|line| line.unwrap().contains("Ctrl-C ends it"));
        if !up {
            let mut said = String::new();
            child
                .stderr
                .take()
                .unwrap()
                .read_to_string(&mut said)
                .unwrap();
            panic!("the lab did not come up: {said}");
        }
        let tree = descendants(i32::try_from(child.id()).unwrap());
        assert_eq!(tree.len(), 5, "outer, init, lab and two holders: {tree:?}");
        let mut network_namespaces: Vec<PathBuf> = tree
            .iter()
            .skip(1)
            .filter_map(|pid| network_namespace(*pid))
            .collect();
        network_namespaces.sort();
        network_namespaces.dedup();
        assert_eq!(network_namespaces.len(), 3, "the lab's and two nodes'");
        assert!(!network_namespaces.contains(&network_namespace(tree[0]).unwrap()));
        Self {
            child,
            tree,
            network_namespaces,
        }
    }

    fn signal(&self, process: usize, signal: Signal) {
        kill(Pid::from_raw(self.tree[process]), signal).unwrap();
    }

    /// Fails unless all of it is gone within five seconds. Returns the exit code, if there is one.
    fn assert_gone(mut self) -> Option<i32> {
        let started = Instant::now();
        let code = self.child.wait().unwrap().code();
        loop {
            let processes: Vec<i32> = self
                .tree
                .iter()
                .skip(1)
                .copied()
                .filter(|pid| alive(*pid))
                .collect();
            let namespaces: Vec<i32> = all_processes()
                .into_iter()
                .filter(|pid| {
                    network_namespace(*pid)
                        .is_some_and(|namespace| self.network_namespaces.contains(&namespace))
                })
                .collect();
            if processes.is_empty() && namespaces.is_empty() {
                return code;
            }
            assert!(
                started.elapsed() < Duration::from_secs(5),
                "left: {processes:?}, in its namespaces: {namespaces:?}"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

fn all_processes() -> Vec<i32> {
    fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok())
        .collect()
}

fn alive(pid: i32) -> bool {
    // A zombie holds nothing.
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| {
        stat.rsplit_once(") ")
            .is_some_and(|(_, rest)| !rest.starts_with('Z'))
    })
}

fn network_namespace(pid: i32) -> Option<PathBuf> {
    fs::read_link(format!("/proc/{pid}/ns/net")).ok()
}

fn descendants(root: i32) -> Vec<i32> {
    let mut found = vec![root];
    let mut next = 0;
    while let Some(pid) = found.get(next).copied() {
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
        found.extend(
            children
                .split_whitespace()
                .map(|pid| pid.parse::<i32>().unwrap()),
        );
        next += 1;
    }
    found
}

#[test]
fn nothing_is_left_when_any_process_of_the_lab_is_killed() {
    if !can_run("nothing_is_left_when_any_process_of_the_lab_is_killed") {
        return;
    }
    for (process, name) in [(0, "the outer process"), (1, "init"), (2, "the lab")] {
        let waiting = Waiting::start();
        waiting.signal(process, Signal::SIGKILL);
        let code = waiting.assert_gone();
        assert_ne!(code, Some(0), "killing {name} must not look like success");
    }
}

#[test]
fn nothing_is_left_after_an_interrupt_or_a_request_to_end() {
    if !can_run("nothing_is_left_after_an_interrupt_or_a_request_to_end") {
        return;
    }
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        let waiting = Waiting::start();
        waiting.signal(0, signal);
        assert_eq!(waiting.assert_gone(), Some(128 + signal as i32));
    }
}

#[test]
fn nothing_is_left_after_a_panic() {
    if !can_run("nothing_is_left_after_a_panic") {
        return;
    }
    let namespaces = |pids: Vec<i32>| -> std::collections::BTreeSet<PathBuf> {
        pids.into_iter().filter_map(network_namespace).collect()
    };
    let child = lab(&["scenario", "panics_with_nodes_up"]).spawn().unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(101), "{output:?}");
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("on purpose"),
        "{output:?}"
    );
    // The sleeping process that it started would still be in a namespace of its own.
    let sleepers = all_processes().into_iter().filter(|pid| {
        fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line == b"sleep\x001000\0")
            && network_namespace(*pid) != network_namespace(1)
    });
    let left = namespaces(sleepers.collect());
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn the_host_is_not_touched() {
    if !can_run("the_host_is_not_touched") {
        return;
    }
    let look = || {
        let links = nix::net::if_::if_nameindex().unwrap();
        let links: Vec<String> = links
            .iter()
            .map(|i| i.name().to_string_lossy().into())
            .collect();
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
        let host_name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
        (
            links,
            mounts,
            host_name,
            fs::exists("/run/grid-lab").unwrap(),
        )
    };
    let before = look();
    let waiting = Waiting::start();
    assert_eq!(look(), before, "while a lab is up");
    waiting.signal(0, Signal::SIGTERM);
    waiting.assert_gone();
    assert_eq!(look(), before, "after the lab");
}

#[test]
fn a_kept_lab_can_be_entered_and_ended() {
    if !can_run("a_kept_lab_can_be_entered_and_ended") {
        return;
    }
    let runtime = tempfile::tempdir().unwrap();
    let lab = |arguments: &[&str]| {
        let output = lab(arguments)
            .env("XDG_RUNTIME_DIR", runtime.path())
            .output()
            .unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (
            output.status.code().unwrap(),
            text(&output.stdout),
            text(&output.stderr),
        )
    };
    let (code, said, _) = lab(&["down"]);
    assert_eq!((code, said.as_str()), (0, "No lab was up.\n"));
    let (code, said, complaint) = lab(&["up", "--bare", "--nodes", "2", "--keep"]);
    assert_eq!(code, 0, "{complaint}");
    let init: i32 = said
        .split("process ")
        .nth(1)
        .unwrap()
        .split(')')
        .next()
        .unwrap()
        .parse()
        .unwrap();
    let tree = descendants(init);
    assert_eq!(tree.len(), 3, "init and two holders: {tree:?}");

    let (code, said, complaint) = lab(&[
        "enter",
        "b",
        "--",
        "sh",
        "-c",
        "uname -n; echo $GRID_HOME; exit 7",
    ]);
    assert_eq!(
        (code, said.as_str()),
        (7, "b\n/run/grid-lab/node/home\n"),
        "{complaint}"
    );
    let (_, said, _) = lab(&["enter", "b", "--", "cat", "/proc/net/fib_trie"]);
    assert!(said.contains("192.0.2.12"), "{said}");
    let (code, _, complaint) = lab(&["enter", "z"]);
    assert_eq!(code, 1);
    assert!(complaint.contains("no node z; it has a, b"), "{complaint}");
    let (code, _, complaint) = lab(&["up", "--bare", "--keep"]);
    assert_eq!(code, 1);
    assert!(complaint.contains("cargo lab down"), "{complaint}");

    let (code, said, _) = lab(&["down"]);
    assert_eq!(code, 0);
    assert!(said.contains(&init.to_string()), "{said}");
    assert!(
        tree.iter().all(|pid| !alive(*pid)),
        "something of {tree:?} is left"
    );
    assert_eq!(
        fs::read_dir(runtime.path()).unwrap().count(),
        0,
        "a file is left"
    );
    let (code, _, complaint) = lab(&["enter", "b"]);
    assert_eq!(code, 1);
    assert!(complaint.contains("--keep"), "{complaint}");
}

#[test]
fn an_ordinary_user_gets_a_lab() {
    let test = "an_ordinary_user_gets_a_lab";
    let mut missing = Vec::new();
    let scenarios = [
        "nodes_are_isolated",
        "a_partition_splits_and_heals",
        "two_routers_hide_twice",
    ];
    for scenario in scenarios {
        let mut command = lab(&["scenario", scenario]);
        if nix::unistd::geteuid().is_root() {
            // `nobody`: changing the user id from root also drops the other groups.
            command.uid(65534).gid(65534).current_dir("/");
        }
        let output = match command.output() {
            Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
                return say(&format!("SKIPPED {test}: other users may not run {LAB}"));
            }
            output => output.unwrap(),
        };
        if output.status.code() == Some(SKIPPED.into()) {
            let reason = String::from_utf8_lossy(&output.stderr);
            let reason = reason.trim().trim_start_matches("SKIPPED: ").to_owned();
            say(&format!("SKIPPED {test}, {scenario}: {reason}"));
            missing.push(reason);
            continue;
        }
        assert!(output.status.success(), "{scenario}: {output:?}");
    }
    // If one of them ran, the test has passed.
    if missing.len() == scenarios.len() {
        say(&format!("SKIPPED {test}: {}", missing.join("; ")));
    }
}
