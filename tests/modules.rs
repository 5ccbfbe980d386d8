//! Modules on the command line: publishing, names, permissions, running. Without a network.

#![cfg(feature = "modules")]
#![allow(
    clippy::unwrap_used,
    reason = "this is a test, though clippy cannot see it"
)]

mod common;

use std::fs;
use std::path::PathBuf;

use common::{Ran, TestHome};
use grid_promises::modules::Descriptor;
use grid_promises::{ContentId, texts};
use serde_json::Value;

fn guest(name: &str) -> String {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("examples/guests");
    folder.join(name).to_str().unwrap().to_owned()
}

/// A file beside the home.
fn file(home: &TestHome, name: &str, content: &[u8]) -> String {
    let path = home.path().with_file_name(name);
    fs::write(&path, content).unwrap();
    path.to_str().unwrap().to_owned()
}

fn json(ran: &Ran) -> Value {
    assert_eq!(ran.code, 0, "{ran:?}");
    serde_json::from_str(&ran.out).unwrap()
}

fn ok(ran: Ran) -> String {
    assert_eq!(ran.code, 0, "{ran:?}");
    ran.out
}

/// The table that the configuration names.
fn table(home: &TestHome) -> String {
    let config = fs::read_to_string(home.file("config")).unwrap();
    let line = config.lines().find(|line| line.starts_with("symbols = "));
    line.unwrap().split('"').nth(1).unwrap().to_owned()
}

fn wat(text: &str) -> Vec<u8> {
    wat::parse_str(text).unwrap()
}

#[test]
fn a_module_is_published_shown_and_run() {
    for name in ["hello-rust.wasm", "hello-c.wasm", "hello-wat.wasm"] {
        let home = TestHome::new();
        let published = home.run(&["publish", "hello", &guest(name)]);
        assert_eq!(published.code, 0, "{published:?}");
        let id: ContentId = published.out.trim().parse().unwrap();
        let promise = fs::read_to_string(guest("hello.md")).unwrap();
        assert_eq!(ok(home.run(&["--show", "hello"])), promise);
        assert_eq!(ok(home.run(&["hello", "world"])), "hello, world");
        // The second time it is looked up: the same, also when it is asked for in another form.
        assert_eq!(ok(home.run(&["hello", "world"])), "hello, world");
        let answer = json(&home.run(&["--json", "hello", "world"]));
        assert_eq!(answer["text"], "hello, world");
        // What it does not promise it rejects.
        let refused = home.run(&["hello", "you", "all"]);
        assert_eq!(refused.code, 4, "{refused:?}");
        assert!(refused.err.contains("grid --show hello"), "{refused:?}");
        let symbols = json(&home.run(&["symbols", "--json"]));
        let names = symbols["names"].as_array().unwrap();
        let hello = names.iter().find(|row| row["name"] == "hello").unwrap();
        assert_eq!(hello["module"]["id"], id.to_string());
        assert_eq!(hello["module"]["kind"], "wasm");
        assert_eq!(hello["module"]["pure"], true);
        assert_eq!(
            hello["module"]["promise"],
            ContentId::of(promise.as_bytes()).to_string()
        );
        // The descriptor is an object as any other.
        let object = home
            .command(&["cas", "get", &id.to_string()])
            .output()
            .unwrap();
        let module = Descriptor::decode(&object.stdout).unwrap();
        assert_eq!(module.id(), id);
    }
}

#[test]
fn names_have_a_history_and_it_can_be_gone_back_in() {
    let home = TestHome::new();
    ok(home.run(&["publish", "hello", &guest("hello-c.wasm")]));
    let first = table(&home);
    let again = home.run(&["publish", "hello", &guest("hello-rust.wasm")]);
    assert!(again.err.contains("--history"), "{again:?}");
    let second = table(&home);
    assert_ne!(first, second);
    // The same once more is no new table.
    ok(home.run(&["publish", "hello", &guest("hello-rust.wasm")]));
    assert_eq!(table(&home), second);
    let history = json(&home.run(&["symbols", "--history", "--json"]));
    let tables = history["history"].as_array().unwrap();
    assert_eq!(tables.len(), 3);
    assert_eq!(tables[0]["changed"], serde_json::json!(["hello"]));
    assert_eq!(tables[1]["added"], serde_json::json!(["hello"]));
    assert_eq!(tables[1]["table"], first);
    ok(home.run(&["symbols", "--back", &first]));
    let symbols = json(&home.run(&["symbols", "--json"]));
    let of = |report: &Value, name: &str| {
        let rows = report["names"].as_array().unwrap();
        rows.iter().find(|row| row["name"] == name).unwrap()["module"]["code"].clone()
    };
    let code = ContentId::of(&fs::read(guest("hello-c.wasm")).unwrap());
    assert_eq!(of(&symbols, "hello"), code.to_string());
    // Back is a step forward: what was before can be gone back to as well.
    let history = json(&home.run(&["symbols", "--history", "--json"]));
    assert_eq!(history["history"].as_array().unwrap().len(), 4);
    let unknown = ContentId::of(b"no table").to_string();
    let refused = home.run(&["symbols", "--back", &unknown]);
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(refused.err.contains("--history"), "{refused:?}");
}

