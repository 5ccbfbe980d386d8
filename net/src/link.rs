//! Connections from the listening side, and the requests that come in on any connection.
//!
//! Every wait here has an end: the handshake and the greeting share one deadline, a message has
//! its own, and an answer that the program does not give is given up.

use std::sync::Arc;
use std::time::Duration;

use quinn::{Connection, Incoming, RecvStream, SendStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::budget::{self, Budget};
use crate::codes::{CloseCode, StreamCode};
use crate::config::TapDirection;
use crate::endpoint::Inner;
use crate::event::{Direction, Event, Responder};
use crate::gate::{Admission, Pass};
use crate::message::{self, Outgoing, ReadFailure};
use crate::pair::LinkId;
use crate::rate::TokenBucket;
use crate::registry::{Admitted, Candidate, Link, Reserved};
use crate::socket::canonical;
use crate::tls;

/// What the exporter is asked for (RFC 8446 section 7.5).
const LINK_LABEL: &[u8] = b"EXPORTER-grid-link";

/// Takes incoming connections until the endpoint is closed.
pub(crate) async fn listen(inner: Arc<Inner>) {
    while let Some(incoming) = inner.quinn.accept().await {
        let remote = canonical(incoming.remote_address());
        match inner
            .gate
            .admit(remote.ip(), incoming.remote_address_validated())
        {
            Admission::Enter(pass) => {
                tokio::spawn(welcome(Arc::clone(&inner), incoming, pass));
            }
            Admission::Retry => {
                tracing::trace!(%remote, "address validation asked for");
                // An error would mean that the address is validated, which was ruled out above.
                let _ = incoming.retry();
            }
            Admission::Refuse => {
                tracing::debug!(%remote, "too many handshakes under way");
                incoming.refuse();
            }
        }
    }
}

/// One incoming connection, from the first packet to its place in the registry.
async fn welcome(inner: Arc<Inner>, incoming: Incoming, pass: Pass) {
    let remote = canonical(incoming.remote_address());
    let deadline = Instant::now() + inner.limits.handshake_timeout;
    let accepted = match inner.server_config(remote) {
        Some(config) => incoming.accept_with(config),
        None => incoming.accept(),
    };
    let Ok(connecting) = accepted else {
        return;
    };
    let connection = match timeout_at(deadline, connecting).await {
        Ok(Ok(connection)) => connection,
        Ok(Err(error)) => return tracing::debug!(%remote, %error, "handshake failed"),
        Err(_) => return tracing::debug!(%remote, "handshake took too long"),
    };
    let entered = timeout_at(deadline, enter(&inner, &connection)).await;
    match entered.unwrap_or(Err(CloseCode::TOO_SLOW)) {
        Ok(link) => {
            drop(pass);
            tokio::spawn(serve(inner, link));
        }
        Err(code) => {
            tracing::debug!(%remote, %code, "turned away");
            connection.close(code.wire(), b"");
        }
    }
}

/// Reads the greeting and answers it when the connection has become the one for its pair.
async fn enter(inner: &Arc<Inner>, connection: &Connection) -> Result<Arc<Link>, CloseCode> {
    let (send, mut receive) = connection.accept_bi().await.map_err(|_| CloseCode::DONE)?;
    let mut answer = Outgoing::new(send);
    receive
        .read_to_end(0)
        .await
        .map_err(|_| CloseCode::PROTOCOL)?;
    let mut candidate = candidate(inner, connection.clone(), Direction::Incoming).await?;
    if candidate.peer == inner.id {
        return Err(CloseCode::PROTOCOL);
    }
    loop {
        let changed = inner.registry.changed();
        tokio::pin!(changed);
        changed.as_mut().enable();
        match inner.registry.greeted(candidate) {
            Admitted::Accept { link, abandoned } => {
                let abandoned = abandoned.map(|id| id.0);
                // If it fails the connection is gone, which whoever serves it will notice.
                let _ = answer
                    .send(abandoned.as_ref().map_or(&[], |id| &id[..]))
                    .await;
                return Ok(link);
            }
            Admitted::Refuse(code) => return Err(code),
            Admitted::Wait(waiting) => candidate = waiting,
        }
        tokio::select! {
            () = changed => {}
            _ = connection.closed() => return Err(CloseCode::DONE),
        }
    }
}

/// What the registry needs of a connection. The error is the code to close it with.
pub(crate) async fn candidate(
    inner: &Inner,
    connection: Connection,
    direction: Direction,
) -> Result<Candidate, CloseCode> {
    let peer = tls::peer_of(&connection).ok_or(CloseCode::PROTOCOL)?;
    let mut id = [0; LinkId::LEN];
    connection
        .export_keying_material(&mut id, LINK_LABEL, &[])
        .map_err(|_| CloseCode::PROTOCOL)?;
    Ok(Candidate {
        peer,
        id: LinkId(id),
        connection,
        direction,
        budget: Budget::new(&inner.limits, &inner.buffered),
        large: budget::large_at_once(&inner.limits),
        events: Reserved::new(&inner.events).await,
    })
}

/// Takes a peer's requests until the connection ends.
pub(crate) async fn serve(inner: Arc<Inner>, link: Arc<Link>) {
    let mut pace = Pace::new(&inner);
    let mut exchanges = JoinSet::new();
    let error = loop {
        tokio::select! {
            stream = link.connection.accept_bi() => match stream {
                Ok((send, receive)) => {
                    let wait = pace.next();
                    if pace.is_flooded() {
                        link.close(CloseCode::FLOOD, "");
                        continue;
                    }
                    exchanges.spawn(exchange(Arc::clone(&inner), Arc::clone(&link), send, receive));
                    if !wait.is_zero() {
                        // Nothing is accepted meanwhile: QUIC holds the peer back.
                        tokio::select! {
                            () = sleep(wait) => {}
                            _ = link.connection.closed() => {}
                        }
                    }
                }
                Err(error) => break error,
            },
            Some(_) = exchanges.join_next(), if !exchanges.is_empty() => {}
        }
    };
    exchanges.shutdown().await;
    inner.registry.lost(&link, link.reason(&error));
}

/// How fast a peer asks.
struct Pace {
    bucket: TokenBucket,
    patience: Duration,
    delayed_since: Option<std::time::Instant>,
}

impl Pace {
    fn new(inner: &Inner) -> Self {
        let limits = &inner.limits;
        let now = std::time::Instant::now();
        Self {
            bucket: TokenBucket::new(limits.request_rate, limits.request_burst, now),
            patience: limits.flood_patience,
            delayed_since: None,
        }
    }

    /// Counts a request; says how long to wait before the next one is taken.
    fn next(&mut self) -> Duration {
        let now = std::time::Instant::now();
        let wait = self.bucket.take(now);
        if wait.is_zero() {
            self.delayed_since = None;
        } else {
            self.delayed_since.get_or_insert(now);
        }
        wait
    }

    fn is_flooded(&self) -> bool {
        self.delayed_since
            .is_some_and(|since| since.elapsed() > self.patience)
    }
}

/// One request and its answer.
async fn exchange(inner: Arc<Inner>, link: Arc<Link>, send: SendStream, mut receive: RecvStream) {
    let answer = Outgoing::new(send);
    let limits = &inner.limits;
    let whole = message::read(&mut receive, limits.max_message, Some(&link.budget));
    let (message, hold) = match timeout(limits.request_timeout, whole).await {
        Ok(Ok(read)) => read,
        // The peer's own choice, or the end of the connection: nothing to blame.
        Ok(Err(ReadFailure::Reset(_) | ReadFailure::Lost(_))) => return,
        Ok(Err(ReadFailure::TooLarge)) => {
            return refuse(&link, receive, answer, StreamCode::TOO_LARGE);
        }
        Ok(Err(ReadFailure::Busy)) => {
            let _ = receive.stop(StreamCode::BUSY.wire());
            return answer.give_up(StreamCode::BUSY);
        }
        Err(_) => return refuse(&link, receive, answer, StreamCode::TOO_SLOW),
    };
    inner.tap(TapDirection::Received, &link.peer, &message);
    let (respond, response) = Responder::new(hold);
    let event = Event::Request {
        peer: link.peer,
        remote: canonical(link.connection.remote_address()),
        message,
        respond,
    };
    let unwanted = answer.unwanted();
    let response = tokio::select! {
        response = async {
            // If the program no longer listens, the event is dropped, and the responder with it.
            let _ = inner.events.send(event).await;
            response.await
        } => response,
        () = unwanted => return,
        () = sleep(limits.request_timeout) => return answer.give_up(StreamCode::TOO_SLOW),
    };
    match response {
        Ok(response) => send_answer(&inner, &link, answer, response).await,
        Err(_) => answer.give_up(StreamCode::UNANSWERED),
    }
}

async fn send_answer(inner: &Inner, link: &Link, mut answer: Outgoing, response: Vec<u8>) {
    if exceeds(&response, inner.limits.max_message) {
        tracing::debug!(peer = ?link.peer, size = response.len(), "answer too large to send");
        return answer.give_up(StreamCode::TOO_LARGE);
    }
    inner.tap(TapDirection::Sent, &link.peer, &response);
    if timeout(inner.limits.request_timeout, answer.send(&response))
        .await
        .is_err()
    {
        answer.give_up(StreamCode::TOO_SLOW);
    }
}

pub(crate) fn exceeds(message: &[u8], limit: u32) -> bool {
    u32::try_from(message.len()).map_or(true, |size| size > limit)
}

fn refuse(link: &Link, mut receive: RecvStream, answer: Outgoing, code: StreamCode) {
    tracing::debug!(peer = ?link.peer, %code, "request refused");
    let _ = receive.stop(code.wire());
    answer.give_up(code);
    link.strike();
}
