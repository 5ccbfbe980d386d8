//! The lab's kernels, tested from outside.

// Clippy's allowance for tests covers test functions only, not what they share.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use grid_integration::output::say;
use grid_integration::requirements::SKIPPED;

const LAB: &str = env!("CARGO_BIN_EXE_lab");

/// Runs a command in user-mode Linux. Says why and returns `None` where there is none.
fn on_kernel(test: &str, options: &[&str], command: &[&str]) -> Option<Output> {
    if grid_integration::kernel::is_inside() {
        say(&format!(
            "SKIPPED {test}: a kernel of the lab starts no other"
        ));
        return None;
    }
    let output = Command::new(LAB)
        .arg("kernel")
        .args(options)
        .arg("--")
        .args(command)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    if output.status.code() == Some(SKIPPED.into()) {
        let said = String::from_utf8_lossy(&output.stderr);
        let reason = said.trim().trim_start_matches("SKIPPED: ");
        say(&format!("SKIPPED {test}: {reason}"));
        return None;
    }
    Some(output)
}

#[test]
fn output_and_exit_code_pass_through() {
    let script =
        "echo out; echo err >&2; test $(id -u) = 0 && test -n \"$GRID_LAB_INSIDE\" && exit 42";
    let test = "output_and_exit_code_pass_through";
    let Some(output) = on_kernel(test, &[], &["sh", "-c", script]) else {
        return;
    };
    assert_eq!(output.status.code(), Some(42), "{output:?}");
    assert_eq!(
        (&output.stdout[..], &output.stderr[..]),
        (&b"out\n"[..], &b"err\n"[..])
    );
    let killed = on_kernel(test, &[], &["sh", "-c", "kill -9 $$"]).unwrap();
    assert_eq!(killed.status.code(), Some(128 + 9), "{killed:?}");
    let unknown = on_kernel(test, &[], &["no-such-program"]).unwrap();
    assert_eq!(unknown.status.code(), Some(125), "{unknown:?}");
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("no-such-program"));
    // More than any buffer in between holds.
    let much = on_kernel(test, &[], &["seq", "200000"]).unwrap();
    let lines: Vec<&[u8]> = much.stdout.split(|byte| *byte == b'\n').collect();
    assert_eq!((lines.len(), lines[199_999]), (200_001, &b"200000"[..]));
}

#[test]
fn the_machine_outside_is_not_changed_unless_asked() {
    let test = "the_machine_outside_is_not_changed_unless_asked";
    let (kept, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let paths = [&kept, &other].map(|dir| dir.path().to_str().unwrap().to_owned());
    let script = format!(
        "echo yes >{0}/new && echo yes >{1}/new && cat {0}/new {1}/new && rm /etc/hostname",
        paths[0], paths[1]
    );
    let had_name = std::fs::exists("/etc/hostname").unwrap();
    let Some(output) = on_kernel(test, &["--write", &paths[0]], &["sh", "-c", &script]) else {
        return;
    };
    assert_eq!(output.stdout, b"yes\nyes\n", "{output:?}");
    assert_eq!(std::fs::read(kept.path().join("new")).unwrap(), b"yes\n");
    assert_eq!(std::fs::read_dir(other.path()).unwrap().count(), 0);
    assert_eq!(std::fs::exists("/etc/hostname").unwrap(), had_name);
}

#[test]
fn time_is_limited_and_can_be_simulated() {
    let test = "time_is_limited_and_can_be_simulated";
    let started = Instant::now();
    let Some(output) = on_kernel(test, &["--time-limit", "2"], &["sleep", "1000"]) else {
        return;
    };
    assert_eq!(output.status.code(), Some(124), "{output:?}");
    let output = on_kernel(test, &["--simulated-time"], &["sleep", "3600"]).unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(
        started.elapsed() < Duration::from_secs(60),
        "{:?}",
        started.elapsed()
    );
}

#[test]
fn nothing_is_left_of_a_kernel_whose_lab_is_killed() {
    let test = "nothing_is_left_of_a_kernel_whose_lab_is_killed";
    if on_kernel(test, &[], &["true"]).is_none() {
        return;
    }
    let mut lab = Command::new(LAB)
        .args(["kernel", "--", "sh", "-c", "echo up; exec sleep 1000"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(lab.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    assert_eq!(line, "up\n");
    // Each leads its own group: the kernel, and the process that cleans up after it.
    let groups = children(lab.id());
    assert_eq!(groups.len(), 2, "{groups:?}");
    assert!(groups.iter().all(|group| !is_gone(*group)));
    let folders = folders_of(&groups);
    assert!(!folders.is_empty() && folders.iter().all(|folder| folder.exists()));
    lab.kill().unwrap();
    lab.wait().unwrap();
    let started = Instant::now();
    while !groups.iter().all(|group| is_gone(*group)) || folders.iter().any(|f| f.exists()) {
        let late = started.elapsed() > Duration::from_secs(5);
        assert!(!late, "something of it is left");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The fields of `/proc/PID/stat` after the name: state, parent, process group.
fn stat(pid: i32) -> Option<(String, i32, i32)> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = text.rsplit_once(") ")?.1.split(' ');
    let state = fields.next()?.to_owned();
    Some((
        state,
        fields.next()?.parse().ok()?,
        fields.next()?.parse().ok()?,
    ))
}

fn processes() -> impl Iterator<Item = (i32, (String, i32, i32))> {
    std::fs::read_dir("/proc").unwrap().filter_map(|entry| {
        let pid = entry.ok()?.file_name().to_str()?.parse().ok()?;
        Some((pid, stat(pid)?))
    })
}

fn children(parent: u32) -> Vec<i32> {
    let parent = i32::try_from(parent).unwrap();
    processes()
        .filter(|(_, (_, of, _))| *of == parent)
        .map(|(pid, _)| pid)
        .collect()
}

/// Whether no process of a group is still running.
fn is_gone(group: i32) -> bool {
    let mut members = processes().filter(|(_, (_, _, of))| *of == group);
    members.all(|(_, (state, ..))| state == "Z")
}

/// The folders of kernels that these processes were started with.
fn folders_of(pids: &[i32]) -> Vec<PathBuf> {
    let is_one = |path: &PathBuf| {
        let name = path.file_name().map(|name| name.to_string_lossy());
        path.is_absolute() && name.is_some_and(|name| name.starts_with("grid-lab-"))
    };
    pids.iter()
        .filter_map(|pid| std::fs::read_to_string(format!("/proc/{pid}/cmdline")).ok())
        .flat_map(|line| line.split('\0').map(PathBuf::from).collect::<Vec<_>>())
        .filter(is_one)
        .collect()
}
