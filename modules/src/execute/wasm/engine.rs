//! The engine: loading a module, once.

use std::path::PathBuf;
use std::sync::Arc;

use grid_promises::ContentId;
use parking_lot::Mutex;
use wasmtime::{Config, Enabled, Engine, Linker, Module, ModuleExport};
use wasmtime::{InstanceAllocationStrategy, PoolingAllocationConfig};

use super::compiled::Compiled;
use super::failure::{SetUpError, says};
use super::host::{self, State};
use super::module::{Shared, WasmModule};
use super::slots::Slots;
use super::ticker::Ticker;
use crate::execute::abi::{ACCEPT, HANDLE, MEMORY};
use crate::execute::error::ModuleError;
use crate::execute::executor::Verdicts;
use crate::execute::limits::{Limits, MAX_TABLE};
use crate::execute::manifest::{Manifest, Outline, missing};
use crate::execute::object_source::ObjectSource;

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
    pub objects: Arc<dyn ObjectSource>,
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
        let mut loaded = self.loaded.lock();
        let at = loaded.iter().position(|module| module.id() == id)?;
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
        let _one_at_a_time = self.compiling.lock();
        // Somebody else may have done it while this one waited.
        if let Some(module) = self.loaded(id) {
            return Ok(module);
        }
        let module = Arc::new(self.ready(id, outline.manifest, &self.compile(id, bytes)?)?);
        let mut loaded = self.loaded.lock();
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

impl std::fmt::Debug for Wasm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let loaded = self.loaded.lock().len();
        f.debug_struct("Wasm")
            .field("limits", &self.shared.limits)
            .field("loaded", &loaded)
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

fn invalid(error: wasmtime::Error) -> ModuleError {
    ModuleError::Invalid { why: says(&error) }
}

fn engine_failed(error: wasmtime::Error) -> SetUpError {
    SetUpError::Engine(says(&error))
}

pub(super) fn config(limits: &Limits) -> Config {
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
