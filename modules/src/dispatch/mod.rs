//! Who handles the messages of peers: what the tree has learned, then what is there.
//!
//! ```text
//! claim ─┬─ the program        its own promises: one look into the tree
//!        ├─ a reject message   a promise that this node takes no part in
//!        └─ answer ─┬─ runner ── execute      modules of the symbol table
//!                   └─ forward ── QUIC        peers that take part in it
//! ```
//!
//! | file | concept |
//! |---|---|
//! | `tree` | the dispatch tree behind its lock |
//! | `saved`, `report` | the tree on disk; the tree for people |
//! | `handlers` | the modules that may handle messages of peers, by promise |
//! | `runner` | running them, bounded, equal pure calls once |
//! | `answer` | one message, from its key to its answer |
//! | `forward` | handing a message to a peer, and taking a handed one |
//!
//! # What is recorded
//!
//! That a target *accepted*, *kept* or *broke* is recorded at the promise, or at promise and module
//! where the message asks for a module: at a prefix that speaks of the next message too. A module is
//! asked by `accept` each time all the same, for what it accepts depends on the arguments; the tree
//! says in which order. That a module *rejected* is recorded at the whole key, if that is short: one
//! peer's strange arguments must not close a promise to others. A refusal is neither kept nor broken.
//! That a peer rejected is recorded at the promise, because that is what a reject message names.
//!
//! # What it refuses
//!
//! To give the program's own promises to a module or to a peer; to run a built-in subcommand or
//! a plain executable for a peer; to fetch anything because a peer asked for it.

mod answer;
mod forward;
mod handlers;
pub mod report;
mod runner;
pub mod saved;
mod tree;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use grid_keys::NodeId;
use grid_net::{Endpoint, Responder};
use grid_promises::envelope::peek;
use grid_promises::routes::{Key, Target};
use grid_promises::{ContentId, texts};
use tokio::sync::Semaphore;
use tracing::warn;

use crate::cache_dir::CacheDir;
use crate::clock::now;
use crate::settings::Host;
use crate::symbols::{Symbols, SymbolsError};
use handlers::Library;
use report::{Names, RoutesReport, report};
use runner::{Means, Runner};
use saved::RoutesFile;
use tree::{Ways, What};

/// How many messages of one peer are worked on at once; the others wait.
const AT_ONCE_PER_PEER: usize = 2;
/// How often the tree is saved, if it changed.
const SAVE: Duration = Duration::from_secs(60);
/// What is done with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// The program keeps this promise itself.
    Own(ContentId),
    /// It is no message.
    Nothing,
    /// It is made under a promise that this node takes no part in.
    Reject(ContentId),
    /// Modules and peers are asked: [`Dispatcher::take`].
    Ask(ContentId),
}

/// Finds out who handles the messages of peers. Cheap to clone.
#[derive(Clone)]
pub struct Dispatcher(Arc<Inner>);

struct Inner {
    cache: CacheDir,
    host: Arc<dyn Host>,
    /// The promises that the program keeps itself.
    own: Vec<(ContentId, Target)>,
    answer: ContentId,
    refusal: ContentId,
    forward: ContentId,
    ways: Ways,
    library: Library,
    runner: Arc<Runner>,
    endpoint: Endpoint,
    peers: Mutex<BTreeMap<NodeId, Arc<Semaphore>>>,
}

impl Dispatcher {
    /// Reads the tree that was saved. `own` are the promises that the program keeps itself. Blocks.
    #[must_use]
    pub fn new(
        cache: &CacheDir,
        host: Arc<dyn Host>,
        endpoint: Endpoint,
        own: &[&texts::Promise],
    ) -> Self {
        let own = own
            .iter()
            .map(|text| (text.id(), Target::builtin(text.name)));
        Self(Arc::new(Inner {
            own: own.collect(),
            answer: texts::ANSWER.id(),
            refusal: texts::REFUSAL.id(),
            forward: texts::FORWARD.id(),
            ways: Ways::new(RoutesFile::of(cache)),
            library: Library::new(cache),
            runner: Arc::new(Runner::new(cache)),
            endpoint,
            peers: Mutex::default(),
            host,
            cache: cache.clone(),
        }))
    }

    /// What is done with a message. Reads no more of it than the promise that leads it.
    pub fn claim(&self, message: &[u8]) -> Claim {
        let Some(promise) = peek(message) else {
            return Claim::Nothing;
        };
        if !self.0.host.takes_part_in(&promise) {
            return Claim::Reject(promise);
        }
        match self.0.own.iter().find(|(id, ..)| *id == promise) {
            Some((_, target)) => {
                self.0.ways.learn_once(Key::promise(promise), target);
                Claim::Own(promise)
            }
            None => Claim::Ask(promise),
        }
    }

    /// Says what came of a message that the program handled itself. A refusal is no broken promise, and no
    /// kept one either.
    pub fn answered(&self, own: &ContentId, answer: &[u8]) {
        if peek(answer).is_some_and(|promise| promise == self.0.answer)
            && let Some((promise, target)) = self.0.own.iter().find(|(promise, _)| promise == own)
        {
            self.0.ways.note(Key::promise(*promise), target, What::Kept);
        }
    }

