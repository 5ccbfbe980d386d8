//! Messages of peers, dispatched by the promises that modules accept: servers on loopback, and a peer
//! made of `grid-net` that sends messages.

#![cfg(feature = "modules")]
#![allow(
    clippy::unwrap_used,
    reason = "this is a test, though clippy cannot see it in helpers"
)]

mod common;

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use common::{Server, TestHome, wait_for};
use grid_keys::{NodeId, NodeKey, Secret};
use grid_net::{Config, Endpoint, Event};
use grid_promises::modules::fetch::read_rejection;
use grid_promises::{ContentId, Message, texts};
use serde_json::Value;
use tokio::runtime::Runtime;
use tokio::sync::mpsc::Receiver;

fn guest(name: &str) -> String {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("examples/guests");
    folder.join(name).to_str().unwrap().to_owned()
}

fn hello() -> ContentId {
    ContentId::of(&fs::read(guest("hello.md")).unwrap())
}

fn ok(home: &TestHome, words: &[&str]) -> String {
    let ran = home.run(words);
    assert_eq!(ran.code, 0, "{ran:?}");
    ran.out
}

fn routes(home: &TestHome) -> Vec<Value> {
    let report: Value = serde_json::from_str(&ok(home, &["routes", "--json"])).unwrap();
    report["routes"].as_array().unwrap().clone()
}

/// What is known of a target at a promise, whatever module is asked for.
fn route(home: &TestHome, promise: &ContentId, target: &str) -> Option<Value> {
    let (all, promise) = (routes(home), promise.to_string());
    let is_it = |route: &&Value| {
        route["promise"] == promise && route["target"] == target && route["any_module"] == true
    };
    all.iter().find(is_it).cloned()
}

fn place(server: &Server<'_>) -> String {
    let log = server.log();
    let rest = log.split("listens on UDP ").nth(1).unwrap();
    rest.split_whitespace().next().unwrap().to_owned()
}

/// A node that is not the program.
struct Peer {
    runtime: Runtime,
    endpoint: Endpoint,
    _events: Receiver<Event>,
}

impl Peer {
    fn new(seed: u8) -> Self {
        let runtime = Runtime::new().unwrap();
        let mut config = Config::new(NodeKey::from_seed(&Secret::new([seed; 32])));
        config.listen = "127.0.0.1:0".parse().unwrap();
        let entered = runtime.enter();
        let (endpoint, events) = Endpoint::bind(config).unwrap();
        drop(entered);
        Self {
            runtime,
            endpoint,
            _events: events,
        }
    }

    fn connect(&self, server: &Server<'_>) -> NodeId {
        let place: SocketAddr = place(server).parse().unwrap();
        let places = [place];
        let connecting = self.endpoint.connect(None, &places);
        self.runtime.block_on(connecting).unwrap().peer
    }

    fn ask_bytes(&self, node: NodeId, message: &Message) -> Vec<u8> {
        let asking = self.endpoint.request(node, message.encode());
        self.runtime.block_on(asking).unwrap()
    }

    fn ask(&self, node: NodeId, message: &Message) -> Message {
        let answer = self.ask_bytes(node, message);
        Message::decode(&answer, &Message::BOUNDS).unwrap()
    }

    /// Asks until the answer is no rejection: what the person changed is seen within a second.
    fn ask_until_taken(&self, node: NodeId, message: &Message) -> Message {
        let mut answer = None;
        wait_for("the promise to be taken part in", || {
            let bytes = self.ask_bytes(node, message);
            if read_rejection(&bytes) == Ok(None) {
                answer = Message::decode(&bytes, &Message::BOUNDS).ok();
            }
            answer.is_some()
        });
        answer.unwrap()
    }
}

