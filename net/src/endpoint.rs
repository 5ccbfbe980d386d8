//! The endpoint: one UDP socket, one node, its connections.

use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use grid_keys::NodeId;
use quinn::{ClientConfig, EndpointConfig, ServerConfig, TokioRuntime, TransportConfig};
use quinn_proto::HashedConnectionIdGenerator;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::timeout;

use crate::budget::{self, Budget};
use crate::codes::{CloseCode, StreamCode};
use crate::config::{Config, Limits, Tap, TapDirection};
use crate::dial;
use crate::error::{BindError, ConnectError, DisconnectReason, RequestError};
use crate::event::{Direction, Event};
use crate::gate::{Bounds, Gate};
use crate::link;
use crate::message::{self, Outgoing, ReadFailure, WriteFailure};
use crate::registry::{Link, Registry};
use crate::reset::ResetKeys;
use crate::socket;
use crate::tls::{Identity, SetupError};
use crate::transport::{MAX_PACKET, Packets, transport};

/// Events that wait for the program, besides one `Disconnected` per connection.
const EVENT_QUEUE: usize = 1024;

/// How long `shutdown` waits for the peers to have heard of it.
const FAREWELL: Duration = Duration::from_millis(250);

/// A node's end of all its connections. Cheap to clone; when the last clone is dropped, all
/// connections are closed.
#[derive(Clone)]
pub struct Endpoint {
    inner: Arc<Inner>,
    _last: Arc<CloseOnDrop>,
}

/// A peer that is connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connected {
    /// Which node: proven by its key.
    pub peer: NodeId,
    /// Where its packets come from. IPv4 is never written as IPv6.
    pub remote: SocketAddr,
}

/// How a connection is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionInfo {
    /// Which node: proven by its key.
    pub peer: NodeId,
    /// Where its packets come from at the moment.
    pub remote: SocketAddr,
    /// Who dialled.
    pub direction: Direction,
    /// The smoothed round trip time.
    pub rtt: Duration,
    /// UDP payload sent so far, in bytes.
    pub sent: u64,
    /// UDP payload received so far, in bytes.
    pub received: u64,
    /// UDP packets sent so far. Each costs 28 bytes of headers on IPv4, 48 on IPv6.
    pub sent_packets: u64,
    /// UDP packets received so far.
    pub received_packets: u64,
}

