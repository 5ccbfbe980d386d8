//! Connections from the listening side, and the requests that come in on any connection.
//!
//! Every wait here has an end: the handshake and the greeting share one deadline, a message has
//! its own, and an answer that the program does not give is given up.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use quinn::{Connection, Incoming, RecvStream, SendStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::budget::{self, Budget};
use crate::codes::{CloseCode, StreamCode};
use crate::config::{Limits, TapDirection};
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
    let mut pace = Pace::new(&inner.limits, std::time::Instant::now());
    let mut exchanges = JoinSet::new();
    let error = loop {
        while exchanges.try_join_next().is_some() {}
        let accepting = link.connection.accept_bi();
        tokio::pin!(accepting);
        let stream = match at_once(accepting.as_mut()).await {
            Some(stream) => stream,
            None => {
                pace.rested();
                tokio::select! {
                    stream = accepting => stream,
                    Some(_) = exchanges.join_next(), if !exchanges.is_empty() => continue,
                }
            }
        };
        let (send, receive) = match stream {
            Ok(stream) => stream,
            Err(error) => break error,
        };
        let Some(wait) = pace.next(std::time::Instant::now()) else {
            link.close(CloseCode::FLOOD, "");
            continue;
        };
        exchanges.spawn(exchange(
            Arc::clone(&inner),
            Arc::clone(&link),
            send,
            receive,
        ));
        if !wait.is_zero() {
            // Nothing is accepted meanwhile: QUIC holds the peer back.
            tokio::select! {
                () = sleep(wait) => {}
                _ = link.connection.closed() => {}
            }
        }
    };
    exchanges.shutdown().await;
    inner.registry.lost(&link, link.reason(&error));
}

/// What comes of work, if it need not wait.
async fn at_once<T>(mut work: Pin<&mut impl Future<Output = T>>) -> Option<T> {
    poll_fn(|context| {
        Poll::Ready(match work.as_mut().poll(context) {
            Poll::Ready(done) => Some(done),
            Poll::Pending => None,
        })
    })
    .await
}

/// How fast a peer asks.
///
/// It is delayed without a break from its first request that had to wait until it has no other ready.
/// That one comes at a time when none would have to wait is no break: a busy node sleeps longer than it
/// wants to, and the peer earns requests meanwhile without asking less.
struct Pace {
    bucket: TokenBucket,
    patience: Duration,
    delayed_since: Option<std::time::Instant>,
    has_rested: bool,
}

impl Pace {
    fn new(limits: &Limits, now: std::time::Instant) -> Self {
        Self {
            bucket: TokenBucket::new(limits.request_rate, limits.request_burst, now),
            patience: limits.flood_patience,
            delayed_since: None,
            has_rested: false,
        }
    }

    /// The peer has no request ready.
    fn rested(&mut self) {
        self.has_rested = true;
    }

    /// Counts a request; says how long to wait before the next one is taken. `None`: this is a flood.
    fn next(&mut self, now: std::time::Instant) -> Option<Duration> {
        let has_rested = std::mem::take(&mut self.has_rested) || self.bucket.is_full(now);
        let wait = self.bucket.take(now);
        if !wait.is_zero() {
            let since = *self.delayed_since.get_or_insert(now);
            if now.saturating_duration_since(since) > self.patience {
                return None;
            }
        } else if has_rested {
            self.delayed_since = None;
        }
        Some(wait)
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

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(1);

    fn pace(now: std::time::Instant) -> Pace {
        let limits = Limits {
            request_rate: 100,
            request_burst: 50,
            flood_patience: PATIENCE,
            ..Limits::default()
        };
        Pace::new(&limits, now)
    }

    /// Whether somebody who always has a request ready is found out, and after how long, where every
    /// wait takes `late` times as long as it should.
    fn flood(late: u32) -> Option<Duration> {
        let begin = std::time::Instant::now();
        let (mut now, mut pace) = (begin, pace(begin));
        while now < begin + 10 * PATIENCE {
            match pace.next(now) {
                None => return Some(now - begin),
                Some(wait) => now += wait * late,
            }
            now += Duration::from_micros(100);
        }
        None
    }

    #[test]
    fn a_flood_is_found_out_also_by_a_node_that_wakes_late() {
        for late in [1, 2, 5, 20] {
            let after = flood(late).unwrap();
            assert!(
                (PATIENCE..PATIENCE * 2).contains(&after),
                "{late}: {after:?}"
            );
        }
    }

    #[test]
    fn who_rests_between_bursts_is_only_delayed() {
        let mut now = std::time::Instant::now();
        let mut pace = pace(now);
        let mut delayed = 0;
        for _ in 0..20 {
            for _ in 0..100 {
                let wait = pace.next(now).unwrap();
                delayed += u32::from(!wait.is_zero());
                now += wait;
            }
            pace.rested();
            now += Duration::from_millis(100);
        }
        assert!(delayed > 500, "{delayed}");
        // Nor is who never is seen to rest, but asks less than it may.
        for _ in 0..200 {
            now += Duration::from_millis(20);
            assert_eq!(pace.next(now), Some(Duration::ZERO));
        }
        assert_eq!(pace.delayed_since, None);
    }
}
