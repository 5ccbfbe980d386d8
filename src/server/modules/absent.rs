//! A build without modules: the mesh's own promises, and no other.

use std::sync::Arc;

use grid_keys::NodeId;
use grid_net::Endpoint;
use grid_promises::ContentId;
use grid_promises::envelope::peek;
use grid_promises::network::name::NetworkName;
use tokio::task::JoinHandle;

use super::claim::{CORE, Claim};
use crate::node::config_file::ConfigFile;

/// Stands where a build with modules has them. Cheap to clone.
#[derive(Clone)]
pub(in crate::server) struct Modules {
    config: Arc<ConfigFile>,
    core: [ContentId; 2],
}

impl Modules {
    /// For the configuration of a home.
    pub(in crate::server) fn new(config: Arc<ConfigFile>, _endpoint: &Endpoint) -> Self {
        Self {
            config,
            core: CORE.map(|promise| promise.id()),
        }
    }

    /// Nothing goes on in the background.
    pub(in crate::server) fn tasks(&self) -> Vec<JoinHandle<()>> {
        Vec::new()
    }

    /// What is done with a message of a peer: no part is taken in a promise that nothing here keeps,
    /// whatever the configuration says.
    pub(in crate::server) fn claim(
        &self,
        _peer: NodeId,
        _networks: impl FnOnce() -> Vec<NetworkName>,
        message: &[u8],
    ) -> Claim {
        match peek(message) {
            None => Claim::Core(None),
            Some(promise)
                if self.core.contains(&promise) && self.config.takes_part_in(&promise) =>
            {
                Claim::Core(Some(promise))
            }
            Some(promise) => Claim::Reject(promise),
        }
    }

    /// Nobody counts what came of a message.
    pub(in crate::server) fn answered(&self, _promise: &ContentId, _answer: &[u8]) {}

    /// A judge is a module.
    ///
    /// # Errors
    /// Always.
    #[expect(
        clippy::unused_async,
        reason = "as in a build with modules, which waits for the judge"
    )]
    pub(in crate::server) async fn judge(
        &self,
        _judge: ContentId,
        _records: Vec<u8>,
    ) -> Result<Vec<u8>, String> {
        Err("this build of grid has no modules, so it cannot ask a judge".to_owned())
    }

    /// Nothing was learned.
    pub(in crate::server) fn save(&self) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::home::Home;
    use crate::store::{Accepted, Config};
    use grid_keys::{NodeKey, Secret};
    use grid_promises::{Message, texts};

    #[tokio::test]
    async fn no_part_is_taken_in_what_nothing_here_keeps() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::find(Some(dir.path())).unwrap();
        let mut net = grid_net::Config::new(NodeKey::from_seed(&Secret::new([7; 32])));
        net.listen = "127.0.0.1:0".parse().unwrap();
        let (endpoint, _events) = Endpoint::bind(net).unwrap();
        let accepted = [&texts::JOIN_WIREGUARD_NET, &texts::FETCH, &texts::STATUS];
        let config = Config {
            accept: accepted
                .map(|promise| Accepted::usual(promise.id()))
                .to_vec(),
            ..Config::default()
        };
        let modules = Modules::new(Arc::new(ConfigFile::new(&home, config)), &endpoint);
        let join = texts::JOIN_WIREGUARD_NET.id();
        let claim = |message: &[u8]| modules.claim(NodeId([1; 32]), Vec::new, message);
        let claim_under = |promise: ContentId| claim(&Message::new(promise).encode());
        assert_eq!(claim_under(join), Claim::Core(Some(join)));
        for promise in [texts::FETCH, texts::STATUS, texts::EXCHANGE_KEYS] {
            assert_eq!(claim_under(promise.id()), Claim::Reject(promise.id()));
        }
        assert_eq!(claim(b"junk"), Claim::Core(None));
        assert!(modules.judge(join, Vec::new()).await.is_err());
    }
}
