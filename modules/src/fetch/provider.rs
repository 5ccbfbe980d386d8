//! Gives objects to peers that ask for them.
//!
//! It gives what this node's symbol table leads to, and nothing else. Every request gets an answer, if only
//! a refusal, and asking costs nobody their connection.

use std::sync::Arc;

use grid_net::Responder;
use grid_promises::content_id::ContentId;
use grid_promises::modules::fetch::{
    Chunk, FetchRequest, Given as _, MAX_WHOLE, Offer, Symbols, refuse, reject,
};
use grid_promises::{Message, texts};
use tracing::{debug, warn};

use super::recent::RecentObjects;
use crate::caller::Caller;
use crate::objects::{CacheError, Layers};
use crate::published::{Published, Table};
use crate::settings::Host;
use crate::shares::Shares;

/// How many requests are worked on at once.
const AT_ONCE: usize = 16;
/// How many of one peer.
const AT_ONCE_PER_PEER: usize = 4;
/// Gives objects. Cheap to clone.
#[derive(Clone)]
pub struct Provider(Arc<Inner>);

struct Inner {
    host: Arc<dyn Host>,
    recent: RecentObjects,
    published: Published,
    shares: Shares,
}

impl Provider {
    /// What is given is read from `local`.
    pub(super) fn new(host: Arc<dyn Host>, local: Layers) -> Self {
        Self(Arc::new(Inner {
            host,
            published: Published::new(local.clone()),
            recent: RecentObjects::new(local),
            shares: Shares::new(AT_ONCE, AT_ONCE_PER_PEER),
        }))
    }

    /// Answers a request of a peer, in the background.
    /// `done` is shown the answer before it goes.
    pub fn take(
        &self,
        caller: Caller,
        message: Vec<u8>,
        respond: Responder,
        done: impl FnOnce(&[u8]) + Send + 'static,
    ) {
        let inner = Arc::clone(&self.0);
        tokio::spawn(async move {
            let admission = inner.host.admission(&caller, &texts::FETCH.id());
            let _place = inner.shares.place(caller.node, admission).await;
            if respond.is_closed() {
                return;
            }
            let worker = Arc::clone(&inner);
            let answer =
                tokio::task::spawn_blocking(move || worker.answer(&caller, &message)).await;
            if let Ok(answer) = answer {
                done(&answer);
                respond.send(answer);
            }
        });
    }
}

impl Inner {
    /// Blocks.
    fn answer(&self, caller: &Caller, message: &[u8]) -> Vec<u8> {
        let promise = texts::FETCH.id();
        if !self.host.admission(caller, &promise).is_granted() {
            return reject(&promise);
        }
        let request = Message::decode(message, &Message::BOUNDS)
            .map_err(|error| error.to_string())
            .and_then(|message| FetchRequest::read(&message).map_err(|error| error.to_string()));
        let request = match request {
            Ok(request) => request,
            Err(why) => return refuse(&why),
        };
        match self.give(self.host.settings().symbols, &request) {
            Ok(answer) => answer,
            Err(why) => {
                debug!("{} is not given {request:?}: {why}", caller.node.short());
                refuse(&why)
            }
        }
    }

    fn give(&self, symbols: Option<ContentId>, request: &FetchRequest) -> Result<Vec<u8>, String> {
        let table = self.published.table(symbols)?;
        match request {
            FetchRequest::Symbols => Ok(Symbols { table: table.id() }.answer()),
            FetchRequest::Object(id) => self.object(&table, id),
            FetchRequest::Chunk(id, index) => self.chunk(&table, id, *index),
        }
    }

    fn object(&self, table: &Table, id: &ContentId) -> Result<Vec<u8>, String> {
        table.allows(id)?;
        if let Some(bytes) = self.published.first_table(id) {
            return Ok(Offer::Whole(bytes.into()).answer());
        }
        let held = self.held(id)?;
        if held.object.len() > MAX_WHOLE as u64 {
            let manifest = held.manifest().map_err(|error| self.damaged(id, &error))?;
            return Ok(Offer::InChunks(manifest.to_vec().into()).answer());
        }
        let bytes = held
            .object
            .chunk(0)
            .map_err(|error| self.damaged(id, &error))?;
        Ok(Offer::Whole(bytes.into()).answer())
    }

    fn chunk(&self, table: &Table, id: &ContentId, index: u32) -> Result<Vec<u8>, String> {
        table.allows(id)?;
        let held = self.held(id)?;
        let number = usize::try_from(index).unwrap_or(usize::MAX);
        let bytes = held
            .object
            .chunk(number)
            .map_err(|error| self.damaged(id, &error))?;
        if bytes.is_empty() {
            return Err(format!("{id} has no chunk {index}"));
        }
        Ok(Chunk {
            bytes: bytes.into(),
        }
        .answer())
    }

    fn held(&self, id: &ContentId) -> Result<Arc<super::recent::Held>, String> {
        let held = self
            .recent
            .get(id)
            .map_err(|error| self.damaged(id, &error))?;
        held.ok_or_else(|| format!("this node's table leads to {id}, but it does not have it"))
    }

