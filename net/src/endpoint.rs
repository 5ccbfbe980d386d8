//! The endpoint: one UDP socket, one node, its connections.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use grid_keys::NodeId;
use quinn::{EndpointConfig, TokioRuntime};
use quinn_proto::HashedConnectionIdGenerator;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::codes::CloseCode;
use crate::config::Config;
use crate::connection::{Connected, ConnectionInfo};
use crate::dial::{ClientConfigs, Dialler};
use crate::error::{BindError, ConnectError, DisconnectReason, RequestError};
use crate::event::Event;
use crate::listen::{Listener, ServerConfigs};
use crate::registry::Registry;
use crate::requests::Requests;
use crate::reset::ResetKeys;
use crate::socket;
use crate::tls::Identity;
use crate::transport::MAX_PACKET;

/// How many events may wait for the program, besides one `Disconnected` per connection.
const EVENT_QUEUE: usize = 1024;

/// How long `shutdown` waits for the peers to learn of it.
const FAREWELL: Duration = Duration::from_millis(250);

/// A node's end of all its connections. Cheap to clone. Dropping the last clone closes every
/// connection.
#[derive(Clone)]
pub struct Endpoint(Arc<Inner>);

struct Inner {
    quinn: quinn::Endpoint,
    local: SocketAddr,
    registry: Arc<Registry>,
    requests: Arc<Requests>,
    dialler: Arc<Dialler>,
}

impl Endpoint {
    /// Opens the socket and starts listening. Must be called on a tokio runtime.
    ///
    /// The program should take events off the receiver without delay: while more than a thousand
    /// wait, peers that ask or connect wait as well. Once it drops the receiver, requests of peers
    /// are refused.
    ///
    /// # Errors
    /// See [`BindError`]; nothing is left open.
    pub fn bind(config: Config) -> Result<(Self, mpsc::Receiver<Event>), BindError> {
        let Config {
            listen,
            mark,
            key,
            limits,
            key_log,
            tap,
        } = config;
        Handle::try_current().map_err(|_| BindError::NoRuntime)?;
        if let Some(name) = limits.unworkable() {
            return Err(BindError::Limits(name));
        }
        let id = key.id();
        let reset_keys =
            ResetKeys::of(&key).ok_or_else(|| BindError::Tls("key derivation".into()))?;
        let identity = Identity::new(key, key_log);
        let accepting = ServerConfigs::new(&identity, &limits)?;
        let configs = ClientConfigs::new(identity, &limits)?;
        let failed = |source| BindError::Io {
            addr: listen,
            source,
        };
        let quinn = quinn::Endpoint::new(
            endpoint_config(reset_keys),
            Some(accepting.short),
            socket::open(listen, mark)?,
            Arc::new(TokioRuntime),
        )
        .map_err(failed)?;
        let local = quinn.local_addr().map_err(failed)?;
        let most = limits.max_connections + limits.max_strangers;
        let (events, receiver) = mpsc::channel(most + EVENT_QUEUE);
        let registry = Arc::new(Registry::new(id, &limits, events.clone()));
        let requests = Arc::new(Requests {
            registry: Arc::clone(&registry),
            events,
            limits: limits.clone(),
            tap,
        });
        let listener = Listener::new(
            quinn.clone(),
            accepting.long,
            &limits,
            Arc::clone(&registry),
            Arc::clone(&requests),
        );
        tokio::spawn(Arc::new(listener).run());
        let dialler = Arc::new(Dialler {
            quinn: quinn.clone(),
            configs,
            limits,
            registry: Arc::clone(&registry),
            requests: Arc::clone(&requests),
        });
        tracing::debug!(node = ?id, %local, "listening");
        let inner = Inner {
            quinn,
            local,
            registry,
            requests,
            dialler,
        };
        Ok((Self(Arc::new(inner)), receiver))
    }

    /// Where the socket listens, with the port that the system chose if the configuration said 0.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.0.local
    }

    /// This node's id.
    #[must_use]
    pub fn node_id(&self) -> NodeId {
        self.0.registry.own()
    }

    /// Connects to a peer at the first of `addrs` that leads to it; they are tried in order, a
    /// quarter of a second apart. If the peer is connected already, or connects by itself in the
    /// meantime, that connection is the result.
    ///
    /// With `expected`, connects to that node only. Without, whoever answers becomes a peer, and the
    /// result says which node it is.
    ///
    /// Ends within twice `Limits::handshake_timeout` plus 250 ms for each further address. Dropping
    /// the future does no harm; the connection may still come about.
    ///
    /// # Errors
    /// See [`ConnectError`].
    pub async fn connect(
        &self,
        expected: Option<NodeId>,
        addrs: &[SocketAddr],
    ) -> Result<Connected, ConnectError> {
        self.0.dialler.connect(expected, addrs).await
    }

    /// Sends a request to a connected peer and waits for the answer, both whole messages of at
    /// most `Limits::max_message` bytes. Dropping the future tells the peer that the answer is no
    /// longer wanted.
    ///
    /// # Errors
    /// See [`RequestError`]; each says whether the peer may have acted on the request.
    pub async fn request(&self, peer: NodeId, message: Vec<u8>) -> Result<Vec<u8>, RequestError> {
        self.0.requests.ask(peer, &message).await
    }

    /// Names the nodes that the program knows, in place of those that it named before. They find a place
    /// whatever strangers do, and stay connected. Those whom this node dials do as well.
    pub fn know(&self, nodes: impl IntoIterator<Item = NodeId>) {
        self.0.registry.know(nodes.into_iter().collect());
    }

    /// Closes the connection with a peer, if there is one. `reason` is for the peer's log.
    pub fn disconnect(&self, peer: NodeId, code: CloseCode, reason: &str) {
        let registry = &self.0.registry;
        if let Some(link) = registry.link(&peer) {
            link.close(code, reason);
            registry.lost(&link, DisconnectReason::Local(code));
        }
    }

    /// The connections in use.
    #[must_use]
    pub fn connections(&self) -> Vec<ConnectionInfo> {
        let links = self.0.registry.links();
        links.iter().map(|link| link.info()).collect()
    }

    /// Closes all connections and the endpoint, and waits up to a quarter of a second for the peers
    /// to learn of it. When it returns, every peer's `Disconnected` event is in the queue. The
    /// receiver ends when the last clone is dropped.
    pub async fn shutdown(&self) {
        self.0.close();
        let _ = timeout(FAREWELL, self.0.quinn.wait_idle()).await;
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint")
            .field("node", &self.node_id())
            .field("local", &self.0.local)
            .finish_non_exhaustive()
    }
}

impl Inner {
    fn close(&self) {
        self.registry.close(CloseCode::SHUTDOWN);
        self.quinn.close(CloseCode::SHUTDOWN.wire(), b"");
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.close();
    }
}

fn endpoint_config(keys: ResetKeys) -> EndpointConfig {
    let mut config = EndpointConfig::new(Arc::new(keys.token));
    config
        .cid_generator(move || Box::new(HashedConnectionIdGenerator::from_key(keys.connection_id)));
    // Fails only for lengths that QUIC does not know. Packets then stay as long as on Ethernet.
    let _ = config.max_udp_payload_size(MAX_PACKET);
    config
}
