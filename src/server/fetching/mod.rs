//! The promise `fetch`: how this node gives objects to peers, and gets objects from them.
//!
//! ```text
//! a peer's request ── driver ── serving ── shelf ── the store
//! a command ── asking ── hunt ─┬─ contacts ── QUIC
//!                symbols       └─ download ── partial ── the store
//! ```
//!
//! | file | concept |
//! |---|---|
//! | `serving` | giving what this node's symbol table leads to |
//! | `shelf` | the objects that were given last, verified and open |
//! | `asking` | getting an object, once at a time |
//! | `hunt` | one object, from the first question to the last byte |
//! | `download` | which chunks are missing, and who is asked for which |
//! | `weighing` | what an answer of a peer is worth |
//! | `partial` | an object that is not whole yet, on disk |
//! | `contacts` | asking one peer one thing, and who lied |
//! | `symbols` | the symbol tables of peers |
//! | `collecting` | making room |
//! | `settings` | the configuration as it is now |
//! | `error` | why an object was not fetched |
//!
//! What this module refuses: to give what the table does not lead to, to use a byte that was not
//! verified, and to run anything.

mod asking;
mod collecting;
mod contacts;
mod download;
mod error;
mod hunt;
mod partial;
mod serving;
pub(super) mod settings;
mod shelf;
mod symbols;
mod weighing;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use grid_keys::NodeId;
use grid_net::Endpoint;
use grid_promises::ContentId;

use crate::home::Home;
use crate::node::Progress;
use crate::objects::{MAX_OBJECT, Objects, roots};
use crate::store::Config;
use crate::store::config::DEFAULT_CACHE_LIMIT;
use asking::Asking;
pub(super) use collecting::collect;
pub(crate) use contacts::Contact;
use contacts::Contacts;
pub(crate) use error::FetchError;
pub(crate) use hunt::Had;
use hunt::{Means, Wanted};
pub(super) use serving::{Serving, peek};
use settings::Settings;
pub(crate) use symbols::TableOf;
use symbols::Tables;

/// How many requests a second one peer may send for long, and at once. At 256 KiB a chunk the first is
/// 250 MiB a second; what one peer may cost in work is bounded where the work is done.
pub(super) const REQUEST_RATE: u32 = 1000;
/// See [`REQUEST_RATE`].
pub(super) const REQUEST_BURST: u32 = 2000;

/// Gives and gets objects. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Fetching {
    settings: Arc<Settings>,
    objects: Objects,
    partials: PathBuf,
    serving: Serving,
    asking: Asking,
    tables: Tables,
}

impl Fetching {
    /// For a home whose configuration was read a moment ago.
    pub(super) fn new(home: &Home, config: &Config, endpoint: Endpoint) -> Self {
        let settings = Arc::new(Settings::new(home, config.clone()));
        let objects = Objects::of(home);
        let partials = home.cache().join("partial");
        let asking = Asking::new(Means {
            contacts: Arc::new(Contacts::new(endpoint)),
            objects: objects.clone(),
            partials: partials.clone(),
        });
        Self {
            serving: Serving::new(Arc::clone(&settings), roots::local(&objects)),
            tables: Tables::new(asking.clone()),
            settings,
            objects,
            partials,
            asking,
        }
    }

    /// The side that gives.
    pub(super) const fn serving(&self) -> &Serving {
        &self.serving
    }

    /// Has an object in the store: it is here, or it is asked of these peers.
    ///
    /// # Errors
    /// Nobody gave it, or it could not be stored.
    pub(crate) async fn fetch(
        &self,
        id: ContentId,
        from: &[Contact],
        progress: Option<&Progress>,
    ) -> Result<Had, Arc<FetchError>> {
        let settings = Arc::clone(&self.settings);
        let limit = tokio::task::spawn_blocking(move || settings.now().cache_limit);
        let limit = limit.await.ok().flatten().unwrap_or(DEFAULT_CACHE_LIMIT).0;
        let wanted = Wanted {
            id,
            limit: limit.min(MAX_OBJECT),
            what: "an object, by \"cache_limit\" in the configuration and by the bound of 1GiB",
        };
        self.asking.fetch(wanted, from, progress).await
    }

    /// Has the symbol table of a peer in the store, with descriptors and promise texts.
    ///
    /// # Errors
    /// The table cannot be had.
    pub(crate) async fn symbols_of(
        &self,
        peer: &Contact,
        progress: Option<&Progress>,
    ) -> Result<TableOf, Arc<FetchError>> {
        self.tables.of(peer, progress).await
    }

    /// The peers whose tables have a name, and the descriptors that it stands for there.
    pub(crate) async fn find(&self, name: &str, peers: &[Contact]) -> BTreeMap<NodeId, ContentId> {
        self.tables.find(name, peers).await
    }
}
