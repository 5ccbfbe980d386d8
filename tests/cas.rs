//! `grid cas`: the object store on the command line, without a server and beside one.

#![cfg(feature = "modules")]
#![allow(
    clippy::unwrap_used,
    reason = "this is a test, though clippy cannot see it"
)]

mod common;

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, SystemTime};

use common::{Ran, TestHome, wait_for};
use grid_promises::content_id::HashCode;
use grid_promises::{ContentId, texts};
use serde_json::Value;

/// Where an object lies.
fn place(home: &TestHome, id: &str) -> PathBuf {
    let (rest, shard) = id.split_at(id.len() - 2);
    home.file(&format!("cache/objects/{shard}/{rest}"))
}

fn put(home: &TestHome, text: &str) -> String {
    let ran = home.run_with(&["cas", "put", "-"], text);
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
    ran.out.trim_end().to_owned()
}

fn json(ran: &Ran) -> Value {
    serde_json::from_str(&ran.out).unwrap()
}

fn spoil(home: &TestHome, id: &str) {
    let path = place(home, id);
    let mut bytes = fs::read(&path).unwrap();
    bytes[0] ^= 1;
    fs::write(path, bytes).unwrap();
}

fn age(home: &TestHome, id: &str) {
    let hour_ago = SystemTime::now() - Duration::from_secs(3600);
    let file = File::open(place(home, id)).unwrap();
    file.set_modified(hour_ago).unwrap();
}

/// All of standard output, which need not be text.
fn get(home: &TestHome, id: &str) -> Vec<u8> {
    let output = home.command(&["cas", "get", id]).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    output.stdout
}

#[test]
fn what_was_put_comes_back_under_every_hash_function() {
    let home = TestHome::new();
    for (name, code) in [
        ("sha2-256", HashCode::Sha2_256),
        ("sha2-512", HashCode::Sha2_512),
        ("blake3", HashCode::Blake3),
    ] {
        let ran = home.run_with(&["cas", "put", "-", "--hash", name], "some bytes");
        assert_eq!((ran.code, ran.err.as_str()), (0, ""));
        let id = ContentId::with(code, b"some bytes").to_string();
        assert_eq!(ran.out, format!("{id}\n"));
        assert_eq!(get(&home, &id), b"some bytes");
        assert_eq!(common::mode(&place(&home, &id)), 0o600);
    }
    assert_eq!(common::mode(&home.file("cache")), 0o700);
    let again = home.run_with(&["cas", "put", "-", "--json"], "some bytes");
    let again = json(&again);
    assert_eq!(
        (&again["how"], &again["size"]),
        (&"present".into(), &10.into())
    );
    assert_eq!(put(&home, ""), ContentId::of(b"").to_string());
    assert_eq!(home.run(&["cas", "ls"]).out.lines().count(), 4);
}

