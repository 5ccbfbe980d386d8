//! Modules, in a build that has them.

use std::sync::Arc;

use grid_keys::NodeId;
use grid_modules::dispatch::{self, Dispatcher};
use grid_modules::fetch::Fetching;
use grid_modules::objects::Objects;
use grid_modules::{Host, Peer, Settings, gc};
use grid_net::{Endpoint, Responder};
use grid_promises::{ContentId, texts};
use tokio::task::JoinHandle;

use super::{CORE, Claim};
use crate::server::config_file::ConfigFile;
use crate::store::Store;

/// Modules on this node. Cheap to clone.
#[derive(Clone)]
pub(in crate::server) struct Modules {
    dispatcher: Dispatcher,
    fetching: Fetching,
    objects: Objects,
    host: Arc<ConfigFile>,
}

impl Host for ConfigFile {
    fn settings(&self) -> Arc<Settings> {
        Arc::new(self.now().modules())
    }

    fn takes_part_in(&self, promise: &ContentId) -> bool {
        self.takes_part_in(promise)
    }

    fn judges(&self) -> Result<Vec<ContentId>, String> {
        self.judges().map_err(|error| error.to_string())
    }

    fn peers(&self) -> Vec<Peer> {
        let (known, _) = Store::look(self.home()).peers();
        let peer = |known: crate::store::KnownPeer| Peer {
            node: known.node,
            addresses: known.addresses,
        };
        known.into_iter().map(peer).collect()
    }
}

impl Modules {
    /// The modules of a home. Blocks.
    pub(in crate::server) fn new(config: Arc<ConfigFile>, endpoint: &Endpoint) -> Self {
        let cache = config.home().cache();
        let objects = Objects::of(&cache);
        let host = || Arc::clone(&config) as Arc<dyn Host>;
        let [join, exchange] = CORE;
        let own = [join, exchange, &texts::FETCH];
        Self {
            dispatcher: Dispatcher::new(&cache, host(), endpoint.clone(), &own),
            fetching: Fetching::new(&cache, &objects, host(), endpoint.clone()),
            objects,
            host: config,
        }
    }

    /// What goes on in the background until the server ends.
    pub(in crate::server) fn tasks(&self) -> Vec<JoinHandle<()>> {
        let (cache, host) = (self.host.home().cache(), Arc::clone(&self.host));
        vec![
            tokio::spawn(gc::collect(cache, self.objects.clone(), host)),
            tokio::spawn(dispatch::keep(self.dispatcher.clone())),
        ]
    }

    /// What is done with a message of a peer. Reads no more of it than the promise that leads it.
    pub(in crate::server) fn claim(&self, message: &[u8]) -> Claim {
        match self.dispatcher.claim(message) {
            dispatch::Claim::Own(promise) if promise == texts::FETCH.id() => {
                Claim::Modules(promise)
            }
            dispatch::Claim::Own(promise) => Claim::Core(Some(promise)),
            dispatch::Claim::Nothing => Claim::Core(None),
            dispatch::Claim::Reject(promise) => Claim::Reject(promise),
            dispatch::Claim::Ask(promise) => Claim::Modules(promise),
        }
    }

    /// Answers a message that was claimed for modules, in the background.
    pub(in crate::server) fn take(
        &self,
        promise: &ContentId,
        peer: NodeId,
        message: Vec<u8>,
        respond: Responder,
    ) {
        if *promise != texts::FETCH.id() {
            return self.dispatcher.take(peer, message, respond);
        }
        let (dispatcher, promise) = (self.dispatcher.clone(), *promise);
        let done = move |answer: &[u8]| dispatcher.answered(&promise, answer);
        self.fetching.serving().take(peer, message, respond, done);
    }

    /// Says what came of a message that the core handled.
    pub(in crate::server) fn answered(&self, promise: &ContentId, answer: &[u8]) {
        self.dispatcher.answered(promise, answer);
    }

    /// Asks a judge.
    ///
    /// # Errors
    /// Why it does not say anything.
    pub(in crate::server) async fn judge(
        &self,
        judge: ContentId,
        records: Vec<u8>,
    ) -> Result<Vec<u8>, String> {
        self.dispatcher.judge(judge, records).await
    }

    /// Saves what was learned. Blocks.
    pub(in crate::server) fn save(&self) {
        self.dispatcher.save();
    }

    /// Objects that come from peers, for commands.
    pub(in crate::server) const fn fetching(&self) -> &Fetching {
        &self.fetching
    }

    /// What is known of who keeps which promise, for commands.
    pub(in crate::server) const fn dispatcher(&self) -> &Dispatcher {
        &self.dispatcher
    }
}
