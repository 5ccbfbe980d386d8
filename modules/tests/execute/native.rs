//! Executables that speak messages, and those that do anything else: each is over by its deadline,
//! with everything that it started.
//!
//! They are scripts for `/bin/sh`; the one that answers reads its frame with `cat` and gives it back.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use grid_modules::execute::native::{AllowList, Framed, Sealed};
use grid_modules::execute::{Budget, CallError, Executor as _, Fault, Limits, Verdict};
use grid_promises::{ContentId, Message};

use super::{call, verdicts};

const TIME: Duration = Duration::from_secs(30);

fn sealed(bytes: &[u8]) -> Sealed {
    let id = ContentId::of(bytes);
    Sealed::new(AllowList::new([id]).check(&id).unwrap(), bytes).unwrap()
}

fn framed(script: &str, time: Duration) -> Framed {
    let budget = Budget { fuel: 0, time };
    let limits = Limits {
        accept: budget,
        handle: budget,
        ..Limits::default()
    };
    Framed::new(
        sealed(format!("#!/bin/sh\n{script}\n").as_bytes()),
        verdicts(),
        &limits,
    )
}

fn broken(script: &str) -> CallError {
    let error = framed(script, TIME).handle(&call(&[]), b"").unwrap_err();
    assert_eq!(error.fault(), Fault::Module, "{error}");
    error
}

/// A script's way to write an answer: these bytes.
pub(super) fn printf(bytes: &[u8]) -> String {
    let octal: String = bytes.iter().map(|byte| format!("\\{byte:03o}")).collect();
    format!("printf '{octal}'")
}

pub(super) fn frame(message: &Message) -> Vec<u8> {
    let bytes = message.encode();
    let length = u32::try_from(bytes.len()).unwrap();
    [&length.to_be_bytes()[..], &bytes].concat()
}

/// Whether a process with this number runs. A zombie does not.
fn runs(pid: &str) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat.rsplit(')').next().unwrap().starts_with(" Z"))
}

/// Waits for a process to be gone: SIGKILL was sent, and it takes effect soon.
fn is_gone(pid_file: &Path) -> bool {
    let pid = fs::read_to_string(pid_file).unwrap();
    let until = Instant::now() + Duration::from_secs(10);
    while runs(pid.trim()) && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(10));
    }
    !runs(pid.trim())
}

#[test]
fn what_is_not_allowed_does_not_run() {
    let script = ContentId::of(b"#!/bin/sh\n");
    let refused = AllowList::new([ContentId::of(b"other")]).check(&script);
    assert!(refused.unwrap_err().to_string().contains("not allowed"));
}

#[test]
fn an_executable_is_called_with_messages() {
    let echo = framed("cat", TIME);
    let mut parms = call(&["a", "b"]).payload("not shown");
    parms.proof = Some([7; 64]);
    let answer = echo.handle(&parms, b"payload").unwrap();
    assert_eq!(answer, call(&["a", "b"]).payload("payload"));
    parms.promise = verdicts().accept;
    let Verdict::Accepted(answer) = echo.accept(&parms).unwrap() else {
        panic!("rejected");
    };
    assert!(answer.payload.is_empty());
    parms.promise = ContentId::of(b"something else");
    let error = echo.accept(&parms).unwrap_err();
    assert!(matches!(error, CallError::NotAVerdict { .. }), "{error}");
}

#[test]
fn the_longest_message_goes_through_the_pipes() {
    let mut parms = call(&[]);
    parms.args = vec![vec![7; Message::MAX_ARG_LEN]; Message::MAX_ARGS];
    let payload = vec![9; Message::MAX_PAYLOAD];
    let answer = framed("cat", TIME).handle(&parms, &payload).unwrap();
    assert!(answer == parms.clone().payload(payload.clone()));
    // An executable need not read what it does not need.
    let short = Message::new(ContentId::of(b"p"));
    let deaf = format!("exec <&-; {}", printf(&frame(&short)));
    assert_eq!(framed(&deaf, TIME).handle(&parms, &payload).unwrap(), short);
}

#[test]
fn it_sees_its_entry_point_and_a_short_environment() {
    let good = printf(&frame(&Message::new(verdicts().accept)));
    let script = format!(
        "[ \"$1\" = accept ] && [ $# = 1 ] && [ \"$PWD\" = / ] && [ \"$GRID_ABI\" = 1 ] \
         && [ -z \"$CARGO_MANIFEST_DIR$HOME\" ] && {good}"
    );
    let executable = framed(&script, TIME);
    assert!(matches!(
        executable.accept(&call(&[])).unwrap(),
        Verdict::Accepted(_)
    ));
    let error = executable.handle(&call(&[]), b"").unwrap_err();
    assert!(matches!(error, CallError::Exit { .. }), "{error}");
}

