//! A server and its control socket. No network is founded, so that nothing needs root.

#![allow(
    clippy::unwrap_used,
    reason = "this is a test, though clippy cannot see it in helpers"
)]

mod common;

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use common::{TestHome, wait_for};
use grid::control::frame;
use grid_promises::{ContentId, Message, texts};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

fn connect(home: &TestHome) -> UnixStream {
    let stream = UnixStream::connect(home.file("grid.sock")).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    stream
}

fn status(home: &TestHome) -> serde_json::Value {
    let ran = home.run(&["status", "--json"]);
    assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{ran:?}");
    serde_json::from_str(&ran.out).unwrap()
}

#[test]
fn one_server_holds_a_home_and_says_who_it_is() {
    let home = TestHome::new();
    let server = home.server();
    let node = home.run(&["generate-keys"]).out;
    assert_eq!(status(&home)["node"], node.trim());
    let second = home.run(&["start-server", "--listen", "127.0.0.1:0"]);
    assert_eq!(second.code, 1);
    let pid = format!("(process {})", server.pid());
    assert!(second.err.contains(&pid), "{}", second.err);
    assert!(second.err.contains("grid stop-server"), "{}", second.err);
    assert_eq!(status(&home)["node"], node.trim());
    assert_eq!(common::mode(&home.file("grid.sock")), 0o600);
    assert_eq!(common::mode(&home.file("server.lock")), 0o600);

    let stop = home.run(&["stop-server"]);
    assert_eq!((stop.code, stop.out.as_str()), (0, "the server stopped\n"));
    assert_eq!(server.code(), 0);
    assert!(!home.file("grid.sock").exists());
    home.server();
}

#[test]
fn signals_stop_it_cleanly_and_a_kill_leaves_a_home_that_starts() {
    let home = TestHome::new();
    let mut node = None;
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGKILL] {
        let server = home.server();
        let now = status(&home)["node"].clone();
        assert_eq!(*node.get_or_insert(now.clone()), now);
        kill(Pid::from_raw(server.pid().try_into().unwrap()), signal).unwrap();
        let killed = signal == Signal::SIGKILL;
        assert_eq!(server.code(), if killed { -1 } else { 0 }, "{signal}");
        assert_eq!(home.file("grid.sock").exists(), killed);
    }
    // The stale socket of the killed one is no obstacle.
    home.server();
    assert_eq!(Some(status(&home)["node"].clone()), node);
}

#[test]
fn what_is_no_message_costs_its_connection_and_nothing_else() {
    let home = TestHome::new();
    let _server = home.server();
    let mut message = Vec::new();
    frame::write(&mut message, &Message::new(texts::STATUS.id())).unwrap();
    let attacks: [&[u8]; 6] = [
        &[0xff; 64],
        b"GET / HTTP/1.1\r\n\r\n",
        &[0, 0, 0, 3, 1, 2, 3],
        &[0, 0, 0, 0],
        &[0x00, 0x14, 0x00, 0x00, 0x5b],
        &message[..message.len() - 1],
    ];
    for attack in attacks {
        let mut stream = connect(&home);
        stream.write_all(attack).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = Vec::new();
        // Closed with what was sent unread, the system may call it a reset.
        let _ = stream.read_to_end(&mut answer);
        assert!(answer.is_empty(), "{attack:?} was answered");
        status(&home);
    }
    let idle = connect(&home);
    status(&home);
    drop(idle);
}

#[test]
fn what_is_no_promise_of_this_version_is_refused() {
    let home = TestHome::new();
    let _server = home.server();
    for (promise, arg) in [
        (ContentId::of(b"I will do anything"), "x"),
        (texts::STATUS.id(), "--frobnicate"),
        (texts::START_SERVER.id(), "--dry-run"),
        (texts::ANSWER.id(), "x"),
    ] {
        let mut stream = connect(&home);
        frame::write(&mut stream, &Message::new(promise).arg(arg)).unwrap();
        let answer = frame::read(&mut stream).unwrap().unwrap();
        assert_eq!(answer.promise, texts::REFUSAL.id());
        let failure: serde_json::Value = serde_json::from_slice(&answer.payload).unwrap();
        assert_eq!(failure["exit"], "usage");
        assert_eq!(frame::read(&mut stream).unwrap(), None);
    }
}

