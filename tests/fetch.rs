//! Objects from one node to another: two servers, and peers made of `grid-net` that lie.

#![cfg(feature = "modules")]
#![allow(
    clippy::unwrap_used,
    reason = "this is a test, though clippy cannot see it in helpers"
)]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use common::{Server, TestHome, wait_for};
use grid::control::confidential::Confidential;
use grid::control::{frame, request};
use grid_keys::{NodeId, NodeKey, Secret};
use grid_modules::CacheDir;
use grid_modules::objects::Objects;
use grid_net::{Endpoint, Event};
use grid_promises::content_id::HashCode;
use grid_promises::modules::fetch::{
    Chunk, FetchRequest, Given as _, MAX_WHOLE, Offer, Symbols, refuse,
};
use grid_promises::modules::{Descriptor, Manifest, ModuleKind, SymbolTable};
use grid_promises::{ContentId, Message, texts};
use serde_json::{Value, json};

const CHUNK: usize = 256 << 10;

/// Bytes that no two chunks of have in common.
fn content(length: usize, seed: u32) -> Vec<u8> {
    let mut state = seed | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_le_bytes()
    };
    let mut bytes: Vec<u8> = Vec::with_capacity(length + 4);
    while bytes.len() < length {
        bytes.extend(next());
    }
    bytes.truncate(length);
    bytes
}

fn objects(home: &TestHome) -> Objects {
    Objects::of(&CacheDir::new(home.file("cache")))
}

fn put(home: &TestHome, bytes: &[u8]) -> ContentId {
    objects(home).put(HashCode::Sha2_256, bytes).unwrap().id
}

/// Makes `codes` the modules of a home, by the names `module0`, `module1`...
fn publish(home: &TestHome, codes: &[&[u8]]) -> SymbolTable {
    fs::create_dir_all(home.path()).unwrap();
    let text = put(home, b"I will do what my code does.\n");
    let names = codes.iter().enumerate().map(|(number, code)| {
        let module = Descriptor::new(text, ModuleKind::Wasm, put(home, code));
        let name = format!("module{number}").parse().unwrap();
        (name, put(home, &module.encode()))
    });
    let table = SymbolTable::first(names.collect()).unwrap();
    put(home, &table.encode());
    let config = format!("symbols = \"{}\"\n", table.id());
    home.write("new-config", &config, 0o600);
    fs::rename(home.file("new-config"), home.file("config")).unwrap();
    table
}

fn place(server: &Server<'_>) -> String {
    let log = server.log();
    let rest = log.split("listens on UDP ").nth(1).unwrap();
    rest.split_whitespace().next().unwrap().to_owned()
}

fn id(home: &TestHome) -> String {
    home.run(&["generate-keys"]).out.trim().to_owned()
}

fn know(home: &TestHome, place: &str) {
    let ran = home.run(&["exchange-keys", place]);
    assert_eq!(ran.code, 0, "{ran:?}");
}

/// A request under `fetch`, as other commands make it. Said in words: what is wanted, and of whom.
fn request(words: &[&str]) -> Confidential {
    let request = match words {
        ["symbols", peer] => json!({ "symbols": { "peer": peer } }),
        ["object", id, peers @ ..] => json!({ "object": { "id": id, "peers": peers } }),
        ["find", name] => json!({ "find": { "name": name } }),
        other => json!(other),
    };
    request::encode(texts::FETCH.id(), &request).unwrap()
}

/// What the server of a home answers under `fetch`, and what it says meanwhile.
fn ask(home: &TestHome, words: &[&str]) -> (Result<Value, Value>, Vec<String>) {
    let mut stream = UnixStream::connect(home.file("grid.sock")).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(90)))
        .unwrap();
    frame::write(&mut stream, &request(words)).unwrap();
    let mut said = Vec::new();
    loop {
        let answer = frame::read(&mut stream).unwrap().unwrap();
        let value: Value = serde_json::from_slice(&answer.payload).unwrap();
        if answer.promise == texts::REFUSAL.id() {
            return (Err(value), said);
        }
        if answer.args.is_empty() {
            return (Ok(value), said);
        }
        said.push(value["text"].as_str().unwrap().to_owned());
    }
}

