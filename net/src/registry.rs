//! The connections in use, one per peer, and the events of their beginnings and ends.
//!
//! [`Pair`] decides; the registry keeps what it decided about, under one lock, and sends `Connected`
//! and `Disconnected` while it holds that lock, so that the events come in the order of the decisions.
//! Room for both events is reserved before a connection is admitted: sending never waits.

use std::collections::hash_map::Entry as MapEntry;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use grid_keys::NodeId;
use parking_lot::Mutex;
use quinn::Connection;
use tokio::sync::futures::Notified;
use tokio::sync::{Notify, Semaphore, mpsc};

use crate::budget::{self, Budget};
use crate::codes::CloseCode;
use crate::config::Limits;
use crate::connection::Direction;
use crate::error::DisconnectReason;
use crate::event::Event;
use crate::gate::Source;
use crate::link::{self, Candidate, Farewell, Link, Reserved};
use crate::pair::{Commit, Greeted, LinkId, Pair};
use crate::tls;

/// How long a stranger must have asked nothing to give its place to the next: it is about to ask when it connects.
const IDLE: Duration = Duration::from_secs(2);

/// How many penalties are remembered. Further offenders go unpunished.
const MAX_PENALTIES: usize = 1024;

/// What became of a dial that has finished its handshake.
#[derive(Debug)]
pub(crate) enum Dial {
    /// Send the greeting, then call [`Registry::answered`] or [`Registry::failed`].
    Committed,
    /// The peer is connected already.
    Connected(Arc<Link>),
    /// Another dial to the peer has sent its greeting: ask again after the next change.
    Waits,
    Full,
    Closed,
}

/// What became of a peer's greeting.
#[derive(Debug)]
pub(crate) enum Greeting {
    Accepted {
        link: Arc<Link>,
        /// Our own dial, given up in favour of the peer's.
        abandoned: Option<LinkId>,
    },
    /// Ask again after the next change.
    Waits(Candidate),
    Refused(CloseCode),
}

/// Every connection of this node.
#[derive(Debug)]
pub(crate) struct Registry {
    own: NodeId,
    limits: Limits,
    /// What the requests of all peers may occupy together.
    buffered: Arc<Semaphore>,
    events: mpsc::Sender<Event>,
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    peers: HashMap<NodeId, Peer>,
    /// Those whom the program knows.
    known: HashSet<NodeId>,
    /// Until when an offender is turned away.
    penalties: HashMap<NodeId, Instant>,
    closed: bool,
}

#[derive(Debug)]
struct Peer {
    pair: Pair,
    current: Option<(Arc<Link>, Farewell)>,
    /// The dial that the pair has committed to.
    committed: Option<Connection>,
}

impl Registry {
    pub(crate) fn new(own: NodeId, limits: &Limits, events: mpsc::Sender<Event>) -> Self {
        Self {
            own,
            limits: limits.clone(),
            buffered: Budget::shared(limits),
            events,
            state: Mutex::default(),
            changed: Notify::new(),
        }
    }

    /// Names those whom the program knows.
    pub(crate) fn know(&self, known: HashSet<NodeId>) {
        self.state.lock().known = known;
    }

    /// Whether a connection is one of a stranger.
    pub(crate) fn is_strange(&self, link: &Link) -> bool {
        self.state.lock().is_strange(link)
    }

    /// Whether strangers have more than half of the places that there are for them.
    pub(crate) fn is_crowded(&self) -> bool {
        self.state.lock().strangers().count() > self.limits.max_strangers / 2
    }

    /// This node.
    pub(crate) fn own(&self) -> NodeId {
        self.own
    }

    /// The connection with a peer.
    pub(crate) fn link(&self, peer: &NodeId) -> Option<Arc<Link>> {
        self.state.lock().peers.get(peer).and_then(Peer::link)
    }

    /// All connections.
    pub(crate) fn links(&self) -> Vec<Arc<Link>> {
        self.state
            .lock()
            .peers
            .values()
            .filter_map(Peer::link)
            .collect()
    }

