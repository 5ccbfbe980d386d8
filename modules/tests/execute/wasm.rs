//! Small modules that break every rule, each with the error that it earns, and nothing else
//! disturbed.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use grid_modules::execute::wasm::{Settings, Wasm};
use grid_modules::execute::{
    Budget, CallError, Executor as _, Fault, Limits, ModuleError, ObjectError, SectionFault,
    Verdict,
};
use grid_promises::cbor::{self, Bounds};
use grid_promises::{ContentId, Message};

use super::{Shelf, call, engine, engine_with, load, verdicts};

/// A module whose entry points do this. `$call` is the import, and `$in` asks for what the module
/// was called with, at 1024.
fn module(sections: &str, body: &str) -> Vec<u8> {
    wat::parse_str(format!(
        r#"(module
        (import "grid" "call" (func $call (param i32 i32 i32 i32) (result i64)))
        (memory (export "memory") 1)
        {sections}
        (func (export "grid_abi_1"))
        (func $in (result i32)
          (i32.wrap_i64 (call $call (i32.const 0) (i32.const 0) (i32.const 1024)
            (i32.sub (i32.mul (memory.size) (i32.const 65536)) (i32.const 1024)))))
        (func $body (result i64) {body})
        (func (export "promise_accept") (result i64) (call $body))
        (func (export "promise_handle") (result i64) (call $body)))"#
    ))
    .unwrap()
}

/// Answers with what it was called with.
const ECHO: &str = "(i64.or (i64.const 0x40000000000) (i64.extend_i32_u (call $in)))";

fn escaped(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("\\{byte:02x}")).collect()
}

/// How long the payload of [`asking`]'s answers is: the reply, and zeros.
const REPLY: usize = 4096;

/// Asks for this, and answers with a message whose payload is the reply.
fn asking(sections: &str, request: &[u8]) -> Vec<u8> {
    let frame = Message::new(ContentId::of(b"reply"))
        .payload(vec![0; REPLY])
        .encode();
    let reply = frame.len() - 1 - REPLY;
    wat::parse_str(format!(
        r#"(module
        (import "grid" "call" (func $call (param i32 i32 i32 i32) (result i64)))
        (memory (export "memory") 1)
        {sections}
        (data (i32.const 0) "{}")
        (data (i32.const 1024) "{}")
        (func (export "grid_abi_1"))
        (func $body (result i64)
          (drop (call $call (i32.const 0) (i32.const {}) (i32.const {}) (i32.const {REPLY})))
          (i64.const 0x400{:08x}))
        (func (export "promise_accept") (result i64) (call $body))
        (func (export "promise_handle") (result i64) (call $body)))"#,
        escaped(request),
        escaped(&frame),
        request.len(),
        1024 + reply,
        frame.len(),
    ))
    .unwrap()
}

/// A request: a name and what follows it, already encoded.
fn request(name: &str, items: u8, rest: &[u8]) -> Vec<u8> {
    let mut out = vec![0x80 | items, 0x60 | u8::try_from(name.len()).unwrap()];
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(rest);
    out
}

fn handle(bytes: &[u8]) -> Result<Message, CallError> {
    let engine = engine();
    load(&engine, bytes).unwrap().handle(&call(&[]), b"payload")
}

/// The reply to a request, and zeros.
fn ask(engine: &Wasm, sections: &str, request: &[u8]) -> Result<Vec<u8>, CallError> {
    let module = load(engine, &asking(sections, request)).unwrap();
    module.handle(&call(&[]), b"").map(|answer| answer.payload)
}

fn broken(bytes: &[u8]) -> CallError {
    let error = handle(bytes).unwrap_err();
    assert_eq!(error.fault(), Fault::Module, "{error}");
    error
}

fn refused(source: &str) -> ModuleError {
    load(&engine(), &wat::parse_str(source).unwrap()).unwrap_err()
}

#[test]
fn a_guest_sees_the_message_and_nothing_of_the_payload_on_accept() {
    let engine = engine();
    let echo = load(&engine, &module("", ECHO)).unwrap();
    let mut parms = call(&["a", ""]).module(*echo.id()).payload("not shown");
    parms.proof = Some([7; 64]);
    let seen = echo.handle(&parms, b"payload").unwrap();
    assert_eq!(seen, call(&["a", ""]).module(*echo.id()).payload("payload"));
    // The echo of accept is a message under a promise that is no verdict, so ask under one that is.
    parms.promise = verdicts().reject;
    let Verdict::Rejected(seen) = echo.accept(&parms).unwrap() else {
        panic!("accepted");
    };
    assert_eq!(
        (seen.args.len(), seen.payload, seen.proof),
        (2, vec![], None)
    );
}