#[test]
fn an_executable_runs_once_it_is_allowed() {
    let home = TestHome::new();
    let script = file(&home, "say", b"#!/bin/sh\necho \"$1\"; exit 7\n");
    let nothing = home.run(&["publish", "say", &script]);
    assert_eq!(nothing.code, 2, "{nothing:?}");
    assert!(nothing.err.contains("--promise"), "{nothing:?}");
    let promise = "I will say what you say. I expect that you say something.";
    ok(home.run(&["publish", "say", &script, "--promise", promise]));
    assert_eq!(ok(home.run(&["--show", "say"])), format!("{promise}\n"));
    let refused = home.run(&["say", "it"]);
    assert_eq!((refused.code, refused.out.as_str()), (4, ""));
    assert!(refused.err.contains("`grid allow say`"), "{refused:?}");
    ok(home.run(&["allow", "say"]));
    let said = home.run(&["say", "it"]);
    assert_eq!((said.code, said.out.as_str()), (7, "it\n"), "{said:?}");
    // Other bytes under the name are another executable.
    let other = file(&home, "other", b"#!/bin/sh\necho other\n");
    ok(home.run(&["publish", "say", &other, "--promise", promise]));
    assert_eq!(home.run(&["say", "it"]).code, 4);
    let all = json(&home.run(&["allow", "--json"]));
    let allowed = ContentId::of(&fs::read(&script).unwrap()).to_string();
    assert_eq!(all["allow"][0]["id"], allowed);
    ok(home.run(&["allow", &allowed, "--remove"]));
    let all = json(&home.run(&["allow", "--json"]));
    assert_eq!(all["allow"], serde_json::json!([]));
    let no_executable = home.run(&["allow", "status"]);
    assert_eq!(no_executable.code, 2, "{no_executable:?}");
}

#[test]
fn what_cannot_be_published_changes_nothing() {
    let home = TestHome::new();
    ok(home.run(&["publish", "hello", &guest("hello-c.wasm")]));
    let before = (
        table(&home),
        fs::read_to_string(home.file("config")).unwrap(),
    );
    let text = file(&home, "text", b"no module");
    let empty = file(&home, "empty", b"");
    let cut = file(
        &home,
        "cut",
        &fs::read(guest("hello-c.wasm")).unwrap()[..100],
    );
    let component = file(&home, "component", b"\0asm\x0d\0\x01\0");
    let silent = file(
        &home,
        "silent",
        &wat("(module (func (export \"grid_abi_1\")))"),
    );
    for (words, code, says) in [
        (vec!["publish", "x", &text], 2, "neither"),
        (vec!["publish", "x", &empty], 2, "neither"),
        (vec!["publish", "x", &cut], 2, "module"),
        (vec!["publish", "x", &component], 2, "component"),
        (vec!["publish", "x", &silent], 2, "--promise"),
        (vec!["publish", "x", "/nowhere"], 1, "cannot read"),
        (vec!["publish", "Hello", &text], 2, "name"),
        (
            vec!["publish", "status", &guest("hello-c.wasm")],
            4,
            "built-in",
        ),
        (
            vec![
                "publish",
                "x",
                &guest("hello-c.wasm"),
                "--promise",
                "another",
            ],
            2,
            "another promise",
        ),
    ] {
        let ran = home.run(&words);
        assert_eq!(ran.code, code, "{words:?}: {ran:?}");
        assert!(ran.err.contains(says), "{words:?}: {ran:?}");
        let after = (
            table(&home),
            fs::read_to_string(home.file("config")).unwrap(),
        );
        assert_eq!(after, before, "{words:?}");
    }
}

