//! The handle of the running node: what commands can ask of it, and have it do.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::sync::Arc;

use grid_keys::NodeId;
#[cfg(feature = "modules")]
use grid_modules::{dispatch::Dispatcher, fetch::Fetching};
use grid_net::{ConnectError, Connected, ConnectionInfo, Endpoint};
use grid_promises::ContentId;
use grid_promises::core::{Command, CommandError, Reply, Tunnel};
use grid_promises::network::charter::NetworkId;
use grid_promises::network::name::NetworkName;
use grid_wg::Place;
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};

use super::config_file::ConfigFile;
use super::question::{Question, Taken};
use super::requests::Requests;
use super::status::StatusReport;
use crate::exit::{Failure, Outcome};
use crate::home::Home;
use crate::host::ports;
use crate::store::{InterfaceOptions, KnownPeer};
use crate::tunnels::{InterfaceStatus, Observations, Tunnels};

/// The parts of a node that a handle reaches.
pub struct Parts {
    /// The queue of the driver.
    pub questions: mpsc::Sender<Question>,
    /// WireGuard.
    pub tunnels: Tunnels,
    /// QUIC.
    pub endpoint: Endpoint,
    /// The home.
    pub home: Home,
    /// The configuration as it is now.
    pub config: Arc<ConfigFile>,
    /// Gives objects to peers, and gets objects from them.
    #[cfg(feature = "modules")]
    pub fetching: Fetching,
    /// Who handles the messages of peers.
    #[cfg(feature = "modules")]
    pub dispatcher: Dispatcher,
    /// The requests that are under way.
    pub requests: Requests,
    /// Whether a command started the server in the background.
    pub background: bool,
}

/// The handle of the running node. Cheap to clone.
#[derive(Clone)]
pub struct NodeHandle(Arc<Inner>);

struct Inner {
    parts: Parts,
    /// Ports of networks that are being founded or joined.
    reserved: Mutex<BTreeSet<u16>>,
}

/// A port that nobody else is given while this value lives.
pub struct Reservation {
    port: u16,
    of: NodeHandle,
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.of.0.reserved.lock().remove(&self.port);
    }
}

