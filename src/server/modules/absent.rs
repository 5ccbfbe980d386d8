//! A build without modules: the mesh's own promises, and no other.

use std::sync::Arc;

use grid_net::Endpoint;
use grid_promises::ContentId;
use grid_promises::envelope::peek;
use tokio::task::JoinHandle;

use super::{CORE, Claim};
use crate::server::config_file::ConfigFile;

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
    pub(in crate::server) fn claim(&self, message: &[u8]) -> Claim {
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
