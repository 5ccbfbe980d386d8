//! What the crate needs to know of the program that it runs in, and of the person whose node it is.

use std::sync::Arc;

use grid_files::ByteSize;
use grid_promises::ContentId;

use crate::caller::{Admission, Caller};
use crate::peer::Peer;

/// What a person decided about modules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// How much the folder `cache/` may take.
    pub cache_limit: ByteSize,
    /// The content id of the symbol table; `None`: that of the built-in modules.
    pub symbols: Option<ContentId>,
    /// The native executables that may run here.
    pub allow: Vec<ContentId>,
}

/// The program that modules run in. Everything here may block.
pub trait Host: Send + Sync {
    /// The settings as they are now.
    fn settings(&self) -> Arc<Settings>;

    /// What this node keeps to a caller under a promise. May lag behind a change by a second.
    fn admission(&self, caller: &Caller, promise: &ContentId) -> Admission;

    /// The code of judges that this node asks: it is never evicted.
    ///
    /// # Errors
    /// Why that is not known; then nothing is evicted.
    fn judges(&self) -> Result<Vec<ContentId>, String>;

    /// The nodes that a person made peers of this one.
    fn peers(&self) -> Vec<Peer>;
}

/// A program whose settings do not change.
#[cfg(test)]
#[derive(Clone, Debug, Default)]
pub(crate) struct FixedHost {
    pub(crate) accept: Vec<ContentId>,
    pub(crate) symbols: Option<ContentId>,
}

#[cfg(test)]
impl Host for FixedHost {
    fn settings(&self) -> Arc<Settings> {
        Arc::new(Settings {
            cache_limit: ByteSize(1 << 30),
            symbols: self.symbols,
            allow: Vec::new(),
        })
    }

    fn admission(&self, _: &Caller, promise: &ContentId) -> Admission {
        if self.accept.contains(promise) {
            Admission::Known
        } else {
            Admission::NoPart
        }
    }

    fn judges(&self) -> Result<Vec<ContentId>, String> {
        Ok(Vec::new())
    }

    fn peers(&self) -> Vec<Peer> {
        Vec::new()
    }
}