#[test]
fn the_longest_message_goes_in_and_out() {
    let engine = engine();
    let bytes = module("", &format!("(drop (memory.grow (i32.const 40))) {ECHO}"));
    let module = load(&engine, &bytes).unwrap();
    let mut parms = call(&[]);
    parms.args = vec![vec![7; Message::MAX_ARG_LEN]; Message::MAX_ARGS];
    let payload = vec![9; Message::MAX_PAYLOAD];
    let answer = module.handle(&parms, &payload).unwrap();
    assert_eq!(answer, parms.clone().payload(payload.clone()));
    let error = module
        .handle(&parms, &[payload, vec![0]].concat())
        .unwrap_err();
    assert_eq!(error.fault(), Fault::Caller);
}

#[test]
fn what_is_no_module_is_refused() {
    let engine = engine();
    assert!(matches!(
        load(&engine, b"hello"),
        Err(ModuleError::NotAModule { .. })
    ));
    let good = module("", ECHO);
    let other = engine.load(&ContentId::of(b"other"), &good).unwrap_err();
    assert!(matches!(other, ModuleError::NotTheObject(_)), "{other}");
    let twice = r#"(@custom "promise" "a") (@custom "promise" "b")"#;
    let error = load(&engine, &module(twice, ECHO)).unwrap_err();
    let fault = SectionFault::Repeated;
    assert_eq!(
        error,
        ModuleError::Section {
            name: "promise",
            fault
        }
    );
}

#[test]
fn another_interface_is_named() {
    let error = refused(
        r#"(module (memory (export "memory") 1) (func (export "grid_abi_2"))
           (func (export "promise_accept")) (func (export "promise_handle")))"#,
    );
    let found = "grid_abi_2".to_owned();
    assert_eq!(error, ModuleError::OtherAbi { found });
    let text = error.to_string();
    assert!(
        text.contains("grid_abi_2") && text.contains("grid_abi_1"),
        "{text}"
    );
    let error = refused("(module (func (export \"_start\")))");
    assert_eq!(error, ModuleError::NoAbi);
}

#[test]
fn a_missing_export_is_named() {
    const ABI: &str = r#"(func (export "grid_abi_1"))"#;
    const MEMORY: &str = r#"(memory (export "memory") 1)"#;
    const ACCEPT: &str = r#"(func (export "promise_accept") (result i64) i64.const 0)"#;
    const HANDLE: &str = r#"(func (export "promise_handle") (result i64) i64.const 0)"#;
    let missing = |parts: &[&str]| match refused(&format!("(module {})", parts.concat())) {
        ModuleError::MissingExport { name, .. } => name,
        other => panic!("{other}"),
    };
    assert_eq!(missing(&[ABI, ACCEPT, HANDLE]), "memory");
    assert_eq!(missing(&[ABI, MEMORY, HANDLE]), "promise_accept");
    assert_eq!(missing(&[ABI, MEMORY, ACCEPT]), "promise_handle");
    let other_type = HANDLE.replace("i64", "i32");
    assert_eq!(
        missing(&[ABI, MEMORY, ACCEPT, &other_type]),
        "promise_handle"
    );
    let parameter = ACCEPT.replace("(result", "(param i32) (result");
    assert_eq!(
        missing(&[ABI, MEMORY, &parameter, HANDLE]),
        "promise_accept"
    );
    let no_memory = r#"(func (export "memory"))"#;
    assert_eq!(missing(&[ABI, no_memory, ACCEPT, HANDLE]), "memory");
    assert!(
        load(
            &engine(),
            &wat::parse_str(format!("(module {ABI}{MEMORY}{ACCEPT}{HANDLE})")).unwrap()
        )
        .is_ok()
    );
}

