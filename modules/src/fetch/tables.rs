//! The symbol table that a peer stands by, with all that a person has to see before adopting a name of
//! it: the descriptors, and the texts of their promises. The code is not fetched for that.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use grid_keys::NodeId;
use grid_promises::ContentId;
use grid_promises::modules::fetch::{FetchRequest, Symbols};
use grid_promises::modules::{Descriptor, SymbolTable};
use tokio::task::JoinSet;
use tracing::warn;

use super::Progress;
use super::client::Patience;
use super::error::{FetchError, Peers, Told};
use super::fetcher::Asking;
use super::session::Wanted;
use crate::Peer;
use crate::objects::Cache as _;
use crate::roots;

/// How long a peer is waited for.
const PATIENCE: Patience = Patience {
    connect: Duration::from_secs(10),
    answer: Duration::from_secs(10),
};
/// The same, if it is one of many and a person waits for an error.
const HASTE: Patience = Patience {
    connect: Duration::from_secs(2),
    answer: Duration::from_secs(2),
};
/// The longest promise text that is fetched unseen, in bytes.
const MAX_TEXT: u64 = 256 << 10;
/// How much of the descriptors and texts of one table is fetched, in bytes.
const MAX_BYTES: u64 = 64 << 20;
/// How many are asked for at once.
const AT_ONCE: usize = 8;
/// How many peers are asked for a name, and how many at once.
const MAX_ASKED: usize = 64;

/// A table of a peer that is in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableOf {
    /// The table.
    pub table: ContentId,
    /// The names whose descriptor or promise text could not be had, and why.
    pub missing: BTreeMap<String, String>,
}

/// Asks peers for their tables. Cheap to clone.
#[derive(Clone)]
pub(super) struct Tables {
    asking: Asking,
}

impl Tables {
    pub(super) const fn new(asking: Asking) -> Self {
        Self { asking }
    }

    /// Has the table of a peer in the store, with descriptors and promise texts.
    ///
    /// # Errors
    /// The peer does not say which one it is, does not give it, or it is none. Of what a table names
    /// each can be missing by itself.
    pub(super) async fn of(
        &self,
        peer: &Peer,
        progress: Option<&Progress>,
    ) -> Result<TableOf, Arc<FetchError>> {
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
        Ok(TableOf { table: id, missing })
    }

    /// The peers whose tables have a name, and the descriptors that it stands for there. Peers that do
    /// not answer soon are passed over.
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

    /// The table of a peer, unless that takes long. One that is in the store already costs a question.
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
        let contacts = &self.asking.means().contacts;
        let symbols = contacts.ask::<Symbols>(peer, &FetchRequest::Symbols, patience);
        let id = match symbols.await {
            Ok(symbols) => symbols.table,
            Err(told) => {
                if let Told::Lied(what) = &told {
                    contacts.note_lie(peer.node, what);
                }
                return Err(Arc::new(FetchError::NoTable(Peers(
                    [(peer.node, told)].into(),
                ))));
            }
        };
        let wanted = Wanted {
            id,
            limit: SymbolTable::MAX_LEN as u64,
            what: "a symbol table",
        };
        let from = std::slice::from_ref(peer);
        self.asking.fetch(wanted, from, progress).await?;
        let bytes = self.bytes(id).await.ok_or(FetchError::GivenUp(id))?;
        let table = SymbolTable::decode(&bytes).map_err(|error| FetchError::Kind {
            id,
            peer: peer.node.short().into(),
            what: "its symbol table",
            why: error.to_string().into(),
        })?;
        Ok((id, Arc::new(table)))
    }

    /// Has objects in the store, in no order; why not, for those that are not. `left` is how many
    /// bytes they may have together.
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
                let (asking, peer) = (self.asking.clone(), peer.clone());
                asked.spawn(async move {
                    let wanted = Wanted { id, limit, what };
                    (id, asking.fetch(wanted, &[peer], None).await)
                });
            }
            let Some(done) = asked.join_next().await else {
                return all;
            };
            if let Ok((id, had)) = done {
                let bytes = had.as_ref().map_or(0, |had| had.bytes);
                *left = left.saturating_sub(bytes);
                all.insert(id, had.map(drop).map_err(|error| error.to_string()));
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
        let objects = self.asking.means().objects.clone();
        let reading = tokio::task::spawn_blocking(move || {
            let object = roots::local(&objects).get(&id).ok()??;
            object.bytes().map(<[u8]>::to_vec)
        });
        reading.await.ok()?
    }
}
