//! Fetches the symbol tables of peers, with what a person has to see before adopting a name: the descriptors
//! and the texts of their promises. The code is not fetched for that.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use grid_keys::NodeId;
use grid_promises::ContentId;
use grid_promises::modules::fetch::{FetchRequest, Symbols};
use grid_promises::modules::{Descriptor, SymbolTable};
use tokio::task::JoinSet;
use tracing::warn;

use super::error::FetchError;
use super::fetcher::{Fetcher, Progress};
use super::peer_client::Patience;
use super::peer_failure::{PeerFailure, PeerFailures};
use super::wanted::Wanted;
use crate::Peer;
use crate::objects::Cache as _;
use crate::roots;

/// How long to wait for a peer.
const PATIENCE: Patience = Patience {
    connect: Duration::from_secs(10),
    answer: Duration::from_secs(10),
};
/// The same, where it is one of many and a person is waiting for an error.
const HASTE: Patience = Patience {
    connect: Duration::from_secs(2),
    answer: Duration::from_secs(2),
};
/// The longest promise text that is fetched unasked, in bytes.
const MAX_TEXT: u64 = 256 << 10;
/// How much is fetched for one table, descriptors and texts together, in bytes.
const MAX_BYTES: u64 = 64 << 20;
/// How many objects are requested at once.
const AT_ONCE: usize = 8;
/// How many peers are asked for a name.
const MAX_ASKED: usize = 64;

/// A peer's table that is now in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerTable {
    /// The table.
    pub table: ContentId,
    /// The names whose descriptor or promise text could not be fetched, and why.
    pub missing: BTreeMap<String, String>,
}

/// Asks peers for their tables. Cheap to clone.
#[derive(Clone)]
pub(super) struct PeerTables {
    fetcher: Fetcher,
}

impl PeerTables {
    pub(super) const fn new(fetcher: Fetcher) -> Self {
        Self { fetcher }
    }

    /// Gets the table of a peer into the store, with its descriptors and promise texts.
    ///
    /// # Errors
    /// The peer does not say which one it is, does not give it, or it is no table. A name whose descriptor or
    /// text is missing is no error.
    pub(super) async fn of(
        &self,
        peer: &Peer,
        progress: Option<&Progress>,
    ) -> Result<PeerTable, Arc<FetchError>> {
        let (id, table) = self.ask(peer, PATIENCE, progress).await?;
        let mut missing = BTreeMap::new();
        let mut left = MAX_BYTES;
        let descriptors: BTreeSet<ContentId> = table.names().values().copied().collect();
        let modules = self.all(
            peer,
            descriptors,
            Descriptor::MAX_LEN as u64,
            "a descriptor",
            &mut left,
        );
        let modules = modules.await;
        let mut texts = BTreeMap::new();
        for (id, here) in &modules {
            let read = match here {
                Ok(()) => self.descriptor(*id).await,
                Err(why) => Err(why.clone()),
            };
            texts.insert(*id, read);
        }
        let wanted = texts
            .values()
            .filter_map(|text| text.clone().ok())
            .collect();
        let here = self
            .all(peer, wanted, MAX_TEXT, "a promise text", &mut left)
            .await;
        for (name, module) in table.names() {
            let why = match texts.get(module) {
                Some(Ok(text)) => here.get(text).and_then(|here| here.clone().err()),
                Some(Err(why)) => Some(why.clone()),
                None => None,
            };
            if let Some(why) = why {
                warn!("{} names {name}: {why}", peer.node.short());
                missing.insert(name.to_string(), why);
            }
        }
        Ok(PeerTable { table: id, missing })
    }

    /// The peers whose tables have a name, and the descriptor that it stands for there. Peers that do not answer
    /// soon are skipped.
    pub(super) async fn find(&self, name: &str, peers: &[Peer]) -> BTreeMap<NodeId, ContentId> {
        let mut asked = JoinSet::new();
        for peer in peers.iter().take(MAX_ASKED).cloned() {
            let tables = self.clone();
            asked.spawn(async move { (peer.node, tables.soon(&peer).await) });
        }
        let mut found = BTreeMap::new();
        while let Some(done) = asked.join_next().await {
            if let Ok((node, Some(table))) = done
                && let Some(descriptor) = table.get(name)
            {
                found.insert(node, *descriptor);
            }
        }
        found
    }