fn get(home: &TestHome, words: &[&str]) -> Value {
    ask(home, words).0.unwrap()
}

fn refused(home: &TestHome, words: &[&str]) -> (String, String) {
    let failure = ask(home, words).0.unwrap_err();
    let text = |key: &str| failure[key].as_str().unwrap().to_owned();
    (text("exit"), text("text"))
}

fn assert_has(home: &TestHome, bytes: &[u8]) {
    let object = objects(home).get(&ContentId::of(bytes)).unwrap().unwrap();
    let mut read = Vec::new();
    object.reader().read_to_end(&mut read).unwrap();
    assert!(read == bytes);
}

/// A peer that is not the program: it answers as a test says, and counts what it is asked.
struct Peer {
    endpoint: Endpoint,
    addr: SocketAddr,
    asked: Arc<Mutex<BTreeMap<String, u32>>>,
    /// What was asked is forgotten when somebody connects.
    forgets: Arc<AtomicBool>,
    runtime: Option<tokio::runtime::Runtime>,
}

/// `None`: never answer.
type Answers = Arc<dyn Fn(&FetchRequest) -> Option<Vec<u8>> + Send + Sync>;

impl Peer {
    fn new(seed: u8, pause: Duration, answers: Answers) -> Self {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let key = NodeKey::from_seed(&Secret::new([seed; 32]));
        let _inside = runtime.enter();
        let mut config = grid_net::Config::new(key);
        config.listen = "127.0.0.1:0".parse().unwrap();
        let (endpoint, mut events) = Endpoint::bind(config).unwrap();
        let asked: Arc<Mutex<BTreeMap<String, u32>>> = Arc::default();
        let counts = Arc::clone(&asked);
        let forgets = Arc::new(AtomicBool::new(false));
        let forget = Arc::clone(&forgets);
        runtime.spawn(async move {
            let turn = Arc::new(tokio::sync::Mutex::new(()));
            let mut held = Vec::new();
            while let Some(event) = events.recv().await {
                if matches!(event, Event::Connected { .. }) && forget.swap(false, Ordering::SeqCst)
                {
                    counts.lock().unwrap().clear();
                }
                let Event::Request {
                    message, respond, ..
                } = event
                else {
                    continue;
                };
                let message = Message::decode(&message, &Message::BOUNDS).unwrap();
                // What the core of the other asks.
                let Ok(request) = FetchRequest::read(&message) else {
                    respond.send(refuse("not here"));
                    continue;
                };
                let what = match &request {
                    FetchRequest::Symbols => "symbols".to_owned(),
                    FetchRequest::Object(_) => "object".to_owned(),
                    FetchRequest::Chunk(_, index) => format!("chunk {index}"),
                };
                *counts.lock().unwrap().entry(what).or_default() += 1;
                let Some(answer) = answers(&request) else {
                    held.push(respond);
                    continue;
                };
                let turn = Arc::clone(&turn);
                tokio::spawn(async move {
                    // One after the other: a slow line.
                    if !pause.is_zero() {
                        let _turn = turn.lock().await;
                        tokio::time::sleep(pause).await;
                    }
                    respond.send(answer);
                });
            }
        });
        drop(_inside);
        Self {
            addr: endpoint.local_addr(),
            endpoint,
            asked,
            forgets,
            runtime: Some(runtime),
        }
    }

    fn node(&self) -> NodeId {
        self.endpoint.node_id()
    }

    fn asked(&self, what: &str) -> u32 {
        let asked = self.asked.lock().unwrap();
        asked.get(what).copied().unwrap_or(0)
    }

    fn chunks(&self) -> u32 {
        let asked = self.asked.lock().unwrap();
        let chunks = asked.iter().filter(|(what, _)| what.starts_with("chunk"));
        chunks.map(|(_, count)| count).sum()
    }

