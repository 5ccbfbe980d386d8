//! What people type and what they see, without a server.

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Stdio;

use common::TestHome;
use grid_promises::texts;

/// Commands that a build without modules lacks.
const OF_MODULES: &[&str] = &[
    "publish",
    "symbols",
    "adopt-symbols",
    "allow",
    "cas",
    "routes",
];

/// The names of all commands of this build.
fn commands() -> impl Iterator<Item = &'static str> {
    let names = texts::commands().map(|promise| promise.name);
    names.filter(|name| cfg!(feature = "modules") || !OF_MODULES.contains(name))
}

#[test]
fn every_command_explains_itself() {
    let home = TestHome::new();
    let all = home.run(&["--help"]);
    assert_eq!(all.code, 0);
    for command in commands() {
        assert!(all.out.contains(&format!("\n  {command} ")), "{command}");
        let help = home.run(&[command, "--help"]);
        assert_eq!((help.code, help.err.as_str()), (0, ""), "{command}");
        assert!(help.out.contains("Usage: grid "), "{}", help.out);
        assert!(help.out.contains(command), "{}", help.out);
    }
    assert!(all.out.contains("Exit codes:"), "{}", all.out);
    let join = home.run(&["join-wireguard-net", "--help"]).out;
    assert!(join.contains("Prefer `-`"), "{join}");
    assert!(!home.path().exists(), "help makes no home");
}

#[test]
fn an_invite_in_the_wrong_place_is_not_repeated() {
    let home = TestHome::new();
    for words in [
        &["join-wireguard-net", "grid-invite-1.c2VjcmV0", "foo"][..],
        &["--grid-invite-1.c2VjcmV0"],
        &["invite", "foo", "--uses", "grid-invite-1.c2VjcmV0"],
        &["grid-invite-1.c2VjcmV0"],
        &["grid-invite-1.c2VjcmV0", "foo"],
    ] {
        let ran = home.run(words);
        assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{ran:?}");
        assert!(!ran.err.contains("c2VjcmV0"), "{ran:?}");
        assert!(ran.err.contains("grid join-wireguard-net NET -"), "{ran:?}");
    }
}

#[test]
fn what_a_person_typed_is_shown_and_not_obeyed() {
    let home = TestHome::new();
    let long = "x".repeat(50_000);
    for (word, shown) in [
        ("stat\u{1b}[31mus", "\"stat [31mus\""),
        ("statu\u{202e}s", "\"statu s\""),
        (long.as_str(), "xxx...\""),
    ] {
        let ran = home.run(&[word]);
        assert_eq!(ran.code, 2, "{ran:?}");
        assert!(ran.err.contains(shown), "{ran:?}");
        assert!(ran.err.len() < 400, "{}", ran.err.len());
    }
    let ran = home.run(&["--show", "grid-invite-1.c2VjcmV0"]);
    assert!(ran.code == 2 && !ran.err.contains("c2VjcmV0"), "{ran:?}");
}

#[test]
fn a_mistyped_command_is_recognised() {
    let home = TestHome::new();
    for (mistyped, meant) in [
        ("stauts", "did you mean `grid status`?"),
        ("join", "did you mean `grid join-wireguard-net`?"),
        ("create", "did you mean `grid create-wireguard-net` or"),
    ] {
        let ran = home.run(&[mistyped]);
        assert_eq!(ran.code, 2, "{ran:?}");
        assert!(ran.err.contains(meant), "{ran:?}");
    }
    let ran = home.run(&["frobnicate"]);
    assert!(!ran.err.contains("did you mean"), "{ran:?}");
}

#[test]
fn what_cannot_be_meant_is_a_usage_error() {
    let home = TestHome::new();
    for words in [
        &[][..],
        &["frobnicate"],
        &["create-wireguard-net"],
        &["create-wireguard-net", "Foo"],
        &["create-wireguard-net", "lo"],
        &["create-wireguard-net", "foo", "--ipv4", "10.0.0.0"],
        &["create-wireguard-net", "foo", "--admission", "never"],
        &["create-wireguard-net", "foo", "--backend", "magic"],
        &["create-wireguard-net", "foo", "--port", "0"],
        &["invite", "foo", "--expires", "soon"],
        &["invite", "foo", "--uses", "0"],
        &["join-wireguard-net", "foo", "-", "--wait", "1.5s"],
        &["promise", "foo", "10.1.2.3/8"],
        &["reject", "foo", "everything"],
        &["accept", "foo"],
        &["accept", "foo", "10.0.0.0/8", "--print"],
        &["accept", "foo", "10.0.0.0/8", "--from", "b", "--dry-run"],
        &["reject", "foo", "4K7J-2M3P-QR8T", "--from", "b"],
        &["generate-keys", "--force"],
        &["accept", "foo", "10.0.0.0/8", "--from", "box", "--print"],
        &["start-server", "--listen", "here"],
        &["--show", "frobnicate"],
    ] {
        let ran = home.run(words);
        assert_eq!(ran.code, 2, "{words:?}: {ran:?}");
        assert_eq!(ran.out, "", "{words:?}");
        assert!(!ran.err.is_empty(), "{words:?}");
    }
    assert!(!home.path().exists(), "usage errors make no home");
}

