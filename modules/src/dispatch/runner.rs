//! Running modules for peers: one engine for the server, made when it is needed first; a bounded
//! number of calls at once; equal calls of pure modules once, and their results kept.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use grid_promises::modules::ModuleKind;
use grid_promises::{ContentId, Message};
use tokio::sync::{Semaphore, watch};
use tracing::{debug, warn};

use super::handlers::Module;
use crate::cache_dir::CacheDir;
use crate::call::{Local, bytes_of, verdicts};
use crate::execute::native::{AllowList, Framed, Sealed};
use crate::execute::wasm::{Settings as EngineSettings, Wasm};
use crate::execute::{CallError, Executor, Fault, Limits, MAX_EXECUTABLE, MAX_MODULE, Verdict};
use crate::judge::Judge;
use crate::memos::Memos;
use crate::objects::{Cache as _, Layers};
use crate::settings::Settings;

/// How many modules run at once. Each may keep a core busy until its deadline.
const AT_ONCE: u32 = 4;
/// How many judges are asked at once, besides.
const JUDGES_AT_ONCE: u32 = 1;
/// How many results that peers asked for are written to `cache/calls` in an hour, and how many bytes: a
/// peer can make calls without end, and the cache is brought within its limit about as often.
const MAX_KEPT: (usize, usize) = (4096, 64 << 20);
const HOUR: Duration = Duration::from_secs(60 * 60);
/// How often the log is told that something is wrong here.
const SAY: Duration = Duration::from_secs(60);

/// What a call came to.
#[derive(Clone, Debug)]
pub(super) enum Came {
    /// The module would not take it, and why.
    Rejected(String),
    /// It answered.
    Answered(Arc<Message>),
    /// It took the call and failed at it.
    Broke(String),
    /// It failed at saying whether it takes the call.
    Silent(String),
    /// It was not run, or not to its end, by no fault of its own.
    NotNow(String),
}

/// What a call needs besides the module.
#[derive(Clone)]
pub(super) struct Means {
    /// For what is allowed.
    pub(super) settings: Arc<Settings>,
    /// The objects that are here.
    pub(super) local: Arc<Layers>,
}

type Flight = watch::Receiver<Option<Came>>;

/// Runs modules.
pub(super) struct Runner {
    cache: CacheDir,
    engine: Mutex<Option<Arc<Wasm>>>,
    memos: Memos,
    kept: Mutex<Kept>,
    /// When the log was told last that something is wrong here.
    said: Mutex<Option<Instant>>,
    flights: Mutex<HashMap<ContentId, Flight>>,
    room: Arc<Semaphore>,
    /// Judges have room of their own: peers cannot keep them waiting.
    bench: Semaphore,
}

impl Runner {
    pub(super) fn new(cache: &CacheDir) -> Self {
        Self {
            cache: cache.clone(),
            engine: Mutex::default(),
            memos: Memos::of(cache),
            kept: Mutex::default(),
            said: Mutex::default(),
            flights: Mutex::default(),
            room: Arc::new(Semaphore::new(AT_ONCE as usize)),
            bench: Semaphore::new(JUDGES_AT_ONCE as usize),
        }
    }

    /// Asks a judge.
    ///
    /// # Errors
    /// Why it does not say anything.
    pub(super) async fn judge(
        self: &Arc<Self>,
        judge: ContentId,
        records: Vec<u8>,
        means: impl FnOnce() -> Result<Means, String> + Send + 'static,
    ) -> Result<Vec<u8>, String> {
        // Never closed.
        let _seat = self.bench.acquire().await;
        let runner = Arc::clone(self);
        let asking = tokio::task::spawn_blocking(move || {
            let means = means()?;
            let engine = runner.engine(&means)?;
            Judge::load(&engine, &*means.local, &judge)?.ask(&records)
        });
        let asked = asking.await;
        asked.unwrap_or_else(|_| Err("the call was given up".to_owned()))
    }