impl NodeHandle {
    /// Makes the handle of a node that is about to run.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        Self(Arc::new(Inner {
            parts,
            reserved: Mutex::default(),
        }))
    }

    /// This node.
    #[must_use]
    pub fn node(&self) -> NodeId {
        self.0.parts.endpoint.node_id()
    }

    /// The folder of this node.
    #[must_use]
    pub fn home(&self) -> &Home {
        &self.0.parts.home
    }

    /// Whether a command started the server in the background: then it ends with the last network.
    #[must_use]
    pub fn is_in_background(&self) -> bool {
        self.0.parts.background
    }

    /// Whether this node takes part in a promise, as the configuration was at most a second ago.
    #[must_use]
    pub fn takes_part_in(&self, promise: &ContentId) -> bool {
        self.0.parts.config.takes_part_in(promise)
    }

    /// Gives objects to peers, and gets objects from them.
    #[cfg(feature = "modules")]
    #[must_use]
    pub fn fetching(&self) -> &Fetching {
        &self.0.parts.fetching
    }

    /// Who handles the messages of peers.
    #[cfg(feature = "modules")]
    #[must_use]
    pub fn dispatcher(&self) -> &Dispatcher {
        &self.0.parts.dispatcher
    }

    /// Has the core carry out a command, and waits for the outcome. Commands that decide how the network's
    /// interface is run give `interface`.
    ///
    /// # Errors
    /// Why the command failed.
    pub async fn command(
        &self,
        command: Command,
        interface: Option<InterfaceOptions>,
    ) -> Outcome<Reply> {
        let done = self.submit(command, interface).await?;
        Ok(done.await.map_err(|_| ended())??)
    }

    /// As [`command`](Self::command), but does not wait for the outcome. The driver takes the command
    /// before anything that it is asked afterwards.
    ///
    /// # Errors
    /// The server is about to end.
    pub async fn submit(
        &self,
        command: Command,
        interface: Option<InterfaceOptions>,
    ) -> Outcome<oneshot::Receiver<Result<Reply, CommandError>>> {
        let (done, outcome) = oneshot::channel();
        let question = Question::Command {
            command: Box::new(command),
            interface,
            done,
        };
        self.tell(question).await?;
        Ok(outcome)
    }

    /// The state of every network, as measured last.
    ///
    /// # Errors
    /// The server is about to end.
    pub async fn status(&self) -> Outcome<StatusReport> {
        self.ask(Question::Status).await
    }

    /// The same, measured now.
    ///
    /// # Errors
    /// As of [`status`](Self::status).
    pub async fn measured_status(&self) -> Outcome<StatusReport> {
        self.measured(self.measure().await).await;
        self.status().await
    }

    /// Which names and ports are taken.
    ///
    /// # Errors
    /// The server is about to end.
    pub async fn taken(&self) -> Outcome<Taken> {
        self.ask(Question::Taken).await
    }

    /// What WireGuard was told for a network, and how its interface is run. `None` while there is
    /// nothing to tell.
    ///
    /// # Errors
    /// The server is about to end.
    pub async fn tunnel(
        &self,
        network: NetworkName,
    ) -> Outcome<Option<(Box<Tunnel>, InterfaceOptions)>> {
        self.ask(|answer| Question::Tunnel(network, answer)).await
    }

    /// Where the interface of a network is, if this node is in it.
    ///
    /// # Errors
    /// The server is about to end.
    pub async fn place(&self, network: NetworkName) -> Outcome<Option<Place>> {
        self.ask(|answer| Question::Place(network, answer)).await
    }

    /// Remembers a peer.
    ///
    /// # Errors
    /// It cannot be written down, or the server is about to end.
    pub async fn remember(&self, peer: KnownPeer) -> Outcome {
        let saved = self.ask(|answer| Question::KnownPeer(peer, answer));
        Ok(saved.await??)
    }

    /// Connects to another node; `pin` is the one that it has to be.
    ///
    /// # Errors
    /// Nobody answers there, or somebody else does.
    pub async fn connect(
        &self,
        pin: Option<NodeId>,
        addrs: &[SocketAddr],
    ) -> Result<Connected, ConnectError> {
        self.0.parts.endpoint.connect(pin, addrs).await
    }

    /// The connections that stand.
    #[must_use]
    pub fn connections(&self) -> Vec<ConnectionInfo> {
        self.0.parts.endpoint.connections()
    }

    /// Measures every interface.
    pub async fn measure(&self) -> Observations {
        self.0.parts.tunnels.observe().await
    }

    /// Tells the core what was measured. The next status includes it.
    pub async fn measured(&self, observations: Observations) {
        // Fails only when the server ends.
        let _ = self.tell(Question::Observed(observations)).await;
    }

    /// Waits until WireGuard is configured as the core wants it by now.
    pub async fn settled(&self) {
        self.0.parts.tunnels.settled().await;
    }

    /// What is known of an interface.
    #[must_use]
    pub fn interface_status(&self, network: &NetworkId) -> InterfaceStatus {
        self.0.parts.tunnels.status(network)
    }

    /// Whether an interface of this name could be made so. With `adopt`, one that is there is taken over
    /// when the name is configured next.
    ///
    /// # Errors
    /// What is in the way.
    pub async fn check_interface(
        &self,
        name: NetworkName,
        options: InterfaceOptions,
        adopt: bool,
    ) -> Outcome {
        self.0.parts.tunnels.check(name, options, adopt).await
    }

    /// Chooses a WireGuard port for one more network.
    ///
    /// # Errors
    /// None is free.
    pub fn reserve(
        &self,
        wished: Option<NonZeroU16>,
        taken: &Taken,
    ) -> Outcome<(u16, Reservation)> {
        let mut reserved = self.0.reserved.lock();
        let mut ports = taken.ports.clone();
        ports.extend(reserved.iter());
        let quic = self.0.parts.endpoint.local_addr().port();
        let port = ports::choose(wished, &ports, quic)?;
        reserved.insert(port);
        let of = self.clone();
        Ok((port, Reservation { port, of }))
    }

    /// Whether a network is being founded or joined.
    #[must_use]
    pub fn is_joining(&self) -> bool {
        !self.0.reserved.lock().is_empty()
    }

    /// Lets no more requests begin, if the server was started for commands that all failed: it is in no
    /// network, and nobody else uses it. Whether it is about to end.
    ///
    /// # Errors
    /// The server is about to end for another reason.
    pub async fn close_if_idle(&self) -> Outcome<bool> {
        // Whatever changes that afterwards is a request that is under way, or was answered.
        let is_idle = self.is_in_background()
            && !self.is_joining()
            && self.status().await?.networks.is_empty();
        Ok(is_idle && self.0.parts.requests.close_if_unused())
    }

    async fn ask<T>(&self, question: impl FnOnce(oneshot::Sender<T>) -> Question) -> Outcome<T> {
        let (answer, answered) = oneshot::channel();
        self.tell(question(answer)).await?;
        answered.await.map_err(|_| ended())
    }

    async fn tell(&self, question: Question) -> Outcome {
        let sent = self.0.parts.questions.send(question).await;
        sent.map_err(|_| ended())
    }
}

fn ended() -> Failure {
    Failure::failed("the server ended before it was done; its log says why")
}
