//! Runs modules for peers: one engine for the server, started when first needed; a bounded number of
//! concurrent calls; equal calls of pure modules run once, and their results are kept.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use grid_keys::NodeId;
use grid_promises::modules::ModuleKind;
use grid_promises::{ContentId, Message};
use parking_lot::Mutex;
use tokio::sync::{Semaphore, watch};
use tracing::{debug, warn};

use super::handlers::Handler;
use crate::cache_dir::CacheDir;
use crate::call::{bytes_of, verdicts};
use crate::caller::Admission;
use crate::execute::native::{AllowList, Confinement, Framed, Sealed};
use crate::execute::wasm::{Settings as EngineSettings, Wasm};
use crate::execute::{CallError, Executor, Fault, Limits, MAX_EXECUTABLE, MAX_MODULE, Verdict};
use crate::judge::Judge;
use crate::memos::Memos;
use crate::objects::{Cache as _, Layers};
use crate::published::{ForPeers, Published};
use crate::settings::{Host, Settings};
use crate::shares::Shares;

/// How many modules run at once. Each may keep one core busy until its deadline.
const AT_ONCE: u32 = 4;
/// How many calls of one peer do.
const AT_ONCE_PER_PEER: usize = 1;
/// How many judges run at once, in addition.
const JUDGES_AT_ONCE: u32 = 1;
/// How many results of peers' calls are written to `cache/calls` in an hour, and how many bytes: peers can
/// call without end, and the cache is trimmed only about that often.
const MAX_KEPT: (usize, usize) = (4096, 64 << 20);
const HOUR: Duration = Duration::from_secs(60 * 60);
/// How often the log says that something is wrong on this node.
const SAY: Duration = Duration::from_secs(60);

/// How a call ended.
#[derive(Clone, Debug)]
pub(super) enum Ran {
    /// The module rejected it, and why.
    Rejected(String),
    /// It answered.
    Answered(Arc<Message>),
    /// It accepted the call and failed.
    Broke(String),
    /// It failed to say whether it accepts the call.
    Silent(String),
    /// It did not run, or not to the end, through no fault of its own.
    NotNow(String),
}

/// What a call needs besides the module.
#[derive(Clone)]
pub(super) struct CallContext {
    /// For what is allowed.
    pub(super) settings: Arc<Settings>,
    /// The objects that are here.
    pub(super) local: Arc<Layers>,
}

/// Whose share of the places a call takes.
pub(super) type Share = (NodeId, Admission);

type Flight = watch::Receiver<Option<Ran>>;

/// Runs modules.
pub(super) struct Runner {
    host: Arc<dyn Host>,
    cache: CacheDir,
    engine: Mutex<Option<Arc<Wasm>>>,
    memos: Memos,
    kept: Mutex<Kept>,
    /// When the log last said that something is wrong on this node.
    said: Mutex<Option<Instant>>,
    flights: Mutex<HashMap<ContentId, Flight>>,
    shares: Shares,
    /// Judges have slots of their own, so that peers cannot keep them waiting.
    bench: Semaphore,
}

impl Runner {
    pub(super) fn new(cache: &CacheDir, host: Arc<dyn Host>) -> Self {
        Self {
            host,
            cache: cache.clone(),
            engine: Mutex::default(),
            memos: Memos::of(cache),
            kept: Mutex::default(),
            said: Mutex::default(),
            flights: Mutex::default(),
            shares: Shares::new(AT_ONCE as usize, AT_ONCE_PER_PEER),
            bench: Semaphore::new(JUDGES_AT_ONCE as usize),
        }
    }

    /// Asks a judge.
    ///
    /// # Errors
    /// Why it did not answer.
    pub(super) async fn judge(
        self: &Arc<Self>,
        judge: ContentId,
        records: Vec<u8>,
        context: impl FnOnce() -> Result<CallContext, String> + Send + 'static,
    ) -> Result<Vec<u8>, String> {
        // Never closed.
        let _seat = self.bench.acquire().await;
        let runner = Arc::clone(self);
        let asking = tokio::task::spawn_blocking(move || {
            let context = context()?;
            let engine = runner.engine(&context)?;
            let judge = Judge::load(&engine, &*context.local, &judge);
            let judgement = judge.and_then(|judge| judge.ask(&records));
            judgement.map_err(|error| error.to_string())
        });
        let asked = asking.await;
        asked.unwrap_or_else(|_| Err("the call was given up".to_owned()))
    }

