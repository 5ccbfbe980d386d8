//! Requests and their answers, in both directions. Every wait here has an end: a message has a
//! deadline, and so has an answer that the program does not give.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Instant;

use grid_keys::NodeId;
use quinn::{ConnectionError, RecvStream, SendStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::budget;
use crate::codes::{CloseCode, StreamCode};
use crate::config::{Limits, Tap, TapDirection};
use crate::error::RequestError;
use crate::event::{Event, Responder};
use crate::link::Link;
use crate::message::{self, Outgoing, ReadFailure, WriteFailure};
use crate::registry::Registry;
use crate::throttle::{Flood, Throttle};

/// What exchanges with all peers have in common.
pub(crate) struct Requests {
    pub(crate) registry: Arc<Registry>,
    pub(crate) events: mpsc::Sender<Event>,
    pub(crate) limits: Limits,
    pub(crate) tap: Option<Tap>,
}

impl Requests {
    /// Sends a request to a peer and waits for the answer.
    pub(crate) async fn ask(&self, peer: NodeId, message: &[u8]) -> Result<Vec<u8>, RequestError> {
        let limit = self.limits.max_message;
        if exceeds(message, limit) {
            return Err(RequestError::TooLarge {
                size: message.len(),
                limit,
            });
        }
        let link = self
            .registry
            .link(&peer)
            .ok_or(RequestError::NotConnected(peer))?;
        let after = self.limits.request_timeout;
        match timeout(after, self.ask_over(&link, message)).await {
            Ok(answer) => answer,
            Err(_) => Err(RequestError::TimedOut { after }),
        }
    }

    async fn ask_over(&self, link: &Link, message: &[u8]) -> Result<Vec<u8>, RequestError> {
        let _using = link.using();
        let limit = self.limits.max_message;
        let lost = |error| RequestError::Disconnected(link.reason(&error));
        // Held until the answer is here: by then the peer has let go of the request. The semaphore
        // is never closed.
        let _place = match budget::is_large(message) {
            true => link.large.acquire().await.ok(),
            false => None,
        };
        let (send, mut receive) = link.connection.open_bi().await.map_err(lost)?;
        self.tap(TapDirection::Sent, link, message);
        Outgoing::new(send)
            .send(message)
            .await
            .map_err(|failure| match failure {
                WriteFailure::Stopped(code) => RequestError::Refused(code),
                WriteFailure::Lost(error) => lost(error),
            })?;
        match message::read(&mut receive, limit, None).await {
            Ok((answer, _)) => {
                self.tap(TapDirection::Received, link, &answer);
                Ok(answer)
            }
            Err(ReadFailure::TooLarge) => Err(RequestError::AnswerTooLarge { limit }),
            Err(ReadFailure::Busy) => Err(RequestError::Refused(StreamCode::BUSY)),
            Err(ReadFailure::Reset(code)) => Err(RequestError::Refused(code)),
            Err(ReadFailure::Lost(error)) => Err(lost(error)),
        }
    }

    /// Serves a peer's requests in a task of its own, until the connection ends and the registry
    /// knows it.
    pub(crate) fn spawn_serving(self: &Arc<Self>, link: Arc<Link>) {
        let requests = Arc::clone(self);
        tokio::spawn(async move {
            let serving = requests.serve(&link);
            tokio::pin!(serving);
            let error = loop {
                tokio::select! {
                    error = &mut serving => break error,
                    () = sleep(requests.limits.stranger_life) => {
                        if requests.registry.is_strange(&link) {
                            link.close(CloseCode::DONE, "");
                        }
                    }
                }
            };
            requests.registry.lost(&link, link.reason(&error));
        });
    }

    async fn serve(self: &Arc<Self>, link: &Arc<Link>) -> ConnectionError {
        let mut throttle = Throttle::new(&self.limits, Instant::now());
        let mut exchanges = JoinSet::new();
        let error = loop {
            while exchanges.try_join_next().is_some() {}
            let accepting = link.connection.accept_bi();
            tokio::pin!(accepting);
            let stream = match at_once(accepting.as_mut()).await {
                Some(stream) => stream,
                None => {
                    throttle.rest();
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
            let wait = match throttle.take(Instant::now()) {
                Ok(wait) => wait,
                Err(Flood) => {
                    link.close(CloseCode::FLOOD, "");
                    continue;
                }
            };
            exchanges.spawn(Arc::clone(self).answer(Arc::clone(link), send, receive));
            if !wait.is_zero() {
                // Accepting nothing meanwhile makes QUIC hold the peer back.
                tokio::select! {
                    () = sleep(wait) => {}
                    _ = link.connection.closed() => {}
                }
            }
        };
        exchanges.shutdown().await;
        error
    }

    /// Reads one request and answers it.
    async fn answer(self: Arc<Self>, link: Arc<Link>, send: SendStream, mut receive: RecvStream) {
        let _using = link.using();
        let answer = Outgoing::new(send);
        let limits = &self.limits;
        let whole = message::read(&mut receive, limits.max_message, Some(&link.budget));
        let (message, hold) = match timeout(limits.request_timeout, whole).await {
            Ok(Ok(read)) => read,
            // The peer's own choice, or the end of the connection: no offence.
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
        self.tap(TapDirection::Received, &link, &message);
        let (respond, response) = Responder::new(hold);
        let connected = link.connected();
        let event = Event::Request {
            peer: connected.peer,
            remote: connected.remote,
            message,
            respond,
        };
        let unwanted = answer.unwanted();
        let response = tokio::select! {
            response = async {
                // If the program has dropped the receiver, the event is dropped, and the responder
                // with it.
                let _ = self.events.send(event).await;
                response.await
            } => response,
            () = unwanted => return,
            () = sleep(limits.request_timeout) => return answer.give_up(StreamCode::TOO_SLOW),
        };
        match response {
            Ok(response) => self.send_answer(&link, answer, &response).await,
            Err(_) => answer.give_up(StreamCode::UNANSWERED),
        }
    }

    async fn send_answer(&self, link: &Link, mut answer: Outgoing, response: &[u8]) {
        if exceeds(response, self.limits.max_message) {
            tracing::debug!(peer = ?link.peer, size = response.len(), "answer too large to send");
            return answer.give_up(StreamCode::TOO_LARGE);
        }
        self.tap(TapDirection::Sent, link, response);
        if timeout(self.limits.request_timeout, answer.send(response))
            .await
            .is_err()
        {
            answer.give_up(StreamCode::TOO_SLOW);
        }
    }

    fn tap(&self, direction: TapDirection, link: &Link, message: &[u8]) {
        if let Some(tap) = &self.tap {
            tap(direction, &link.peer, message);
        }
    }
}

/// The result of `work`, if it is there without waiting.
async fn at_once<T>(mut work: Pin<&mut impl Future<Output = T>>) -> Option<T> {
    poll_fn(|context| {
        Poll::Ready(match work.as_mut().poll(context) {
            Poll::Ready(done) => Some(done),
            Poll::Pending => None,
        })
    })
    .await
}

fn exceeds(message: &[u8], limit: u32) -> bool {
    u32::try_from(message.len()).map_or(true, |size| size > limit)
}

/// Refuses a request for the peer's fault.
fn refuse(link: &Link, mut receive: RecvStream, answer: Outgoing, code: StreamCode) {
    tracing::debug!(peer = ?link.peer, %code, "request refused");
    let _ = receive.stop(code.wire());
    answer.give_up(code);
    link.strike();
}