#[test]
fn modules_that_break_their_promise_disturb_nothing_else() {
    let home = TestHome::new();
    let module = |calls: &str, body: &str| {
        wat(&format!(
            "(module
               (@custom \"promise\" \"I will. I expect nothing.\\n\") {calls}
               (import \"grid\" \"call\" (func $call (param i32 i32 i32 i32) (result i64)))
               (memory (export \"memory\") 1)
               (data (i32.const 0) \"\\82\\64time\")
               (func (export \"grid_abi_1\"))
               (func (export \"promise_accept\") (result i64) {body})
               (func (export \"promise_handle\") (result i64) (i64.const 0)))"
        ))
    };
    ok(home.run(&["publish", "hello", &guest("hello-c.wasm")]));
    for (name, code, calls, body, says) in [
        (
            "loops",
            5,
            "",
            "(loop (br 0)) unreachable",
            "no answer within",
        ),
        (
            "eats",
            1,
            "",
            "(drop (memory.grow (i32.const 60000))) unreachable",
            "memory",
        ),
        (
            "asks",
            1,
            "",
            "(call $call (i32.const 1) (i32.const 5) (i32.const 64) (i32.const 64))",
            "not a call",
        ),
        ("traps", 1, "", "unreachable", "trapped"),
        ("lies", 1, "", "(i64.const 0x700000000)", "not a message"),
        ("far", 1, "", "(i64.const 0x7000000000000010)", "bytes"),
    ] {
        let path = file(&home, name, &module(calls, body));
        ok(home.run(&["publish", name, &path]));
        let ran = home.run(&[name]);
        // A loop that uses up its steps before its time is as much a broken promise.
        let out_of_steps = name == "loops" && ran.err.contains("steps");
        assert!(ran.code == code || out_of_steps, "{name}: {ran:?}");
        assert!(ran.err.contains("broke its promise"), "{name}: {ran:?}");
        assert!(ran.err.contains(says) || out_of_steps, "{name}: {ran:?}");
        assert_eq!(ok(home.run(&["hello", "world"])), "hello, world");
    }
    let other = wat(
        "(module (@custom \"promise\" \"I will. I expect nothing.\\n\")
           (memory (export \"memory\") 1) (func (export \"grid_abi_9\")))",
    );
    let path = file(&home, "other-abi", &other);
    ok(home.run(&["publish", "other-abi", &path]));
    let ran = home.run(&["other-abi"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.err.contains("grid_abi_9"), "{ran:?}");
}

#[test]
fn a_missing_or_damaged_object_is_said() {
    let home = TestHome::new();
    // A server is started to ask peers.
    home.write("config", "listen = \"127.0.0.1:0\"\n", 0o600);
    ok(home.run(&["publish", "hello", &guest("hello-c.wasm")]));
    ok(home.run(&["hello", "world"]));
    let code = ContentId::of(&fs::read(guest("hello-c.wasm")).unwrap()).to_string();
    let (rest, shard) = code.split_at(code.len() - 2);
    let path = home.file("cache/objects").join(shard).join(rest);
    let whole = fs::read(&path).unwrap();
    fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    // The compiled form is keyed by the code, which has to be whole.
    let ran = home.run(&["hello", "you"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.err.contains(&code), "{ran:?}");
    assert!(home.file("cache/damaged").join(&code).exists(), "set aside");
    // What was computed before is known all the same.
    assert_eq!(ok(home.run(&["hello", "world"])), "hello, world");
    ok(home.run(&["stop-server"]));
    ok(home.run(&["publish", "hello", &guest("hello-c.wasm")]));
    assert_eq!(ok(home.run(&["hello", "you"])), "hello, you");

    // A table that names what is not here.
    let config = fs::read_to_string(home.file("config")).unwrap();
    let gone = ContentId::of(b"gone");
    home.write(
        "config",
        &config.replace(&table(&home), &gone.to_string()),
        0o600,
    );
    let ran = home.run(&["hello", "world"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.err.contains(&gone.to_string()), "{ran:?}");
    // What the program does itself goes on.
    assert_eq!(ok(home.run(&["--show", "status"])), texts::STATUS.text);
    ok(home.run(&["status"]));
}

#[test]
fn the_contract_is_shown_and_changed() {
    let home = TestHome::new();
    let contract = json(&home.run(&["contract", "--json"]));
    assert_eq!(
        contract["accept"].as_array().unwrap().len(),
        texts::ALL.len()
    );
    ok(home.run(&["contract", "--remove", "fetch"]));
    let has_fetch = |home: &TestHome| {
        let contract = json(&home.run(&["contract", "--json"]));
        let rows = contract["accept"].as_array().unwrap().clone();
        rows.iter()
            .any(|row| row["name"] == "fetch" && row["text"] == texts::FETCH.text)
    };
    assert!(!has_fetch(&home));
    let again = home.run(&["contract", "--remove", "fetch"]);
    assert!(again.err.contains("was not in the contract"), "{again:?}");
    ok(home.run(&["publish", "hello", &guest("hello-c.wasm")]));
    ok(home.run(&["contract", "--add", "fetch", "--add", "hello"]));
    assert!(has_fetch(&home));
    let again = home.run(&["contract", "--add", "fetch"]);
    assert!(
        again.err.contains("is in the contract already"),
        "{again:?}"
    );
    let of = |name: &str| {
        let contract = json(&home.run(&["contract", "--json"]));
        let rows = contract["accept"].as_array().unwrap().clone();
        let row = rows.iter().find(|row| row["name"] == name).unwrap();
        row["for"].clone()
    };
    assert_eq!(
        (of("hello"), of("fetch")),
        (
            serde_json::json!(["members"]),
            serde_json::json!(["anybody"])
        )
    );
    let node = ok(home.run(&["generate-keys"])).trim().to_owned();
    let named = home.run(&["contract", "--add", "hello", "--for", "foo", "--for", &node]);
    assert!(named.err.contains("not in a network \"foo\""), "{named:?}");
    assert_eq!(of("hello"), serde_json::json!(["foo", node]));
    ok(home.run(&["contract", "--add", "hello"]));
    assert_eq!(
        of("hello"),
        serde_json::json!(["foo", node]),
        "nobody said for whom"
    );
    let config = std::fs::read_to_string(home.file("config")).unwrap();
    assert!(
        config.contains(&format!("for = [\"foo\", \"{node}\"] }}, # hello")),
        "{config}"
    );
    let shown = ok(home.run(&["contract"]));
    assert!(shown.contains(&format!("for foo, {node}\n")), "{shown}");
    ok(home.run(&["contract", "--add", "hello", "--for", "members"]));
    assert_eq!(of("hello"), serde_json::json!(["members"]));
    for wrong in [
        &["contract", "--for", "anybody"][..],
        &["contract", "--add", "hello", "--for", "Nobody"],
        &["contract", "--add", "exchange-keys", "--for", "members"],
    ] {
        assert_eq!(home.run(wrong).code, 2, "{wrong:?}");
    }
    assert_eq!(of("exchange-keys"), serde_json::json!(["anybody"]));
    let shown = ok(home.run(&["contract", "--texts"]));
    assert!(
        shown.contains("I will say hello to the one thing"),
        "{shown}"
    );
    let unknown = home.run(&["contract", "--add", "nonsense"]);
    assert_eq!(unknown.code, 2, "{unknown:?}");
}

#[test]
fn a_payload_is_handed_over() {
    let home = TestHome::new();
    let script = file(&home, "echo", b"#!/bin/sh\nexec cat\n");
    let promise = "I will answer with what I am given. I expect nothing.";
    ok(home.run(&[
        "publish",
        "echo",
        &script,
        "--promise",
        promise,
        "--protocol",
        "framed",
    ]));
    ok(home.run(&["allow", "echo"]));
    // It echoes the question, which says neither yes nor no.
    let ran = home.run(&["echo"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.err.contains("neither yes nor no"), "{ran:?}");
    let long = file(&home, "long", &vec![7; (1 << 20) + 1]);
    let ran = home.run(&["--payload", &long, "echo"]);
    assert_eq!(ran.code, 2, "{ran:?}");
}

#[test]
fn an_unknown_name_is_a_slip_and_starts_nothing() {
    let home = TestHome::new();
    let ran = home.run(&["frobnicate"]);
    assert_eq!(ran.code, 2, "{ran:?}");
    assert!(ran.err.contains("grid symbols"), "{ran:?}");
    assert!(!home.path().exists());
}