    /// Has a module handle a message, or joins an equal call of a pure module that is already running.
    pub(super) async fn run(
        self: &Arc<Self>,
        module: &Arc<Handler>,
        message: &Message,
        context: &CallContext,
        share: Share,
    ) -> Ran {
        let call = Message {
            module: Some(*module.descriptor.code()),
            proof: None,
            ..message.clone()
        };
        let mut flight = self.flight(module, call, context, share);
        let ran = flight.wait_for(Option::is_some).await;
        let ran = ran.ok().and_then(|ran| ran.clone());
        ran.unwrap_or_else(|| Ran::NotNow("the call was given up".to_owned()))
    }

    fn flight(
        self: &Arc<Self>,
        module: &Arc<Handler>,
        call: Message,
        context: &CallContext,
        (caller, admission): Share,
    ) -> Flight {
        let id = module.descriptor.is_pure().then(|| call.id());
        let (end, flight) = watch::channel(None);
        if let Some(id) = id {
            let mut flights = self.flights();
            if let Some(flight) = flights.get(&id) {
                return flight.clone();
            }
            flights.insert(id, flight.clone());
        }
        let (runner, module, context) = (Arc::clone(self), Arc::clone(module), context.clone());
        // A task of its own: the first caller may give up while others wait.
        tokio::spawn(async move {
            let _place = runner.shares.place(caller, admission).await;
            let worker = Arc::clone(&runner);
            let work = move || worker.run_now(&module, &call, &context);
            let ran = tokio::task::spawn_blocking(work).await.ok();
            // First, so that later callers find the result on disk.
            if let Some(id) = id {
                runner.flights().remove(&id);
            }
            if let Some(ran) = ran {
                end.send_replace(Some(ran));
            }
        });
        flight
    }

    fn flights(&self) -> parking_lot::MutexGuard<'_, HashMap<ContentId, Flight>> {
        self.flights.lock()
    }

    /// Blocks.
    fn run_now(&self, module: &Handler, call: &Message, context: &CallContext) -> Ran {
        let is_pure = module.descriptor.is_pure();
        if is_pure && let Some(known) = self.memos.get(call) {
            return Ran::Answered(Arc::new(known));
        }
        let code = match self.code(module, context) {
            Ok(code) => code,
            Err(ran) => return ran,
        };
        match code.accept(call) {
            Ok(Verdict::Accepted(_)) => {}
            Ok(Verdict::Rejected(why)) => {
                let why = String::from_utf8_lossy(&why.payload);
                return Ran::Rejected(why.trim().chars().take(500).collect());
            }
            Err(error) => {
                return match self.failed(module, &error) {
                    Ran::Broke(why) => Ran::Silent(why),
                    ran => ran,
                };
            }
        }
        match code.handle(call, &call.payload) {
            Ok(answer) => {
                if is_pure {
                    self.keep(call, &answer);
                }
                Ran::Answered(Arc::new(answer))
            }
            Err(error) => self.failed(module, &error),
        }
    }

    fn code(&self, module: &Handler, context: &CallContext) -> Result<Arc<dyn Executor>, Ran> {
        let id = module.descriptor.code();
        let is_native = matches!(module.descriptor.kind(), ModuleKind::Exec { .. });
        if is_native {
            let allowed = AllowList::new(context.settings.allow.iter().copied()).check(id);
            let allowed = allowed.map_err(|error| self.not_now(module, &error))?;
            let code =
                read(id, MAX_EXECUTABLE, context).map_err(|why| self.not_now(module, &why))?;
            let sealed =
                Sealed::new(allowed, &code).map_err(|error| self.not_now(module, &error))?;
            let confinement = Confinement::new(id, self.cache.path())
                .map_err(|error| self.not_now(module, &error))?;
            let framed = Framed::new(sealed, verdicts(), &limits());
            return Ok(Arc::new(framed.confined(confinement)));
        }
        let engine = self
            .engine(context)
            .map_err(|why| self.not_now(module, &why))?;
        if let Some(loaded) = engine.loaded(id) {
            return Ok(loaded);
        }
        let code = read(id, MAX_MODULE, context).map_err(|why| self.not_now(module, &why))?;
        match engine.load(id, &code) {
            Ok(loaded) => Ok(loaded),
            Err(error) => Err(self.not_now(module, &error)),
        }
    }

    /// The engine of this server. It takes some milliseconds and address space to start, so only servers
    /// that run modules pay for it.
    fn engine(&self, context: &CallContext) -> Result<Arc<Wasm>, String> {
        let mut engine = self.engine.lock();
        if let Some(engine) = engine.as_ref() {
            return Ok(Arc::clone(engine));
        }
        let new = Wasm::new(EngineSettings {
            limits: limits(),
            verdicts: verdicts(),
            objects: Arc::new(ForPeers {
                host: Arc::clone(&self.host),
                published: Published::new((*context.local).clone()),
            }),
            compiled: Some(self.cache.compiled()),
        });
        let new = Arc::new(new.map_err(|error| error.to_string())?);
        *engine = Some(Arc::clone(&new));
        Ok(new)
    }

    /// Trouble of this node goes to its own log, at most once a minute, because peers can call as often as
    /// they like.
    fn not_now(&self, module: &Handler, why: &dyn std::fmt::Display) -> Ran {
        let mut said = self.said.lock();
        if said.is_none_or(|said| said.elapsed() > SAY) {
            *said = Some(Instant::now());
            warn!("\"{}\" cannot be run for a peer: {why}", module.name);
        }
        Ran::NotNow("the module cannot be run here at present".to_owned())
    }

    fn failed(&self, module: &Handler, error: &CallError) -> Ran {
        match error.fault() {
            Fault::Module => {
                // Counted: `grid routes` shows it.
                debug!("\"{}\" broke its promise to a peer: {error}", module.name);
                Ran::Broke(format!("the module broke its promise: {error}"))
            }
            Fault::Host | Fault::Bug => self.not_now(module, error),
            Fault::Caller => {
                debug!("\"{}\" was not called: {error}", module.name);
                Ran::Rejected(error.to_string())
            }
        }
    }

    fn keep(&self, call: &Message, answer: &Message) {
        let mut kept = self.kept.lock();
        let is_kept = kept.take(answer.encode().len(), Instant::now());
        drop(kept);
        if is_kept {
            self.memos.keep(call, answer);
        }
    }
}

