//! The connections that are in use, one per peer, and the events of their beginnings and ends.
//!
//! [`Pair`] decides; this file keeps what it decided about, under one lock, and sends `Connected`
//! and `Disconnected` from inside that lock, so that their order is the order of the decisions. The
//! room for both events is reserved before a connection is taken in: sending never waits.

use std::collections::HashMap;
use std::collections::hash_map::Entry as MapEntry;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use grid_keys::NodeId;
use tokio::sync::futures::Notified;
use tokio::sync::{Notify, Semaphore, mpsc};

use crate::budget::Budget;
use crate::codes::CloseCode;
use crate::config::Limits;
use crate::error::DisconnectReason;
use crate::event::{Direction, Event};
use crate::gate::Source;
use crate::pair::{Commit, Greeted, LinkId, Pair};
use crate::socket::canonical;

/// Peers that are remembered for an offence, at most.
const MAX_PENALTIES: usize = 1024;

/// Streams that may be reset for a peer's fault before its connection is closed.
const MAX_STRIKES: u32 = 8;

type Permit = mpsc::OwnedPermit<Event>;

/// A connection in use.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) peer: NodeId,
    pub(crate) connection: quinn::Connection,
    pub(crate) direction: Direction,
    pub(crate) budget: Budget,
    /// Places for our large requests to this peer.
    pub(crate) large: Semaphore,
    id: LinkId,
    closed_with: OnceLock<CloseCode>,
    strikes: AtomicU32,
}

impl Link {
    /// Closes the connection. The first code is the one that counts.
    pub(crate) fn close(&self, code: CloseCode, reason: &str) {
        let _ = self.closed_with.set(code);
        self.connection.close(code.wire(), reason.as_bytes());
    }

    /// The reason that belongs to QUIC's.
    pub(crate) fn reason(&self, error: &quinn::ConnectionError) -> DisconnectReason {
        match self.closed_with.get() {
            Some(&CloseCode::REPLACED) => DisconnectReason::Replaced,
            code => DisconnectReason::new(error, code.copied().unwrap_or(CloseCode::DONE)),
        }
    }

    /// Counts a stream that was reset for the peer's fault, and closes the connection at the bound.
    pub(crate) fn strike(&self) {
        if self.strikes.fetch_add(1, Ordering::Relaxed) + 1 >= MAX_STRIKES {
            self.close(CloseCode::PROTOCOL, "too many bad requests");
        }
    }
}

/// A connection whose handshake is over and that may come into use.
#[derive(Debug)]
pub(crate) struct Candidate {
    pub(crate) peer: NodeId,
    pub(crate) id: LinkId,
    pub(crate) connection: quinn::Connection,
    pub(crate) direction: Direction,
    pub(crate) budget: Budget,
    pub(crate) large: Semaphore,
    pub(crate) events: Reserved,
}

/// Room for the two events of a connection. `None` if the program no longer listens.
#[derive(Debug)]
pub(crate) struct Reserved(Option<(Permit, Permit)>);

impl Reserved {
    pub(crate) async fn new(events: &mpsc::Sender<Event>) -> Self {
        let Ok(first) = events.clone().reserve_owned().await else {
            return Self(None);
        };
        let Ok(second) = events.clone().reserve_owned().await else {
            return Self(None);
        };
        Self(Some((first, second)))
    }
}

/// What became of a dial.
#[derive(Debug)]
pub(crate) enum Committed {
    /// Send the greeting, then call `answered` or `failed`.
    Greet,
    Connected(Arc<Link>),
    Wait,
    Full,
    Closed,
}

