//! Who handles the messages of peers: what the tree has learned, then what is there.
//!
//! ```text
//! claim ─┬─ the program        its own promises: one look into the tree
//!        ├─ a reject message   a promise that this node takes no part in
//!        └─ attempts ─┬─ runner ── execute      modules of the symbol table
//!                     └─ forward ── QUIC        peers that take part in it
//! ```
//!
//! | file | concept |
//! |---|---|
//! | `shared_tree` | the dispatch tree behind its lock |
//! | `saved`, `report` | the tree on disk; the tree for people |
//! | `handlers` | the modules that may handle messages of peers, by promise |
//! | `runner` | running them: bounded, and equal pure calls only once |
//! | `attempts` | one message: the targets in order, to its answer |
//! | `forward` | forwarding a message to a peer, and accepting forwarded ones |
//!
//! # What is recorded
//!
//! That a target *accepted*, *kept* or *broke* is recorded at the promise, or at promise and module if the
//! message asks for a module: at a prefix that also covers the next message. Each module is still asked
//! by `accept` every time, because the answer depends on the arguments; the tree only decides the order.
//! That a module *rejected* is recorded at the whole key if that is short, so that one peer's strange
//! arguments do not close a promise to others. A refusal counts as neither kept nor broken. That a peer
//! rejected is recorded at the promise, because that is what a reject message names.
//!
//! # What it refuses
//!
//! To give the program's own promises to a module or to a peer; to run a built-in subcommand or
//! a plain executable for a peer; to fetch anything because a peer asked for it.

mod attempts;
mod forward;
mod handlers;
pub mod report;
mod runner;
pub mod saved;
mod shared_tree;

use std::sync::Arc;
use std::time::Duration;

use grid_net::{Endpoint, Responder};
use grid_promises::envelope::peek;
use grid_promises::routes::{Key, Target};
use grid_promises::{ContentId, texts};
use tracing::warn;

use crate::cache_dir::CacheDir;
use crate::caller::{Admission, Caller};
use crate::clock::now;
use crate::settings::Host;
use crate::shares::Shares;
use crate::symbols::{Symbols, SymbolsError};
use handlers::HandlersCache;
use report::{Names, RoutesReport, report};
use runner::{CallContext, Runner};
use saved::RoutesFile;
use shared_tree::{DispatchTree, Observed};

/// How many messages are handled at once, running modules or waiting for peers; the rest wait.
const AT_ONCE: usize = 32;
/// How many of one peer.
const AT_ONCE_PER_PEER: usize = 2;
/// How often a changed tree is saved.
const SAVE: Duration = Duration::from_secs(60);
/// What to do with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// The program keeps this promise itself.
    Own(ContentId),
    /// It is not a message.
    Nothing,
    /// This node takes no part in the promise it is made under.
    Reject(ContentId),
    /// It does, but not with this caller.
    Refuse,
    /// Modules and peers may handle it: [`Dispatcher::take`].
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
    tree: DispatchTree,
    handlers: HandlersCache,
    runner: Arc<Runner>,
    endpoint: Endpoint,
    shares: Shares,
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
            tree: DispatchTree::new(RoutesFile::of(cache)),
            handlers: HandlersCache::new(cache),
            runner: Arc::new(Runner::new(cache, Arc::clone(&host))),
            endpoint,
            shares: Shares::new(AT_ONCE, AT_ONCE_PER_PEER),
            host,
            cache: cache.clone(),
        }))
    }

    /// Decides what to do with a message. Reads only the promise that leads it.
    pub fn claim(&self, caller: &Caller, message: &[u8]) -> Claim {
        let Some(promise) = peek(message) else {
            return Claim::Nothing;
        };
        match self.0.host.admission(caller, &promise) {
            Admission::NoPart => return Claim::Reject(promise),
            // As if it took no part: the forwarder then asks its next peer.
            Admission::MayNot if promise == self.0.forward => return Claim::Reject(promise),
            Admission::MayNot => return Claim::Refuse,
            Admission::Stranger | Admission::Known => {}
        }
        match self.0.own.iter().find(|(id, ..)| *id == promise) {
            Some((_, target)) => {
                self.0.tree.learn_once(Key::promise(promise), target);
                Claim::Own(promise)
            }
            None => Claim::Ask(promise),
        }
    }

    /// Records how the program answered a message that it handled itself. A refusal counts as neither kept
    /// nor broken.
    pub fn answered(&self, own: &ContentId, answer: &[u8]) {
        if peek(answer).is_some_and(|promise| promise == self.0.answer)
            && let Some((promise, target)) = self.0.own.iter().find(|(promise, _)| promise == own)
        {
            self.0
                .tree
                .note(Key::promise(*promise), target, Observed::Kept);
        }
    }

    /// Has a message handled in the background. The peer gets an answer in any case.
    pub fn take(&self, promise: &ContentId, caller: Caller, message: Vec<u8>, respond: Responder) {
        let admission = self.0.host.admission(&caller, promise);
        let inner = Arc::clone(&self.0);
        tokio::spawn(async move {
            let _place = inner.shares.place(caller.node, admission).await;
            // A peer that has given up costs nothing more.
            if !respond.is_closed() {
                let answer = inner.answer(&caller, &message).await;
                respond.send(answer);
            }
        });
    }

    /// Records whether a module that somebody called here kept its promise.
    pub fn count(&self, promise: ContentId, module: ContentId, kept: bool) {
        let (key, target) = (Key::promise(promise), Target::Module(module));
        self.0.tree.learn_once(key, &target);
        let what = if kept {
            Observed::Kept
        } else {
            Observed::Broken
        };
        self.0.tree.note(key, &target, what);
    }

    /// Asks a judge of this node.
    ///
    /// # Errors
    /// Why it did not answer.
    pub async fn judge(&self, judge: ContentId, records: Vec<u8>) -> Result<Vec<u8>, String> {
        let inner = Arc::clone(&self.0);
        let context = move || {
            let settings = inner.host.settings();
            let handlers = inner
                .handlers
                .of(&settings)
                .map_err(|error| error.to_string())?;
            let local = Arc::clone(&handlers.local);
            Ok(CallContext { settings, local })
        };
        self.0.runner.judge(judge, records, context).await
    }

    /// The present state of the tree. Blocks.
    ///
    /// # Errors
    /// The symbol table, which has the names, cannot be read.
    pub fn report(&self) -> Result<RoutesReport, SymbolsError> {
        let symbols = Symbols::open(&self.0.cache, self.0.host.settings().symbols)?;
        let names = Names::of(&symbols);
        Ok(report(&self.0.tree.snapshot(), &names, now()))
    }

    /// Saves the tree, if it changed. Blocks.
    pub fn save(&self) {
        if let Err(error) = self.0.tree.save() {
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
    fn is_own(&self, promise: &ContentId) -> bool {
        self.own.iter().any(|(id, ..)| id == promise)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::FixedHost;
    use grid_keys::{NodeId, NodeKey, Secret};
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
        let caller = Caller {
            node: NodeId([1; 32]),
            networks: Vec::new(),
        };
        let claim =
            |promise: &ContentId| dispatcher.claim(&caller, &Message::new(*promise).encode());
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
        assert_eq!(dispatcher.claim(&caller, b""), Claim::Nothing);
        // What the program handles counts once it is answered, and a refusal does not count.
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