impl Endpoint {
    /// Opens the socket and starts listening. Must be called on a tokio runtime.
    ///
    /// The program should take events off the receiver without delay: while more than a thousand
    /// wait, peers that ask or connect wait as well. If it drops the receiver, requests of peers
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
        let dialling = Arc::new(transport(&limits, true, Packets::Short)?);
        let dialling_long = Arc::new(transport(&limits, true, Packets::Long)?);
        let listening = transport(&limits, false, Packets::Short)?;
        let listening_long = transport(&limits, false, Packets::Long)?;
        let tls = |error: SetupError| BindError::Tls(error.to_string());
        let reset_keys =
            ResetKeys::of(&key).ok_or_else(|| BindError::Tls("key derivation".into()))?;
        let id = key.id();
        let identity = Identity::new(key, key_log);
        let mut server = ServerConfig::with_crypto(Arc::new(identity.server().map_err(tls)?));
        server
            .transport_config(Arc::new(listening))
            .migration(true)
            .max_incoming(limits.max_handshakes.max(1))
            .incoming_buffer_size(16 * 1024)
            .incoming_buffer_size_total(1024 * 1024);
        let mut server_long = server.clone();
        server_long.transport_config(Arc::new(listening_long));
        let bind = |source| BindError::Io {
            addr: listen,
            source,
        };
        let quinn = quinn::Endpoint::new(
            endpoint_config(reset_keys),
            Some(server),
            socket::open(listen, mark)?,
            Arc::new(TokioRuntime),
        )
        .map_err(bind)?;
        let local = quinn.local_addr().map_err(bind)?;
        let (events, receiver) = mpsc::channel(limits.max_connections + EVENT_QUEUE);
        let inner = Arc::new(Inner {
            quinn,
            id,
            local,
            identity,
            dialling,
            dialling_long,
            listening_long: Arc::new(server_long),
            registry: Registry::new(id, &limits),
            gate: Gate::new(Bounds {
                total: limits.max_handshakes,
                per_source: limits.max_handshakes_per_source,
                retry_from: limits.retry_threshold,
            }),
            buffered: Budget::shared(&limits),
            events,
            tap,
            limits,
        });
        tokio::spawn(link::listen(Arc::clone(&inner)));
        tracing::debug!(node = ?id, %local, "listening");
        Ok((
            Self {
                _last: Arc::new(CloseOnDrop(Arc::clone(&inner))),
                inner,
            },
            receiver,
        ))
    }

    /// Where the socket listens; the port is the real one when 0 was asked for.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.inner.local
    }

    /// This node.
    #[must_use]
    pub fn node_id(&self) -> NodeId {
        self.inner.id
    }

    /// Connects to a peer at the first of `addrs` that leads to it; they are tried a quarter of a
    /// second apart, in their order. If the peer is connected already, or connects by itself in
    /// the meantime, that connection is the result.
    ///
    /// With `expected`, no other node is talked to. Without, whoever answers becomes a peer, and
    /// the result says who it was.
    ///
    /// It ends within twice `Limits::handshake_timeout` plus 250 ms for each further address.
    /// Dropping the future does no harm; the connection may still come about.
    ///
    /// # Errors
    /// See [`ConnectError`].
    pub async fn connect(
        &self,
        expected: Option<NodeId>,
        addrs: &[SocketAddr],
    ) -> Result<Connected, ConnectError> {
        dial::connect(&self.inner, expected, addrs).await
    }

    /// Sends a request to a connected peer and waits for the answer, both whole messages of at
    /// most `Limits::max_message` bytes. Dropping the future tells the peer that the answer is no
    /// longer wanted.
    ///
    /// # Errors
    /// See [`RequestError`]; each says whether the peer may have acted on the request.
    pub async fn request(&self, peer: NodeId, message: Vec<u8>) -> Result<Vec<u8>, RequestError> {
        let inner = &*self.inner;
        let limit = inner.limits.max_message;
        if link::exceeds(&message, limit) {
            return Err(RequestError::TooLarge {
                size: message.len(),
                limit,
            });
        }
        let link = inner
            .registry
            .link(&peer)
            .ok_or(RequestError::NotConnected(peer))?;
        let after = inner.limits.request_timeout;
        match timeout(after, inner.ask(&link, &message)).await {
            Ok(answer) => answer,
            Err(_) => Err(RequestError::TimedOut { after }),
        }
    }

    /// Closes the connection with a peer, if there is one. `reason` is for the peer's log.
    pub fn disconnect(&self, peer: NodeId, code: CloseCode, reason: &str) {
        if let Some(link) = self.inner.registry.link(&peer) {
            link.close(code, reason);
            self.inner
                .registry
                .lost(&link, DisconnectReason::Local(code));
        }
    }

    /// The connections in use.
    #[must_use]
    pub fn connections(&self) -> Vec<ConnectionInfo> {
        self.inner
            .registry
            .links()
            .iter()
            .map(|link| info(link))
            .collect()
    }

    /// Closes all connections and the endpoint, and waits up to a quarter of a second until the
    /// peers know. Every peer's `Disconnected` event is there when it returns. The receiver ends
    /// when the last clone is dropped.
    pub async fn shutdown(&self) {
        self.inner.close();
        let _ = timeout(FAREWELL, self.inner.quinn.wait_idle()).await;
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint")
            .field("node", &self.inner.id)
            .field("local", &self.inner.local)
            .finish_non_exhaustive()
    }
}

fn info(link: &Link) -> ConnectionInfo {
    let stats = link.connection.stats();
    ConnectionInfo {
        peer: link.peer,
        remote: socket::canonical(link.connection.remote_address()),
        direction: link.direction,
        rtt: link.connection.rtt(),
        sent: stats.udp_tx.bytes,
        received: stats.udp_rx.bytes,
        sent_packets: stats.udp_tx.datagrams,
        received_packets: stats.udp_rx.datagrams,
    }
}

