//! Time for guests: the engine's epoch, which a thread moves on while guests run.
//!
//! A guest looks at the epoch at every loop and function, and traps when its deadline has passed.
//! The thread sleeps for as long as no guest runs. It goes on for a while after the last one, so
//! that calls in quick succession need not wake it each time.

use std::io;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use wasmtime::Engine;

/// How often the epoch moves on.
const TICK: Duration = Duration::from_millis(10);
/// For how many ticks it goes on with nobody running.
const LINGER: u32 = 50;

/// The thread. It ends with this.
pub(super) struct Ticker {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    running: u32,
    asleep: bool,
    over: bool,
}

/// A guest that runs, until it is dropped.
pub(super) struct Running<'a>(&'a Shared);

impl Ticker {
    pub(super) fn start(engine: &Engine) -> io::Result<Self> {
        let shared = Arc::<Shared>::default();
        let (engine, seen) = (engine.clone(), shared.clone());
        let thread = std::thread::Builder::new()
            .name("grid-guest-time".to_owned())
            .spawn(move || tick(&engine, &seen))?;
        Ok(Self {
            shared,
            thread: Some(thread),
        })
    }

    /// Keeps time for a guest.
    pub(super) fn run(&self) -> Running<'_> {
        let mut state = super::lock(&self.shared.state);
        state.running += 1;
        if state.asleep {
            self.shared.changed.notify_all();
        }
        Running(&self.shared)
    }

    /// How many ticks a time is. One more than that, for the part of a tick that has passed.
    pub(super) fn ticks(time: Duration) -> u64 {
        let ticks = time.as_nanos().div_ceil(TICK.as_nanos());
        u64::try_from(ticks).unwrap_or(u64::MAX / 2) + 1
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        super::lock(&self.0.state).running -= 1;
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        super::lock(&self.shared.state).over = true;
        self.shared.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            // It panics nowhere; and there would be nothing to do.
            let _ = thread.join();
        }
    }
}

fn tick(engine: &Engine, shared: &Shared) {
    let mut idle = 0;
    let mut state = super::lock(&shared.state);
    while !state.over {
        idle = if state.running > 0 { 0 } else { idle + 1 };
        if idle > LINGER {
            state.asleep = true;
            state = shared
                .changed
                .wait_while(state, |state| state.running == 0 && !state.over)
                .unwrap_or_else(PoisonError::into_inner);
            state.asleep = false;
            idle = 0;
        }
        let (now, _) = shared
            .changed
            .wait_timeout_while(state, TICK, |state| !state.over)
            .unwrap_or_else(PoisonError::into_inner);
        state = now;
        engine.increment_epoch();
    }
}