#[test]
fn who_runs_for_ever_is_ended() {
    let start = Instant::now();
    let endless = framed("while :; do :; done", Duration::from_millis(200));
    let error = endless.handle(&call(&[]), b"").unwrap_err();
    assert!(matches!(error, CallError::Deadline { .. }), "{error}");
    assert_eq!(error.fault(), Fault::Module);
    assert!(start.elapsed() < Duration::from_secs(10));
    // One that ignores what can be ignored, and has answered already.
    let answered = printf(&frame(&Message::new(ContentId::of(b"p"))));
    let stubborn = format!("trap '' TERM INT HUP; {answered}; sleep 600 & wait");
    let error = framed(&stubborn, Duration::from_millis(200)).handle(&call(&[]), b"");
    assert!(matches!(error, Err(CallError::Deadline { .. })));
}

#[test]
fn who_floods_its_output_is_ended() {
    let start = Instant::now();
    let error = broken("exec yes");
    assert!(matches!(error, CallError::AnswerTooLong { .. }), "{error}");
    assert!(start.elapsed() < TIME);
}

#[test]
fn who_floods_its_errors_is_heard_in_part() {
    let answer = Message::new(ContentId::of(b"p"));
    let script = format!(
        "head -c 5000000 /dev/zero >&2; yes | head -c 100000 >&2; {}",
        printf(&frame(&answer))
    );
    assert_eq!(
        framed(&script, TIME).handle(&call(&[]), b"").unwrap(),
        answer
    );
    // One that does nothing else is over at its deadline.
    let error = framed("exec yes >&2", Duration::from_millis(300)).handle(&call(&[]), b"");
    assert!(matches!(error, Err(CallError::Deadline { .. })));
}

#[test]
fn what_it_leaves_running_is_ended() {
    let folder = tempfile::tempdir().unwrap();
    let pid_file = folder.path().join("pid");
    let answer = Message::new(ContentId::of(b"p"));
    // The child holds the output open for long, and nobody waits for it.
    let script = format!(
        "sleep 600 & echo $! > {}; {}",
        pid_file.display(),
        printf(&frame(&answer))
    );
    let start = Instant::now();
    assert_eq!(
        framed(&script, TIME).handle(&call(&[]), b"").unwrap(),
        answer
    );
    assert!(start.elapsed() < TIME);
    assert!(is_gone(&pid_file));
    // The same at the deadline.
    let script = format!("sleep 600 & echo $! > {}; wait", pid_file.display());
    let error = framed(&script, Duration::from_millis(500)).handle(&call(&[]), b"");
    assert!(matches!(error, Err(CallError::Deadline { .. })));
    assert!(is_gone(&pid_file));
}

#[test]
fn who_leaves_the_group_holds_up_nothing() {
    let answer = Message::new(ContentId::of(b"p"));
    let script = format!("setsid sleep 30 & {}", printf(&frame(&answer)));
    let start = Instant::now();
    assert_eq!(
        framed(&script, TIME).handle(&call(&[]), b"").unwrap(),
        answer
    );
    assert!(start.elapsed() < Duration::from_secs(25));
}

#[test]
fn an_end_that_is_not_well_does_not_count() {
    let answer = printf(&frame(&Message::new(ContentId::of(b"p"))));
    let error = broken(&format!("{answer}; exit 3"));
    assert!(
        matches!(&error, CallError::Exit { how } if how == "exit code 3"),
        "{error}"
    );
    let error = broken(&format!("{answer}; kill -9 $$"));
    assert!(
        matches!(&error, CallError::Exit { how } if how == "signal 9"),
        "{error}"
    );
}

#[test]
fn an_output_that_is_not_one_message_does_not_count() {
    let good = frame(&Message::new(ContentId::of(b"p")));
    assert!(matches!(broken("exit 0"), CallError::NoAnswer));
    assert!(matches!(broken("exec >&-; sleep 0.1"), CallError::NoAnswer));
    for output in [
        &b"hello, world\n"[..],
        &good[..10],
        &good[..2],
        &[&good[..], b"\n"].concat(),
        &[&good[..], &good[..]].concat(),
        &[0, 0, 0, 1, 0],
        &[0xff; 4],
    ] {
        let error = broken(&printf(output));
        assert!(
            matches!(error, CallError::NotAFrame { .. }),
            "{output:02x?}: {error}"
        );
    }
}

#[test]
fn what_is_no_executable_is_said_to_be_none() {
    let limits = Limits::default();
    let broken = Framed::new(sealed(b"\x7fELF, but not really"), verdicts(), &limits);
    let error = broken.handle(&call(&[]), b"").unwrap_err();
    assert!(matches!(&error, CallError::Start { .. }), "{error}");
    assert!(error.to_string().contains("not an executable"), "{error}");
    assert_eq!(error.fault(), Fault::Host);
}

#[test]
fn calls_run_beside_each_other() {
    let echo = framed("cat", TIME);
    std::thread::scope(|scope| {
        for n in 0..8u8 {
            let echo = &echo;
            scope.spawn(move || {
                let answer = echo.handle(&call(&[]), &[n; 10_000]).unwrap();
                assert_eq!(answer.payload, [n; 10_000]);
            });
        }
    });
}