#[test]
fn promises_are_listed_and_shown() {
    let home = TestHome::new();
    let list = home.run(&["--list"]);
    assert_eq!((list.code, list.err.as_str()), (0, ""));
    assert_eq!(list.out.lines().count(), texts::commands().count());
    for promise in texts::commands() {
        let line = list
            .out
            .lines()
            .find(|line| line.split(' ').next() == Some(promise.name));
        let id = line.unwrap().split_whitespace().nth(1).unwrap();
        assert_eq!(id, promise.id().to_string());
    }
    for promise in texts::ALL {
        assert_eq!(home.run(&["--show", promise.name]).out, promise.text);
        let id = promise.id().to_string();
        assert_eq!(home.run(&["--show", &id]).out, promise.text);
    }
    let json: serde_json::Value =
        serde_json::from_str(&home.run(&["--list", "--json"]).out).unwrap();
    assert_eq!(json["names"][0]["name"], "accept");
    assert_eq!(
        json["names"][0]["module"]["promise"],
        texts::ACCEPT.id().to_string()
    );
    assert!(!home.path().exists(), "looking makes no home");
}

#[test]
fn status_of_a_new_home_says_what_to_do_next_and_makes_nothing() {
    let home = TestHome::new();
    home.write("other", "", 0o600);
    let status = home.run(&["status"]);
    assert_eq!((status.code, status.err.as_str()), (0, ""));
    assert!(status.out.contains("grid create-wireguard-net NET"));
    let json: serde_json::Value =
        serde_json::from_str(&home.run(&["status", "--json"]).out).unwrap();
    assert_eq!(json["networks"], serde_json::json!([]));
    // As a server would answer.
    for words in [&["status", "foo"][..], &["status", "foo", "--json"]] {
        let status = home.run(words);
        assert_eq!((status.code, status.out.as_str()), (1, ""), "{words:?}");
        assert!(
            status.err.contains("not in a network \"foo\""),
            "{}",
            status.err
        );
    }
    assert_eq!(fs::read_dir(home.path()).unwrap().count(), 1);
}

#[test]
fn a_home_that_somebody_named_and_that_is_not_there_is_no_status() {
    let home = TestHome::new();
    let elsewhere = home.path().join("typo");
    let elsewhere = elsewhere.to_str().unwrap();
    for words in [
        &["status"][..],
        &["status", "--json"],
        &["status", "--home", elsewhere],
    ] {
        let ran = home.run(words);
        assert_eq!((ran.code, ran.out.as_str()), (3, ""), "{words:?}");
        assert!(
            ran.err.contains("check --home and GRID_HOME"),
            "{}",
            ran.err
        );
    }
    assert!(!home.path().exists());
}

#[test]
fn without_a_server_commands_say_how_to_get_one() {
    let home = TestHome::new();
    let paper = home.recovery_key();
    for words in [
        &["invite", "foo"][..],
        &["leave-wireguard-net", "foo"],
        &["accept", "foo", "10.0.0.0/8", "--from", "box"],
        &["accept", "foo", "4K7J-2M3P-QR8T"],
        &["accept", "foo", "box", "--dry-run"],
        &["reject", "foo", "4K7J-2M3P-QR8T"],
        &["accept", "foo", "box", "--print"],
        &["reject", "foo", "10.0.0.0/8"],
        &["promise", "foo", "10.0.0.0/8"],
        &["withdraw", "foo", "10.0.0.0/8"],
        &["revoke", "foo", "box"],
        &["owners", "foo"],
        &["invites", "foo"],
        &["close-invite", "foo", "abcd"],
        &["appoint-owner", "foo", "box"],
        &["dismiss-owner", "foo", "box"],
        &["recover", "foo", &paper],
    ] {
        let ran = home.run(words);
        assert_eq!((ran.code, ran.out.as_str()), (3, ""), "{words:?}");
        assert!(ran.err.contains("grid start-server"), "{}", ran.err);
    }
    let stop = home.run(&["stop-server"]);
    assert_eq!(
        (stop.code, stop.err.as_str()),
        (0, "no server is running\n")
    );
}