    /// Has a module take and handle a message, or joins an equal call of a pure one that is under way.
    pub(super) async fn run(
        self: &Arc<Self>,
        module: &Arc<Module>,
        message: &Message,
        means: &Means,
    ) -> Came {
        let call = Message {
            module: Some(*module.descriptor.code()),
            proof: None,
            ..message.clone()
        };
        let mut flight = self.flight(module, call, means);
        let came = flight.wait_for(Option::is_some).await;
        let came = came.ok().and_then(|came| came.clone());
        came.unwrap_or_else(|| Came::NotNow("the call was given up".to_owned()))
    }

    fn flight(self: &Arc<Self>, module: &Arc<Module>, call: Message, means: &Means) -> Flight {
        let id = module.descriptor.is_pure().then(|| call.id());
        let (end, flight) = watch::channel(None);
        if let Some(id) = id {
            let mut flights = self.flights();
            if let Some(flight) = flights.get(&id) {
                return flight.clone();
            }
            flights.insert(id, flight.clone());
        }
        let (runner, module, means) = (Arc::clone(self), Arc::clone(module), means.clone());
        // A task of its own: who asked first may give up while others wait.
        tokio::spawn(async move {
            // Never closed.
            let _room = runner.room.acquire().await;
            let worker = Arc::clone(&runner);
            let work = move || worker.run_now(&module, &call, &means);
            let came = tokio::task::spawn_blocking(work).await.ok();
            // First, so that who comes from now on finds the result that is kept.
            if let Some(id) = id {
                runner.flights().remove(&id);
            }
            if let Some(came) = came {
                end.send_replace(Some(came));
            }
        });
        flight
    }

    fn flights(&self) -> std::sync::MutexGuard<'_, HashMap<ContentId, Flight>> {
        self.flights.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Blocks.
    fn run_now(&self, module: &Module, call: &Message, means: &Means) -> Came {
        let is_pure = module.descriptor.is_pure();
        if is_pure && let Some(known) = self.memos.get(call) {
            return Came::Answered(Arc::new(known));
        }
        let code = match self.code(module, means) {
            Ok(code) => code,
            Err(came) => return came,
        };
        match code.accept(call) {
            Ok(Verdict::Accepted(_)) => {}
            Ok(Verdict::Rejected(why)) => {
                let why = String::from_utf8_lossy(&why.payload);
                return Came::Rejected(why.trim().chars().take(500).collect());
            }
            Err(error) => {
                return match self.failed(module, &error) {
                    Came::Broke(why) => Came::Silent(why),
                    came => came,
                };
            }
        }
        match code.handle(call, &call.payload) {
            Ok(answer) => {
                if is_pure {
                    self.keep(call, &answer);
                }
                Came::Answered(Arc::new(answer))
            }
            Err(error) => self.failed(module, &error),
        }
    }

    fn code(&self, module: &Module, means: &Means) -> Result<Arc<dyn Executor>, Came> {
        let id = module.descriptor.code();
        let is_native = matches!(module.descriptor.kind(), ModuleKind::Exec { .. });
        if is_native {
            let allowed = AllowList::new(means.settings.allow.iter().copied()).check(id);
            let allowed = allowed.map_err(|error| self.not_now(module, &error))?;
            let code = read(id, MAX_EXECUTABLE, means).map_err(|why| self.not_now(module, &why))?;
            let sealed =
                Sealed::new(allowed, &code).map_err(|error| self.not_now(module, &error))?;
            return Ok(Arc::new(Framed::new(sealed, verdicts(), &limits())));
        }
        let engine = self
            .engine(means)
            .map_err(|why| self.not_now(module, &why))?;
        if let Some(loaded) = engine.loaded(id) {
            return Ok(loaded);
        }
        let code = read(id, MAX_MODULE, means).map_err(|why| self.not_now(module, &why))?;
        match engine.load(id, &code) {
            Ok(loaded) => Ok(loaded),
            Err(error) => Err(self.not_now(module, &error)),
        }
    }