fn endpoint_config(keys: ResetKeys) -> EndpointConfig {
    let mut config = EndpointConfig::new(Arc::new(keys.token));
    config
        .cid_generator(move || Box::new(HashedConnectionIdGenerator::from_key(keys.connection_id)));
    // QUIC knows packets of this length; if not, they stay as long as on Ethernet.
    let _ = config.max_udp_payload_size(MAX_PACKET);
    config
}

/// What the tasks of an endpoint share.
pub(crate) struct Inner {
    pub(crate) quinn: quinn::Endpoint,
    pub(crate) id: NodeId,
    pub(crate) limits: Limits,
    pub(crate) registry: Registry,
    pub(crate) gate: Arc<Gate>,
    pub(crate) buffered: Arc<Semaphore>,
    pub(crate) events: mpsc::Sender<Event>,
    local: SocketAddr,
    identity: Identity,
    dialling: Arc<TransportConfig>,
    dialling_long: Arc<TransportConfig>,
    /// How to take connections over links with long packets.
    listening_long: Arc<ServerConfig>,
    tap: Option<Tap>,
}

impl Inner {
    /// How to dial an address. The key that the peer shows, right or wrong, arrives in `seen`.
    pub(crate) fn client_config(
        &self,
        addr: SocketAddr,
        expected: Option<NodeId>,
        seen: Arc<OnceLock<NodeId>>,
    ) -> Result<ClientConfig, SetupError> {
        let mut config = ClientConfig::new(Arc::new(self.identity.client(expected, seen)?));
        config.transport_config(Arc::clone(match socket::packets_to(addr) {
            Packets::Short => &self.dialling,
            Packets::Long => &self.dialling_long,
        }));
        Ok(config)
    }

    /// How to take a connection from an address, if not as usual.
    pub(crate) fn server_config(&self, addr: SocketAddr) -> Option<Arc<ServerConfig>> {
        match socket::packets_to(addr) {
            Packets::Short => None,
            Packets::Long => Some(Arc::clone(&self.listening_long)),
        }
    }

    pub(crate) fn tap(&self, direction: TapDirection, peer: &NodeId, message: &[u8]) {
        if let Some(tap) = &self.tap {
            tap(direction, peer, message);
        }
    }

    async fn ask(&self, link: &Link, message: &[u8]) -> Result<Vec<u8>, RequestError> {
        let limit = self.limits.max_message;
        let lost = |error| RequestError::Disconnected(link.reason(&error));
        // Held until the answer is here, by when the peer has let go of the request. The semaphore
        // is never closed.
        let _place = match budget::is_large(message) {
            true => link.large.acquire().await.ok(),
            false => None,
        };
        let (send, mut receive) = link.connection.open_bi().await.map_err(lost)?;
        self.tap(TapDirection::Sent, &link.peer, message);
        Outgoing::new(send)
            .send(message)
            .await
            .map_err(|failure| match failure {
                WriteFailure::Stopped(code) => RequestError::Refused(code),
                WriteFailure::Lost(error) => lost(error),
            })?;
        match message::read(&mut receive, limit, None).await {
            Ok((answer, _)) => {
                self.tap(TapDirection::Received, &link.peer, &answer);
                Ok(answer)
            }
            Err(ReadFailure::TooLarge) => Err(RequestError::AnswerTooLarge { limit }),
            Err(ReadFailure::Busy) => Err(RequestError::Refused(StreamCode::BUSY)),
            Err(ReadFailure::Reset(code)) => Err(RequestError::Refused(code)),
            Err(ReadFailure::Lost(error)) => Err(lost(error)),
        }
    }

    fn close(&self) {
        self.registry.close(CloseCode::SHUTDOWN);
        self.quinn.close(CloseCode::SHUTDOWN.wire(), b"");
    }
}

struct CloseOnDrop(Arc<Inner>);

impl Drop for CloseOnDrop {
    fn drop(&mut self) {
        self.0.close();
    }
}