#[test]
fn a_recovery_key_in_the_place_of_its_file_is_not_repeated() {
    let home = TestHome::new();
    for key in [
        "003G-W58W-4CN3-2E1Z-8S6N-8PV2-D5R7-EZM5-Q8X7",
        "OO3G-W58W-4CN3-2E1Z-8S6N-8PV2-D5R7-EZM5-Q8X8",
    ] {
        let ran = home.run(&["recover", "foo", key]);
        assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{ran:?}");
        assert!(!ran.err.contains("W58W"), "{}", ran.err);
        assert!(ran.err.contains("standard input"), "{}", ran.err);
    }
}

#[test]
fn a_key_is_made_once() {
    let home = TestHome::new();
    let first = home.run(&["generate-keys"]);
    assert_eq!((first.code, first.err.as_str()), (0, ""));
    assert_eq!(first.out.trim().len(), 52);
    assert_eq!(home.run(&["generate-keys"]).out, first.out);
    assert_eq!(common::mode(&home.file("keys/node.key")), 0o600);
    assert_eq!(common::mode(&home.file("keys")), 0o700);
    assert_eq!(common::mode(&home.path()), 0o700);
    let key = fs::read_to_string(home.file("keys/node.key")).unwrap();
    assert!(!first.out.contains(key.trim()));
}

#[test]
fn a_home_of_another_machine_is_refused_with_two_ways_out() {
    let copy = || {
        let home = TestHome::new();
        let node = home.run(&["generate-keys"]).out;
        let mark = home.file("keys/machine");
        if !mark.exists() {
            return None;
        }
        let net = home.file("nets/foo");
        fs::create_dir(&net).unwrap();
        fs::write(net.join("charter"), "x").unwrap();
        fs::write(mark, format!("{}\n", "4a".repeat(16))).unwrap();
        Some((home, node))
    };
    let Some((home, node)) = copy() else {
        eprintln!("SKIPPED: this machine has no id");
        return;
    };
    for (words, code) in [
        (&["start-server", "--listen", "127.0.0.1:0"][..], 4),
        (&["start-server", "--background"], 4),
        (&["create-wireguard-net", "bar"], 4),
    ] {
        let ran = home.run(words);
        assert_eq!(ran.code, code, "{ran:?}");
        for way in ["--new", "--moved", "another machine"] {
            assert!(ran.err.contains(way), "{}", ran.err);
        }
    }
    // Only to ask for the key changes nothing.
    assert_eq!(home.run(&["generate-keys"]).out, node);
    assert_eq!(home.run(&["start-server"]).code, 4);
    // Its own key, its networks, and a machine that it belongs to.
    let moved = home.run(&["generate-keys", "--moved"]);
    assert_eq!((moved.code, &moved.out), (0, &node), "{moved:?}");
    assert!(home.file("nets/foo/charter").exists());
    let refused = home.run(&["generate-keys", "--new"]);
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(
        refused.err.contains("made on this machine"),
        "{}",
        refused.err
    );
    assert_eq!(home.run(&["generate-keys"]).out, node);

    let (clone, node) = copy().unwrap();
    let renewed = clone.run(&["generate-keys", "--new"]);
    assert_eq!(renewed.code, 0, "{renewed:?}");
    assert_ne!(renewed.out, node);
    assert!(
        renewed.err.contains("join-wireguard-net foo"),
        "{}",
        renewed.err
    );
    assert!(!clone.file("nets/foo").exists());
    assert_eq!(clone.run(&["generate-keys"]).out, renewed.out);
    assert_eq!(clone.run(&["generate-keys", "--new"]).code, 1);
    // A machine that lost its id, or never had one, knows no better.
    fs::remove_file(clone.file("keys/machine")).unwrap();
    assert_eq!(clone.run(&["generate-keys", "--new"]).code, 0);
}

#[test]
fn many_at_once_make_one_key() {
    let home = TestHome::new();
    let all: Vec<String> = std::thread::scope(|scope| {
        let runs: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| home.run(&["generate-keys"]).out))
            .collect();
        runs.into_iter().map(|run| run.join().unwrap()).collect()
    });
    assert!(all.iter().all(|id| *id == all[0]), "{all:?}");
}

