//! Dialling: several addresses a little apart, the first whole handshake wins.
//!
//! Modelled on RFC 8305 (happy eyeballs): a dead address costs a quarter of a second, not a timeout.
//! A connection that loses the race is closed before its greeting, so that the peer never counts it.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use grid_keys::NodeId;
use quinn::{ClientConfig, Connection, TransportConfig};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use crate::codes::CloseCode;
use crate::config::Limits;
use crate::connection::{Connected, Direction};
use crate::error::{AttemptError, BindError, ConnectError};
use crate::link::{Candidate, Link};
use crate::message::Outgoing;
use crate::pair::LinkId;
use crate::registry::{Dial, Registry};
use crate::requests::Requests;
use crate::socket::{canonical, packets_to};
use crate::tls::{self, Identity, SetupError};
use crate::transport::{Packets, Side, transport};

/// Between the starts of two attempts (RFC 8305 section 5 recommends 250 ms).
const STAGGER: Duration = Duration::from_millis(250);

/// How many addresses of one node are tried.
const MAX_ADDRESSES: usize = 32;

/// How to dial: this node's identity, and the transport over either kind of link.
pub(crate) struct ClientConfigs {
    identity: Identity,
    short: Arc<TransportConfig>,
    long: Arc<TransportConfig>,
}

impl ClientConfigs {
    pub(crate) fn new(identity: Identity, limits: &Limits) -> Result<Self, BindError> {
        Ok(Self {
            identity,
            short: Arc::new(transport(limits, Side::Dialling, Packets::Short)?),
            long: Arc::new(transport(limits, Side::Dialling, Packets::Long)?),
        })
    }

    /// For one address. `seen` receives the node that the peer presents, the expected one or not.
    fn config(
        &self,
        addr: SocketAddr,
        expected: Option<NodeId>,
        seen: Arc<OnceLock<NodeId>>,
    ) -> Result<ClientConfig, SetupError> {
        let mut config = ClientConfig::new(Arc::new(self.identity.client(expected, seen)?));
        config.transport_config(Arc::clone(match packets_to(addr) {
            Packets::Short => &self.short,
            Packets::Long => &self.long,
        }));
        Ok(config)
    }
}

/// Dials peers.
pub(crate) struct Dialler {
    pub(crate) quinn: quinn::Endpoint,
    pub(crate) configs: ClientConfigs,
    pub(crate) limits: Limits,
    pub(crate) registry: Arc<Registry>,
    pub(crate) requests: Arc<Requests>,
}

enum Race {
    /// The peer is connected, perhaps because it dialled in the meantime.
    Connected(Arc<Link>),
    Won(NodeId, Connection),
}

/// Why a connection did not come into use.
enum Unsettled {
    Refused(AttemptError),
    Full,
    Closed,
}

type Attempt = Result<(NodeId, Connection), AttemptError>;

impl Dialler {
    /// Connects to a peer, or returns the connection that there is.
    pub(crate) async fn connect(
        self: &Arc<Self>,
        expected: Option<NodeId>,
        addrs: &[SocketAddr],
    ) -> Result<Connected, ConnectError> {
        let own = self.registry.own();
        if expected == Some(own) {
            return Err(ConnectError::Myself);
        }
        let (peer, connection) = match self.race(expected, addrs).await? {
            Race::Connected(link) => return Ok(link.connected()),
            Race::Won(peer, connection) => (peer, connection),
        };
        let remote = canonical(connection.remote_address());
        if peer == own {
            connection.close(CloseCode::DONE.wire(), b"");
            return Err(ConnectError::Myself);
        }
        match self.settle(connection).await {
            Ok(link) => Ok(link.connected()),
            Err(Unsettled::Refused(error)) => Err(ConnectError::Failed(vec![(remote, error)])),
            Err(Unsettled::Full) => Err(ConnectError::TooManyConnections {
                limit: self.limits.max_connections,
            }),
            Err(Unsettled::Closed) => Err(ConnectError::ShutDown),
        }
    }