/// What a server answers to a message, by the promise that leads it.
fn answer(home: &TestHome, message: &Message) -> Message {
    let mut stream = connect(home);
    frame::write(&mut stream, message).unwrap();
    frame::read(&mut stream).unwrap().unwrap()
}

#[test]
fn a_program_of_another_version_is_told_so_and_nothing_is_done() {
    let home = TestHome::new();
    let server = home.server();
    let leave = || Message::new(texts::LEAVE_WIREGUARD_NET.id());
    for (message, theirs) in [
        // As programs wrote it that sent the words of their command line.
        (leave().arg("foo"), "another version"),
        (leave(), "another version"),
        (
            leave()
                .arg("--request-of=9.9.9")
                .payload(r#"{"net":"foo","gently":true}"#),
            "version 9.9.9",
        ),
        (
            leave().arg("--request-of=9.9.9").payload("{"),
            "version 9.9.9",
        ),
    ] {
        let refusal = answer(&home, &message);
        assert_eq!(refusal.promise, texts::REFUSAL.id());
        let failure: serde_json::Value = serde_json::from_slice(&refusal.payload).unwrap();
        assert_eq!(failure["exit"], "usage");
        let text = failure["text"].as_str().unwrap();
        assert!(text.contains(theirs), "{text}");
        assert!(text.contains(env!("CARGO_PKG_VERSION")), "{text}");
        assert!(text.contains("grid stop-server"), "{text}");
    }
    // What every version can ask.
    let status = answer(&home, &Message::new(texts::STATUS.id()));
    assert_eq!(status.promise, texts::ANSWER.id());
    let status: serde_json::Value = serde_json::from_slice(&status.payload).unwrap();
    assert_eq!(status["networks"], serde_json::json!([]));
    let stopped = answer(&home, &Message::new(texts::STOP_SERVER.id()));
    assert_eq!(stopped.promise, texts::ANSWER.id());
    assert_eq!(server.code(), 0);
}

#[test]
fn a_server_that_reads_words_is_said_to_be_older() {
    let home = TestHome::new();
    fs::create_dir(home.path()).unwrap();
    // Such a server took the argument of a request for one of a person.
    let listener = std::os::unix::net::UnixListener::bind(home.file("grid.sock")).unwrap();
    let old = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let message = frame::read(&mut stream).unwrap().unwrap();
        let arg = String::from_utf8(message.args[0].clone()).unwrap();
        let arg = arg.split('=').next().unwrap();
        let text = format!("error: unexpected argument '{arg}' found");
        let payload = serde_json::json!({ "exit": "usage", "text": text }).to_string();
        let refusal = Message::new(texts::REFUSAL.id()).payload(payload);
        frame::write(&mut stream, &refusal).unwrap();
    });
    let ran = home.run(&["leave-wireguard-net", "foo"]);
    old.join().unwrap();
    assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{ran:?}");
    assert!(ran.err.contains("older than this program"), "{}", ran.err);
    assert!(ran.err.contains("grid stop-server"), "{}", ran.err);
}

