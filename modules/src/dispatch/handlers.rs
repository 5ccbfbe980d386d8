//! The modules of this node's symbol table that may handle messages of peers, by their promise.
//!
//! Not among them: built-in subcommands, which are for the person whose home it is; plain programs,
//! which want a terminal; executables that are not allowed or that are for another machine.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use grid_promises::ContentId;
use grid_promises::modules::{Descriptor, ModuleKind, Protocol};
use tracing::warn;

use crate::cache_dir::CacheDir;
use crate::objects::Layers;
use crate::publish::{UnknownPlatform, here};
use crate::settings::Settings;
use crate::symbols::{Symbols, SymbolsError};

/// How soon a table of which something is missing is read again.
const AGAIN: Duration = Duration::from_secs(10);
/// The most modules of one promise that are asked.
const MAX_MODULES: usize = 16;

/// Why it is not known which modules there are.
#[derive(Debug, thiserror::Error)]
pub(super) enum HandlersError {
    #[error(transparent)]
    Symbols(#[from] SymbolsError),
    #[error(transparent)]
    Platform(#[from] UnknownPlatform),
}

/// A module that may handle messages of peers.
#[derive(Debug)]
pub(super) struct Module {
    /// Its first name.
    pub(super) name: String,
    /// What it is.
    pub(super) descriptor: Descriptor,
}

/// What the table has, as it was read.
pub(super) struct Shelf {
    modules: HashMap<ContentId, Vec<Arc<Module>>>,
    /// What the home has without asking anybody.
    pub(super) local: Arc<Layers>,
    table: Option<ContentId>,
    read: Instant,
    is_complete: bool,
}

/// Reads the table when it is another than before.
pub(super) struct Library {
    cache: CacheDir,
    shelf: Mutex<Option<Arc<Shelf>>>,
}

impl Library {
    pub(super) fn new(cache: &CacheDir) -> Self {
        Self {
            cache: cache.clone(),
            shelf: Mutex::default(),
        }
    }

    /// What the table that the settings name has. Blocks.
    ///
    /// # Errors
    /// The table cannot be read.
    pub(super) fn of(&self, settings: &Settings) -> Result<Arc<Shelf>, HandlersError> {
        // Held while the table is read: others want the same.
        let mut shelf = self.shelf.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = shelf.as_ref()
            && known.table == settings.symbols
            && (known.is_complete || known.read.elapsed() < AGAIN)
        {
            return Ok(Arc::clone(known));
        }
        let new = Arc::new(Shelf::read(&self.cache, settings)?);
        *shelf = Some(Arc::clone(&new));
        Ok(new)
    }
}

impl Shelf {
    fn read(cache: &CacheDir, settings: &Settings) -> Result<Self, HandlersError> {
        let symbols = Symbols::open(cache, settings.symbols)?;
        let platform = here()?;
        let mut modules: HashMap<ContentId, Vec<Arc<Module>>> = HashMap::new();
        let mut is_complete = true;
        for (name, id) in symbols.table().names() {
            let descriptor = match symbols.descriptor(id) {
                Ok(Some(descriptor)) => descriptor,
                Ok(None) => {
                    is_complete = false;
                    continue;
                }
                Err(error) => {
                    warn!("\"{name}\" is left out: {error}");
                    is_complete = false;
                    continue;
                }
            };
            let may_serve = match descriptor.kind() {
                ModuleKind::Builtin => false,
                ModuleKind::Wasm => true,
                ModuleKind::Exec {
                    platform: its,
                    protocol,
                } => *protocol == Protocol::Framed && *its == platform,
            };
            if !may_serve {
                continue;
            }
            let same = modules.entry(*descriptor.promise()).or_default();
            let is_new = !same
                .iter()
                .any(|other| other.descriptor.code() == descriptor.code());
            if is_new && same.len() < MAX_MODULES {
                same.push(Arc::new(Module {
                    name: name.to_string(),
                    descriptor,
                }));
            }
        }
        Ok(Self {
            modules,
            local: symbols.local(),
            table: settings.symbols,
            read: Instant::now(),
            is_complete,
        })
    }

    /// Whether a module with this code is here.
    pub(super) fn has(&self, code: &ContentId) -> bool {
        let mut all = self.modules.values().flatten();
        all.any(|module| module.descriptor.code() == code)
    }

    /// The modules of a promise, and only the one with this code if it is asked for.
    pub(super) fn modules(
        &self,
        settings: &Settings,
        promise: &ContentId,
        asked: Option<&ContentId>,
    ) -> Vec<Arc<Module>> {
        let all = self.modules.get(promise).into_iter().flatten();
        let may = |module: &&Arc<Module>| {
            let code = module.descriptor.code();
            let is_meant = asked.is_none_or(|asked| asked == code);
            let is_native = matches!(module.descriptor.kind(), ModuleKind::Exec { .. });
            is_meant && (!is_native || settings.allow.contains(code))
        };
        all.filter(may).cloned().collect()
    }
}
