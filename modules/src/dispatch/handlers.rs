//! The modules of this node's symbol table that may handle messages of peers, by their promise.
//!
//! Left out are built-in subcommands, which are for the owner of the home; plain programs, which need a
//! terminal; and executables that are not allowed here or were built for another platform.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use grid_promises::ContentId;
use grid_promises::modules::{Descriptor, ModuleKind, Protocol};
use parking_lot::Mutex;
use tracing::warn;

use crate::cache_dir::CacheDir;
use crate::objects::Layers;
use crate::publish::{UnknownPlatform, here};
use crate::settings::Settings;
use crate::symbols::{Symbols, SymbolsError};

/// How long an incomplete table is used before it is read again.
const AGAIN: Duration = Duration::from_secs(10);
/// The most modules tried for one promise.
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
pub(super) struct Handler {
    /// Its first name.
    pub(super) name: String,
    /// What it is.
    pub(super) descriptor: Descriptor,
}

/// The modules of a symbol table, as it was when it was read.
pub(super) struct Handlers {
    modules: HashMap<ContentId, Vec<Arc<Handler>>>,
    /// The objects that are here.
    pub(super) local: Arc<Layers>,
    table: Option<ContentId>,
    read: Instant,
    is_complete: bool,
}

/// Reads the symbol table again when it has changed.
pub(super) struct HandlersCache {
    cache: CacheDir,
    handlers: Mutex<Option<Arc<Handlers>>>,
}

impl HandlersCache {
    pub(super) fn new(cache: &CacheDir) -> Self {
        Self {
            cache: cache.clone(),
            handlers: Mutex::default(),
        }
    }

    /// The modules of the table that the settings name. Blocks.
    ///
    /// # Errors
    /// The table cannot be read.
    pub(super) fn of(&self, settings: &Settings) -> Result<Arc<Handlers>, HandlersError> {
        // Held while the table is read: others are waiting for the same.
        let mut handlers = self.handlers.lock();
        if let Some(known) = handlers.as_ref()
            && known.table == settings.symbols
            && (known.is_complete || known.read.elapsed() < AGAIN)
        {
            return Ok(Arc::clone(known));
        }
        let new = Arc::new(Handlers::read(&self.cache, settings)?);
        *handlers = Some(Arc::clone(&new));
        Ok(new)
    }
}

impl Handlers {
    fn read(cache: &CacheDir, settings: &Settings) -> Result<Self, HandlersError> {
        let symbols = Symbols::open(cache, settings.symbols)?;
        let platform = here()?;
        let mut modules: HashMap<ContentId, Vec<Arc<Handler>>> = HashMap::new();
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
                same.push(Arc::new(Handler {
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

    /// The modules that keep a promise; if a module is asked for, only that one.
    pub(super) fn modules(
        &self,
        settings: &Settings,
        promise: &ContentId,
        asked: Option<&ContentId>,
    ) -> Vec<Arc<Handler>> {
        let all = self.modules.get(promise).into_iter().flatten();
        let may = |module: &&Arc<Handler>| {
            let code = module.descriptor.code();
            let is_meant = asked.is_none_or(|asked| asked == code);
            let is_native = matches!(module.descriptor.kind(), ModuleKind::Exec { .. });
            is_meant && (!is_native || settings.allow.contains(code))
        };
        all.filter(may).cloned().collect()
    }
}