#[test]
fn a_key_that_is_not_as_it_should_be_is_refused_and_left_alone() {
    let good = "AwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwM=\n";
    for (content, mode, word) in [
        (good, 0o640, "chmod 600"),
        (good, 0o604, "chmod 600"),
        ("", 0o600, "empty"),
        ("AwMDAwMDAwM", 0o600, "cut short"),
        ("\u{1F511}", 0o600, "cut short"),
    ] {
        let home = TestHome::new();
        home.write("keys/node.key", content, mode);
        for words in [
            &["generate-keys"][..],
            &["start-server", "--listen", "127.0.0.1:0"],
        ] {
            let ran = home.run(words);
            assert_eq!(
                (ran.code, ran.out.as_str()),
                (1, ""),
                "{content:?} {mode:o}"
            );
            assert!(ran.err.contains(word), "{}", ran.err);
            assert!(ran.err.contains("node.key"), "{}", ran.err);
            assert!(!ran.err.contains(good.trim()), "{}", ran.err);
        }
        let background = home.run(&["create-wireguard-net", "foo"]);
        assert_eq!(background.code, 3, "{background:?}");
        assert!(background.err.contains(word), "{}", background.err);
        let path = home.file("keys/node.key");
        assert_eq!(fs::read_to_string(&path).unwrap(), content);
        assert_eq!(common::mode(&path), mode);
    }
    let home = TestHome::new();
    home.write("keys/node.key", good, 0o600);
    assert_eq!(home.run(&["generate-keys"]).code, 0);
}

#[test]
fn a_broken_configuration_is_located() {
    let home = TestHome::new();
    home.write("config", "# mine\nlisten = 7\n", 0o600);
    let ran = home.run(&["start-server"]);
    assert_eq!(ran.code, 1);
    assert!(
        ran.err.contains("config:2:10: listen must be"),
        "{}",
        ran.err
    );
    home.write("config", "label = \"a\nlisten = 7\n", 0o600);
    let ran = home.run(&["start-server"]);
    assert_eq!(ran.code, 1);
    assert!(ran.err.contains("config:1:"), "{}", ran.err);
}

#[test]
fn a_home_that_others_can_write_to_is_refused() {
    let home = TestHome::new();
    fs::create_dir(home.path()).unwrap();
    fs::set_permissions(home.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let ran = home.run(&["generate-keys"]);
    assert_eq!(ran.code, 1);
    // It may be everybody's, such as /tmp.
    assert!(
        ran.err.contains("a folder of its own with --home"),
        "{}",
        ran.err
    );
    assert!(!ran.err.contains("chmod"), "{}", ran.err);
    assert!(fs::read_dir(home.path()).unwrap().next().is_none());
    fs::set_permissions(home.path(), fs::Permissions::from_mode(0o700)).unwrap();
    assert_eq!(home.run(&["generate-keys"]).code, 0);
    fs::set_permissions(home.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let ran = home.run(&["generate-keys"]);
    assert_eq!(ran.code, 1);
    assert!(ran.err.contains("chmod 700"), "{}", ran.err);
}

#[test]
fn what_cannot_be_printed_is_a_failure() {
    let home = TestHome::new();
    for words in [
        &["--list"][..],
        &["--help"],
        &["--version"],
        &["status", "--help"],
    ] {
        let full = fs::File::options().write(true).open("/dev/full").unwrap();
        let output = home.command(words).stdout(full).output().unwrap();
        let err = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{words:?}");
        assert!(
            err.contains("cannot be written to standard output"),
            "{err}"
        );
    }
}

#[test]
fn no_umask_takes_away_what_the_owner_needs() {
    let home = TestHome::new();
    let script = format!(
        "umask 0777; exec {} generate-keys",
        env!("CARGO_BIN_EXE_grid")
    );
    let ran = std::process::Command::new("sh")
        .args(["-c", &script])
        .env("GRID_HOME", home.path())
        .output()
        .unwrap();
    assert!(ran.status.success(), "{ran:?}");
    for folder in ["", "keys", "nets", "peers"] {
        assert_eq!(common::mode(&home.file(folder)), 0o700, "{folder}");
    }
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let home = TestHome::new();
    for words in [&["--list"][..], &["--help"], &["--show", "status"]] {
        let mut child = home
            .command(words)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        let err = String::from_utf8(output.stderr).unwrap();
        assert_eq!(
            (output.status.code(), err.as_str()),
            (Some(0), ""),
            "{words:?}"
        );
    }
}

#[test]
fn manuals_and_completions_are_written() {
    let home = TestHome::new();
    let dir = tempfile::tempdir().unwrap();
    let ran = home.run(&["man", dir.path().to_str().unwrap()]);
    assert_eq!(ran.code, 0, "{ran:?}");
    for command in commands() {
        let page = dir.path().join(format!("grid-{command}.1"));
        assert!(page.exists(), "{}", page.display());
    }
    for shell in ["bash", "zsh", "fish"] {
        let ran = home.run(&["completions", shell]);
        assert_eq!(ran.code, 0);
        assert!(ran.out.contains("join-wireguard-net"), "{shell}");
    }
}
