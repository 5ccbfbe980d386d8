//! Modules in WebAssembly.
//!
//! | file | concept |
//! |---|---|
//! | `mod` | the engine: loading a module, once |
//! | `run` | one call: a fresh instance, its budget, its answer |
//! | `host` | the one import, and what a guest may ask with it |
//! | `compiled` | compiled modules on disk |
//! | `ticker` | time for guests |
//! | `slots` | how many guests may run at once |
//!
//! Every call gets an instance of its own out of a pool, and the instance is gone with the call:
//! a guest cannot keep anything. It can compute, use its memory, and ask the host by `grid.call`;
//! there is nothing else to import, and each thing that it may ask has to stand in its module.
//! What a module computes does not depend on the machine: NaNs are canonical, relaxed vector
//! instructions and threads are off.

mod compiled;
mod host;
mod run;
mod slots;
mod ticker;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use grid_files::FileError;
use grid_promises::ContentId;
use wasmtime::{Config, Enabled, Engine, InstancePre, Linker, Module, ModuleExport};
use wasmtime::{InstanceAllocationStrategy, PoolingAllocationConfig};

use super::Verdicts;
use super::error::ModuleError;
use super::limits::{Limits, MAX_TABLE};
use super::manifest::{Manifest, Outline, missing};
use super::objects::Objects;
use compiled::Compiled;
use host::State;
use slots::Slots;
use ticker::Ticker;

/// The export that is the guest's memory.
pub const MEMORY: &str = "memory";
/// The export that is the entry point *accept*.
pub const ACCEPT: &str = "promise_accept";
/// The export that is the entry point *handle*.
pub const HANDLE: &str = "promise_handle";

/// How many modules stay loaded. One that is used again after it made room costs the reading of its
/// compiled form.
const MAX_LOADED: usize = 64;
const PAGE: usize = 64 * 1024;

/// How an engine is set up.
pub struct Settings {
    /// What modules may use.
    pub limits: Limits,
    /// The promises that lead an answer to *accept*.
    pub verdicts: Verdicts,
    /// Where the call `get` looks.
    pub objects: Arc<dyn Objects>,
    /// A folder of this program's own for compiled modules; made if it is not there. Without one,
    /// modules are compiled again by every process.
    pub compiled: Option<PathBuf>,
}

/// An engine that runs modules. One for a process is enough: it reserves address space for all
/// instances that may run at once, and has a thread of its own.
pub struct Wasm {
    shared: Arc<Shared>,
    compiled: Option<Compiled>,
    linker: Linker<State>,
    /// The most recently used last.
    loaded: Mutex<Vec<Arc<WasmModule>>>,
    /// Held while compiling, so that hostile modules cost one core at most.
    compiling: Mutex<()>,
}

/// What all modules of an engine share.
struct Shared {
    engine: Engine,
    limits: Limits,
    verdicts: Verdicts,
    objects: Arc<dyn Objects>,
    ticker: Ticker,
    slots: Slots,
}

/// A module that is ready to run. Its entry points are those of [`super::Executor`].
pub struct WasmModule {
    id: ContentId,
    manifest: Arc<Manifest>,
    shared: Arc<Shared>,
    pre: InstancePre<State>,
    memory: ModuleExport,
    accept: ModuleExport,
    handle: ModuleExport,
}

impl Wasm {
    /// Starts an engine.
    ///
    /// # Errors
    /// The folder for compiled modules cannot be trusted, or the system gives no address space or
    /// thread. Nothing was changed, but that the folder may have been made.
    pub fn new(mut settings: Settings) -> Result<Self, SetUpError> {
        settings.limits.memory -= settings.limits.memory % PAGE;
        let engine = Engine::new(&config(&settings.limits)).map_err(engine_failed)?;
        let compiled = match settings.compiled {
            Some(folder) => Some(Compiled::open(folder, &engine)?),
            None => None,
        };
        let mut linker = Linker::new(&engine);
        linker
            .func_wrap("grid", "call", host::call)
            .map_err(engine_failed)?;
        let shared = Shared {
            ticker: Ticker::start(&engine).map_err(SetUpError::Thread)?,
            slots: Slots::new(settings.limits.instances),
            engine,
            limits: settings.limits,
            verdicts: settings.verdicts,
            objects: settings.objects,
        };
        Ok(Self {
            shared: Arc::new(shared),
            compiled,
            linker,
            loaded: Mutex::default(),
            compiling: Mutex::default(),
        })
    }

    /// A module that was loaded not long ago.
    #[must_use]
    pub fn loaded(&self, id: &ContentId) -> Option<Arc<WasmModule>> {
        let mut loaded = lock(&self.loaded);
        let at = loaded.iter().position(|module| module.id == *id)?;
        let module = loaded.remove(at);
        loaded.push(module.clone());
        Some(module)
    }

