//! The promise `fetch`: how this node gives objects to peers, and gets objects from them.
//!
//! ```text
//! a peer's request ── provider ── recent ── the store
//! a request here ── fetcher ── session ─┬─ client ── QUIC
//!                   tables              └─ download ── partial ── the store
//! ```
//!
//! | file | concept |
//! |---|---|
//! | `provider` | giving what this node's symbol table leads to |
//! | `recent` | the objects that were given last, verified and open |
//! | `fetcher` | getting an object, once at a time |
//! | `session` | one object, from the first question to the last byte |
//! | `download` | which chunks are missing, and who is asked for which |
//! | `verify` | what an answer of a peer is worth |
//! | `partial` | an object that is not whole yet, on disk |
//! | `client` | asking one peer one thing, and who lied |
//! | `tables` | the symbol tables of peers |
//! | `error` | why an object was not fetched |
//!
//! What this module refuses: to give what the table does not lead to, to use a byte that was not
//! verified, and to run anything.

mod client;
mod download;
mod error;
mod fetcher;
pub(crate) mod partial;
mod provider;
mod recent;
mod session;
mod tables;
mod verify;

use std::collections::BTreeMap;
use std::sync::Arc;

use grid_keys::NodeId;
use grid_net::Endpoint;
use grid_promises::ContentId;

use crate::cache_dir::CacheDir;
use crate::objects::{MAX_OBJECT, Objects};
use crate::peer::Peer;
use crate::roots;
use crate::settings::Host;
use client::Contacts;
pub use error::{FetchError, FetchFailure};
use fetcher::Asking;
pub use provider::Serving;
pub use session::Had;
use session::{Means, Wanted};
pub use tables::TableOf;
use tables::Tables;

/// How many requests a second one peer may send for long, and at once. At 256 KiB a chunk the first is
/// 250 MiB a second; what one peer may cost in work is bounded where the work is done.
pub const REQUEST_RATE: u32 = 1000;
/// See [`REQUEST_RATE`].
pub const REQUEST_BURST: u32 = 2000;

/// Told in a sentence how far a fetch is, about once a second. Must not block.
pub type Progress = dyn Fn(String) + Send + Sync;

/// Gives and gets objects. Cheap to clone.
#[derive(Clone)]
pub struct Fetching {
    host: Arc<dyn Host>,
    serving: Serving,
    asking: Asking,
    tables: Tables,
}

impl Fetching {
    /// For the objects in a folder.
    #[must_use]
    pub fn new(
        cache: &CacheDir,
        objects: &Objects,
        host: Arc<dyn Host>,
        endpoint: Endpoint,
    ) -> Self {
        let asking = Asking::new(Means {
            contacts: Arc::new(Contacts::new(endpoint)),
            objects: objects.clone(),
            partials: cache.partial(),
        });
        Self {
            serving: Serving::new(Arc::clone(&host), roots::local(objects)),
            tables: Tables::new(asking.clone()),
            host,
            asking,
        }
    }

    /// The side that gives.
    #[must_use]
    pub const fn serving(&self) -> &Serving {
        &self.serving
    }

    /// Has an object in the store: it is here, or it is asked of these peers.
    ///
    /// # Errors
    /// Nobody gave it, or it could not be stored.
    pub async fn fetch(
        &self,
        id: ContentId,
        from: &[Peer],
        progress: Option<&Progress>,
    ) -> Result<Had, Arc<FetchError>> {
        let host = Arc::clone(&self.host);
        let limit = tokio::task::spawn_blocking(move || host.settings().cache_limit.0);
        let wanted = Wanted {
            id,
            limit: limit
                .await
                .map_or(MAX_OBJECT, |limit| limit.min(MAX_OBJECT)),
            what: "an object, by \"cache_limit\" in the configuration and by the bound of 1GiB",
        };
        self.asking.fetch(wanted, from, progress).await
    }

    /// Has the symbol table of a peer in the store, with descriptors and promise texts.
    ///
    /// # Errors
    /// The table cannot be had.
    pub async fn symbols_of(
        &self,
        peer: &Peer,
        progress: Option<&Progress>,
    ) -> Result<TableOf, Arc<FetchError>> {
        self.tables.of(peer, progress).await
    }

    /// The peers whose tables have a name, and the descriptors that it stands for there.
    pub async fn find(&self, name: &str, peers: &[Peer]) -> BTreeMap<NodeId, ContentId> {
        self.tables.find(name, peers).await
    }
}