#[test]
fn other_imports_are_refused() {
    let with = |import: &str| {
        refused(&format!(
            r#"(module {import} (memory (export "memory") 1) (func (export "grid_abi_1"))
               (func (export "promise_accept") (result i64) i64.const 0)
               (func (export "promise_handle") (result i64) i64.const 0))"#
        ))
    };
    let error = with(r#"(import "wasi_snapshot_preview1" "fd_write" (func (param i32)))"#);
    assert_eq!(
        error,
        ModuleError::OtherImport {
            module: "wasi_snapshot_preview1".to_owned(),
            name: "fd_write".to_owned(),
        }
    );
    let error = with(r#"(import "grid" "call" (global i32))"#);
    assert!(matches!(error, ModuleError::OtherImport { .. }), "{error}");
    let error = with(r#"(import "grid" "call" (func (param i32) (result i64)))"#);
    assert_eq!(error, ModuleError::ImportType);
}

#[test]
fn what_is_not_valid_or_not_allowed_is_refused() {
    let rest = r#"(memory (export "memory") 1) (func (export "grid_abi_1"))
        (func (export "promise_accept") (result i64) i64.const 0)
        (func (export "promise_handle") (result i64) i64.const 0)"#;
    for source in [
        format!("(module (func (result i32) i64.const 0) {rest})"),
        format!("(module (memory 1) {rest})"),
        format!("(module {})", rest.replace("1)", "i64 1)")),
        format!(
            "(module (func (param v128 v128 v128) (drop (f32x4.relaxed_madd (local.get 0) (local.get 1) (local.get 2)))) {rest})"
        ),
        format!("(module (table 30000 funcref) {rest})"),
    ] {
        let error = refused(&source);
        assert!(
            matches!(error, ModuleError::Invalid { .. }),
            "{source}: {error}"
        );
    }
}

#[test]
fn a_module_that_begins_too_big_is_refused() {
    let source = r#"(module (memory (export "memory") 2000) (func (export "grid_abi_1"))
        (func (export "promise_accept") (result i64) i64.const 0)
        (func (export "promise_handle") (result i64) i64.const 0))"#;
    let error = refused(source);
    assert!(
        matches!(
            error,
            ModuleError::TooMuchMemory {
                found: 131_072_000,
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn a_trap_is_a_broken_promise() {
    for (body, what) in [
        ("unreachable", "unreachable"),
        ("(i64.div_u (i64.const 1) (i64.const 0))", "divide by zero"),
        ("(i64.load (i32.const 0x7fffffff))", "out of bounds"),
        ("(call $body)", "call stack"),
    ] {
        let error = broken(&module("", body));
        assert!(
            matches!(&error, CallError::Trapped { why } if why.contains(what)),
            "{error}"
        );
    }
}

#[test]
fn an_endless_loop_ends_when_its_fuel_is_gone() {
    let limits = Limits {
        instances: 1,
        handle: Budget {
            fuel: 1_000_000,
            time: Duration::from_secs(60),
        },
        ..Limits::default()
    };
    let engine = engine_with(limits, Shelf::default());
    let module = load(&engine, &module("", "(loop (br 0)) unreachable")).unwrap();
    let error = module.handle(&call(&[]), b"").unwrap_err();
    assert!(
        matches!(error, CallError::OutOfFuel { fuel: 1_000_000 }),
        "{error}"
    );
}

#[test]
fn an_endless_loop_ends_at_its_deadline() {
    let limits = Limits {
        instances: 1,
        handle: Budget {
            fuel: u64::MAX,
            time: Duration::from_millis(50),
        },
        ..Limits::default()
    };
    let engine = engine_with(limits, Shelf::default());
    let endless = load(&engine, &module("", "(loop (br 0)) unreachable")).unwrap();
    // The second time the clock of guests is awake already.
    for _ in 0..2 {
        let start = Instant::now();
        let error = endless.handle(&call(&[]), b"").unwrap_err();
        let took = start.elapsed();
        assert!(matches!(error, CallError::Deadline { .. }), "{error}");
        assert!(took >= Duration::from_millis(50), "{took:?}");
        assert!(took < Duration::from_secs(5), "{took:?}");
    }
    // A start function is no way around it.
    let starts = wat::parse_str(
        r#"(module (memory (export "memory") 1) (func (export "grid_abi_1"))
        (func $endless (loop (br 0))) (start $endless)
        (func (export "promise_accept") (result i64) i64.const 0)
        (func (export "promise_handle") (result i64) i64.const 0))"#,
    );
    let error = load(&engine, &starts.unwrap())
        .unwrap()
        .handle(&call(&[]), b"");
    assert!(matches!(error, Err(CallError::Deadline { .. })));
    // Nothing else is disturbed.
    let echo = load(&engine, &module("", ECHO)).unwrap();
    assert!(echo.handle(&call(&[]), b"").is_ok());
}

#[test]
fn who_eats_memory_is_stopped_at_the_cap() {
    let eater = "(loop (drop (memory.grow (i32.const 16))) (br 0)) unreachable";
    let error = broken(&module("", eater));
    let max = Limits::default().memory;
    assert!(
        matches!(error, CallError::TooMuchMemory { asked, max: at } if at == max && asked > max),
        "{error}"
    );
    // All that is allowed can be had, and is gone after the call.
    let pages = max / 65536 - 1;
    let all = format!("(drop (memory.grow (i32.const {pages}))) {ECHO}");
    let (engine, bytes) = (engine(), module("", &all));
    let module = load(&engine, &bytes).unwrap();
    for _ in 0..50 {
        assert!(module.handle(&call(&[]), b"").is_ok());
    }
}

#[test]
fn what_is_not_listed_is_not_granted() {
    let engine = engine();
    for sections in ["", r#"(@custom "promise_calls" "get time")"#] {
        let error = ask(&engine, sections, &request("log", 2, b"\x62hi")).unwrap_err();
        assert!(
            matches!(&error, CallError::NotListed { call } if call == "log"),
            "{error}"
        );
        assert_eq!(error.fault(), Fault::Module);
    }
    let listed = r#"(@custom "promise_calls" "format-disk")"#;
    let error = ask(&engine, listed, &request("format-disk", 1, b"")).unwrap_err();
    assert!(
        matches!(&error, CallError::NotOffered { call } if call == "format-disk"),
        "{error}"
    );
    let error = ask(&engine, "", &request("format-disk", 1, b"")).unwrap_err();
    assert!(matches!(&error, CallError::NotListed { .. }), "{error}");
}

#[test]
fn what_is_no_request_ends_the_guest() {
    let engine = engine();
    let sections = r#"(@custom "promise_calls" "get log time")"#;
    for bytes in [
        &b"hello"[..],
        b"\x80",
        b"\x81\x01",
        b"\xa0",
        b"\x81\x64tim",
        b"\x81\x78\x04time",
        b"\x81\x64time\x00",
        b"\x82\x64time\x00",
        b"\x81\x63log",
        b"\x82\x63log\x01",
        b"\x83\x63log\x62hi\x62hi",
        b"\x82\x63get\x41\x00",
        b"\x82\x63get\xd8\x2a\x41\x00",
    ] {
        let error = ask(&engine, sections, bytes).unwrap_err();
        assert!(
            matches!(error, CallError::NotACall { .. }),
            "{bytes:02x?}: {error}"
        );
    }
}

#[test]
fn a_listed_call_is_granted() {
    let engine = engine();
    let sections = r#"(@custom "promise_calls" "log time")"#;
    let reply = ask(&engine, sections, &request("log", 2, b"\x62hi")).unwrap();
    assert!(reply.starts_with(b"\x82\x00\xf6\x00"));
    let reply = ask(&engine, sections, &request("time", 1, b"")).unwrap();
    let seconds = reply.strip_prefix(b"\x82\x00\x1a").unwrap()[..4].try_into();
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs();
    let seen = u64::from(u32::from_be_bytes(seconds.unwrap()));
    assert!(seen <= now && now - seen < 60, "{seen} {now}");
}

#[test]
fn objects_come_through_get() {
    let object = vec![5; 300];
    let limits = Limits {
        instances: 2,
        ..Limits::default()
    };
    let engine = engine_with(limits, Shelf::of(&[&object]));
    let wants = |bytes: &[u8]| request("get", 2, &cbor::encode(&ContentId::of(bytes)));
    let listed = r#"(@custom "promise_calls" "get")"#;
    let reply = ask(&engine, listed, &wants(&object)).unwrap();
    let item = [&b"\x82\x00\x59\x01\x2c"[..], &object].concat();
    cbor::check(&item, &Bounds::bytes(REPLY)).unwrap();
    assert!(reply.starts_with(&item));
    let missing = ask(&engine, listed, &wants(b"other")).unwrap();
    assert!(
        missing.starts_with(b"\x82\x01\x6eit is not here"),
        "{missing:02x?}"
    );
    // A pure module's answer must not depend on what is here.
    let pure = format!(r#"{listed} (@custom "promise_pure" "yes")"#);
    assert_eq!(ask(&engine, &pure, &wants(&object)).unwrap(), reply);
    let error = ask(&engine, &pure, &wants(b"other")).unwrap_err();
    assert!(
        matches!(&error, CallError::Unavailable { why: ObjectError::Missing, object } if *object == ContentId::of(b"other")),
        "{error}"
    );
    assert_eq!(error.fault(), Fault::Host);
}

/// Objects that are not what they are called.
struct Liar;

impl grid_modules::execute::Objects for Liar {
    fn get(&self, _: &ContentId, _: usize, _: Instant) -> Result<Vec<u8>, ObjectError> {
        Ok(vec![0; 300])
    }
}

#[test]
fn an_object_that_is_another_does_not_reach_the_guest() {
    let engine = Wasm::new(Settings {
        limits: Limits::default(),
        verdicts: verdicts(),
        objects: std::sync::Arc::new(Liar),
        compiled: None,
    })
    .unwrap();
    let wants = request("get", 2, &cbor::encode(&ContentId::of(b"x")));
    let pure = r#"(@custom "promise_calls" "get") (@custom "promise_pure" "yes")"#;
    let error = ask(&engine, pure, &wants).unwrap_err();
    assert!(
        matches!(
            error,
            CallError::Unavailable {
                why: ObjectError::Failed { .. },
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn a_guest_cannot_ask_for_ever() {
    let sections = r#"(@custom "promise_calls" "time") (data (i32.const 0) "\81\64time")"#;
    let forever =
        "(loop (drop (call $call (i32.const 0) (i32.const 6) (i32.const 0) (i32.const 0)))
        (br 0)) unreachable";
    let error = broken(&module(sections, forever));
    assert!(
        matches!(error, CallError::TooManyCalls { max: 1_000 }),
        "{error}"
    );
}

#[test]
fn pointers_are_checked() {
    for (request, room) in [
        ((65_530, 7), (0, 0)),
        ((65_537, 0), (0, 0)),
        ((-1, 1), (0, 0)),
        ((0, -1), (0, 0)),
        ((0, 0), (65_530, 7)),
        ((0, 0), (65_537, 0)),
        ((0, 0), (0, -1)),
        ((0, 0), (-1, -1)),
    ] {
        let body = format!(
            "(drop (call $call (i32.const {}) (i32.const {}) (i32.const {}) (i32.const {}))) i64.const 0",
            request.0, request.1, room.0, room.1
        );
        let error = broken(&module("", &body));
        assert!(
            matches!(error, CallError::Range { memory: 65536, .. }),
            "{error}"
        );
    }
    // At the very end, and of no length, is inside.
    let body = format!(
        "(drop (call $call (i32.const 65536) (i32.const 0) (i32.const 65536) (i32.const 0))) {ECHO}"
    );
    assert!(handle(&module("", &body)).is_ok());
}

#[test]
fn a_reply_that_does_not_fit_is_not_copied_and_stays() {
    // 8 bytes of room: the length comes back, the memory is as it was, and the next call gets it.
    let body = format!(
        "(if (i64.le_u (call $call (i32.const 0) (i32.const 0) (i32.const 32) (i32.const 8)) (i64.const 8))
           (then unreachable))
         (if (i64.ne (i64.load (i32.const 32)) (i64.const 0)) (then unreachable))
         {ECHO}"
    );
    let answer = handle(&module("", &body)).unwrap();
    assert_eq!(answer, call(&[]).payload("payload"));
}

#[test]
fn answers_are_checked() {
    for (answer, what) in [
        ("0x0000000000000000", "not a message"),
        ("0x0000000000000008", "not a message"),
        ("0x0000ffff00000002", "65536 bytes of memory"),
        ("0xffffffff00000001", "65536 bytes of memory"),
        ("0x00000000ffffffff", "more than the"),
        ("0x0000000000200000", "more than the"),
    ] {
        let error = broken(&module("", &format!("i64.const {answer}"))).to_string();
        assert!(error.contains(what), "{answer}: {error}");
    }
    // The echo to accept is led by the promise of the call.
    let engine = engine();
    let echo = load(&engine, &module("", ECHO)).unwrap();
    let error = echo.accept(&call(&[])).unwrap_err();
    assert!(matches!(error, CallError::NotAVerdict { .. }), "{error}");
}

#[test]
fn a_guest_cannot_keep_anything() {
    // Counts in its memory and in a global, and traps if it ever counted before.
    let sections = "(global $count (mut i32) (i32.const 0))";
    let body = format!(
        "(if (i32.or (global.get $count) (i32.load (i32.const 60000))) (then unreachable))
         (global.set $count (i32.const 1)) (i32.store (i32.const 60000) (i32.const 1))
         (drop (memory.grow (i32.const 8))) (i32.store (i32.const 500000) (i32.const 1))
         {ECHO}"
    );
    // One slot in the pool, so that the second call gets the memory of the first.
    let limits = Limits {
        instances: 1,
        ..Limits::default()
    };
    let engine = engine_with(limits, Shelf::default());
    let keeper = load(&engine, &module(sections, &body)).unwrap();
    let looks = "(drop (memory.grow (i32.const 8)))
        (if (i32.or (i32.load (i32.const 60000)) (i32.load (i32.const 500000))) (then unreachable))";
    let looker = load(&engine, &module("", &format!("{looks} {ECHO}"))).unwrap();
    for _ in 0..20 {
        keeper.handle(&call(&[]), b"").unwrap();
        looker.handle(&call(&[]), b"").unwrap();
    }
}

#[test]
fn calls_run_beside_each_other() {
    // More callers than instances; two of them misbehave all the time.
    let engine = engine();
    let echo = load(&engine, &module("", ECHO)).unwrap();
    let trap = load(&engine, &module("", "unreachable")).unwrap();
    let eater = "(loop (drop (memory.grow (i32.const 16))) (br 0)) unreachable";
    let eater = load(&engine, &module("", eater)).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let echo = &echo;
            scope.spawn(move || {
                for n in 0..100 {
                    let payload = format!("{thread} {n}");
                    let answer = echo.handle(&call(&[]), payload.as_bytes()).unwrap();
                    assert_eq!(answer.payload, payload.as_bytes());
                }
            });
        }
        for bad in [&trap, &eater] {
            scope.spawn(move || {
                for _ in 0..100 {
                    let error = bad.handle(&call(&[]), b"").unwrap_err();
                    assert_eq!(error.fault(), Fault::Module);
                }
            });
        }
    });
}

#[test]
fn who_finds_no_place_is_told_so() {
    let budget = |millis| Budget {
        fuel: u64::MAX,
        time: Duration::from_millis(millis),
    };
    let limits = Limits {
        instances: 1,
        accept: budget(50),
        handle: budget(2_000),
        ..Limits::default()
    };
    let engine = engine_with(limits, Shelf::default());
    let endless = load(&engine, &module("", "(loop (br 0)) unreachable")).unwrap();
    std::thread::scope(|scope| {
        let first = scope.spawn(|| endless.handle(&call(&[]), b"").unwrap_err());
        // Until the first has the place, this one takes it, and gives it back at its deadline.
        let error = loop {
            let error = endless.accept(&call(&[])).unwrap_err();
            if !matches!(error, CallError::Deadline { .. }) {
                break error;
            }
            assert!(!first.is_finished(), "the first was over before it was met");
            // Places are not given out in the order of asking.
            std::thread::sleep(Duration::from_millis(20));
        };
        assert!(matches!(error, CallError::Busy), "{error}");
        assert_eq!(error.fault(), Fault::Host);
        assert!(matches!(first.join().unwrap(), CallError::Deadline { .. }));
    });
}

#[test]
fn compiled_modules_are_found_again() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("compiled");
    let settings = || Settings {
        limits: Limits {
            instances: 1,
            ..Limits::default()
        },
        verdicts: verdicts(),
        objects: std::sync::Arc::new(Shelf::default()),
        compiled: Some(folder.clone()),
    };
    let bytes = module("", ECHO);
    let works = || {
        let engine = Wasm::new(settings()).unwrap();
        let module = load(&engine, &bytes).unwrap();
        assert!(module.handle(&call(&[]), b"").is_ok());
        assert!(engine.loaded(module.id()).is_some());
    };
    let read = || {
        let mut files: Vec<_> = std::fs::read_dir(&folder)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        assert_eq!(files.len(), 1, "{files:?}");
        let file = files.pop().unwrap();
        (std::fs::read(&file).unwrap(), file)
    };
    works();
    let (good, file) = read();
    // Untouched: it is not written again.
    let before = std::fs::metadata(&file).unwrap().modified().unwrap();
    works();
    assert_eq!(
        std::fs::metadata(&file).unwrap().modified().unwrap(),
        before
    );
    // Damaged: it is, and as it was.
    let mut bad = good.clone();
    let middle = bad.len() / 2;
    bad[middle] ^= 1;
    std::fs::write(&file, bad).unwrap();
    works();
    assert_ne!(
        std::fs::metadata(&file).unwrap().modified().unwrap(),
        before
    );
}