    /// Forgets what was asked until the next connection comes. Until then there may still be
    /// something on its way.
    fn forget(&self) {
        self.forgets.store(true, Ordering::SeqCst);
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// What an honest node says of one object.
fn honest(bytes: &[u8]) -> Answers {
    let bytes = bytes.to_vec();
    let manifest = Manifest::of(&bytes).unwrap().encode();
    Arc::new(move |request| Some(truth(&bytes, &manifest, request)))
}

fn truth(bytes: &[u8], manifest: &[u8], request: &FetchRequest) -> Vec<u8> {
    match request {
        FetchRequest::Symbols => Symbols {
            table: ContentId::of(bytes),
        }
        .answer(),
        FetchRequest::Object(id) | FetchRequest::Chunk(id, _) if *id != ContentId::of(bytes) => {
            refuse("not here")
        }
        FetchRequest::Object(_) if bytes.len() <= MAX_WHOLE => {
            Offer::Whole(bytes.to_vec().into()).answer()
        }
        FetchRequest::Object(_) => Offer::InChunks(manifest.to_vec().into()).answer(),
        FetchRequest::Chunk(_, index) => {
            let chunk = bytes.chunks(CHUNK).nth(*index as usize).unwrap();
            Chunk {
                bytes: chunk.to_vec().into(),
            }
            .answer()
        }
    }
}

#[test]
fn objects_and_names_come_from_another_server() {
    let (one, two) = (TestHome::new(), TestHome::new());
    let small = content(20_000, 3);
    let large = content(20 << 20, 5);
    let table = publish(&two, &[&small, &large]);
    let secret = put(&two, b"lies in the store and stands in no table");
    let (_first, second) = (one.server(), two.server());
    know(&one, &place(&second));
    let peer = id(&two);

    let symbols = get(&one, &["symbols", &peer[..8]]);
    assert_eq!(symbols["peer"], peer);
    assert_eq!(symbols.get("missing"), None);
    // The other server may have added the names of its built-in modules.
    let here = objects(&one);
    let theirs: ContentId = symbols["table"].as_str().unwrap().parse().unwrap();
    let theirs = here.get(&theirs).unwrap().unwrap();
    let theirs = SymbolTable::decode(theirs.bytes().unwrap()).unwrap();
    // Everything to show and adopt a name by is here; the code is not.
    for (name, module) in table.names() {
        assert_eq!(theirs.get(name.as_str()), Some(module));
        let bytes = here.get(module).unwrap().unwrap();
        let module = Descriptor::decode(bytes.bytes().unwrap()).unwrap();
        assert!(here.has(module.promise()).unwrap());
        assert!(!here.has(module.code()).unwrap());
    }

    for bytes in [&small, &large] {
        let object = ContentId::of(bytes).to_string();
        let had = get(&one, &["object", &object]);
        assert_eq!(had["id"], object);
        assert_eq!(had["bytes"], bytes.len());
        assert_eq!(had["from"], serde_json::json!([peer]));
        assert_has(&one, bytes);
        // Now it is here.
        let had = get(&one, &["object", &object, &peer]);
        assert_eq!(had["from"], serde_json::json!([]));
    }

    let (exit, text) = refused(&one, &["object", &secret.to_string()]);
    assert_eq!(exit, "refused");
    assert!(
        text.contains(&peer[..10]) && text.contains("does not lead to"),
        "{text}"
    );
    let nobody = ContentId::of(b"nobody has it").to_string();
    assert_eq!(refused(&one, &["object", &nobody]).0, "refused");

    let found = get(&one, &["find", "module1"]);
    let descriptor = table.get("module1").unwrap().to_string();
    assert_eq!(
        found["peers"],
        serde_json::json!([{ "peer": peer, "descriptor": descriptor }])
    );
    assert_eq!(
        get(&one, &["find", "module9"])["peers"],
        serde_json::json!([])
    );

    // What the command line publishes is given without a restart.
    let new = content(300_000, 7);
    publish(&two, &[&new]);
    let object = ContentId::of(&new).to_string();
    assert_eq!(get(&one, &["object", &object])["bytes"], new.len());
    assert_eq!(fs::read_dir(one.file("cache/partial")).unwrap().count(), 0);
}

#[test]
fn what_cannot_be_asked_is_said() {
    let (one, two) = (TestHome::new(), TestHome::new());
    let _first = one.server();
    let object = ContentId::of(b"x").to_string();
    let (exit, text) = refused(&one, &["object", &object]);
    assert_eq!(exit, "failed");
    assert!(text.contains("exchange-keys"), "{text}");
    for words in [
        &["symbols", "box"][..],
        &["object", "junk"],
        &["object", &object, "box"],
        &["symbols"],
        &["everything"],
    ] {
        assert_eq!(refused(&one, words).0, "usage", "{words:?}");
    }
    let second = two.server();
    know(&one, &place(&second));
    let peer = id(&two);
    drop(second);
    let (exit, text) = refused(&one, &["object", &object, &peer]);
    assert_ne!(exit, "usage");
    assert!(text.contains(&peer[..10]), "{text}");
}

#[test]
fn who_takes_no_part_rejects_and_the_asker_says_so() {
    let (one, two) = (TestHome::new(), TestHome::new());
    let accept = format!("accept = [\"{}\"]\n", texts::JOIN_WIREGUARD_NET.id());
    two.write("config", &accept, 0o600);
    let (_first, second) = (one.server(), two.server());
    know(&one, &place(&second));
    let peer = id(&two);
    // Often enough for a peer that misbehaves to be sent away.
    for _ in 0..5 {
        let (exit, text) = refused(&one, &["symbols", &peer]);
        assert_eq!(exit, "refused");
        assert!(text.contains("takes no part"), "{text}");
    }
    let text = refused(&one, &["object", &ContentId::of(b"x").to_string()]).1;
    assert!(text.contains("takes no part"), "{text}");
    assert!(
        !second.log().contains("something invalid"),
        "{}",
        second.log()
    );
}

#[test]
fn a_killed_server_goes_on_where_it_was() {
    let one = TestHome::new();
    let bytes = content(20 << 20, 11);
    let peer = Peer::new(40, Duration::from_millis(30), honest(&bytes));
    let object = ContentId::of(&bytes);
    let first = one.server();
    know(&one, &peer.addr.to_string());
    let note = one.file(&format!("cache/partial/{object}.progress"));
    std::thread::scope(|scope| {
        let asking = scope.spawn(|| {
            let mut stream = UnixStream::connect(one.file("grid.sock")).unwrap();
            frame::write(&mut stream, &request(&["object", &object.to_string()])).unwrap();
            let mut said = String::new();
            while let Ok(Some(answer)) = frame::read(&mut stream) {
                said.push_str(&String::from_utf8(answer.payload).unwrap());
            }
            said
        });
        wait_for("half of it to be noted", || {
            peer.chunks() > 50 && note.exists()
        });
        // Dropped: killed.
        drop(first);
        let said = asking.join().unwrap();
        assert!(
            said.contains("% of 20.0 MiB") && said.contains("/s from 1 peer"),
            "{said}"
        );
    });
    let manifest = Manifest::of(&bytes).unwrap();
    let noted = fs::read(&note).unwrap();
    let progress = grid_promises::modules::Progress::decode(&noted, &manifest).unwrap();
    let missing: Vec<u32> = progress.missing().collect();
    assert!(progress.chunks_here() > 10 && !missing.is_empty());
    peer.forget();
    let _again = one.server();
    // The killed one left its socket.
    wait_for("it to answer", || {
        UnixStream::connect(one.file("grid.sock")).is_ok()
    });
    let had = get(&one, &["object", &object.to_string()]);
    assert_eq!(had["from"], serde_json::json!([peer.node().to_string()]));
    assert_has(&one, &bytes);
    assert_eq!(peer.chunks() as usize, missing.len());
    for index in missing {
        assert_eq!(peer.asked(&format!("chunk {index}")), 1);
    }
    assert_eq!(fs::read_dir(one.file("cache/partial")).unwrap().count(), 0);
}

#[test]
fn a_connection_that_is_cut_is_made_again() {
    let one = TestHome::new();
    let bytes = content(10 << 20, 12);
    let peer = Peer::new(41, Duration::from_millis(20), honest(&bytes));
    let _first = one.server();
    know(&one, &peer.addr.to_string());
    std::thread::scope(|scope| {
        let asking = scope.spawn(|| get(&one, &["object", &ContentId::of(&bytes).to_string()]));
        wait_for("some of it", || peer.chunks() > 10);
        for connection in peer.endpoint.connections() {
            let done = grid_net::CloseCode::DONE;
            peer.endpoint.disconnect(connection.peer, done, "cut");
        }
        assert_eq!(asking.join().unwrap()["bytes"], bytes.len());
    });
    assert!(peer.asked("object") >= 2);
    assert!(
        peer.chunks() < 40 + 16,
        "{} chunks were asked for",
        peer.chunks()
    );
}

#[test]
fn what_nobody_waits_for_any_more_is_left_for_the_next_time() {
    let one = TestHome::new();
    let bytes = content(5 << 20, 14);
    let peer = Peer::new(43, Duration::from_millis(100), honest(&bytes));
    let _first = one.server();
    know(&one, &peer.addr.to_string());
    let object = ContentId::of(&bytes);
    let mut stream = UnixStream::connect(one.file("grid.sock")).unwrap();
    frame::write(&mut stream, &request(&["object", &object.to_string()])).unwrap();
    wait_for("some of it", || peer.chunks() > 2);
    drop(stream);
    let mut before = 0;
    wait_for("it to be given up", || {
        std::thread::sleep(Duration::from_millis(500));
        std::mem::replace(&mut before, peer.chunks()) == peer.chunks()
    });
    assert!(before < 20, "all of it was asked for");
    let had = get(&one, &["object", &object.to_string()]);
    assert_eq!(had["bytes"], bytes.len());
    // Those that were on their way when it was given up are asked for again.
    assert!(peer.chunks() <= 20 + 8, "{}", peer.chunks());
}

#[test]
fn two_who_want_the_same_fetch_it_once() {
    let one = TestHome::new();
    let bytes = content(5 << 20, 13);
    let peer = Peer::new(42, Duration::from_millis(20), honest(&bytes));
    let _first = one.server();
    know(&one, &peer.addr.to_string());
    let object = ContentId::of(&bytes).to_string();
    std::thread::scope(|scope| {
        let asking: Vec<_> = (0..2)
            .map(|_| scope.spawn(|| get(&one, &["object", &object])))
            .collect();
        for asked in asking {
            assert_eq!(asked.join().unwrap()["bytes"], bytes.len());
        }
    });
    assert_eq!((peer.asked("object"), peer.chunks()), (1, 20));
}

/// A liar that differs from an honest node in one kind of answer.
fn liar(
    bytes: &[u8],
    lie: impl Fn(&FetchRequest) -> Option<Option<Vec<u8>>> + Send + Sync + 'static,
) -> Answers {
    let honest = honest(bytes);
    Arc::new(move |request| lie(request).unwrap_or_else(|| honest(request)))
}

/// Has `bytes` fetched from a liar and an honest node; the log, and what was asked of the two.
fn beside(bytes: &[u8], liar: Answers) -> (String, String, Peer, Peer) {
    let one = TestHome::new();
    let truth = honest(bytes);
    let told = Arc::new(AtomicBool::new(false));
    let telling = Arc::clone(&told);
    let honestly = Arc::clone(&truth);
    let lying = Peer::new(
        50,
        Duration::ZERO,
        Arc::new(move |request| {
            let answer = liar(request);
            telling.fetch_or(answer != honestly(request), Ordering::SeqCst);
            answer
        }),
    );
    // It answers once the other has lied, whoever of them is the faster.
    let honest = Peer::new(
        51,
        Duration::from_millis(5),
        Arc::new(move |request| {
            tokio::task::block_in_place(|| {
                let begun = Instant::now();
                while !told.load(Ordering::SeqCst) && begun.elapsed() < Duration::from_secs(10) {
                    std::thread::sleep(Duration::from_millis(1));
                }
            });
            truth(request)
        }),
    );
    let first = one.server();
    know(&one, &lying.addr.to_string());
    know(&one, &honest.addr.to_string());
    let begun = Instant::now();
    let had = get(&one, &["object", &ContentId::of(bytes).to_string()]);
    assert_eq!(had["bytes"], bytes.len());
    assert_has(&one, bytes);
    assert!(
        begun.elapsed() < Duration::from_secs(20),
        "{:?}",
        begun.elapsed()
    );
    // Once it lied, the liar is asked last.
    let before = lying.asked("object");
    if first.log().contains("lied") {
        let another = ContentId::of(b"what nobody has");
        refused(&one, &["object", &another.to_string()]);
        assert_eq!(lying.asked("object"), before + 1);
    }
    (first.log(), lying.node().to_string(), lying, honest)
}

fn assert_named(log: &str, liar: &str, what: &str) {
    let line = log.lines().find(|line| line.contains("lied"));
    let line = line.unwrap_or("nobody is named");
    assert!(line.contains(liar) && line.contains(what), "{line}");
}

#[test]
fn a_wrong_whole_object_is_not_used() {
    let bytes = content(1000, 20);
    let lie = liar(&bytes, |request| match request {
        FetchRequest::Object(_) => Some(Some(Offer::Whole(b"something".to_vec().into()).answer())),
        _ => None,
    });
    let (log, liar, ..) = beside(&bytes, lie);
    assert_named(&log, &liar, "something else");
}

#[test]
fn a_wrong_chunk_is_not_used() {
    let bytes = content(4 << 20, 21);
    let lie = liar(&bytes, |request| match request {
        FetchRequest::Chunk(_, index) if index % 4 == 3 => {
            let bytes = vec![7; CHUNK].into();
            Some(Some(Chunk { bytes }.answer()))
        }
        _ => None,
    });
    let (log, liar, ..) = beside(&bytes, lie);
    assert_named(&log, &liar, "wrong chunk");
}

#[test]
fn a_chunk_of_another_length_is_not_used() {
    let bytes = content(4 << 20, 22);
    for length in [0, 1, CHUNK - 1] {
        let lie = liar(&bytes, move |request| match request {
            FetchRequest::Chunk(..) => {
                let bytes = vec![7; length].into();
                Some(Some(Chunk { bytes }.answer()))
            }
            _ => None,
        });
        let (log, liar, ..) = beside(&bytes, lie);
        assert_named(&log, &liar, "wrong chunk");
    }
}

#[test]
fn a_false_manifest_is_found_out() {
    let bytes = content(4 << 20, 23);
    // Shorter than the truth, so that it is followed first; every chunk fits.
    let other = content(3 << 20, 24);
    let manifest = Manifest::of(&other).unwrap().encode();
    let (true_id, false_id) = (ContentId::of(&bytes), ContentId::of(&other));
    let lie: Answers = Arc::new(move |request| {
        Some(match request {
            FetchRequest::Object(id) if *id == true_id => {
                Offer::InChunks(manifest.clone().into()).answer()
            }
            FetchRequest::Chunk(_, index) => {
                truth(&other, &manifest, &FetchRequest::Chunk(false_id, *index))
            }
            _ => refuse("no"),
        })
    });
    let (log, liar, lying, honest) = beside(&bytes, lie);
    assert_named(&log, &liar, "manifest");
    assert_eq!(lying.chunks(), 12, "it was believed until the end");
    // The honest one was asked for chunks of its own manifest only, and accused of nothing.
    assert_eq!(honest.chunks(), 16);
    assert_eq!(log.matches("lied").count(), 1, "{log}");
}

#[test]
fn a_manifest_with_a_wrong_length_is_found_out() {
    let bytes = content(4 << 20, 25);
    let short = Manifest::of(&bytes[..bytes.len() - 1]).unwrap().encode();
    let lie = liar(&bytes, move |request| match request {
        FetchRequest::Object(_) => Some(Some(Offer::InChunks(short.clone().into()).answer())),
        _ => None,
    });
    let (log, liar, ..) = beside(&bytes, lie);
    assert_named(&log, &liar, "wrong chunk");
    for junk in [
        b"junk".to_vec(),
        Manifest::of(&bytes).unwrap().encode()[1..].to_vec(),
    ] {
        let lie = liar_with_manifest(&bytes, junk);
        let (log, liar, ..) = beside(&bytes, lie);
        assert_named(&log, &liar, "is none");
    }
}

fn liar_with_manifest(bytes: &[u8], manifest: Vec<u8>) -> Answers {
    liar(bytes, move |request| match request {
        FetchRequest::Object(_) => Some(Some(Offer::InChunks(manifest.clone().into()).answer())),
        _ => None,
    })
}

#[test]
fn a_manifest_of_more_than_is_wanted_keeps_nobody_from_the_truth() {
    let bytes = content(4 << 20, 26);
    // 1 GiB less one byte, with digests of nothing.
    let digests = vec![0; 4096 * 32];
    let mut manifest = vec![
        0x83, 0x01, 0x1a, 0x3f, 0xff, 0xff, 0xff, 0x5a, 0x00, 0x02, 0x00, 0x00,
    ];
    manifest.extend(&digests);
    assert_eq!(Manifest::decode(&manifest).unwrap().length(), (1 << 30) - 1);
    let (log, liar, ..) = beside(&bytes, liar_with_manifest(&bytes, manifest));
    // Longer than the truth: the truth is followed, and it is not even asked for a chunk, or found
    // out with the first one.
    assert!(!log.contains("lied") || log.contains(&liar), "{log}");
}

#[test]
fn who_never_answers_holds_nobody_up() {
    let bytes = content(4 << 20, 27);
    let (_, _, lying, _) = beside(&bytes, Arc::new(|_| None));
    assert_eq!(lying.asked("object"), 1);
    let lie = liar(&bytes, |request| match request {
        FetchRequest::Chunk(..) => Some(None),
        _ => None,
    });
    let (_, _, lying, honest) = beside(&bytes, lie);
    assert!(lying.chunks() > 0);
    assert_eq!(honest.chunks(), 16);
}

#[test]
fn who_offers_a_manifest_of_its_own_and_never_answers_is_passed_over() {
    let bytes = content(4 << 20, 28);
    let other = Manifest::of(&content(3 << 20, 29)).unwrap().encode();
    let lie: Answers = Arc::new(move |request| match request {
        FetchRequest::Object(_) => Some(Offer::InChunks(other.clone().into()).answer()),
        _ => None,
    });
    let (_, _, lying, honest) = beside(&bytes, lie);
    assert!(lying.chunks() > 0 && honest.chunks() == 16);
}

#[test]
fn peers_share_the_work() {
    let one = TestHome::new();
    let bytes = content(8 << 20, 30);
    let pause = Duration::from_millis(10);
    let peers: Vec<Peer> = (60..63)
        .map(|seed| Peer::new(seed, pause, honest(&bytes)))
        .collect();
    let _first = one.server();
    for peer in &peers {
        know(&one, &peer.addr.to_string());
    }
    let had = get(&one, &["object", &ContentId::of(&bytes).to_string()]);
    assert_eq!(had["from"].as_array().unwrap().len(), 3);
    assert_has(&one, &bytes);
    for peer in &peers {
        assert!(peer.chunks() >= 4, "{}", peer.chunks());
    }
}

#[test]
fn an_unknown_promise_is_rejected_without_a_strike() {
    let one = TestHome::new();
    let first = one.server();
    let addr: SocketAddr = place(&first).parse().unwrap();
    let peer = Peer::new(70, Duration::ZERO, honest(b"x"));
    let runtime = peer.runtime.as_ref().unwrap();
    let asked = AtomicU32::new(0);
    runtime.block_on(async {
        let connected = peer.endpoint.connect(None, &[addr]).await.unwrap();
        for _ in 0..20 {
            for promise in [ContentId::of(b"I will do anything"), texts::STATUS.id()] {
                let message = Message::new(promise).arg("x").encode();
                let answer = peer
                    .endpoint
                    .request(connected.peer, message)
                    .await
                    .unwrap();
                let rejected = grid_promises::modules::fetch::read_rejection(&answer);
                assert_eq!(rejected.unwrap(), Some(promise));
                asked.fetch_add(1, Ordering::Relaxed);
            }
        }
    });
    assert_eq!(asked.into_inner(), 40);
    assert!(!first.log().contains("WARN"), "{}", first.log());
}
