//! Who handles the messages of peers: what the tree has learned, then what is there.
//!
//! ```text
//! driver ── claim ─┬─ the core           the mesh's own promises: one look into the tree
//!                  ├─ fetching           objects
//!                  ├─ a reject message   a promise that this node takes no part in
//!                  └─ asking ─┬─ runner ── src/execute      modules of the symbol table
//!                             └─ forwarding ── QUIC         peers that take part in it
//! ```
//!
//! | file | concept |
//! |---|---|
//! | `ways` | the tree behind its lock |
//! | `library` | the modules that may handle messages of peers, by promise |
//! | `runner` | running them, bounded, equal pure calls once |
//! | `asking` | one message, from its key to its answer |
//! | `forwarding` | handing a message to a peer, and taking a handed one |
//!
//! # What is recorded
//!
//! That a target *accepted*, *kept* or *broke* is recorded at the promise, or at promise and module
//! where the message asks for a module: at a prefix that speaks of the next message too. A module is
//! asked by `accept` each time all the same, for what it accepts depends on the arguments; the tree
//! says in which order. That a module *rejected* is recorded at the whole key, if that is short: one
//! peer's strange arguments must not close a promise to others. A refusal is neither kept nor broken. That a peer rejected is recorded at
//! the promise, because that is what a reject message names.
//!
//! # What it refuses
//!
//! To give the mesh's promises and `fetch` to a module or to a peer; to run a built-in subcommand or
//! a plain executable for a peer; to fetch anything because a peer asked for it.

mod asking;
mod forwarding;
mod library;
mod runner;
mod ways;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use grid_keys::NodeId;
use grid_net::{Endpoint, Responder};
use grid_promises::routes::{Key, Target};
use grid_promises::{ContentId, texts};
use tokio::sync::Semaphore;
use tracing::warn;

use super::fetching::{peek, settings::Settings};
use crate::exit::Outcome;
use crate::home::Home;
use crate::kernel::routes::{Names, RoutesFile, RoutesReport, now, report};
use crate::kernel::symbols::Symbols;
use crate::store::Config;
use library::Library;
use runner::{Means, Runner};
use ways::{Ways, What};

/// How many messages of one peer are worked on at once; the others wait.
const AT_ONCE_PER_PEER: usize = 2;
/// How often the tree is saved, if it changed.
const SAVE: Duration = Duration::from_secs(60);
/// For how long the list of promises that this node takes part in is believed without looking.
const BELIEVED: Duration = Duration::from_secs(1);

/// A part of this program that handles messages of peers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::server) enum Own {
    /// The core, for what members of a network say to one another.
    Join,
    /// The core, for what peers say to one another.
    Exchange,
    /// Objects.
    Fetch,
}

/// What is done with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::server) enum Claim {
    /// A part of this program handles it.
    Own(Own),
    /// It is no message: the core says so.
    Nothing,
    /// It is made under a promise that this node takes no part in.
    Reject(ContentId),
    /// Modules and peers are asked: [`Dispatcher::take`].
    Ask,
}

/// Finds out who handles the messages of peers. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Dispatcher(Arc<Inner>);

struct Inner {
    home: Home,
    settings: Settings,
    /// When the settings were looked at last, and what they were.
    believed: Mutex<(Instant, Arc<Config>)>,
    own: [(ContentId, Own, Target); 3],
    answer: ContentId,
    refusal: ContentId,
    forward: ContentId,
    ways: Ways,
    library: Library,
    runner: Arc<Runner>,
    endpoint: Endpoint,
    peers: Mutex<BTreeMap<NodeId, Arc<Semaphore>>>,
}

impl Own {
    const ALL: [Self; 3] = [Self::Join, Self::Exchange, Self::Fetch];

    const fn text(self) -> &'static texts::Promise {
        match self {
            Self::Join => &texts::JOIN_WIREGUARD_NET,
            Self::Exchange => &texts::EXCHANGE_KEYS,
            Self::Fetch => &texts::FETCH,
        }
    }
}

impl Dispatcher {
    /// For a home whose configuration was read a moment ago. Reads the tree that was saved. Blocks.
    pub(in crate::server) fn new(home: &Home, config: &Config, endpoint: Endpoint) -> Self {
        let own = Own::ALL.map(|own| {
            let text = own.text();
            (text.id(), own, Target::builtin(text.name))
        });
        Self(Arc::new(Inner {
            settings: Settings::new(home, config.clone()),
            believed: Mutex::new((Instant::now(), Arc::new(config.clone()))),
            own,
            answer: texts::ANSWER.id(),
            refusal: texts::REFUSAL.id(),
            forward: texts::FORWARD.id(),
            ways: Ways::new(RoutesFile::of(home)),
            library: Library::new(home),
            runner: Arc::new(Runner::new(home)),
            endpoint,
            peers: Mutex::default(),
            home: home.clone(),
        }))
    }

    /// Whether this node takes part in a promise, as the configuration was at most a second ago.
    pub(crate) fn takes_part_in(&self, promise: &ContentId) -> bool {
        self.0.takes_part_in(promise)
    }