    /// The table of a peer, unless that takes long. One that is already in the store costs one request.
    async fn soon(&self, peer: &Peer) -> Option<Arc<SymbolTable>> {
        let asked = tokio::time::timeout(HASTE.connect + HASTE.answer, self.ask(peer, HASTE, None));
        match asked.await {
            Ok(Ok((_, table))) => Some(table),
            Ok(Err(error)) => {
                tracing::debug!("{} has no table for us: {error}", peer.node.short());
                None
            }
            Err(_) => None,
        }
    }

    /// The table of a peer.
    async fn ask(
        &self,
        peer: &Peer,
        patience: Patience,
        progress: Option<&Progress>,
    ) -> Result<(ContentId, Arc<SymbolTable>), Arc<FetchError>> {
        let client = self.fetcher.client();
        let symbols = client.ask::<Symbols>(peer, &FetchRequest::Symbols, patience);
        let id = match symbols.await {
            Ok(symbols) => symbols.table,
            Err(failure) => {
                if let PeerFailure::Lied(what) = &failure {
                    client.note_lie(peer.node, what);
                }
                return Err(Arc::new(FetchError::NoTable(PeerFailures(
                    [(peer.node, failure)].into(),
                ))));
            }
        };
        let wanted = Wanted {
            id,
            limit: SymbolTable::MAX_LEN as u64,
            what: "a symbol table",
        };
        let from = std::slice::from_ref(peer);
        self.fetcher.fetch(wanted, from, progress).await?;
        let bytes = self.bytes(id).await.ok_or(FetchError::GivenUp(id))?;
        let table = SymbolTable::decode(&bytes).map_err(|error| FetchError::Kind {
            id,
            peer: peer.node.short().into(),
            what: "its symbol table",
            why: error.to_string().into(),
        })?;
        Ok((id, Arc::new(table)))
    }

    /// Gets objects into the store, in no particular order, and says why for those that could not be had.
    /// `left` is how many bytes they may have together.
    async fn all(
        &self,
        peer: &Peer,
        ids: BTreeSet<ContentId>,
        limit: u64,
        what: &'static str,
        left: &mut u64,
    ) -> BTreeMap<ContentId, Result<(), String>> {
        let mut all = BTreeMap::new();
        let mut waiting = ids.into_iter();
        let mut asked = JoinSet::new();
        loop {
            while asked.len() < AT_ONCE
                && let Some(id) = waiting.next()
            {
                let limit = limit.min(*left);
                let (fetcher, peer) = (self.fetcher.clone(), peer.clone());
                asked.spawn(async move {
                    let wanted = Wanted { id, limit, what };
                    (id, fetcher.fetch(wanted, &[peer], None).await)
                });
            }
            let Some(done) = asked.join_next().await else {
                return all;
            };
            if let Ok((id, obtained)) = done {
                let bytes = obtained.as_ref().map_or(0, |obtained| obtained.bytes);
                *left = left.saturating_sub(bytes);
                all.insert(id, obtained.map(drop).map_err(|error| error.to_string()));
            }
        }
    }

    /// The promise of a module that is in the store.
    async fn descriptor(&self, id: ContentId) -> Result<ContentId, String> {
        let bytes = self.bytes(id).await;
        let bytes = bytes.ok_or_else(|| format!("{id} is not in the store any more"))?;
        Descriptor::decode(&bytes)
            .map(|module| *module.promise())
            .map_err(|error| format!("{id} is no module descriptor: {error}"))
    }

    async fn bytes(&self, id: ContentId) -> Option<Vec<u8>> {
        let objects = self.fetcher.objects().clone();
        let reading = tokio::task::spawn_blocking(move || {
            let object = roots::local(&objects).get(&id).ok()??;
            object.bytes().map(<[u8]>::to_vec)
        });
        reading.await.ok()?
    }
}