    /// The engine of this server. Starting one takes some milliseconds and address space: only
    /// servers that run modules pay for it.
    fn engine(&self, means: &Means) -> Result<Arc<Wasm>, String> {
        let mut engine = self.engine.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(engine) = engine.as_ref() {
            return Ok(Arc::clone(engine));
        }
        let new = Wasm::new(EngineSettings {
            limits: limits(),
            verdicts: verdicts(),
            objects: Arc::new(Local(Arc::clone(&means.local))),
            compiled: Some(self.cache.compiled()),
        });
        let new = Arc::new(new.map_err(|error| error.to_string())?);
        *engine = Some(Arc::clone(&new));
        Ok(new)
    }

    /// What is wrong with this node is for its own log, and there at most once a minute: a peer can call
    /// as often as it likes.
    fn not_now(&self, module: &Module, why: &dyn std::fmt::Display) -> Came {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if said.is_none_or(|said| said.elapsed() > SAY) {
            *said = Some(Instant::now());
            warn!("\"{}\" cannot be run for a peer: {why}", module.name);
        }
        Came::NotNow("the module cannot be run here at present".to_owned())
    }

    fn failed(&self, module: &Module, error: &CallError) -> Came {
        match error.fault() {
            Fault::Module => {
                // Counted: `grid routes` shows it.
                debug!("\"{}\" broke its promise to a peer: {error}", module.name);
                Came::Broke(format!("the module broke its promise: {error}"))
            }
            Fault::Host | Fault::Bug => self.not_now(module, error),
            Fault::Caller => {
                debug!("\"{}\" was not called: {error}", module.name);
                Came::Rejected(error.to_string())
            }
        }
    }

    fn keep(&self, call: &Message, answer: &Message) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let is_kept = kept.take(answer.encode().len(), Instant::now());
        drop(kept);
        if is_kept {
            self.memos.keep(call, answer);
        }
    }
}

/// What was written in this hour.
#[derive(Debug, Default)]
struct Kept {
    since: Option<Instant>,
    count: usize,
    bytes: usize,
}

impl Kept {
    /// Whether so many bytes more may be written.
    fn take(&mut self, bytes: usize, now: Instant) -> bool {
        if self
            .since
            .is_none_or(|since| now.duration_since(since) >= HOUR)
        {
            *self = Self {
                since: Some(now),
                ..Self::default()
            };
        }
        let bytes = self.bytes.saturating_add(bytes);
        let fits = self.count < MAX_KEPT.0 && bytes <= MAX_KEPT.1;
        if fits {
            (self.count, self.bytes) = (self.count + 1, bytes);
        }
        fits
    }
}

fn limits() -> Limits {
    Limits {
        instances: AT_ONCE + JUDGES_AT_ONCE,
        ..Limits::default()
    }
}

fn read(id: &ContentId, max: usize, means: &Means) -> Result<Vec<u8>, String> {
    let object = means.local.get(id).map_err(|error| error.to_string())?;
    let object = object.ok_or_else(|| format!("its code {id} is not here"))?;
    bytes_of(&object, max).ok_or_else(|| format!("its code {id} cannot be read"))
}

#[cfg(test)]
mod tests {
    use super::super::handlers::Library;
    use super::*;
    use crate::publish::Draft;
    use crate::symbols::Symbols;
    use grid_files::ByteSize;
    use grid_promises::modules::Protocol;

    fn guest(name: &str) -> Vec<u8> {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/guests");
        std::fs::read(format!("{folder}/{name}")).unwrap()
    }

    /// A node with one module.
    struct Place {
        _dir: tempfile::TempDir,
        cache: CacheDir,
        settings: Settings,
        promise: ContentId,
    }