/// What became of a greeting.
#[derive(Debug)]
pub(crate) enum Admitted {
    Accept {
        link: Arc<Link>,
        abandoned: Option<LinkId>,
    },
    /// Ask again after the next change.
    Wait(Candidate),
    Refuse(CloseCode),
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Registry {
    own: NodeId,
    max_connections: usize,
    max_per_source: usize,
    penalty: Duration,
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    peers: HashMap<NodeId, Peer>,
    penalties: HashMap<NodeId, Instant>,
    closed: bool,
}

#[derive(Debug)]
struct Peer {
    pair: Pair,
    link: Option<Arc<Link>>,
    /// The room for the link's `Disconnected`.
    farewell: Option<Permit>,
    /// The dial that the pair has committed to.
    committed: Option<quinn::Connection>,
}

impl Registry {
    pub(crate) fn new(own: NodeId, limits: &Limits) -> Self {
        Self {
            own,
            max_connections: limits.max_connections,
            max_per_source: limits.max_connections_per_source,
            penalty: limits.penalty,
            state: Mutex::default(),
            changed: Notify::new(),
        }
    }

    /// The connection with a peer.
    pub(crate) fn link(&self, peer: &NodeId) -> Option<Arc<Link>> {
        self.lock()
            .peers
            .get(peer)
            .and_then(|peer| peer.link.clone())
    }

    /// All connections.
    pub(crate) fn links(&self) -> Vec<Arc<Link>> {
        self.lock()
            .peers
            .values()
            .filter_map(|peer| peer.link.clone())
            .collect()
    }

    /// Resolves at the next change. Enable it before looking.
    pub(crate) fn changed(&self) -> Notified<'_> {
        self.changed.notified()
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.lock().closed
    }

    /// A dial has finished its handshake.
    pub(crate) fn commit(
        &self,
        peer: NodeId,
        id: LinkId,
        connection: &quinn::Connection,
    ) -> Committed {
        let mut state = self.lock();
        if state.closed {
            return Committed::Closed;
        }
        let room = state.has_room(self.max_connections);
        let entry = match state.peers.entry(peer) {
            MapEntry::Occupied(entry) => entry.into_mut(),
            MapEntry::Vacant(_) if !room => return Committed::Full,
            MapEntry::Vacant(entry) => entry.insert(Peer::new(self.own < peer)),
        };
        match (entry.pair.commit(id), &entry.link) {
            (Commit::Greet, _) => {
                entry.committed = Some(connection.clone());
                Committed::Greet
            }
            (Commit::Connected, Some(link)) => Committed::Connected(Arc::clone(link)),
            (Commit::Connected, None) | (Commit::Wait, _) => Committed::Wait,
        }
    }

    /// The greeting of a dial was answered. `None`: the dial was abandoned in the meantime.
    pub(crate) fn answered(
        &self,
        candidate: Candidate,
        abandoned: Option<LinkId>,
    ) -> Option<Arc<Link>> {
        let mut state = self.lock();
        let entry = state.peers.get_mut(&candidate.peer)?;
        if !entry.pair.answered(candidate.id, abandoned) {
            return None;
        }
        entry.committed = None;
        let link = entry.install(candidate);
        drop(state);
        self.changed.notify_waiters();
        Some(link)
    }

    /// The greeting of a dial was not answered.
    pub(crate) fn failed(&self, peer: &NodeId, id: LinkId) {
        let mut state = self.lock();
        if let Some(entry) = state.peers.get_mut(peer) {
            entry.pair.failed(id);
            if entry.pair.is_empty() {
                state.peers.remove(peer);
            }
        }
        drop(state);
        self.changed.notify_waiters();
    }

    /// A peer greets.
    pub(crate) fn greeted(&self, candidate: Candidate) -> Admitted {
        let mut state = self.lock();
        if let Err(code) = self.may_enter(&mut state, &candidate) {
            return Admitted::Refuse(code);
        }
        let peer = candidate.peer;
        let entry = state
            .peers
            .entry(peer)
            .or_insert_with(|| Peer::new(self.own < peer));
        match entry.pair.greeted(candidate.id) {
            Greeted::Wait => Admitted::Wait(candidate),
            Greeted::Refuse => Admitted::Refuse(CloseCode::DUPLICATE),
            Greeted::Accept { abandoned, .. } => {
                if let Some(dial) = entry.committed.take() {
                    dial.close(CloseCode::DUPLICATE.wire(), b"");
                }
                if let Some(old) = entry.retire(DisconnectReason::Replaced) {
                    old.close(CloseCode::REPLACED, "");
                }
                let link = entry.install(candidate);
                drop(state);
                self.changed.notify_waiters();
                Admitted::Accept { link, abandoned }
            }
        }
    }

