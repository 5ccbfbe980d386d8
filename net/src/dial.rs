//! Dialling: several addresses a little apart, the first whole handshake wins.
//!
//! Modelled on RFC 8305 (happy eyeballs): one dead address costs a quarter of a second, not a
//! timeout. A connection that lost the race is closed before its greeting, so that the peer has
//! never counted it.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use grid_keys::NodeId;
use quinn::Connection;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use crate::codes::CloseCode;
use crate::endpoint::{Connected, Inner};
use crate::error::{AttemptError, ConnectError};
use crate::event::Direction;
use crate::link;
use crate::message::Outgoing;
use crate::pair::LinkId;
use crate::registry::{Candidate, Committed, Link};
use crate::socket::canonical;
use crate::tls;

/// Between the starts of two attempts (RFC 8305 section 5 recommends 250 ms).
const STAGGER: Duration = Duration::from_millis(250);

/// More addresses of one node than this are not tried.
const MAX_ADDRESSES: usize = 32;

/// Connects to a peer, or returns the connection that there is.
pub(crate) async fn connect(
    inner: &Arc<Inner>,
    expected: Option<NodeId>,
    addrs: &[SocketAddr],
) -> Result<Connected, ConnectError> {
    if expected == Some(inner.id) {
        return Err(ConnectError::Myself);
    }
    let (peer, remote, connection) = match race(inner, expected, addrs).await? {
        Won::Already(link) => return Ok(connected(&link)),
        Won::Dialled(peer, connection) => {
            (peer, canonical(connection.remote_address()), connection)
        }
    };
    if peer == inner.id {
        connection.close(CloseCode::DONE.wire(), b"");
        return Err(ConnectError::Myself);
    }
    settle(inner, peer, connection)
        .await
        .map(|link| connected(&link))
        .map_err(|why| match why {
            Unsettled::Refused(error) => ConnectError::Failed(vec![(remote, error)]),
            Unsettled::Full => ConnectError::TooManyConnections {
                limit: inner.limits.max_connections,
            },
            Unsettled::Closed => ConnectError::ShutDown,
        })
}

fn connected(link: &Link) -> Connected {
    Connected {
        peer: link.peer,
        remote: canonical(link.connection.remote_address()),
    }
}

enum Won {
    /// The peer is connected, perhaps because it dialled in the meantime.
    Already(Arc<Link>),
    Dialled(NodeId, Connection),
}

/// Dials the addresses until one handshake is done.
async fn race(
    inner: &Arc<Inner>,
    expected: Option<NodeId>,
    addrs: &[SocketAddr],
) -> Result<Won, ConnectError> {
    let mut waiting = distinct(addrs).into_iter();
    let mut running = JoinSet::new();
    let mut failures = Vec::new();
    let mut next_start = Instant::now();
    loop {
        let changed = inner.registry.changed();
        tokio::pin!(changed);
        changed.as_mut().enable();
        if let Some(link) = expected.and_then(|peer| inner.registry.link(&peer)) {
            return Ok(Won::Already(link));
        }
        if inner.registry.is_closed() {
            return Err(ConnectError::ShutDown);
        }
        if running.is_empty() && waiting.len() == 0 {
            return Err(verdict(expected, failures));
        }
        tokio::select! {
            () = sleep_until(next_start), if waiting.len() > 0 => {
                if let Some(addr) = waiting.next() {
                    running.spawn(attempt(Arc::clone(inner), expected, addr));
                }
                next_start = Instant::now() + STAGGER;
            }
            Some(done) = running.join_next(), if !running.is_empty() => match done {
                Ok((_, Ok((peer, connection)))) => return Ok(Won::Dialled(peer, connection)),
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

fn distinct(addrs: &[SocketAddr]) -> Vec<SocketAddr> {
    let mut distinct = Vec::new();
    for addr in addrs.iter().copied().map(canonical) {
        if !distinct.contains(&addr) && distinct.len() < MAX_ADDRESSES {
            distinct.push(addr);
        }
    }
    distinct
}

/// The one error for many failures. A wrong identity outranks the rest: it needs a person.
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

type Attempt = Result<(NodeId, Connection), AttemptError>;

async fn attempt(
    inner: Arc<Inner>,
    expected: Option<NodeId>,
    addr: SocketAddr,
) -> (SocketAddr, Attempt) {
    (addr, handshake(&inner, expected, addr).await)
}

async fn handshake(inner: &Inner, expected: Option<NodeId>, addr: SocketAddr) -> Attempt {
    let seen = Arc::new(OnceLock::new());
    let config = inner
        .client_config(addr, expected, Arc::clone(&seen))
        .map_err(|error| AttemptError::Unusable(error.to_string()))?;
    let connecting = inner
        .quinn
        .connect_with(config, addr, tls::SERVER_NAME)
        .map_err(|error| AttemptError::Unusable(error.to_string()))?;
    match timeout(inner.limits.handshake_timeout, connecting).await {
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

enum Unsettled {
    Refused(AttemptError),
    Full,
    Closed,
}

/// Makes a connection the one for its pair, or finds the one that is.
async fn settle(
    inner: &Arc<Inner>,
    peer: NodeId,
    connection: Connection,
) -> Result<Arc<Link>, Unsettled> {
    let deadline = Instant::now() + inner.limits.handshake_timeout;
    let prepared = timeout_at(
        deadline,
        link::candidate(inner, connection.clone(), Direction::Outgoing),
    );
    let candidate = match prepared.await {
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
    let refused = loop {
        let changed = inner.registry.changed();
        tokio::pin!(changed);
        changed.as_mut().enable();
        match inner
            .registry
            .commit(peer, candidate.id, &candidate.connection)
        {
            Committed::Greet => {
                // On its own, so that a caller that loses interest cannot leave the two ends with
                // different views.
                let greeting = tokio::spawn(greet(Arc::clone(inner), candidate, deadline));
                return match greeting.await {
                    Ok(Ok(link)) => Ok(link),
                    Ok(Err(error)) => inner.registry.link(&peer).ok_or(Unsettled::Refused(error)),
                    Err(_) => Err(Unsettled::Closed),
                };
            }
            Committed::Connected(link) => {
                candidate.connection.close(CloseCode::DUPLICATE.wire(), b"");
                return Ok(link);
            }
            Committed::Full => break Unsettled::Full,
            Committed::Closed => break Unsettled::Closed,
            Committed::Wait => {}
        }
        if timeout_at(deadline, changed).await.is_err() {
            break Unsettled::Refused(AttemptError::TimedOut);
        }
    };
    candidate.connection.close(CloseCode::DONE.wire(), b"");
    Err(refused)
}

/// Sends the greeting, and waits for the answer, which makes the connection usable.
async fn greet(
    inner: Arc<Inner>,
    candidate: Candidate,
    deadline: Instant,
) -> Result<Arc<Link>, AttemptError> {
    let (peer, id, connection) = (candidate.peer, candidate.id, candidate.connection.clone());
    let answer = match timeout_at(deadline, ask(&connection)).await {
        Ok(answer) => answer,
        Err(_) => Err((AttemptError::TimedOut, CloseCode::TOO_SLOW)),
    };
    match answer {
        Ok(abandoned) => match inner.registry.answered(candidate, abandoned) {
            Some(link) => {
                tokio::spawn(link::serve(inner, Arc::clone(&link)));
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
            inner.registry.failed(&peer, id);
            Err(error)
        }
    }
}

/// The greeting: an empty first stream. The answer names the dial that the peer abandoned, if any.
async fn ask(connection: &Connection) -> Result<Option<LinkId>, (AttemptError, CloseCode)> {
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
