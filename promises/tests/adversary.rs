//! An adversary against honest nodes, in virtual time: outsiders, a member and what it lets in, a node that was revoked,
//! an owner whose key was stolen and copies of machines do all that they can, in any order; and what has to hold is
//! looked at after each step.
//!
//! One number decides a run. A run that fails says its number:
//!
//! ```sh
//! GRID_SEED=17 cargo test -p grid-promises --test adversary -- --nocapture
//! ```
// What runs is said in the environment, and goes on two threads: both are of the test, not of the core.
#![allow(clippy::disallowed_methods)]
#![allow(
    clippy::panic,
    clippy::unwrap_used,
    clippy::print_stderr,
    unreachable_pub
)]

mod common;
#[path = "adversary/dice.rs"]
mod dice;
#[path = "adversary/end.rs"]
mod end;
#[path = "adversary/invariants.rs"]
mod invariants;
#[path = "adversary/moves/mod.rs"]
mod moves;
#[path = "adversary/play.rs"]
mod play;
#[path = "adversary/stage.rs"]
mod stage;
#[path = "adversary/temper.rs"]
mod temper;
#[path = "adversary/truth.rs"]
mod truth;

use std::any::Any;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use play::Play;

/// Runs of one test.
const SEEDS: Range<u64> = 0..1000;
/// Things that the adversary does in a run.
const STEPS: u64 = 10;
/// What one core does at once; there are two where this project is built.
const THREADS: usize = 2;

/// One run. Says what did not hold, and after which step.
fn run(seed: u64, is_told: bool) -> Result<(), String> {
    let tell = |what: &str| {
        if is_told {
            eprintln!("{what}");
        }
    };
    let mut play = Play::new(seed);
    for step in 0..STEPS {
        let (what, act) = play.dice.pick(moves::ALL);
        tell(&format!("{step}: {what}"));
        act(&mut play);
        let pause = play.dice.pick(&[0, 10, 400, 3_000, 12_000]);
        play.wait(Duration::from_millis(pause));
        play.check()
            .map_err(|error| format!("step {step} ({what}): {error}"))?;
    }
    tell("the end");
    end::settle(&mut play).map_err(|error| format!("in the end: {error}"))
}

/// What a panic said.
fn said(panic: &dyn Any) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    format!("it panicked: {}", text.unwrap_or_default())
}

/// The runs that fail, with what went wrong.
fn failures(seeds: Range<u64>) -> Vec<(u64, String)> {
    let next = AtomicU64::new(seeds.start);
    let work = || {
        let mut failed = Vec::new();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end || failed.len() >= 3 {
                return failed;
            }
            let outcome = catch_unwind(AssertUnwindSafe(|| run(seed, false)));
            let error = match outcome {
                Ok(Ok(())) => continue,
                Ok(Err(error)) => error,
                Err(panic) => said(panic.as_ref()),
            };
            failed.push((seed, error));
        }
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(work)).collect();
        let failed = threads
            .into_iter()
            .flat_map(|thread| thread.join().unwrap());
        failed.collect()
    })
}

fn assert_none_fails(seeds: Range<u64>) {
    let failed = failures(seeds);
    let lines = failed.iter().map(|(seed, error)| {
        format!("\n{error}\n    GRID_SEED={seed} cargo test -p grid-promises --test adversary -- --nocapture")
    });
    assert!(failed.is_empty(), "{}", lines.collect::<String>());
}

/// A thousand runs, or the one that `GRID_SEED` names, step by step.
#[test]
fn an_adversary_takes_nothing_from_honest_nodes() {
    let named = std::env::var("GRID_SEED").ok();
    match named.map(|seed| seed.parse().unwrap()) {
        Some(seed) => run(seed, true).unwrap(),
        None => assert_none_fails(SEEDS),
    }
}

/// As many as `GRID_SEEDS=FROM..TO` says.
#[test]
#[ignore = "a long run: GRID_SEEDS=FROM..TO"]
fn an_adversary_takes_nothing_in_a_long_run() {
    let seeds = std::env::var("GRID_SEEDS").unwrap_or_else(|_| "1000..100000".to_owned());
    let (from, to) = seeds.split_once("..").unwrap();
    assert_none_fails(from.parse().unwrap()..to.parse().unwrap());
}