#[test]
fn commands_about_networks_that_are_not_there() {
    let home = TestHome::new();
    let _server = home.server();
    let paper = home.recovery_key();
    for words in [
        &["status", "foo"][..],
        &["invite", "foo"],
        &["leave-wireguard-net", "foo"],
        &["promise", "foo", "10.0.0.0/8"],
        &["reject", "foo", "10.0.0.0/8"],
        &["revoke", "foo", "box"],
        &["owners", "foo"],
        &["invites", "foo"],
        &["close-invite", "foo", "abcd"],
        &["appoint-owner", "foo", "box"],
        &["dismiss-owner", "foo", "box"],
        &["recover", "foo", &paper],
        &["create-config", "foo"],
    ] {
        let ran = home.run(words);
        assert_eq!((ran.code, ran.out.as_str()), (1, ""), "{words:?}: {ran:?}");
        assert!(ran.err.contains("\"foo\""), "{words:?}: {}", ran.err);
        assert!(ran.err.contains("grid status"), "{words:?}: {}", ran.err);
    }
    let ran = home.run(&["accept", "foo", "10.0.0.0/8"]);
    assert_eq!(ran.code, 2);
    assert!(ran.err.contains("--from NODE"), "{}", ran.err);
    assert_eq!(status(&home)["networks"], serde_json::json!([]));
}

#[test]
fn broken_invites_are_refused_before_anything_is_done() {
    let home = TestHome::new();
    let _server = home.server();
    let long = "grid-invite-1.".to_owned() + &"A".repeat(20_000);
    let endless = "x".repeat(100_000);
    for (invite, word) in [
        ("", "empty"),
        ("  \n", "empty"),
        ("hello", "not an invite"),
        ("grid-invite-1.AAAAAAAA", "altered"),
        ("grid-invite-1.!", "altered"),
        (&long, "longer"),
        (&endless, "more than an invite"),
    ] {
        let ran = home.run_with(&["join-wireguard-net", "foo", "-"], invite);
        assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{ran:?}");
        assert!(ran.err.contains(word), "{word}: {}", ran.err);
    }
    // On the command line it is moved to standard input, with the same outcome.
    let ran = home.run(&["join-wireguard-net", "foo", "grid-invite-1.AAAAAAAA"]);
    assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{ran:?}");
    assert!(ran.err.contains("altered"), "{}", ran.err);
    assert!(fs::read_dir(home.file("nets")).unwrap().next().is_none());
}

#[test]
fn keys_are_exchanged_and_remembered() {
    let (one, two) = (TestHome::new(), TestHome::new());
    let (_first, second) = (one.server(), two.server());
    let id = |home: &TestHome| home.run(&["generate-keys"]).out.trim().to_owned();
    let (one_id, two_id) = (id(&one), id(&two));
    let log = second.log();
    let port = log
        .split("listens on UDP 127.0.0.1:")
        .nth(1)
        .and_then(|rest| rest.split_whitespace().next())
        .unwrap();
    let place = format!("127.0.0.1:{port}");

    let wrong = one.run(&["exchange-keys", &format!("{place}#{one_id}")]);
    assert_ne!(wrong.code, 0);
    assert!(fs::read_dir(one.file("peers")).unwrap().next().is_none());

    let ran = one.run(&["exchange-keys", &format!("{place}#{two_id}")]);
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
    assert!(ran.out.contains(&one_id) && ran.out.contains(&two_id));
    assert!(one.file("peers").join(&two_id).exists());
    let text = fs::read_to_string(one.file("peers").join(&two_id)).unwrap();
    assert!(text.contains(&place), "{text}");

    // Both are there, and neither has such a network.
    let join = one.run(&["join-wireguard-net", "foo", "--wait", "5s"]);
    assert_eq!(join.code, 1, "{join:?}");
    for bad in [
        "127.0.0.1",
        "127.0.0.1:0",
        ":7",
        "127.0.0.1:7#key",
        "::1:7:8:x",
    ] {
        assert_eq!(one.run(&["exchange-keys", bad]).code, 2, "{bad}");
    }
}

#[test]
fn the_port_of_another_program_is_named() {
    let home = TestHome::new();
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let addr = socket.local_addr().unwrap().to_string();
    let ran = home.run(&["start-server", "--listen", &addr]);
    assert_eq!(ran.code, 1);
    assert!(ran.err.contains(&addr), "{}", ran.err);
    let pid = format!("process {}", std::process::id());
    assert!(ran.err.contains(&pid), "{}", ran.err);
    assert!(ran.err.contains("--listen"), "{}", ran.err);
    let ran = home.run(&["start-server", "--background", "--listen", &addr]);
    assert_eq!(ran.code, 3);
    assert!(ran.err.contains(&pid), "the end of the log: {}", ran.err);
}