    /// What is wrong with this node's disk is for its own log.
    fn damaged(&self, id: &ContentId, error: &CacheError) -> String {
        warn!("a peer asked for {id}: {error}");
        self.recent.forget(id);
        format!("{id} cannot be read here at present")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache_dir::CacheDir;
    use crate::objects::Objects;
    use crate::roots;
    use crate::settings::FixedHost;
    use grid_keys::NodeId;
    use grid_promises::content_id::HashCode;
    use grid_promises::modules::fetch::{Fetched, read_rejection};
    use grid_promises::modules::{Descriptor, Manifest, ModuleKind, SymbolTable, builtins};

    struct Node {
        _dir: tempfile::TempDir,
        objects: Objects,
        host: FixedHost,
    }

    fn node() -> Node {
        let dir = tempfile::tempdir().unwrap();
        let objects = Objects::of(&CacheDir::new(dir.path().join("cache")));
        let host = FixedHost {
            accept: vec![texts::FETCH.id()],
            symbols: None,
        };
        Node {
            _dir: dir,
            objects,
            host,
        }
    }

    impl Node {
        fn put(&self, bytes: &[u8]) -> ContentId {
            self.objects.put(HashCode::Sha2_256, bytes).unwrap().id
        }

        fn provider(&self) -> Provider {
            Provider::new(Arc::new(self.host.clone()), roots::local(&self.objects))
        }

        fn ask(&self, request: &FetchRequest) -> Vec<u8> {
            self.provider().0.answer(&caller(), &request.encode())
        }

        fn offer(&self, id: ContentId) -> Fetched<Offer> {
            Offer::read_answer(&self.ask(&FetchRequest::Object(id))).unwrap()
        }
    }

    fn caller() -> Caller {
        Caller {
            node: NodeId([1; 32]),
            networks: Vec::new(),
        }
    }

    fn is_refused(offer: &Fetched<Offer>) -> bool {
        matches!(offer, Fetched::Refused(_))
    }

    #[test]
    fn what_the_table_leads_to_is_given_and_nothing_else() {
        let mut node = node();
        let code = node.put(&vec![3; 300_000]);
        let text = node.put(b"I will");
        let secret = node.put(b"nobody's business");
        let module = Descriptor::new(text, ModuleKind::Wasm, code);
        let descriptor = node.put(&module.encode());
        let old = SymbolTable::first([("old".parse().unwrap(), descriptor)].into()).unwrap();
        node.put(&old.encode());
        let missing = ContentId::of(b"not here");
        let table = old.with("new".parse().unwrap(), missing).unwrap().unwrap();
        node.put(&table.encode());
        // As long as the configuration does not name it, nothing of it is given.
        assert!(is_refused(&node.offer(descriptor)));
        node.host.symbols = Some(table.id());
        let symbols = Symbols::read_answer(&node.ask(&FetchRequest::Symbols));
        assert_eq!(symbols, Ok(Fetched::Given(Symbols { table: table.id() })));
        for (id, bytes) in [
            (table.id(), table.encode()),
            (old.id(), old.encode()),
            (descriptor, module.encode()),
            (text, b"I will".to_vec()),
        ] {
            assert_eq!(node.offer(id), Fetched::Given(Offer::Whole(bytes.into())));
        }
        let manifest = Manifest::of(&vec![3; 300_000]).unwrap().encode();
        let chunks = Offer::InChunks(manifest.into());
        assert_eq!(node.offer(code), Fetched::Given(chunks));
        let chunk = |index| Chunk::read_answer(&node.ask(&FetchRequest::Chunk(code, index)));
        let Ok(Fetched::Given(last)) = chunk(1) else {
            panic!("no second chunk");
        };
        assert_eq!(last.bytes.len(), 300_000 - (256 << 10));
        assert!(matches!(chunk(2), Ok(Fetched::Refused(_))));
        for id in [secret, missing, ContentId::of(b"never heard of")] {
            assert!(is_refused(&node.offer(id)));
        }
        let secret = node.ask(&FetchRequest::Chunk(secret, 0));
        assert!(matches!(
            Chunk::read_answer(&secret),
            Ok(Fetched::Refused(_))
        ));
    }

    #[test]
    fn a_node_without_a_table_stands_by_that_of_its_builtins() {
        let node = node();
        let first = SymbolTable::first(builtins::names()).unwrap();
        let Fetched::Given(Offer::Whole(bytes)) = node.offer(first.id()) else {
            panic!("the table is not given");
        };
        assert_eq!(SymbolTable::decode(&bytes), Ok(first.clone()));
        for id in first.names().values() {
            assert!(!is_refused(&node.offer(*id)));
        }
        assert!(!is_refused(&node.offer(texts::STATUS.id())));
        assert!(is_refused(&node.offer(texts::FETCH.id())));
    }

    #[test]
    fn who_takes_no_part_says_so() {
        let mut node = node();
        node.host.accept.clear();
        let answer = node.ask(&FetchRequest::Symbols);
        assert_eq!(read_rejection(&answer), Ok(Some(texts::FETCH.id())));
    }

    #[test]
    fn what_is_no_request_is_refused() {
        let node = node();
        let provider = node.provider();
        let fetch = Message::new(texts::FETCH.id()).arg("everything").encode();
        for message in [&fetch[..], &fetch[..fetch.len() - 1], b"", b"junk"] {
            let answer = provider.0.answer(&caller(), message);
            assert!(matches!(
                Offer::read_answer(&answer),
                Ok(Fetched::Refused(_))
            ));
        }
    }
}