    /// Resolves at the next change. Enable it before looking.
    pub(crate) fn changed(&self) -> Notified<'_> {
        self.changed.notified()
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.state.lock().closed
    }

    /// Prepares a connection that has finished its handshake. Waits for room for its events. The
    /// error is the code to close it with.
    pub(crate) async fn candidate(
        &self,
        connection: Connection,
        direction: Direction,
    ) -> Result<Candidate, CloseCode> {
        let peer = tls::peer_of(&connection).ok_or(CloseCode::PROTOCOL)?;
        let id = link::id_of(&connection).ok_or(CloseCode::PROTOCOL)?;
        Ok(Candidate {
            peer,
            id,
            connection,
            direction,
            budget: Budget::new(&self.limits, &self.buffered),
            large: budget::large_at_once(&self.limits),
            events: Reserved::new(&self.events).await,
        })
    }

    /// A dial has finished its handshake.
    pub(crate) fn commit(&self, candidate: &Candidate) -> Dial {
        let peer = candidate.peer;
        let mut state = self.state.lock();
        if state.closed {
            return Dial::Closed;
        }
        let has_room = state.has_room(&self.limits);
        let entry = match state.peers.entry(peer) {
            MapEntry::Occupied(entry) => entry.into_mut(),
            MapEntry::Vacant(_) if !has_room => return Dial::Full,
            MapEntry::Vacant(entry) => entry.insert(Peer::new(self.own < peer)),
        };
        match (entry.pair.commit(candidate.id), entry.link()) {
            (Commit::Greet, _) => {
                entry.committed = Some(candidate.connection.clone());
                Dial::Committed
            }
            (Commit::Connected, Some(link)) => Dial::Connected(link),
            (Commit::Connected, None) | (Commit::Wait, _) => Dial::Waits,
        }
    }

    /// The greeting of a dial was answered. `None`: the dial was abandoned in the meantime.
    pub(crate) fn answered(
        &self,
        candidate: Candidate,
        abandoned: Option<LinkId>,
    ) -> Option<Arc<Link>> {
        let mut state = self.state.lock();
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
        let mut state = self.state.lock();
        if let Some(entry) = state.peers.get_mut(peer) {
            entry.pair.failed(id);
            if entry.pair.is_idle() {
                state.peers.remove(peer);
            }
        }
        drop(state);
        self.changed.notify_waiters();
    }

    /// A peer greets.
    pub(crate) fn greeted(&self, candidate: Candidate) -> Greeting {
        let mut state = self.state.lock();
        if let Err(code) = self.may_enter(&mut state, &candidate) {
            return Greeting::Refused(code);
        }
        let peer = candidate.peer;
        let entry = state
            .peers
            .entry(peer)
            .or_insert_with(|| Peer::new(self.own < peer));
        match entry.pair.greeted(candidate.id) {
            Greeted::Wait => Greeting::Waits(candidate),
            Greeted::Refuse => Greeting::Refused(CloseCode::DUPLICATE),
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
                Greeting::Accepted { link, abandoned }
            }
        }
    }

    /// A connection has ended.
    pub(crate) fn lost(&self, link: &Link, reason: DisconnectReason) {
        let mut state = self.state.lock();
        if let Some(entry) = state.peers.get_mut(&link.peer)
            && entry.pair.lost(link.id())
        {
            entry.retire(reason);
            if entry.pair.is_idle() {
                state.peers.remove(&link.peer);
            }
        }
        if link.is_closed_for_offence() {
            state.punish(link.peer, self.limits.penalty);
        }
        drop(state);
        self.changed.notify_waiters();
    }

    /// Closes every connection, and admits none from now on.
    pub(crate) fn close(&self, code: CloseCode) {
        let mut state = self.state.lock();
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
        let has_room = if state.known.contains(&candidate.peer) {
            state.has_room(&self.limits)
        } else {
            state.has_room_for_stranger(candidate, &self.limits)
        };
        if has_room {
            Ok(())
        } else {
            Err(CloseCode::BUSY)
        }
    }
}

