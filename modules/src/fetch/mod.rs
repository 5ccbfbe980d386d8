//! The promise `fetch`: how this node gives objects to peers and gets objects from them.
//!
//! ```text
//! a peer's request ── provider ── recent ── the store
//! a request here ── fetcher ── session ─┬─ peer_client ── QUIC
//!                   tables              └─ download ── partial ── the store
//! ```
//!
//! | file | concept |
//! |---|---|
//! | `provider` | giving what this node's symbol table leads to |
//! | `recent` | recently given objects, verified and open |
//! | `fetcher` | getting objects, one session for each |
//! | `session` | one object, from the first request to the last byte |
//! | `download` | which chunks are missing, and which peer is asked for which |
//! | `verify` | what an answer of a peer is worth |
//! | `partial` | an incomplete object on disk |
//! | `peer_client` | asking one peer for one thing, and who lied |
//! | `tables` | the symbol tables of peers |
//! | `wanted` | an object that is wanted, and how far getting it is |
//! | `limits` | how fast peers may ask |
//! | `peer_failure`, `error` | why one peer did not give an object; why nobody did |
//!
//! It refuses to give what the table does not lead to, to use a byte that was not verified, and to run
//! anything.

mod download;
mod error;
mod fetcher;
mod limits;
pub(crate) mod partial;
mod peer_client;
mod peer_failure;
mod provider;
mod recent;
mod session;
mod tables;
mod verify;
mod wanted;

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
pub use error::{FetchError, FetchFailure};
use fetcher::Fetcher;
pub use fetcher::Progress;
pub use limits::{REQUEST_BURST, REQUEST_RATE};
use peer_client::PeerClient;
pub use provider::Provider;
use session::Resources;
pub use tables::PeerTable;
use tables::PeerTables;
pub use wanted::Obtained;
use wanted::Wanted;

/// Gives and gets objects. Cheap to clone.
#[derive(Clone)]
pub struct Fetching {
    host: Arc<dyn Host>,
    provider: Provider,
    fetcher: Fetcher,
    tables: PeerTables,
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
        let fetcher = Fetcher::new(Resources {
            client: Arc::new(PeerClient::new(endpoint)),
            objects: objects.clone(),
            partials: cache.partial(),
        });
        Self {
            provider: Provider::new(Arc::clone(&host), roots::local(objects)),
            tables: PeerTables::new(fetcher.clone()),
            host,
            fetcher,
        }
    }

    /// The side that gives.
    #[must_use]
    pub const fn provider(&self) -> &Provider {
        &self.provider
    }

    /// Makes sure that an object is in the store; if it is not, asks these peers for it.
    ///
    /// # Errors
    /// Nobody delivered it, or it could not be stored.
    pub async fn fetch(
        &self,
        id: ContentId,
        from: &[Peer],
        progress: Option<&Progress>,
    ) -> Result<Obtained, Arc<FetchError>> {
        let host = Arc::clone(&self.host);
        let limit = tokio::task::spawn_blocking(move || host.settings().cache_limit.0);
        let wanted = Wanted {
            id,
            limit: limit
                .await
                .map_or(MAX_OBJECT, |limit| limit.min(MAX_OBJECT)),
            what: "an object, by \"cache_limit\" in the configuration and by the bound of 1GiB",
        };
        self.fetcher.fetch(wanted, from, progress).await
    }

    /// Gets the symbol table of a peer into the store, with its descriptors and promise texts.
    ///
    /// # Errors
    /// The peer does not say which table is its own, or does not give it.
    pub async fn symbols_of(
        &self,
        peer: &Peer,
        progress: Option<&Progress>,
    ) -> Result<PeerTable, Arc<FetchError>> {
        self.tables.of(peer, progress).await
    }

    /// The peers whose tables have a name, and the descriptor that it stands for there.
    pub async fn find(&self, name: &str, peers: &[Peer]) -> BTreeMap<NodeId, ContentId> {
        self.tables.find(name, peers).await
    }
}
