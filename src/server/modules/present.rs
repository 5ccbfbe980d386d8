//! Modules, in a build that has them.

use std::sync::Arc;

use grid_keys::NodeId;
use grid_modules::dispatch::{self, Dispatcher};
use grid_modules::fetch::Fetching;
use grid_modules::objects::Objects;
use grid_modules::{Admission, Caller, Host, Peer, Settings, gc};
use grid_net::{Endpoint, Responder};
use grid_promises::network::name::NetworkName;
use grid_promises::{ContentId, texts};
use tokio::task::JoinHandle;

use super::claim::{CORE, Claim};
use crate::node::config_file::ConfigFile;
use crate::store::{Store, Who};

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

    fn admission(&self, caller: &Caller, promise: &ContentId) -> Admission {
        let config = self.lately();
        let mut listed = config.accept.iter();
        match listed.find(|listed| listed.promise == *promise) {
            Some(listed) if !is_for_this_machine(promise) => admission(caller, &listed.with),
            _ => Admission::NoPart,
        }
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

/// Whether a promise is that of a command: those come through the control socket, and from no peer.
fn is_for_this_machine(promise: &ContentId) -> bool {
    !CORE.iter().any(|own| own.id() == *promise)
        && texts::commands().any(|command| command.id() == *promise)
}

fn admission(caller: &Caller, with: &[Who]) -> Admission {
    let is_member = !caller.networks.is_empty();
    let is_meant = |who: &Who| match who {
        Who::Members => is_member,
        Who::Network(network) => caller.networks.contains(network),
        Who::Node(node) => caller.node == *node,
        Who::Anybody => false,
    };
    let is_open = with.contains(&Who::Anybody);
    match (with.iter().any(is_meant), is_open) {
        (true, _) => Admission::Known,
        (false, true) if is_member => Admission::Known,
        (false, true) => Admission::Stranger,
        (false, false) => Admission::MayNot,
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
    /// `networks` are those that the peer shares with this node now.
    pub(in crate::server) fn claim(
        &self,
        peer: NodeId,
        networks: impl FnOnce() -> Vec<NetworkName>,
        message: &[u8],
    ) -> Claim {
        let caller = Caller {
            node: peer,
            networks: networks(),
        };
        match self.dispatcher.claim(&caller, message) {
            dispatch::Claim::Own(promise) if promise == texts::FETCH.id() => {
                Claim::Modules(promise, caller)
            }
            dispatch::Claim::Own(promise) => Claim::Core(Some(promise)),
            dispatch::Claim::Nothing => Claim::Core(None),
            dispatch::Claim::Reject(promise) => Claim::Reject(promise),
            dispatch::Claim::Refuse => Claim::Refuse,
            dispatch::Claim::Ask(promise) => Claim::Modules(promise, caller),
        }
    }

    /// Answers a message that was claimed for modules, in the background.
    pub(in crate::server) fn take(
        &self,
        promise: &ContentId,
        caller: Caller,
        message: Vec<u8>,
        respond: Responder,
    ) {
        if *promise != texts::FETCH.id() {
            return self.dispatcher.take(promise, caller, message, respond);
        }
        let (dispatcher, promise) = (self.dispatcher.clone(), *promise);
        let done = move |answer: &[u8]| dispatcher.answered(&promise, answer);
        let provider = self.fetching.provider();
        provider.take(caller, message, respond, done);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_is_meant_is_known_and_others_are_strangers_or_may_not() {
        let foo: NetworkName = "foo".parse().unwrap();
        let who = |networks: &[&NetworkName]| Caller {
            node: NodeId([1; 32]),
            networks: networks.iter().map(|name| (*name).clone()).collect(),
        };
        let (member, stranger) = (who(&[&foo]), who(&[]));
        let other = Who::Network("bar".parse().unwrap());
        let (this, that) = (Who::Node(NodeId([1; 32])), Who::Node(NodeId([2; 32])));
        use Admission::{Known, MayNot, Stranger};
        for (with, of_member, of_stranger) in [
            (vec![Who::Members], Known, MayNot),
            (vec![Who::Anybody], Known, Stranger),
            (vec![Who::Members, Who::Anybody], Known, Stranger),
            (vec![Who::Network(foo)], Known, MayNot),
            (vec![other.clone()], MayNot, MayNot),
            (vec![other, Who::Anybody], Known, Stranger),
            (vec![this], Known, Known),
            (vec![that], MayNot, MayNot),
            (vec![], MayNot, MayNot),
        ] {
            assert_eq!(admission(&member, &with), of_member, "{with:?}");
            assert_eq!(admission(&stranger, &with), of_stranger, "{with:?}");
        }
    }

    #[test]
    fn commands_come_from_no_peer() {
        assert!(is_for_this_machine(&texts::STOP_SERVER.id()));
        for promise in [texts::JOIN_WIREGUARD_NET, texts::FETCH, texts::JUDGE] {
            assert!(!is_for_this_machine(&promise.id()), "{}", promise.name);
        }
    }
}