    /// Makes a module ready to run: checks it, and compiles it if that was not done before. Compiling
    /// takes 5 ms for a small module and about two seconds a megabyte.
    ///
    /// # Errors
    /// The module cannot be used here, for ever: see [`ModuleError`].
    pub fn load(&self, id: &ContentId, bytes: &[u8]) -> Result<Arc<WasmModule>, ModuleError> {
        if let Some(module) = self.loaded(id) {
            return Ok(module);
        }
        id.verify(bytes)?;
        let outline = Outline::read(bytes)?;
        outline.check_interface(self.shared.limits.memory)?;
        let _one_at_a_time = lock(&self.compiling);
        // Somebody else may have done it while this one waited.
        if let Some(module) = self.loaded(id) {
            return Ok(module);
        }
        let module = Arc::new(self.ready(id, outline.manifest, &self.compile(id, bytes)?)?);
        let mut loaded = lock(&self.loaded);
        if loaded.len() >= MAX_LOADED {
            loaded.remove(0);
        }
        loaded.push(module.clone());
        Ok(module)
    }

    fn compile(&self, id: &ContentId, bytes: &[u8]) -> Result<Module, ModuleError> {
        let engine = &self.shared.engine;
        if let Some(module) = self
            .compiled
            .as_ref()
            .and_then(|cache| cache.load(id, engine))
        {
            return Ok(module);
        }
        let module = Module::from_binary(engine, bytes).map_err(invalid)?;
        if let Some(cache) = &self.compiled {
            cache.save(id, &module);
        }
        Ok(module)
    }

    fn ready(
        &self,
        id: &ContentId,
        manifest: Manifest,
        module: &Module,
    ) -> Result<WasmModule, ModuleError> {
        let pre = self.linker.instantiate_pre(module).map_err(|error| {
            // `check_interface` has seen that there is no other import.
            if module.imports().len() > 0 {
                ModuleError::ImportType
            } else {
                invalid(error)
            }
        })?;
        Ok(WasmModule {
            id: *id,
            manifest: Arc::new(manifest),
            shared: self.shared.clone(),
            memory: exported(module, MEMORY, |kind| kind.memory().is_some())?,
            accept: exported(module, ACCEPT, is_entry_point)?,
            handle: exported(module, HANDLE, is_entry_point)?,
            pre,
        })
    }
}

impl WasmModule {
    /// The module's content id.
    #[must_use]
    pub const fn id(&self) -> &ContentId {
        &self.id
    }

    /// What the module says about itself.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }
}

impl std::fmt::Debug for Wasm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let loaded = lock(&self.loaded).len();
        f.debug_struct("Wasm")
            .field("limits", &self.shared.limits)
            .field("loaded", &loaded)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for WasmModule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WasmModule")
            .field("id", &self.id)
            .field("name", &self.manifest.name)
            .finish_non_exhaustive()
    }
}

fn is_entry_point(kind: &wasmtime::ExternType) -> bool {
    kind.func().is_some_and(|function| {
        function.params().len() == 0
            && function.results().len() == 1
            && function.results().all(|result| result.is_i64())
    })
}

fn exported(
    module: &Module,
    name: &'static str,
    fits: impl Fn(&wasmtime::ExternType) -> bool,
) -> Result<ModuleExport, ModuleError> {
    module
        .get_export(name)
        .filter(fits)
        .and_then(|_| module.get_export_index(name))
        .ok_or(missing(name))
}

/// What the engine has to say, in one line.
fn says(error: &wasmtime::Error) -> String {
    format!("{error:#}").replace('\n', " ")
}

fn invalid(error: wasmtime::Error) -> ModuleError {
    ModuleError::Invalid { why: says(&error) }
}

fn engine_failed(error: wasmtime::Error) -> SetUpError {
    SetUpError::Engine(says(&error))
}

/// A panic while a lock was held leaves nothing half done here: all that is locked is changed by
/// single operations.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn config(limits: &Limits) -> Config {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_core_instances(limits.instances)
        .total_memories(limits.instances)
        .total_tables(limits.instances)
        .max_memories_per_module(1)
        .max_tables_per_module(1)
        .table_elements(MAX_TABLE)
        .max_memory_size(limits.memory)
        // Memory that a guest touched is wiped and kept, up to this much of an instance, rather than
        // given back to the system and faulted in again: that was half the cost of a call to a guest
        // in Rust. From Linux 6.7 the system says which pages were touched; before, all of the first
        // 2 MiB that the guest has are wiped.
        .linear_memory_keep_resident(32 * PAGE)
        .pagemap_scan(Enabled::Auto)
        .table_keep_resident(PAGE);
    let mut config = Config::new();
    config
        .allocation_strategy(InstanceAllocationStrategy::Pooling(pool))
        .consume_fuel(true)
        .epoch_interruption(true)
        .cranelift_nan_canonicalization(true)
        .wasm_relaxed_simd(false)
        .wasm_memory64(false)
        .wasm_multi_memory(false)
        // Not the default of 4 GiB an instance: that is more than some machines let a process have.
        .memory_reservation(limits.memory as u64);
    config
}

/// An engine that could not be started.
#[derive(Debug, thiserror::Error)]
pub enum SetUpError {
    /// The folder for compiled modules cannot be used.
    #[error(transparent)]
    Folder(#[from] FileError),
    /// No thread for the clock of guests.
    #[error("cannot start a thread: {0}; try again")]
    Thread(std::io::Error),
    /// The engine itself: no address space (`ulimit -v`?), or a processor that it does not know.
    #[error("the WebAssembly engine does not start: {0}")]
    Engine(String),
}