/// A module that takes everything, and then does this.
fn module_that(does: &str) -> Vec<u8> {
    let mut accept = Message::new(texts::ACCEPT_MESSAGE.id()).encode();
    let length = accept.len();
    let data: String = accept
        .drain(..)
        .map(|byte| format!("\\{byte:02x}"))
        .collect();
    let module = wat::parse_str(format!(
        "(module (memory (export \"memory\") 1) (func (export \"grid_abi_1\"))
           (data (i32.const 0) \"{data}\")
           (func (export \"promise_accept\") (result i64) (i64.const {length}))
           (func (export \"promise_handle\") (result i64) {does}))"
    ));
    module.unwrap()
}

/// One that traps.
fn broken_module(home: &TestHome) -> String {
    let path = home.path().with_file_name("broken.wasm");
    fs::write(&path, module_that("unreachable")).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn a_peer_calls_a_module_once_this_node_takes_part_in_its_promise() {
    let home = TestHome::new();
    ok(&home, &["publish", "hello", &guest("hello-rust.wasm")]);
    let code = ContentId::of(&fs::read(guest("hello-rust.wasm")).unwrap()).to_string();
    let server = home.server();
    let peer = Peer::new(1);
    let node = peer.connect(&server);
    let call = Message::new(hello()).arg("world");
    // Published is not yet promised to others.
    let answer = peer.ask_bytes(node, &call);
    assert_eq!(read_rejection(&answer), Ok(Some(hello())));
    assert!(routes(&home).is_empty());
    ok(&home, &["contract", "--add", "hello", "--for", "anybody"]);
    assert_eq!(peer.ask_until_taken(node, &call).payload, b"hello, world");
    let known = route(&home, &hello(), &code).unwrap();
    assert_eq!((&known["kept"], &known["broken"]), (&1.into(), &0.into()));
    assert_eq!(known["target_name"], "hello");
    assert_eq!(known["name"], "hello");
    // What the module does not take is refused, and remembered; it closes nothing to others.
    let bad = call.clone().arg("and all");
    for _ in 0..2 {
        assert_eq!(peer.ask(node, &bad).promise, texts::REFUSAL.id());
    }
    let rejected = routes(&home);
    let rejected: Vec<&Value> = rejected.iter().filter(|r| r["accepts"] == false).collect();
    assert_eq!(rejected.len(), 1);
    assert_eq!(rejected[0]["args"], serde_json::json!(["world", "and all"]));
    assert!(
        rejected[0]["rejected_until"].as_u64().unwrap()
            > rejected[0]["last_used"].as_u64().unwrap()
    );
    assert_eq!(peer.ask(node, &call).payload, b"hello, world");
    // By its id too, and by no other.
    let this = call.clone().module(code.parse().unwrap());
    assert_eq!(peer.ask(node, &this).payload, b"hello, world");
    let other = call.clone().module(ContentId::of(b"other"));
    assert_eq!(
        read_rejection(&peer.ask_bytes(node, &other)),
        Ok(Some(hello()))
    );
    // A person's own call counts too.
    assert_eq!(ok(&home, &["hello", "you"]), "hello, you");
    wait_for("the call to be counted", || {
        route(&home, &hello(), &code).unwrap()["kept"] == 3
    });
    let text = ok(&home, &["routes"]);
    assert!(text.contains("+ module hello"), "{text}");
    assert!(text.contains("kept 3, broken 0"), "{text}");
    // It survives the server, and is shown without one.
    let before = routes(&home);
    ok(&home, &["stop-server"]);
    assert_eq!(server.code(), 0);
    assert_eq!(routes(&home), before);
    let _server = home.server();
    assert_eq!(routes(&home), before);
}

#[test]
fn a_promise_is_kept_to_those_for_whom_the_contract_lists_it() {
    let home = TestHome::new();
    ok(&home, &["publish", "hello", &guest("hello-rust.wasm")]);
    ok(&home, &["contract", "--add", "hello"]);
    let server = home.server();
    let peers = [Peer::new(21), Peer::new(22)];
    let node = peers[0].connect(&server);
    peers[1].connect(&server);
    let call = Message::new(hello()).arg("world");
    let forwarded = |peer: &Peer| {
        let outer = Message::new(texts::FORWARD.id()).arg([1]);
        outer.arg(peer.endpoint.node_id().0).payload(call.encode())
    };
    let is_served = |peer: &Peer| peer.ask(node, &call).payload == b"hello, world";
    // The usual: for members. Nobody is one here, so nothing runs, and nobody is held to have misbehaved.
    let is_rejected = |message: &Message| {
        let answer = peers[0].ask_bytes(node, message);
        read_rejection(&answer) == Ok(Some(texts::FORWARD.id()))
    };
    for _ in 0..50 {
        assert!(is_rejected(&forwarded(&peers[0])));
        let answer = peers[0].ask(node, &call);
        assert_eq!(answer.promise, texts::REFUSAL.id());
        let why = String::from_utf8_lossy(&answer.payload);
        assert!(why.contains("does not keep that promise to you"), "{why}");
    }
    assert!(routes(&home).is_empty());
    // One key, and then another in its place.
    for [meant, other] in [[0, 1], [1, 0]] {
        let id = peers[meant].endpoint.node_id().to_string();
        ok(
            &home,
            &[
                "contract", "--add", "hello", "--for", "members", "--for", &id,
            ],
        );
        wait_for("the other one to be refused, and this one not", || {
            is_served(&peers[meant]) && !is_served(&peers[other])
        });
    }
    // What a node publishes is for anybody, unless the person says otherwise.
    let symbols = Message::new(texts::FETCH.id()).arg("symbols");
    assert_eq!(peers[0].ask(node, &symbols).promise, texts::ANSWER.id());
    ok(&home, &["contract", "--add", "fetch", "--for", "members"]);
    wait_for("fetching to be refused", || {
        peers[0].ask(node, &symbols).promise == texts::REFUSAL.id()
    });
    ok(&home, &["contract", "--add", "hello", "--for", "anybody"]);
    wait_for("everybody to be served", || {
        is_served(&peers[0]) && is_served(&peers[1])
    });
    // To forward, the forwarder has to be somebody who may; what it sends counts as its own.
    assert!(is_rejected(&forwarded(&peers[0])));
    ok(&home, &["contract", "--add", "forward", "--for", "anybody"]);
    wait_for("forwarded messages to be served", || {
        peers[0].ask(node, &forwarded(&peers[0])).payload == b"hello, world"
    });
    let id = peers[1].endpoint.node_id().to_string();
    ok(&home, &["contract", "--add", "hello", "--for", &id]);
    wait_for("the forwarder's message to be rejected", || {
        read_rejection(&peers[0].ask_bytes(node, &forwarded(&peers[0]))) == Ok(Some(hello()))
    });
}

#[test]
fn who_breaks_promises_is_asked_last() {
    let home = TestHome::new();
    let promise = fs::read_to_string(guest("hello.md")).unwrap();
    let broken = broken_module(&home);
    // The first by name, so that it is tried first.
    ok(
        &home,
        &[
            "publish",
            "a-broken",
            &broken,
            "--promise",
            &guest("hello.md"),
        ],
    );
    ok(&home, &["publish", "hello", &guest("hello-rust.wasm")]);
    ok(&home, &["contract", "--add", "hello", "--for", "anybody"]);
    assert_eq!(hello(), ContentId::of(promise.as_bytes()));
    let bad = ContentId::of(&fs::read(&broken).unwrap()).to_string();
    let server = home.server();
    let peer = Peer::new(2);
    let node = peer.connect(&server);
    let call = |whom: &str| Message::new(hello()).arg(whom);
    for number in 1..=3 {
        let answer = peer.ask(node, &call("world"));
        assert_eq!(answer.promise, texts::REFUSAL.id());
        let known = route(&home, &hello(), &bad).unwrap();
        assert_eq!(known["broken"], number);
        assert_eq!(known["demoted"], number == 3);
    }
    for whom in ["world", "you"] {
        let answer = peer.ask(node, &call(whom));
        assert_eq!(answer.payload, format!("hello, {whom}").as_bytes());
    }
    assert_eq!(route(&home, &hello(), &bad).unwrap()["broken"], 3);
    // What the other one does not take, this one would.
    let answer = peer.ask(node, &call("you").arg("all"));
    assert_eq!(answer.promise, texts::REFUSAL.id());
    assert_eq!(route(&home, &hello(), &bad).unwrap()["broken"], 4);
}

#[test]
fn subcommands_and_unknown_promises_are_rejected_and_the_mesh_is_counted() {
    let home = TestHome::new();
    let server = home.server();
    let peer = Peer::new(3);
    let node = peer.connect(&server);
    for promise in [
        ContentId::of(b"I will"),
        texts::STOP_SERVER.id(),
        texts::ROUTES.id(),
    ] {
        let answer = peer.ask_bytes(node, &Message::new(promise));
        assert_eq!(read_rejection(&answer), Ok(Some(promise)));
    }
    assert!(routes(&home).is_empty());
    let symbols = Message::new(texts::FETCH.id()).arg("symbols");
    assert_eq!(peer.ask(node, &symbols).promise, texts::ANSWER.id());
    let nonsense = Message::new(texts::FETCH.id()).arg("nonsense");
    assert_eq!(peer.ask(node, &nonsense).promise, texts::REFUSAL.id());
    let fetch = route(&home, &texts::FETCH.id(), "fetch").unwrap();
    assert_eq!((&fetch["kept"], &fetch["broken"]), (&1.into(), &0.into()));
    let join = Message::new(texts::JOIN_WIREGUARD_NET.id()).arg("nonsense");
    assert_eq!(peer.ask(node, &join).promise, texts::REFUSAL.id());
    let target = texts::JOIN_WIREGUARD_NET.name;
    let join = route(&home, &texts::JOIN_WIREGUARD_NET.id(), target).unwrap();
    assert_eq!(
        (&join["kept"], &join["kind"]),
        (&0.into(), &"builtin".into())
    );
    ok(&home, &["contract", "--remove", "fetch"]);
    wait_for("fetch to be rejected", || {
        read_rejection(&peer.ask_bytes(node, &symbols)) == Ok(Some(texts::FETCH.id()))
    });
}

#[test]
fn what_a_peer_takes_is_forwarded_to_it() {
    let (far, near) = (TestHome::new(), TestHome::new());
    ok(&far, &["publish", "hello", &guest("hello-c.wasm")]);
    let id = hello().to_string();
    for promise in [&id[..], "forward"] {
        ok(&near, &["contract", "--add", promise, "--for", "anybody"]);
    }
    ok(&far, &["contract", "--add", "forward", "--for", "anybody"]);
    let (far_server, near_server) = (far.server(), near.server());
    ok(&near, &["exchange-keys", &place(&far_server)]);
    let peer = Peer::new(4);
    let (far_node, node) = (
        peer.connect(&far_server).to_string(),
        peer.connect(&near_server),
    );
    let call = Message::new(hello()).arg("world");
    // The far node takes no part in it yet: it says so, and that is remembered.
    assert_eq!(
        read_rejection(&peer.ask_bytes(node, &call)),
        Ok(Some(hello()))
    );
    let known = route(&near, &hello(), &far_node).unwrap();
    assert_eq!(
        (&known["accepts"], &known["kind"]),
        (&false.into(), &"peer".into())
    );
    ok(&far, &["contract", "--add", "hello", "--for", "anybody"]);
    // Asked itself it answers; the near node does not ask it again for a while.
    let far_id: NodeId = far_node.parse().unwrap();
    assert_eq!(peer.ask_until_taken(far_id, &call).payload, b"hello, world");
    assert_eq!(
        read_rejection(&peer.ask_bytes(node, &call)),
        Ok(Some(hello()))
    );
    ok(&near, &["stop-server"]);
    assert_eq!(near_server.code(), 0);
    fs::write(near.file("cache/routes"), b"not a tree").unwrap();
    let near_server = near.server();
    assert!(
        near_server.log().contains("routes.damaged"),
        "{}",
        near_server.log()
    );
    let node = peer.connect(&near_server);
    assert_eq!(peer.ask(node, &call).payload, b"hello, world");
    let known = route(&near, &hello(), &far_node).unwrap();
    assert_eq!(
        (&known["accepts"], &known["kept"]),
        (&true.into(), &1.into())
    );
    // What says who it is from is not handed on, nor what has been here.
    let own = peer.endpoint.node_id();
    let forward = |route: &[NodeId], inner: &Message| {
        let outer = Message::new(texts::FORWARD.id())
            .arg([1])
            .payload(inner.encode());
        let outer = route.iter().fold(outer, |outer, node| outer.arg(node.0));
        peer.ask(node, &outer)
    };
    assert_eq!(forward(&[own], &call).payload, b"hello, world");
    let join = Message::new(texts::JOIN_WIREGUARD_NET.id());
    for (route, inner) in [(&[own][..], &join), (&[node, own], &call), (&[node], &call)] {
        assert_eq!(forward(route, inner).promise, texts::REFUSAL.id());
    }
}

#[test]
fn a_message_goes_over_several_nodes_and_in_no_circles() {
    let homes: [TestHome; 3] = std::array::from_fn(|_| TestHome::new());
    for home in &homes {
        for promise in [&hello().to_string()[..], "forward"] {
            ok(home, &["contract", "--add", promise, "--for", "anybody"]);
        }
    }
    let servers: Vec<Server<'_>> = homes.iter().map(TestHome::server).collect();
    let peer = Peer::new(5);
    let nodes: Vec<NodeId> = servers.iter().map(|server| peer.connect(server)).collect();
    // Each knows the next one, the last one the first.
    for (number, home) in homes.iter().enumerate() {
        let next = &servers[(number + 1) % 3];
        ok(home, &["exchange-keys", &place(next)]);
    }
    let call = Message::new(hello()).arg("world");
    // Nobody has a module: it comes back, and nobody was asked twice.
    let answer = peer.ask_bytes(nodes[0], &call);
    assert_eq!(read_rejection(&answer), Ok(Some(hello())));
    for home in &homes {
        for known in routes(home).iter().filter(|route| route["kind"] == "peer") {
            assert_eq!(known["accepts"], false);
        }
        ok(home, &["stop-server"]);
    }
    for server in servers {
        assert_eq!(server.code(), 0);
    }
    for home in &homes {
        // Who rejected is forgotten with the file.
        let _ = fs::remove_file(home.file("cache/routes"));
        fs::remove_dir_all(home.file("peers")).unwrap();
    }
    ok(&homes[2], &["publish", "hello", &guest("hello-wat.wasm")]);
    let servers: Vec<Server<'_>> = homes.iter().map(TestHome::server).collect();
    for number in 0..2 {
        ok(
            &homes[number],
            &["exchange-keys", &place(&servers[number + 1])],
        );
    }
    let nodes: Vec<NodeId> = servers.iter().map(|server| peer.connect(server)).collect();
    assert_eq!(peer.ask(nodes[0], &call).payload, b"hello, world");
    for number in 0..2 {
        let next = nodes[number + 1].to_string();
        let known = route(&homes[number], &hello(), &next).unwrap();
        assert_eq!(
            (&known["accepts"], &known["kept"]),
            (&true.into(), &1.into())
        );
    }
}

#[test]
fn two_hostile_keys_do_not_keep_others_waiting() {
    let home = TestHome::new();
    ok(&home, &["publish", "hello", &guest("hello-rust.wasm")]);
    let promise = "I will take my time. I expect patience.";
    let endless = endless_module(&home);
    let words = ["publish", "endless", &endless, "--promise", promise];
    ok(&home, &words);
    for name in ["hello", "endless"] {
        ok(&home, &["contract", "--add", name, "--for", "anybody"]);
    }
    let honest = Peer::new(33);
    let id = honest.endpoint.node_id().to_string();
    ok(&home, &["contract", "--add", "hello", "--for", &id]);
    let server = home.server();
    let node = honest.connect(&server);
    let call = Message::new(hello()).arg("world");
    assert_eq!(honest.ask(node, &call).payload, b"hello, world");
    let promise = ContentId::of(format!("{promise}\n").as_bytes());
    let hostile = [Peer::new(31), Peer::new(32)];
    let mut calls = Vec::new();
    for peer in &hostile {
        peer.connect(&server);
        for number in 0..16u8 {
            let message = Message::new(promise).arg([number]).encode();
            let endpoint = peer.endpoint.clone();
            calls.push(
                peer.runtime
                    .spawn(async move { endpoint.request(node, message).await }),
            );
        }
    }
    // Until those that can run do.
    std::thread::sleep(Duration::from_millis(500));
    for number in 0..5 {
        let begun = Instant::now();
        // Another one each time: its result is not known.
        let whom = format!("caller {number}");
        let answer = honest.ask(node, &Message::new(hello()).arg(whom.clone()));
        assert_eq!(answer.payload, format!("hello, {whom}").as_bytes());
        assert!(
            begun.elapsed() < Duration::from_secs(3),
            "{:?}",
            begun.elapsed()
        );
    }
    assert!(
        calls.iter().all(|call| !call.is_finished()),
        "they did not run"
    );
}

/// A module that accepts everything, and then runs for ever.
fn endless_module(home: &TestHome) -> String {
    let module = module_that("(loop $again (br $again)) (i64.const 0)");
    let path = home.path().with_file_name("endless.wasm");
    fs::write(&path, module).unwrap();
    path.to_str().unwrap().to_owned()
}

/// A module that gets an object, and answers `given` or `withheld`.
fn getting_module(id: &ContentId, is_pure: bool) -> Vec<u8> {
    let text = |bytes: &[u8]| -> (String, usize) {
        let escaped = bytes.iter().map(|byte| format!("\\{byte:02x}"));
        (escaped.collect(), bytes.len())
    };
    let answer = |payload: &str| Message::new(texts::ANSWER.id()).payload(payload).encode();
    let (accept, accepts) = text(&Message::new(texts::ACCEPT_MESSAGE.id()).encode());
    let (given, gives) = text(&answer("given"));
    let (withheld, withholds) = text(&answer("withheld"));
    let (request, requests) =
        text(&[&b"\x82\x63get"[..], &grid_promises::cbor::encode(id)].concat());
    let pure = if is_pure {
        "(@custom \"promise_pure\" \"yes\")"
    } else {
        ""
    };
    let module = wat::parse_str(format!(
        "(module (import \"grid\" \"call\" (func $call (param i32 i32 i32 i32) (result i64)))
           (memory (export \"memory\") 2) (func (export \"grid_abi_1\"))
           (@custom \"promise_calls\" \"get\") {pure}
           (data (i32.const 0) \"{accept}\") (data (i32.const 1000) \"{given}\")
           (data (i32.const 2000) \"{withheld}\") (data (i32.const 3000) \"{request}\")
           (func (export \"promise_accept\") (result i64) (i64.const {accepts}))
           (func (export \"promise_handle\") (result i64)
             (drop (call $call (i32.const 3000) (i32.const {requests}) (i32.const 4000) (i32.const 60000)))
             (if (result i64) (i32.load8_u (i32.const 4001))
               (then (i64.const {})) (else (i64.const {})))))",
        (2000_u64 << 32) | withholds as u64,
        (1000_u64 << 32) | gives as u64,
    ));
    module.unwrap()
}

#[test]
fn what_the_table_does_not_lead_to_is_shown_to_no_peer() {
    let home = TestHome::new();
    let secret = home.path().with_file_name("secret");
    fs::write(&secret, "nobody's business").unwrap();
    ok(&home, &["cas", "put", secret.to_str().unwrap()]);
    ok(&home, &["publish", "hello", &guest("hello-c.wasm")]);
    let secret = ContentId::of(b"nobody's business");
    for (name, id, is_pure) in [
        ("public", hello(), false),
        ("private", secret, false),
        ("pure", secret, true),
    ] {
        let path = home.path().with_file_name(name);
        fs::write(&path, getting_module(&id, is_pure)).unwrap();
        let promise = format!("I will get what I am made to get: {name}.");
        let words = [
            "publish",
            name,
            path.to_str().unwrap(),
            "--promise",
            &promise,
        ];
        ok(&home, &words);
        ok(&home, &["contract", "--add", name, "--for", "anybody"]);
        // A person sees all that is here.
        assert_eq!(ok(&home, &[name]), "given");
    }
    let server = home.server();
    let peer = Peer::new(41);
    let node = peer.connect(&server);
    let ask = |name: &str| {
        let promise = format!("I will get what I am made to get: {name}.\n");
        let promise = ContentId::of(promise.as_bytes());
        peer.ask(node, &Message::new(promise))
    };
    assert_eq!(ask("public").payload, b"given");
    assert_eq!(ask("private").payload, b"withheld");
    // Nor by the result that the person's call had.
    assert_eq!(ask("pure").promise, texts::REFUSAL.id());
    // The other ways to an object: whole, a chunk of it, and by way of another node.
    let fetch = |word: &str| Message::new(texts::FETCH.id()).arg(word);
    let object = |id: &ContentId| fetch("object").arg(id.to_bytes());
    let is_given = |message: &Message| peer.ask(node, message).promise == texts::ANSWER.id();
    assert!(is_given(&object(&hello())));
    assert!(!is_given(&object(&secret)));
    assert!(!is_given(
        &fetch("chunk").arg(secret.to_bytes()).arg([0, 0, 0, 0])
    ));
    ok(&home, &["contract", "--add", "forward", "--for", "anybody"]);
    let outer = Message::new(texts::FORWARD.id())
        .arg([1])
        .arg(peer.endpoint.node_id().0);
    let outer = outer.payload(object(&hello()).encode());
    wait_for("forwarding to be taken part in", || {
        read_rejection(&peer.ask_bytes(node, &outer)) == Ok(None)
    });
    assert!(!is_given(&outer), "nobody fetches in another's name");
}

/// What a shell prints as these bytes.
fn octal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("\\{byte:03o}")).collect()
}

/// A script that accepts everything and answers with this message, in frames.
fn framed_script(answer: &Message) -> String {
    let frame = |message: &Message| {
        let mut bytes = Vec::new();
        grid::control::frame::write(&mut bytes, message).unwrap();
        octal(&bytes)
    };
    format!(
        "#!/bin/sh\ncat > /dev/null\ncase $1 in accept) printf '{}';; *) printf '{}';; esac\n",
        frame(&Message::new(texts::ACCEPT_MESSAGE.id())),
        frame(answer)
    )
}

#[test]
fn an_executable_answers_peers_once_a_person_allowed_it() {
    let home = TestHome::new();
    let answer = Message::new(texts::ANSWER.id()).payload("from a process");
    let script = home.path().with_file_name("script");
    fs::write(&script, framed_script(&answer)).unwrap();
    let script = script.to_str().unwrap();
    let promise = "I will answer. I expect a question.";
    for (name, protocol) in [("framed", "framed"), ("plain", "plain")] {
        let promise = format!("{promise} By a {protocol} program.");
        ok(
            &home,
            &[
                "publish",
                name,
                script,
                "--promise",
                &promise,
                "--protocol",
                protocol,
            ],
        );
        ok(&home, &["contract", "--add", name, "--for", "anybody"]);
    }
    let id =
        |protocol: &str| ContentId::of(format!("{promise} By a {protocol} program.\n").as_bytes());
    let server = home.server();
    let peer = Peer::new(6);
    let node = peer.connect(&server);
    let call = |protocol: &str| Message::new(id(protocol)).arg("what");
    for protocol in ["framed", "plain"] {
        let said = peer.ask_bytes(node, &call(protocol));
        assert_eq!(read_rejection(&said), Ok(Some(id(protocol))));
    }
    ok(&home, &["allow", "framed"]);
    assert_eq!(peer.ask(node, &call("framed")), answer);
    // The same bytes, but as a program for the terminal: never for peers.
    let said = peer.ask_bytes(node, &call("plain"));
    assert_eq!(read_rejection(&said), Ok(Some(id("plain"))));
    ok(&home, &["allow", "framed", "--remove"]);
    let said = peer.ask_bytes(node, &call("framed"));
    assert_eq!(read_rejection(&said), Ok(Some(id("framed"))));
    // Code that is gone is this node's fault: refused, and held against nobody.
    ok(&home, &["allow", "framed"]);
    fs::remove_dir_all(home.file("cache/objects")).unwrap();
    assert_eq!(peer.ask(node, &call("framed")).promise, texts::REFUSAL.id());
    drop(server);
}