#[test]
fn large_files_go_in_and_out_whole() {
    let home = TestHome::new();
    let dir = tempfile::tempdir().unwrap();
    let (from, to) = (dir.path().join("from"), dir.path().join("to"));
    let bytes: Vec<u8> = (0..=252).cycle().take(5_000_000).collect();
    fs::write(&from, &bytes).unwrap();
    let ran = home.run(&["cas", "put", from.to_str().unwrap()]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let id = ran.out.trim_end();
    assert!(get(&home, id) == bytes);

    fs::write(&to, "in the way").unwrap();
    fs::set_permissions(&to, fs::Permissions::from_mode(0o640)).unwrap();
    let words = ["cas", "get", id, "-o", to.to_str().unwrap()];
    let ran = home.run(&words);
    assert_eq!((ran.code, ran.out.as_str(), ran.err.as_str()), (0, "", ""));
    assert!(fs::read(&to).unwrap() == bytes);
    assert_eq!(common::mode(&to), 0o640);

    // Damaged: the file that is there stays as it is, and nothing is left beside it.
    spoil(&home, id);
    fs::write(&to, "kept").unwrap();
    let ran = home.run(&words);
    assert_eq!((ran.code, ran.out.as_str()), (1, ""));
    assert_eq!(fs::read_to_string(&to).unwrap(), "kept");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
}

#[test]
fn an_object_can_be_written_to_what_is_no_file() {
    let home = TestHome::new();
    let id = put(&home, "to a device");
    let ran = home.run(&["cas", "get", &id, "-o", "/dev/null"]);
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
    let dir = tempfile::tempdir().unwrap();
    let (target, link) = (dir.path().join("target"), dir.path().join("link"));
    fs::write(&target, "").unwrap();
    std::os::unix::fs::symlink(&target, &link).unwrap();
    let ran = home.run(&["cas", "get", &id, "-o", link.to_str().unwrap()]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(fs::read_to_string(&target).unwrap(), "to a device");
    assert!(link.is_symlink());
    let nowhere = dir.path().join("none/x");
    let ran = home.run(&["cas", "get", &id, "-o", nowhere.to_str().unwrap()]);
    assert_eq!(ran.code, 1);
    assert!(ran.err.contains("cannot write"), "{}", ran.err);
}

#[test]
fn a_damaged_object_is_never_printed_and_can_be_put_again() {
    let home = TestHome::new();
    let id = put(&home, "precious");
    spoil(&home, &id);
    let ran = home.run(&["cas", "get", &id]);
    assert_eq!((ran.code, ran.out.as_str()), (1, ""));
    let aside = home.file(&format!("cache/damaged/{id}"));
    assert!(ran.err.contains(aside.to_str().unwrap()), "{}", ran.err);
    assert!(ran.err.contains("again"), "{}", ran.err);
    assert_eq!(fs::read(&aside).unwrap(), b"qrecious");
    let gone = home.run(&["cas", "get", &id]);
    assert_eq!(gone.code, 1);
    assert!(gone.err.contains("not in the store"), "{}", gone.err);

    assert_eq!(put(&home, "precious"), id);
    assert_eq!(get(&home, &id), b"precious");
    spoil(&home, &id);
    let ran = home.run_with(&["cas", "put", "-", "--json"], "precious");
    assert_eq!(ran.code, 0);
    assert!(ran.err.contains("was damaged"), "{}", ran.err);
    let report = json(&ran);
    assert_eq!(report["how"], "replaced");
    assert!(
        report["damaged"]
            .as_str()
            .unwrap()
            .ends_with(&format!("{id}.1"))
    );
    assert_eq!(get(&home, &id), b"precious");
}

#[test]
fn verify_finds_what_is_damaged_once() {
    let home = TestHome::new();
    let (good, bad) = (put(&home, "good"), put(&home, "bad"));
    spoil(&home, &bad);
    let ran = home.run(&["cas", "verify", "--json"]);
    assert_eq!(ran.code, 1);
    let report = json(&ran);
    assert_eq!(report["damaged"][0]["id"], bad);
    assert_eq!(report["whole"]["count"], 1);
    let ran = home.run(&["cas", "verify"]);
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
    assert_eq!(ran.out, "1 object, 4 B: whole\n");
    let list = home.run(&["cas", "ls"]);
    assert!(list.out.starts_with(&good), "{}", list.out);
    assert!(list.err.contains("1 damaged object, 3 B"), "{}", list.err);
    spoil(&home, &good);
    let ran = home.run(&["cas", "verify"]);
    assert_eq!(ran.code, 1);
    assert!(
        ran.err.contains(&good) && ran.err.contains("damaged"),
        "{}",
        ran.err
    );
}

#[test]
fn what_is_built_in_needs_no_store() {
    let home = TestHome::new();
    for promise in texts::ALL {
        let id = promise.id().to_string();
        assert_eq!(get(&home, &id), promise.text.as_bytes());
    }
    for words in [&["cas", "ls"][..], &["cas", "gc"], &["cas", "verify"]] {
        assert_eq!(home.run(words).code, 0, "{words:?}");
    }
    let none = home.run(&["cas", "get", &ContentId::of(b"none").to_string()]);
    assert_eq!((none.code, none.out.as_str()), (1, ""));
    assert!(!home.path().exists(), "looking makes no home");
}

#[test]
fn a_list_says_how_much_there_is() {
    let home = TestHome::new();
    let id = put(&home, &"x".repeat(3000));
    age(&home, &id);
    fs::create_dir_all(home.file("cache/calls/a")).unwrap();
    fs::write(home.file("cache/calls/a/memo"), "12345").unwrap();
    let ran = home.run(&["cas", "ls"]);
    assert_eq!(ran.out, format!("{id}  2.9 KiB  used 1h00m ago\n"));
    assert_eq!(
        ran.err,
        "1 object, 2.9 KiB; the cache has 2.9 KiB of 1.0 GiB; 1 memoised call, 5 B\n"
    );
    let report = json(&home.run(&["cas", "ls", "--json"]));
    assert_eq!(report["objects"][0]["id"], id);
    assert_eq!(report["objects"][0]["size"], 3000);
    assert_eq!(report["sizes"]["total"], 3005);
    assert_eq!(report["limit"], 1 << 30);
}

#[test]
fn gc_evicts_the_oldest_and_keeps_the_table_and_what_is_new() {
    let home = TestHome::new();
    let table = put(&home, &"t".repeat(600));
    let old = put(&home, &"o".repeat(600));
    let new = put(&home, &"n".repeat(600));
    age(&home, &table);
    age(&home, &old);
    let within = home.run(&["cas", "gc"]);
    assert_eq!((within.code, within.err.as_str()), (0, ""));
    assert!(within.out.contains("nothing to evict"), "{}", within.out);

    let config = format!("cache_limit = \"1KiB\"\nsymbols = \"{table}\"\n");
    home.write("config", &config, 0o600);
    let rehearsed = home.run(&["cas", "gc", "--dry-run"]);
    assert_eq!(rehearsed.code, 0, "{rehearsed:?}");
    assert!(rehearsed.out.contains(&format!("would evict {old}  600 B")));
    assert!(place(&home, &old).exists());
    // Reading the table renewed its time; that is not why it stays.
    age(&home, &table);
    let ran = home.run(&["cas", "gc", "--json"]);
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
    let report = json(&ran);
    assert_eq!(report["evicted"][0]["id"], old);
    assert_eq!(report["evicted"].as_array().unwrap().len(), 1);
    let why = |id: &str| {
        let kept = report["kept"].as_array().unwrap();
        let kept = kept.iter().find(|kept| kept["id"] == id);
        kept.map(|kept| kept["why"].clone())
    };
    assert_eq!(why(&table), Some("reached".into()));
    assert_eq!(why(&new), Some("recent".into()));
    assert_eq!(
        (&report["after"], &report["limit"]),
        (&1200.into(), &1024.into())
    );
    assert!(!place(&home, &old).exists());
    assert!(place(&home, &table).exists() && place(&home, &new).exists());
    let again = home.run(&["cas", "gc"]);
    assert_eq!(again.code, 0);
    assert!(
        again.out.contains("still more than the limit"),
        "{}",
        again.out
    );
}

#[test]
fn without_the_table_gc_evicts_nothing() {
    let home = TestHome::new();
    let (table, old) = (put(&home, "table"), put(&home, "old"));
    age(&home, &old);
    let config = format!("cache_limit = \"0B\"\nsymbols = \"{table}\"\n");
    home.write("config", &config, 0o600);
    spoil(&home, &table);
    for word in ["damaged", "nothing is evicted"] {
        let ran = home.run(&["cas", "gc"]);
        assert_eq!((ran.code, ran.out.as_str()), (1, ""));
        assert!(
            ran.err.contains(word) && ran.err.contains(&table),
            "{}",
            ran.err
        );
    }
    assert!(place(&home, &old).exists());
    home.write("config", "cache_limit = 7\n", 0o600);
    let ran = home.run(&["cas", "gc"]);
    assert_eq!(ran.code, 1);
    assert!(
        ran.err.contains("config:1:15: cache_limit must be"),
        "{}",
        ran.err
    );
}

#[test]
fn what_cannot_be_meant_is_a_usage_error() {
    let home = TestHome::new();
    for words in [
        &["cas"][..],
        &["cas", "put"],
        &["cas", "put", "x", "--hash", "md5"],
        &["cas", "get"],
        &["cas", "get", "bafkrei"],
        &[
            "cas",
            "get",
            "QmdfTbBqBPQ7VNxZEYEj14VmRuZBkqFbiwReogJgS1zR1n",
        ],
        &["cas", "rm"],
    ] {
        let ran = home.run(words);
        assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{words:?}");
        assert!(!ran.err.is_empty(), "{words:?}");
    }
    let none = home.run(&["cas", "put", "/no/such/file"]);
    assert_eq!((none.code, none.out.as_str()), (1, ""));
    assert!(none.err.contains("nothing was stored"), "{}", none.err);
    let dir = tempfile::tempdir().unwrap();
    let huge = dir.path().join("huge");
    File::create(&huge).unwrap().set_len((1 << 30) + 1).unwrap();
    let large = home.run(&["cas", "put", huge.to_str().unwrap()]);
    assert_eq!((large.code, large.out.as_str()), (1, ""));
    assert!(large.err.contains("1GiB at most"), "{}", large.err);
    let folder = home.run(&["cas", "put", "/"]);
    assert_eq!(folder.code, 1, "{folder:?}");
    assert!(folder.err.contains("nothing was stored"), "{}", folder.err);
}

#[test]
fn a_home_that_others_can_write_to_is_refused() {
    let home = TestHome::new();
    let id = put(&home, "x");
    fs::set_permissions(home.path(), fs::Permissions::from_mode(0o777)).unwrap();
    for words in [
        &["cas", "put", "/dev/null"][..],
        &["cas", "get", &id],
        &["cas", "gc"],
    ] {
        let ran = home.run(words);
        assert_eq!((ran.code, ran.out.as_str()), (1, ""), "{words:?}");
        assert!(ran.err.contains("chmod 700"), "{}", ran.err);
    }
}

/// Processes, not threads: putting the same and other objects while others evict.
#[test]
fn many_processes_at_once_are_safe_beside_a_server() {
    let home = TestHome::new();
    home.write("config", "cache_limit = \"0B\"\n", 0o600);
    let server = home.server();
    std::thread::scope(|scope| {
        for seed in 0..3 {
            let home = &home;
            scope.spawn(move || {
                for round in 0..9 {
                    // Some are everybody's; the others are aged after use, so that they are put again
                    // just while they may be evicted.
                    let is_own = round % 3 != 0;
                    let text = match is_own {
                        true => format!("own {seed} {}", round % 2),
                        false => format!("shared {round}"),
                    };
                    let id = put(home, &text);
                    assert!(get(home, &id) == text.as_bytes());
                    if is_own {
                        let hour_ago = SystemTime::now() - Duration::from_secs(3600);
                        let _ = File::open(place(home, &id))
                            .and_then(|file| file.set_modified(hour_ago));
                    }
                }
            });
        }
        scope.spawn(|| {
            for _ in 0..15 {
                let ran = home.run(&["cas", "gc"]);
                assert_eq!((ran.code, ran.err.as_str()), (0, ""));
            }
        });
    });
    assert_eq!(home.run(&["cas", "verify"]).code, 0);
    drop(server);
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let home = TestHome::new();
    let id = put(&home, &"long ".repeat(500_000));
    let mut child = home
        .command(&["cas", "get", &id])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stderr.len()), (Some(0), 0));
}

#[test]
fn what_takes_long_says_how_far_it_is() {
    let home = TestHome::new();
    let mut child = home
        .command(&["cas", "put", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    // It has begun, however long that took, and waits for its input.
    let incoming = home.file("cache/incoming");
    wait_for("it to begin", || {
        std::fs::read_dir(&incoming).is_ok_and(|mut files| files.next().is_some())
    });
    std::thread::sleep(Duration::from_millis(1300));
    input.write_all(b"first, second").unwrap();
    drop(input);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    let err = String::from_utf8(output.stderr).unwrap();
    assert_eq!(err, "storing: 13 B\n");
}