#[test]
fn a_server_in_the_background_has_nothing_that_it_does_not_need() {
    let home = TestHome::new();
    let ran = home
        .command(&["start-server", "--background", "--listen=127.0.0.1:0"])
        .env("SECRET_OF_SOMEBODY", "grid-invite-1.secret")
        .output()
        .unwrap();
    assert!(ran.status.success(), "{ran:?}");
    let pid = fs::read_to_string(home.file("server.lock")).unwrap();
    let pid = pid.trim();
    let environ = fs::read_to_string(format!("/proc/{pid}/environ")).unwrap();
    assert!(!environ.contains("SECRET"), "{environ}");
    let cmdline = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap();
    assert!(cmdline.starts_with("grid\0"), "{cmdline}");
    assert_eq!(
        fs::read_link(format!("/proc/{pid}/cwd")).unwrap(),
        std::path::Path::new("/")
    );
    // The fifth and sixth fields behind the name: session and terminal (proc_pid_stat(5)).
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat
        .rsplit_once(')')
        .unwrap()
        .1
        .split_whitespace()
        .collect();
    assert_eq!((fields[3], fields[4]), (pid, "0"));
    assert_eq!(common::mode(&home.file("server.log")), 0o600);
    assert_eq!(home.run(&["stop-server"]).code, 0);
    wait_for("the server to be gone", || {
        !std::path::Path::new(&format!("/proc/{pid}")).exists()
    });
}

#[test]
fn a_damaged_network_is_said_and_the_server_runs() {
    let home = TestHome::new();
    home.run(&["generate-keys"]);
    home.write("nets/foo/charter", "junk", 0o600);
    home.write("nets/.hidden.tmp", "junk", 0o600);
    let _server = home.server();
    let status = status(&home);
    assert_eq!(status["broken"][0]["name"], "foo");
    assert!(
        status["broken"][0]["error"]
            .as_str()
            .unwrap()
            .contains("charter")
    );
    let text = home.run(&["status"]).out;
    assert!(text.contains("foo: not started: "), "{text}");
    let create = home.run(&["create-wireguard-net", "foo"]);
    assert_eq!(create.code, 4, "{create:?}");
    assert!(
        create.err.contains("could not be started"),
        "{}",
        create.err
    );
    assert_eq!(
        fs::read_to_string(home.file("nets/foo/charter")).unwrap(),
        "junk"
    );
    assert!(!home.file("nets/.hidden.tmp").exists());
}

#[test]
fn a_recovery_key_of_no_network_leaves_no_file() {
    let home = TestHome::new();
    home.run(&["generate-keys"]);
    home.write("nets/foo/charter", "junk", 0o600);
    let paper = home.path().join("paper");
    let paper = paper.to_str().unwrap();
    let _server = home.server();
    let create = ["create-wireguard-net", "foo", "--recovery-key", paper];
    // Nothing stands in the way of a second attempt either.
    for _ in 0..2 {
        let ran = home.run(&create);
        assert_eq!((ran.code, ran.out.as_str()), (4, ""), "{ran:?}");
        assert!(ran.err.contains("could not be started"), "{}", ran.err);
        assert!(!ran.err.contains("recovery"), "{}", ran.err);
        assert!(!home.file("paper").exists());
    }
    // What was there is not this command's.
    home.write("paper", "mine", 0o600);
    assert_eq!(home.run(&create).code, 2);
    assert_eq!(fs::read_to_string(paper).unwrap(), "mine");
}