    /// Dials the addresses until one handshake is done.
    async fn race(
        self: &Arc<Self>,
        expected: Option<NodeId>,
        addrs: &[SocketAddr],
    ) -> Result<Race, ConnectError> {
        let mut waiting = distinct(addrs).into_iter();
        let mut running = JoinSet::new();
        let mut failures = Vec::new();
        let mut next_start = Instant::now();
        loop {
            let changed = self.registry.changed();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if let Some(link) = expected.and_then(|peer| self.registry.link(&peer)) {
                return Ok(Race::Connected(link));
            }
            if self.registry.is_closed() {
                return Err(ConnectError::ShutDown);
            }
            if running.is_empty() && waiting.len() == 0 {
                return Err(verdict(expected, failures));
            }
            tokio::select! {
                () = sleep_until(next_start), if waiting.len() > 0 => {
                    if let Some(addr) = waiting.next() {
                        let dialler = Arc::clone(self);
                        running.spawn(async move { (addr, dialler.handshake(expected, addr).await) });
                    }
                    next_start = Instant::now() + STAGGER;
                }
                Some(done) = running.join_next(), if !running.is_empty() => match done {
                    Ok((_, Ok((peer, connection)))) => return Ok(Race::Won(peer, connection)),
                    Ok((addr, Err(error))) => {
                        tracing::debug!(%addr, %error, "dial failed");
                        failures.push((addr, error));
                        next_start = Instant::now();
                    }
                    Err(error) => tracing::debug!(%error, "dial task failed"),
                },
                () = changed => {}
            }
        }
    }

    async fn handshake(&self, expected: Option<NodeId>, addr: SocketAddr) -> Attempt {
        let seen = Arc::new(OnceLock::new());
        let config = self
            .configs
            .config(addr, expected, Arc::clone(&seen))
            .map_err(|error| AttemptError::Unusable(error.to_string()))?;
        let connecting = self
            .quinn
            .connect_with(config, addr, tls::SERVER_NAME)
            .map_err(|error| AttemptError::Unusable(error.to_string()))?;
        match timeout(self.limits.handshake_timeout, connecting).await {
            Err(_) => Err(AttemptError::TimedOut),
            Ok(Err(error)) => match (expected, seen.get()) {
                (Some(expected), Some(&found)) if found != expected => {
                    Err(AttemptError::Identity { found })
                }
                _ => Err(AttemptError::new(&error)),
            },
            Ok(Ok(connection)) => match tls::peer_of(&connection) {
                Some(peer) => Ok((peer, connection)),
                None => Err(AttemptError::NotAGridNode("it showed no node key".into())),
            },
        }
    }

    /// Makes a connection the one for its pair, or finds the one that is.
    async fn settle(self: &Arc<Self>, connection: Connection) -> Result<Arc<Link>, Unsettled> {
        let deadline = Instant::now() + self.limits.handshake_timeout;
        let preparing = self
            .registry
            .candidate(connection.clone(), Direction::Outgoing);
        let candidate = match timeout_at(deadline, preparing).await {
            Ok(Ok(candidate)) => candidate,
            Ok(Err(code)) => {
                connection.close(code.wire(), b"");
                return Err(Unsettled::Refused(AttemptError::NotAGridNode(
                    code.to_string(),
                )));
            }
            Err(_) => {
                connection.close(CloseCode::BUSY.wire(), b"");
                return Err(Unsettled::Full);
            }
        };
        let unsettled = loop {
            let changed = self.registry.changed();
            tokio::pin!(changed);
            changed.as_mut().enable();
            match self.registry.commit(&candidate) {
                Dial::Committed => {
                    let peer = candidate.peer;
                    // In a task of its own, so that a caller that loses interest cannot leave the
                    // two ends with different views.
                    let greeting = tokio::spawn(Arc::clone(self).greet(candidate, deadline));
                    return match greeting.await {
                        Ok(Ok(link)) => Ok(link),
                        Ok(Err(error)) => {
                            self.registry.link(&peer).ok_or(Unsettled::Refused(error))
                        }
                        Err(_) => Err(Unsettled::Closed),
                    };
                }
                Dial::Connected(link) => {
                    connection.close(CloseCode::DUPLICATE.wire(), b"");
                    return Ok(link);
                }
                Dial::Full => break Unsettled::Full,
                Dial::Closed => break Unsettled::Closed,
                Dial::Waits => {}
            }
            if timeout_at(deadline, changed).await.is_err() {
                break Unsettled::Refused(AttemptError::TimedOut);
            }
        };
        connection.close(CloseCode::DONE.wire(), b"");
        Err(unsettled)
    }