impl State {
    /// Whether there is room for one whom the program knows, or whom this node dials.
    fn has_room(&self, limits: &Limits) -> bool {
        self.peers.len() - self.strangers().count() < limits.max_connections
    }

    fn is_strange(&self, link: &Link) -> bool {
        link.direction() == Direction::Incoming && !self.known.contains(&link.peer)
    }

    fn strangers(&self) -> impl Iterator<Item = &Arc<Link>> {
        let links = self.peers.values().filter_map(|peer| peer.current.as_ref());
        links
            .map(|(link, _)| link)
            .filter(|link| self.is_strange(link))
    }

    /// Whether there is room for a stranger, if need be that of another: of the one that has asked nothing for longest, or,
    /// where its network has fewer places than others, of the one that came first from the network with the most.
    fn has_room_for_stranger(&mut self, candidate: &Candidate, limits: &Limits) -> bool {
        let from = network_of(&candidate.connection);
        let mut crowds: HashMap<Source, usize> = HashMap::new();
        for link in self.strangers() {
            *crowds.entry(network_of(&link.connection)).or_default() += 1;
        }
        let near = crowds.get(&from).copied().unwrap_or_default();
        let all: usize = crowds.values().sum();
        let gives_way = if near >= limits.max_strangers_per_network {
            self.idle_stranger(Some(from))
        } else if all >= limits.max_strangers {
            let crowd = crowds.into_iter().max_by_key(|(_, size)| *size);
            let crowd = crowd.filter(|(_, size)| *size > near + 1);
            self.idle_stranger(None)
                .or_else(|| self.first_stranger(crowd?.0))
        } else {
            return true;
        };
        gives_way.is_some_and(|peer| self.evict(&peer))
    }

    /// The stranger, of one network or of all, that has asked nothing for longest, if that is long enough.
    fn idle_stranger(&self, from: Option<Source>) -> Option<NodeId> {
        let near = self
            .strangers()
            .filter(|link| from.is_none_or(|from| network_of(&link.connection) == from));
        let idle = near.filter_map(|link| Some((link.idle_since()?, link.peer)));
        let (since, peer) = idle.min()?;
        (since.elapsed() >= IDLE).then_some(peer)
    }

    /// The stranger from a network that is connected for longest.
    fn first_stranger(&self, from: Source) -> Option<NodeId> {
        let near = self
            .strangers()
            .filter(|link| network_of(&link.connection) == from);
        let first = near.min_by_key(|link| (link.since, link.peer));
        first.map(|link| link.peer)
    }

    /// Ends a connection to make room.
    fn evict(&mut self, peer: &NodeId) -> bool {
        let Some(entry) = self.peers.get_mut(peer) else {
            return false;
        };
        let Some(link) = entry.link() else {
            return false;
        };
        entry.pair.lost(link.id());
        entry.retire(DisconnectReason::Local(CloseCode::BUSY));
        if entry.pair.is_idle() {
            self.peers.remove(peer);
        }
        link.close(CloseCode::BUSY, "");
        true
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

fn network_of(connection: &Connection) -> Source {
    Source::network_of(connection.remote_address().ip())
}

impl Peer {
    fn new(prefer_ours: bool) -> Self {
        Self {
            pair: Pair::new(prefer_ours),
            current: None,
            committed: None,
        }
    }

    fn link(&self) -> Option<Arc<Link>> {
        self.current.as_ref().map(|(link, _)| Arc::clone(link))
    }

    fn install(&mut self, candidate: Candidate) -> Arc<Link> {
        let (link, farewell) = candidate.into_link();
        let link = Arc::new(link);
        self.current = Some((Arc::clone(&link), farewell));
        link
    }

    fn retire(&mut self, reason: DisconnectReason) -> Option<Arc<Link>> {
        let (link, farewell) = self.current.take()?;
        tracing::debug!(peer = ?link.peer, %reason, "disconnected");
        farewell.send(link.peer, reason);
        Some(link)
    }
}