/// What was written in the present hour.
#[derive(Debug, Default)]
struct Kept {
    since: Option<Instant>,
    count: usize,
    bytes: usize,
}

impl Kept {
    /// Whether this many more bytes may be written.
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

fn read(id: &ContentId, max: usize, context: &CallContext) -> Result<Vec<u8>, String> {
    let object = context.local.get(id).map_err(|error| error.to_string())?;
    let object = object.ok_or_else(|| format!("its code {id} is not here"))?;
    bytes_of(&object, max).ok_or_else(|| format!("its code {id} cannot be read"))
}

#[cfg(test)]
mod tests {
    use super::super::handlers::HandlersCache;
    use super::*;
    use crate::publish::Draft;
    use crate::settings::FixedHost;
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

        fn look(&self) -> (Vec<Arc<Handler>>, CallContext) {
            let settings = Arc::new(self.settings.clone());
            let handlers = HandlersCache::new(&self.cache).of(&settings).unwrap();
            let modules = handlers.modules(&settings, &self.promise, None);
            let local = Arc::clone(&handlers.local);
            (modules, CallContext { settings, local })
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn equal_pure_calls_fly_once_and_are_kept() {
        let place = Place::with("hello", guest("hello-c.wasm"), None);
        let (promise, (modules, context)) = (place.promise, place.look());
        let module = &modules[0];
        let runner = Arc::new(Runner::new(&place.cache, Arc::new(FixedHost::default())));
        let code = *module.descriptor.code();
        let call = |whom: &str| Message::new(promise).module(code).arg(whom);
        // Its share is taken, so that the second call comes while the first is under way.
        let share = (NodeId([1; 32]), Admission::Known);
        let held = runner.shares.place(share.0, share.1).await;
        let first = runner.flight(module, call("world"), &context, share);
        let second = runner.flight(module, call("world"), &context, share);
        let other = runner.flight(module, call("you"), &context, share);
        assert!(first.same_channel(&second));
        assert!(!first.same_channel(&other));
        drop(held);
        for (mut flight, said) in [
            (first, "hello, world"),
            (second, "hello, world"),
            (other, "hello, you"),
        ] {
            let ran = flight.wait_for(Option::is_some).await.unwrap().clone();
            let Some(Ran::Answered(answer)) = ran else {
                panic!("{ran:?}");
            };
            assert_eq!(answer.payload, said.as_bytes());
        }
        assert!(runner.flights().is_empty());
        assert_eq!(runner.kept.lock().count, 2);
        assert!(runner.memos.get(&call("world")).is_some());
        // A kept result is found and not written again; past the bound nothing is written.
        runner.kept.lock().count = MAX_KEPT.0;
        for whom in ["world", "all"] {
            let ran = runner.run(module, &call(whom), &context, share).await;
            assert!(matches!(ran, Ran::Answered(_)), "{ran:?}");
        }
        assert!(runner.memos.get(&call("all")).is_none());
        let strange = call("you").arg("all");
        let ran = runner.run(module, &strange, &context, share).await;
        assert!(matches!(ran, Ran::Rejected(_)), "{ran:?}");
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