    /// Finds somebody who handles a message, in the background, and answers it whatever happens.
    pub fn take(&self, peer: NodeId, message: Vec<u8>, respond: Responder) {
        let inner = Arc::clone(&self.0);
        tokio::spawn(async move {
            let own = inner.room_of(peer);
            // Never closed.
            let _own = own.acquire().await;
            // Whoever has given up in the meantime costs nothing more.
            if !respond.is_closed() {
                let answer = inner.answer(peer, &message).await;
                respond.send(answer);
            }
        });
    }

    /// Counts what a module that a person called here came to.
    pub fn count(&self, promise: ContentId, module: ContentId, kept: bool) {
        let (key, target) = (Key::promise(promise), Target::Module(module));
        self.0.ways.learn_once(key, &target);
        let what = if kept { What::Kept } else { What::Broken };
        self.0.ways.note(key, &target, what);
    }

    /// Asks a judge of this node.
    ///
    /// # Errors
    /// Why it does not say anything.
    pub async fn judge(&self, judge: ContentId, records: Vec<u8>) -> Result<Vec<u8>, String> {
        let inner = Arc::clone(&self.0);
        let means = move || {
            let settings = inner.host.settings();
            let shelf = inner
                .library
                .of(&settings)
                .map_err(|error| error.to_string())?;
            let local = Arc::clone(&shelf.local);
            Ok(Means { settings, local })
        };
        self.0.runner.judge(judge, records, means).await
    }

    /// What the tree says now. Blocks.
    ///
    /// # Errors
    /// The symbol table, which has the names, cannot be read.
    pub fn report(&self) -> Result<RoutesReport, SymbolsError> {
        let symbols = Symbols::open(&self.0.cache, self.0.host.settings().symbols)?;
        let names = Names::of(&symbols);
        Ok(report(&self.0.ways.snapshot(), &names, now()))
    }

    /// Saves the tree, if it changed. Blocks.
    pub fn save(&self) {
        if let Err(error) = self.0.ways.save() {
            warn!("who keeps which promise was not saved: {error}");
        }
    }
}

/// Saves the tree from time to time.
pub async fn keep(dispatcher: Dispatcher) {
    loop {
        tokio::time::sleep(SAVE).await;
        let dispatcher = dispatcher.clone();
        let _ = tokio::task::spawn_blocking(move || dispatcher.save()).await;
    }
}

impl Inner {
    fn takes_part_in(&self, promise: &ContentId) -> bool {
        self.host.takes_part_in(promise)
    }

    fn is_own(&self, promise: &ContentId) -> bool {
        self.own.iter().any(|(id, ..)| id == promise)
    }

    fn room_of(&self, peer: NodeId) -> Arc<Semaphore> {
        let mut peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        // Those that nobody waits for are new again when they are wanted.
        peers.retain(|_, room| Arc::strong_count(room) > 1);
        let room = peers.entry(peer);
        Arc::clone(room.or_insert_with(|| Arc::new(Semaphore::new(AT_ONCE_PER_PEER))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::FixedHost;
    use grid_keys::{NodeKey, Secret};
    use grid_promises::Message;

    #[tokio::test]
    async fn a_message_goes_where_its_promise_says() {
        let dir = tempfile::tempdir().unwrap();
        let mut net = grid_net::Config::new(NodeKey::from_seed(&Secret::new([7; 32])));
        net.listen = "127.0.0.1:0".parse().unwrap();
        let (endpoint, _events) = Endpoint::bind(net).unwrap();
        let taken = [&texts::JOIN_WIREGUARD_NET, &texts::FETCH, &texts::STATUS];
        let host = FixedHost {
            accept: taken.map(texts::Promise::id).to_vec(),
            symbols: None,
        };
        let own = [
            &texts::JOIN_WIREGUARD_NET,
            &texts::EXCHANGE_KEYS,
            &texts::FETCH,
        ];
        let cache = CacheDir::new(dir.path().join("cache"));
        let dispatcher = Dispatcher::new(&cache, Arc::new(host), endpoint, &own);
        let claim = |promise: &ContentId| dispatcher.claim(&Message::new(*promise).encode());
        let exchange = texts::EXCHANGE_KEYS.id();
        let (join, fetch) = (texts::JOIN_WIREGUARD_NET.id(), texts::FETCH.id());
        for (promise, expected) in [
            (join, Claim::Own(join)),
            (fetch, Claim::Own(fetch)),
            (texts::STATUS.id(), Claim::Ask(texts::STATUS.id())),
            (exchange, Claim::Reject(exchange)),
        ] {
            assert_eq!(claim(&promise), expected);
            assert_eq!(claim(&promise), expected);
        }
        assert_eq!(dispatcher.claim(b""), Claim::Nothing);
        // What a part of this program handles is counted once it was answered, and by no refusal.
        let answer = |promise: ContentId| Message::new(promise).encode();
        dispatcher.answered(&join, &answer(texts::ANSWER.id()));
        dispatcher.answered(&join, &answer(texts::ANSWER.id()));
        dispatcher.answered(&join, &answer(texts::REFUSAL.id()));
        dispatcher.answered(&exchange, &answer(texts::ANSWER.id()));
        let report = dispatcher.report().unwrap().routes;
        let kept = |name: &str| {
            let found = report.iter().find(|route| route.target == name);
            found.map(|route| (route.kept, route.broken))
        };
        assert_eq!(report.len(), 2);
        assert_eq!(kept("join-wireguard-net"), Some((2, 0)));
        assert_eq!(kept("fetch"), Some((0, 0)));
    }
}
