//! Incoming connections, from the first packet to their place in the registry. The handshake and the
//! greeting share one deadline.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use quinn::{Connection, Incoming, ServerConfig};
use tokio::time::{Instant, timeout_at};

use crate::codes::CloseCode;
use crate::config::Limits;
use crate::connection::Direction;
use crate::error::BindError;
use crate::gate::{Admission, Bounds, Gate, Pass};
use crate::link::Link;
use crate::message::Outgoing;
use crate::registry::{Greeting, Registry};
use crate::requests::Requests;
use crate::socket::{canonical, packets_to};
use crate::tls::Identity;
use crate::transport::{Packets, Side, transport};

/// How to accept connections: as a rule, and over links that carry long packets.
pub(crate) struct ServerConfigs {
    pub(crate) short: ServerConfig,
    pub(crate) long: ServerConfig,
}

impl ServerConfigs {
    pub(crate) fn new(identity: &Identity, limits: &Limits) -> Result<Self, BindError> {
        let tls = identity
            .server()
            .map_err(|error| BindError::Tls(error.to_string()))?;
        let mut short = ServerConfig::with_crypto(Arc::new(tls));
        short
            .transport_config(Arc::new(transport(
                limits,
                Side::Listening,
                Packets::Short,
            )?))
            .migration(true)
            .max_incoming(limits.max_handshakes.max(1))
            .incoming_buffer_size(16 * 1024)
            .incoming_buffer_size_total(1024 * 1024);
        let mut long = short.clone();
        long.transport_config(Arc::new(transport(limits, Side::Listening, Packets::Long)?));
        Ok(Self { short, long })
    }
}

/// Accepts connections.
pub(crate) struct Listener {
    quinn: quinn::Endpoint,
    long: Arc<ServerConfig>,
    gate: Arc<Gate>,
    handshake_timeout: Duration,
    registry: Arc<Registry>,
    requests: Arc<Requests>,
}

impl Listener {
    /// `long` is the configuration for links that carry long packets.
    pub(crate) fn new(
        quinn: quinn::Endpoint,
        long: ServerConfig,
        limits: &Limits,
        registry: Arc<Registry>,
        requests: Arc<Requests>,
    ) -> Self {
        Self {
            quinn,
            long: Arc::new(long),
            gate: Gate::new(Bounds {
                total: limits.max_handshakes,
                per_source: limits.max_handshakes_per_source,
                retry_from: limits.retry_threshold,
            }),
            handshake_timeout: limits.handshake_timeout,
            registry,
            requests,
        }
    }

    /// Accepts connections until the endpoint is closed.
    pub(crate) async fn run(self: Arc<Self>) {
        while let Some(incoming) = self.quinn.accept().await {
            let remote = canonical(incoming.remote_address());
            let validated = incoming.remote_address_validated();
            match self
                .gate
                .admit(remote.ip(), validated, self.registry.is_crowded())
            {
                Admission::Enter(pass) => {
                    tokio::spawn(Arc::clone(&self).welcome(incoming, remote, pass));
                }
                Admission::Retry => {
                    tracing::trace!(%remote, "address validation requested");
                    // Fails only for an address that is validated, and the gate asks none of those.
                    let _ = incoming.retry();
                }
                Admission::Refuse => {
                    tracing::debug!(%remote, "too many handshakes under way");
                    incoming.refuse();
                }
            }
        }
    }

    /// Takes one connection through handshake and greeting. `pass` counts it until then.
    async fn welcome(self: Arc<Self>, incoming: Incoming, remote: SocketAddr, pass: Pass) {
        let deadline = Instant::now() + self.handshake_timeout;
        let accepted = match packets_to(remote) {
            Packets::Short => incoming.accept(),
            Packets::Long => incoming.accept_with(Arc::clone(&self.long)),
        };
        let Ok(connecting) = accepted else {
            return;
        };
        let connection = match timeout_at(deadline, connecting).await {
            Ok(Ok(connection)) => connection,
            Ok(Err(error)) => return tracing::debug!(%remote, %error, "handshake failed"),
            Err(_) => return tracing::debug!(%remote, "handshake took too long"),
        };
        let entered = timeout_at(deadline, self.enter(&connection)).await;
        match entered.unwrap_or(Err(CloseCode::TOO_SLOW)) {
            Ok(link) => {
                drop(pass);
                self.requests.spawn_serving(link);
            }
            Err(code) => {
                tracing::debug!(%remote, %code, "turned away");
                connection.close(code.wire(), b"");
            }
        }
    }

    /// Reads the greeting, and answers it once the connection has become the one for its pair. The
    /// error is the code to close the connection with.
    async fn enter(&self, connection: &Connection) -> Result<Arc<Link>, CloseCode> {
        let (send, mut receive) = connection.accept_bi().await.map_err(|_| CloseCode::DONE)?;
        let mut answer = Outgoing::new(send);
        receive
            .read_to_end(0)
            .await
            .map_err(|_| CloseCode::PROTOCOL)?;
        let mut candidate = self
            .registry
            .candidate(connection.clone(), Direction::Incoming)
            .await?;
        if candidate.peer == self.registry.own() {
            return Err(CloseCode::PROTOCOL);
        }
        loop {
            let changed = self.registry.changed();
            tokio::pin!(changed);
            changed.as_mut().enable();
            match self.registry.greeted(candidate) {
                Greeting::Accepted { link, abandoned } => {
                    let abandoned = abandoned.map(|id| id.0);
                    // On failure the connection is gone, which whoever serves it will notice.
                    let _ = answer
                        .send(abandoned.as_ref().map_or(&[], |id| &id[..]))
                        .await;
                    return Ok(link);
                }
                Greeting::Refused(code) => return Err(code),
                Greeting::Waits(waiting) => candidate = waiting,
            }
            tokio::select! {
                () = changed => {}
                _ = connection.closed() => return Err(CloseCode::DONE),
            }
        }
    }
}