    /// Sends the greeting and waits for the answer, which brings the connection into use.
    async fn greet(
        self: Arc<Self>,
        candidate: Candidate,
        deadline: Instant,
    ) -> Result<Arc<Link>, AttemptError> {
        let (peer, id, connection) = (candidate.peer, candidate.id, candidate.connection.clone());
        let answer = match timeout_at(deadline, exchange_greeting(&connection)).await {
            Ok(answer) => answer,
            Err(_) => Err((AttemptError::TimedOut, CloseCode::TOO_SLOW)),
        };
        match answer {
            Ok(abandoned) => match self.registry.answered(candidate, abandoned) {
                Some(link) => {
                    self.requests.spawn_serving(Arc::clone(&link));
                    Ok(link)
                }
                None => {
                    connection.close(CloseCode::DUPLICATE.wire(), b"");
                    Err(AttemptError::Lost(
                        "given up for the peer's own dial".into(),
                    ))
                }
            },
            Err((error, code)) => {
                connection.close(code.wire(), b"");
                self.registry.failed(&peer, id);
                Err(error)
            }
        }
    }
}

fn distinct(addrs: &[SocketAddr]) -> Vec<SocketAddr> {
    let mut distinct = Vec::new();
    for addr in addrs.iter().copied().map(canonical) {
        if !distinct.contains(&addr) && distinct.len() < MAX_ADDRESSES {
            distinct.push(addr);
        }
    }
    distinct
}

/// The one error for many failures. A wrong identity outranks the rest: only a person can settle it.
fn verdict(expected: Option<NodeId>, failures: Vec<(SocketAddr, AttemptError)>) -> ConnectError {
    let imposter = failures.iter().find_map(|(addr, error)| match error {
        AttemptError::Identity { found } => Some((*addr, *found)),
        _ => None,
    });
    match (expected, imposter) {
        (Some(expected), Some((remote, found))) => ConnectError::IdentityMismatch {
            expected,
            found,
            remote,
        },
        _ if failures.is_empty() => ConnectError::NoAddresses,
        _ => ConnectError::Failed(failures),
    }
}

/// Greets with an empty first stream. The answer names the dial that the peer abandoned, if any. The
/// error comes with the code to close the connection with.
async fn exchange_greeting(
    connection: &Connection,
) -> Result<Option<LinkId>, (AttemptError, CloseCode)> {
    let lost = |error| (AttemptError::new(&error), CloseCode::DONE);
    let nonsense = || {
        let what = "it answered the greeting wrongly";
        (AttemptError::NotAGridNode(what.into()), CloseCode::PROTOCOL)
    };
    let (send, mut receive) = connection.open_bi().await.map_err(lost)?;
    if Outgoing::new(send).send(&[]).await.is_err() {
        return Err(connection.close_reason().map_or_else(nonsense, lost));
    }
    match receive.read_to_end(LinkId::LEN).await {
        Ok(answer) if answer.is_empty() => Ok(None),
        Ok(answer) => Ok(Some(LinkId(answer.try_into().map_err(|_| nonsense())?))),
        Err(_) => Err(connection.close_reason().map_or_else(nonsense, lost)),
    }
}