    /// A connection has ended.
    pub(crate) fn lost(&self, link: &Link, reason: DisconnectReason) {
        let mut state = self.lock();
        if let Some(entry) = state.peers.get_mut(&link.peer)
            && entry.pair.lost(link.id)
        {
            entry.retire(reason);
            if entry.pair.is_empty() {
                state.peers.remove(&link.peer);
            }
        }
        if matches!(
            link.closed_with.get(),
            Some(&(CloseCode::FLOOD | CloseCode::PROTOCOL))
        ) {
            state.punish(link.peer, self.penalty);
        }
        drop(state);
        self.changed.notify_waiters();
    }

    /// Closes everything, for good.
    pub(crate) fn close(&self, code: CloseCode) {
        let mut state = self.lock();
        state.closed = true;
        for (_, mut peer) in state.peers.drain() {
            if let Some(link) = peer.retire(DisconnectReason::Local(code)) {
                link.close(code, "");
            }
        }
        drop(state);
        self.changed.notify_waiters();
    }

    /// Whether a peer that greets may have a connection at all. One that has a connection may
    /// always replace it.
    fn may_enter(&self, state: &mut State, candidate: &Candidate) -> Result<(), CloseCode> {
        if state.closed {
            return Err(CloseCode::SHUTDOWN);
        }
        if state.is_punished(&candidate.peer) {
            return Err(CloseCode::PENALTY);
        }
        if state.peers.contains_key(&candidate.peer) {
            return Ok(());
        }
        let source = Source::of(candidate.connection.remote_address().ip());
        if state.has_room(self.max_connections) && state.from(source) < self.max_per_source {
            Ok(())
        } else {
            Err(CloseCode::BUSY)
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic under the lock would be a defect of this file; every update is whole by then.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn has_room(&self, max: usize) -> bool {
        self.peers.len() < max
    }

    /// Connections from one source.
    fn from(&self, source: Source) -> usize {
        let links = self.peers.values().filter_map(|peer| peer.link.as_ref());
        links
            .filter(|link| Source::of(link.connection.remote_address().ip()) == source)
            .count()
    }

    fn is_punished(&mut self, peer: &NodeId) -> bool {
        let now = Instant::now();
        self.penalties.retain(|_, until| *until > now);
        self.penalties.contains_key(peer)
    }

    fn punish(&mut self, peer: NodeId, penalty: Duration) {
        let now = Instant::now();
        self.penalties.retain(|_, until| *until > now);
        if self.penalties.len() < MAX_PENALTIES {
            self.penalties.insert(peer, now + penalty);
        }
    }
}

impl Peer {
    fn new(prefer_ours: bool) -> Self {
        let pair = Pair::new(prefer_ours);
        Self {
            pair,
            link: None,
            farewell: None,
            committed: None,
        }
    }

    fn install(&mut self, candidate: Candidate) -> Arc<Link> {
        let Candidate {
            peer,
            id,
            connection,
            direction,
            budget,
            large,
            events,
        } = candidate;
        let remote = canonical(connection.remote_address());
        if let Some((hello, farewell)) = events.0 {
            hello.send(Event::Connected {
                peer,
                remote,
                direction,
            });
            self.farewell = Some(farewell);
        }
        tracing::debug!(?peer, %remote, ?direction, "connected");
        let link = Arc::new(Link {
            peer,
            connection,
            direction,
            budget,
            large,
            id,
            closed_with: OnceLock::new(),
            strikes: AtomicU32::new(0),
        });
        self.link = Some(Arc::clone(&link));
        link
    }

    fn retire(&mut self, reason: DisconnectReason) -> Option<Arc<Link>> {
        let link = self.link.take()?;
        tracing::debug!(peer = ?link.peer, %reason, "disconnected");
        if let Some(farewell) = self.farewell.take() {
            farewell.send(Event::Disconnected {
                peer: link.peer,
                reason,
            });
        }
        Some(link)
    }
}