#[test]
fn a_contract_that_is_not_accepted_is_not_entered() {
    let home = TestHome::new();
    home.write("config", "accept = []\n", 0o600);
    let _server = home.server();
    for words in [
        &["create-wireguard-net", "foo"][..],
        &["join-wireguard-net", "foo"],
    ] {
        let ran = home.run(words);
        assert_eq!(ran.code, 4, "{ran:?}");
        let contract = texts::JOIN_WIREGUARD_NET.id().to_string();
        assert!(ran.err.contains(&contract), "{}", ran.err);
    }
}

#[test]
fn the_most_verbose_log_holds_no_key() {
    let home = TestHome::new();
    let server = home.server();
    status(&home);
    home.run_with(
        &["join-wireguard-net", "foo", "-"],
        "grid-invite-1.c2VjcmV0",
    );
    home.run(&["stop-server"]);
    let log = server.log();
    assert!(log.contains("DEBUG") || log.contains("TRACE"), "{log}");
    let key = fs::read_to_string(home.file("keys/node.key")).unwrap();
    assert!(!log.contains(key.trim()));
    assert!(!log.contains("c2VjcmV0"), "{log}");
}

#[test]
fn the_own_key_is_no_other_nodes() {
    let home = TestHome::new();
    let own = home.run(&["generate-keys"]).out;
    let own = own.split_whitespace().last().unwrap().to_owned();
    let _server = home.server();
    let ran = home.run(&["exchange-keys", &format!("127.0.0.1:9#{own}")]);
    assert_eq!(ran.code, 2, "{ran:?}");
    assert!(
        ran.err.contains("that key is this node's own"),
        "{}",
        ran.err
    );
}

/// `cas get` and the call of a module print bytes of their own; `start-server` in the foreground prints nothing.
#[test]
fn every_result_is_one_json_document() {
    let home = TestHome::new();
    let pages = home.path().join("pages");
    let pages = pages.to_str().unwrap();
    let one_document = |words: &[&str]| -> serde_json::Value {
        let words = [words, &["--json"]].concat();
        let ran = home.run(&words);
        assert_eq!(ran.code, 0, "{words:?}: {}", ran.err);
        let read = serde_json::from_str(&ran.out);
        read.unwrap_or_else(|error| panic!("{words:?} printed {:?}: {error}", ran.out))
    };
    one_document(&["generate-keys"]);
    for words in [
        &["start-server", "--dry-run"][..],
        &["stop-server"],
        &["stop-server", "--down"],
        &[
            "create-wireguard-net",
            "foo",
            "--backend",
            "userspace",
            "--dry-run",
        ],
        &["status"],
        &["contract"],
        &["contract", "--texts"],
        &["--list"],
        &["--show", "status"],
        &["man", pages],
        &["completions", "bash"],
        #[cfg(feature = "modules")]
        &["symbols"],
        #[cfg(feature = "modules")]
        &["symbols", "--history"],
        #[cfg(feature = "modules")]
        &["allow"],
        #[cfg(feature = "modules")]
        &["routes"],
        #[cfg(feature = "modules")]
        &["cas", "ls"],
        #[cfg(feature = "modules")]
        &["cas", "gc"],
        #[cfg(feature = "modules")]
        &["cas", "verify"],
    ] {
        one_document(words);
    }
    let listen = ["start-server", "--background", "--listen", "127.0.0.1:0"];
    assert_eq!(one_document(&listen)["changed"], true);
    assert_eq!(one_document(&listen)["changed"], false);
    one_document(&["status"]);
    one_document(&["wait-online"]);
    assert_eq!(one_document(&["stop-server"])["changed"], true);
    // What fails prints nothing there.
    for words in [
        &["status", "foo"][..],
        &["leave-wireguard-net", "foo", "--dry-run"],
        &["invite", "foo"],
    ] {
        let ran = home.run(&[words, &["--json"]].concat());
        assert_ne!(ran.code, 0, "{words:?}");
        assert_eq!(ran.out, "", "{words:?}");
        assert!(!ran.err.is_empty(), "{words:?}");
    }
}