    impl Place {
        fn with(name: &str, code: Vec<u8>, promise: Option<&str>) -> Self {
            let dir = tempfile::tempdir().unwrap();
            let cache = CacheDir::new(dir.path().join("cache"));
            let promise = promise.map(str::to_owned);
            let draft = Draft::of(code, promise, Protocol::Framed).unwrap();
            let mut symbols = Symbols::open(&cache, None).unwrap();
            let stored = draft.store(&symbols, &name.parse().unwrap()).unwrap();
            symbols.advance(stored.next.unwrap()).unwrap();
            Self {
                _dir: dir,
                cache,
                settings: Settings {
                    cache_limit: ByteSize(1 << 30),
                    symbols: Some(*symbols.id()),
                    allow: Vec::new(),
                },
                promise: *draft.module.promise(),
            }
        }

        fn look(&self) -> (Vec<Arc<Module>>, Means) {
            let settings = Arc::new(self.settings.clone());
            let shelf = Library::new(&self.cache).of(&settings).unwrap();
            let modules = shelf.modules(&settings, &self.promise, None);
            let local = Arc::clone(&shelf.local);
            (modules, Means { settings, local })
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn equal_pure_calls_fly_once_and_are_kept() {
        let place = Place::with("hello", guest("hello-c.wasm"), None);
        let (promise, (modules, means)) = (place.promise, place.look());
        let module = &modules[0];
        let runner = Arc::new(Runner::new(&place.cache));
        let code = *module.descriptor.code();
        let call = |whom: &str| Message::new(promise).module(code).arg(whom);
        // Nothing can begin, so that both come while the first is under way.
        let held = runner.room.acquire_many(AT_ONCE).await.unwrap();
        let first = runner.flight(module, call("world"), &means);
        let second = runner.flight(module, call("world"), &means);
        let other = runner.flight(module, call("you"), &means);
        assert!(first.same_channel(&second));
        assert!(!first.same_channel(&other));
        drop(held);
        for (mut flight, said) in [
            (first, "hello, world"),
            (second, "hello, world"),
            (other, "hello, you"),
        ] {
            let came = flight.wait_for(Option::is_some).await.unwrap().clone();
            let Some(Came::Answered(answer)) = came else {
                panic!("{came:?}");
            };
            assert_eq!(answer.payload, said.as_bytes());
        }
        assert!(runner.flights().is_empty());
        assert_eq!(runner.kept.lock().unwrap().count, 2);
        assert!(runner.memos.get(&call("world")).is_some());
        // What is kept is found, and not kept again; past the bound nothing is.
        runner.kept.lock().unwrap().count = MAX_KEPT.0;
        for whom in ["world", "all"] {
            let came = runner.run(module, &call(whom), &means).await;
            assert!(matches!(came, Came::Answered(_)), "{came:?}");
        }
        assert!(runner.memos.get(&call("all")).is_none());
        let came = runner.run(module, &call("you").arg("all"), &means).await;
        assert!(matches!(came, Came::Rejected(_)), "{came:?}");
    }

    #[test]
    fn each_hour_has_its_bound_of_results() {
        let (mut kept, begin) = (Kept::default(), Instant::now());
        for later in [begin, begin + HOUR, begin + 3 * HOUR] {
            assert!(!kept.take(MAX_KEPT.1 + 1, later));
            assert!(kept.take(MAX_KEPT.1, later));
            assert!(!kept.take(1, later));
            assert_eq!(
                (1..=MAX_KEPT.0).filter(|_| kept.take(0, later)).count(),
                MAX_KEPT.0 - 1
            );
            assert!(!kept.take(0, later + HOUR - Duration::from_secs(1)));
        }
    }

    #[test]
    fn an_executable_serves_peers_only_when_it_is_allowed() {
        let code = b"#!/bin/sh\n".to_vec();
        let id = ContentId::of(&code);
        let mut place = Place::with("script", code, Some("I will.\n"));
        assert!(place.look().0.is_empty());
        place.settings.allow.push(id);
        assert_eq!(place.look().0.len(), 1);
    }
}