    /// What is done with a message. Reads no more of it than the promise that leads it; once a second
    /// it looks whether the configuration is another.
    pub(in crate::server) fn claim(&self, message: &[u8]) -> Claim {
        let Some(promise) = peek(message) else {
            return Claim::Nothing;
        };
        if !self.0.takes_part_in(&promise) {
            return Claim::Reject(promise);
        }
        match self.0.own.iter().find(|(id, ..)| *id == promise) {
            Some((_, own, target)) => {
                self.0.ways.learn_once(Key::promise(promise), target);
                Claim::Own(*own)
            }
            None => Claim::Ask,
        }
    }

    /// Says what came of a message that a part of this program handled. A refusal is no broken
    /// promise, and no kept one either.
    pub(in crate::server) fn answered(&self, own: Own, answer: &[u8]) {
        if peek(answer).is_some_and(|promise| promise == self.0.answer)
            && let Some((promise, _, target)) =
                self.0.own.iter().find(|(_, other, _)| *other == own)
        {
            self.0.ways.note(Key::promise(*promise), target, What::Kept);
        }
    }

    /// Finds somebody who handles a message, in the background, and answers it whatever happens.
    pub(in crate::server) fn take(&self, peer: NodeId, message: Vec<u8>, respond: Responder) {
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
    pub(crate) fn count(&self, promise: ContentId, module: ContentId, kept: bool) {
        let (key, target) = (Key::promise(promise), Target::Module(module));
        self.0.ways.learn_once(key, &target);
        let what = if kept { What::Kept } else { What::Broken };
        self.0.ways.note(key, &target, what);
    }

    /// Asks a judge of this node.
    ///
    /// # Errors
    /// Why it does not say anything.
    pub(in crate::server) async fn judge(
        &self,
        judge: ContentId,
        records: Vec<u8>,
    ) -> Result<Vec<u8>, String> {
        let inner = Arc::clone(&self.0);
        let means = move || {
            let config = inner.settings.now();
            let shelf = inner.library.of(&config).map_err(|failure| failure.text)?;
            let local = Arc::clone(&shelf.local);
            Ok(Means { config, local })
        };
        self.0.runner.judge(judge, records, means).await
    }

    /// What the tree says now. Blocks.
    ///
    /// # Errors
    /// The symbol table, which has the names, cannot be read.
    pub(crate) fn report(&self) -> Outcome<RoutesReport> {
        let symbols = Symbols::open(&self.0.home, &self.0.settings.now())?;
        let names = Names::of(&symbols);
        Ok(report(&self.0.ways.snapshot(), &names, now()))
    }

    /// Saves the tree, if it changed. Blocks.
    pub(in crate::server) fn save(&self) {
        if let Err(error) = self.0.ways.save() {
            warn!("who keeps which promise was not saved: {error}");
        }
    }
}

/// Saves the tree from time to time.
pub(in crate::server) async fn keep(dispatcher: Dispatcher) {
    loop {
        tokio::time::sleep(SAVE).await;
        let dispatcher = dispatcher.clone();
        let _ = tokio::task::spawn_blocking(move || dispatcher.save()).await;
    }
}

impl Inner {
    fn takes_part_in(&self, promise: &ContentId) -> bool {
        let mut believed = self.believed.lock().unwrap_or_else(PoisonError::into_inner);
        if believed.0.elapsed() > BELIEVED {
            // One look at a file, which is read only if it changed.
            *believed = (Instant::now(), self.settings.now());
        }
        believed.1.accept.contains(promise)
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
    use grid_keys::{NodeKey, Secret};
    use grid_promises::Message;

    #[tokio::test]
    async fn a_message_goes_where_its_promise_says() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::find(Some(dir.path())).unwrap();
        let mut net = grid_net::Config::new(NodeKey::from_seed(&Secret::new([7; 32])));
        net.listen = "127.0.0.1:0".parse().unwrap();
        let (endpoint, _events) = Endpoint::bind(net).unwrap();
        let taken = [&texts::JOIN_WIREGUARD_NET, &texts::FETCH, &texts::STATUS];
        let config = Config {
            accept: taken.map(texts::Promise::id).to_vec(),
            ..Config::default()
        };
        let dispatcher = Dispatcher::new(&home, &config, endpoint);
        let claim = |promise: &ContentId| dispatcher.claim(&Message::new(*promise).encode());
        let exchange = texts::EXCHANGE_KEYS.id();
        for (promise, expected) in [
            (texts::JOIN_WIREGUARD_NET.id(), Claim::Own(Own::Join)),
            (texts::FETCH.id(), Claim::Own(Own::Fetch)),
            (texts::STATUS.id(), Claim::Ask),
            (exchange, Claim::Reject(exchange)),
        ] {
            assert_eq!(claim(&promise), expected);
            assert_eq!(claim(&promise), expected);
        }
        assert_eq!(dispatcher.claim(b""), Claim::Nothing);
        // What a part of this program handles is counted once it was answered, and by no refusal.
        let answer = |promise: ContentId| Message::new(promise).encode();
        dispatcher.answered(Own::Join, &answer(texts::ANSWER.id()));
        dispatcher.answered(Own::Join, &answer(texts::ANSWER.id()));
        dispatcher.answered(Own::Join, &answer(texts::REFUSAL.id()));
        dispatcher.answered(Own::Exchange, &answer(texts::ANSWER.id()));
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
