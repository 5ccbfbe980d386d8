//! The units that `install-service` writes, as systemd reads them. Where there is no `systemd-analyze`,
//! that is said and nothing is tested.

#![allow(
    clippy::unwrap_used,
    reason = "this is a test, though clippy cannot see it in helpers"
)]

mod common;

use std::fs;
use std::io::{ErrorKind, Write as _};
use std::path::Path;
use std::process::{Command, Output};

use common::TestHome;

const UNITS: [&str; 2] = ["grid.service", "grid-wait-online.service"];
/// More than this is called exposed too much, on systemd's scale from 0 to 10.
const MOST_EXPOSED: f64 = 3.0;

/// A root folder with systemd's, and the units installed in it.
fn installed() -> (TestHome, tempfile::TempDir) {
    let home = TestHome::new();
    let root = tempfile::tempdir().unwrap();
    fs::create_dir_all(root.path().join("usr/lib/systemd/system")).unwrap();
    // Any program that is there will do to read the units.
    let ran = install(&home, root.path(), &["--program", "/usr/bin/env"]);
    assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{ran:?}");
    assert_eq!(ran.out.lines().count(), 4, "{}", ran.out);
    (home, root)
}

fn install(home: &TestHome, root: &Path, more: &[&str]) -> common::Ran {
    let mut words = vec!["install-service", "--root", root.to_str().unwrap()];
    words.extend(more);
    home.run(&words)
}

fn unit(root: &Path, name: &str) -> String {
    let path = root.join("etc/systemd/system").join(name);
    path.to_str().unwrap().to_owned()
}

/// Runs `systemd-analyze`, if there is one.
fn analyze(test: &str, words: &[&str]) -> Option<Output> {
    match Command::new("systemd-analyze")
        .env("SYSTEMD_PAGER", "")
        .args(words)
        .output()
    {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let why = format!("SKIPPED {test}: this machine has no systemd-analyze\n");
            // Past the harness, which would hide it when the test passes.
            std::io::stderr().write_all(why.as_bytes()).unwrap();
            None
        }
        other => Some(other.unwrap()),
    }
}

#[test]
fn systemd_finds_nothing_wrong_with_the_units() {
    let (_home, root) = installed();
    let units = UNITS.map(|name| unit(root.path(), name));
    let words = ["verify", "--man=no", &units[0], &units[1]];
    let test = "systemd_finds_nothing_wrong_with_the_units";
    if let Some(output) = analyze(test, &words) {
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
        // Other units of the machine may have faults of their own.
        let ours: Vec<&str> = said.lines().filter(|line| line.contains("grid")).collect();
        assert!(ours.is_empty(), "{said}");
    }
}

#[test]
fn the_units_are_not_exposed_more_than_they_need() {
    let (_home, root) = installed();
    for name in UNITS {
        let path = unit(root.path(), name);
        let words = ["security", "--offline=true", "--no-pager", &path];
        let test = "the_units_are_not_exposed_more_than_they_need";
        let Some(output) = analyze(test, &words) else {
            return;
        };
        let said = String::from_utf8_lossy(&output.stdout);
        let level = said
            .lines()
            .find_map(|line| {
                let (_, rest) = line.split_once("Overall exposure level for")?;
                rest.split_whitespace().nth(1)?.parse::<f64>().ok()
            })
            .unwrap_or_else(|| {
                panic!(
                    "no level in {said}{}",
                    String::from_utf8_lossy(&output.stderr)
                )
            });
        assert!(level < MOST_EXPOSED, "{name} has {level}:\n{said}");
    }
}

#[test]
fn what_was_installed_is_installed_once_and_goes_whole() {
    let (home, root) = installed();
    for name in UNITS {
        let text = fs::read_to_string(unit(root.path(), name)).unwrap();
        assert!(text.contains("ExecStart=/usr/bin/env "), "{text}");
        assert_eq!(common::mode(Path::new(&unit(root.path(), name))), 0o644);
    }
    let again = install(&home, root.path(), &["--program", "/usr/bin/env"]);
    assert_eq!((again.code, again.out.as_str()), (0, ""));
    assert_eq!(again.err, "nothing is to be changed\n");

    let moved = ["--program", "/usr/bin/grid", "--dry-run"];
    let moved = install(&home, root.path(), &moved);
    assert_eq!(moved.out.lines().count(), 2, "{}", moved.out);
    let text = fs::read_to_string(unit(root.path(), UNITS[0])).unwrap();
    assert!(text.contains("/usr/bin/env"), "a dry run changed it");

    let removed = install(&home, root.path(), &["--remove"]);
    assert_eq!((removed.code, removed.out.lines().count()), (0, 4));
    let folder = root.path().join("etc/systemd/system");
    for name in ["", "multi-user.target.wants", "network-online.target.wants"] {
        let files = fs::read_dir(folder.join(name)).unwrap().flatten();
        let files = files.filter(|file| !file.file_type().unwrap().is_dir());
        assert_eq!(files.count(), 0, "{name}");
    }
    assert!(!home.path().exists(), "no home was made");
}

#[test]
fn a_unit_of_somebody_else_stays_as_it_is() {
    let home = TestHome::new();
    let root = tempfile::tempdir().unwrap();
    let none = install(&home, root.path(), &["--program", "/usr/bin/env"]);
    assert_eq!(none.code, 1);
    assert!(none.err.contains("docs/service.md"), "{}", none.err);
    fs::create_dir_all(root.path().join("usr/lib/systemd/system")).unwrap();
    let path = unit(root.path(), UNITS[0]);
    fs::create_dir_all(Path::new(&path).parent().unwrap()).unwrap();
    fs::write(&path, "[Service]\nExecStart=/opt/mine\n").unwrap();
    for words in [&["--program", "/usr/bin/env"][..], &["--remove"]] {
        let ran = install(&home, root.path(), words);
        assert_eq!((ran.code, ran.out.as_str()), (4, ""));
        assert!(ran.err.contains("nothing was changed"), "{}", ran.err);
    }
    assert!(fs::read_to_string(&path).unwrap().contains("/opt/mine"));
    assert!(!Path::new(&unit(root.path(), UNITS[1])).exists());
}
