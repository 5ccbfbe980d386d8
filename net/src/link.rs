//! One connection with a peer: a [`Candidate`] until it comes into use, then a [`Link`].

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use grid_keys::NodeId;
use parking_lot::Mutex;
use quinn::{Connection, ConnectionError};
use tokio::sync::{Semaphore, mpsc};

use crate::budget::Budget;
use crate::codes::CloseCode;
use crate::connection::{Connected, ConnectionInfo, Direction};
use crate::error::DisconnectReason;
use crate::event::Event;
use crate::pair::LinkId;
use crate::socket::canonical;

/// How many of a peer's streams may be reset for its fault before its connection is closed.
const MAX_STRIKES: u32 = 8;

/// The label of the TLS exporter that names a connection (RFC 8446 section 7.5).
const EXPORTER_LABEL: &[u8] = b"EXPORTER-grid-link";

/// The name of a connection, which both ends compute. `None` if TLS has nothing to export.
pub(crate) fn id_of(connection: &Connection) -> Option<LinkId> {
    let mut id = [0; LinkId::LEN];
    connection
        .export_keying_material(&mut id, EXPORTER_LABEL, &[])
        .ok()?;
    Some(LinkId(id))
}

/// A connection that has finished its handshake and may come into use.
#[derive(Debug)]
pub(crate) struct Candidate {
    pub(crate) peer: NodeId,
    pub(crate) id: LinkId,
    pub(crate) connection: Connection,
    pub(crate) direction: Direction,
    pub(crate) budget: Budget,
    pub(crate) large: Semaphore,
    pub(crate) events: Reserved,
}

impl Candidate {
    /// Brings the connection into use and tells the program.
    pub(crate) fn into_link(self) -> (Link, Farewell) {
        let link = Link {
            peer: self.peer,
            connection: self.connection,
            direction: self.direction,
            budget: self.budget,
            large: self.large,
            id: self.id,
            closed_with: OnceLock::new(),
            use_of: Mutex::new(Use {
                under_way: 0,
                last: Instant::now(),
            }),
            strikes: AtomicU32::new(0),
            since: Instant::now(),
        };
        let Connected { peer, remote } = link.connected();
        let direction = link.direction;
        tracing::debug!(?peer, %remote, ?direction, "connected");
        let farewell = self.events.0.map(|(hello, farewell)| {
            hello.send(Event::Connected {
                peer,
                remote,
                direction,
            });
            farewell
        });
        (link, Farewell(farewell))
    }
}

type Permit = mpsc::OwnedPermit<Event>;

/// Room for both events of a connection, so that sending them never waits. `None` if the program
/// has dropped the receiver.
#[derive(Debug)]
pub(crate) struct Reserved(Option<(Permit, Permit)>);

impl Reserved {
    /// Waits for the room.
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

/// Room for the `Disconnected` of a connection in use.
#[derive(Debug)]
pub(crate) struct Farewell(Option<Permit>);

impl Farewell {
    pub(crate) fn send(self, peer: NodeId, reason: DisconnectReason) {
        if let Some(permit) = self.0 {
            permit.send(Event::Disconnected { peer, reason });
        }
    }
}

/// A connection in use.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) peer: NodeId,
    pub(crate) connection: Connection,
    pub(crate) budget: Budget,
    /// Places for our large requests to this peer.
    pub(crate) large: Semaphore,
    direction: Direction,
    id: LinkId,
    closed_with: OnceLock<CloseCode>,
    use_of: Mutex<Use>,
    strikes: AtomicU32,
    /// When it began.
    pub(crate) since: Instant,
}

/// The requests on a connection, in either direction.
#[derive(Debug)]
struct Use {
    under_way: usize,
    /// When the last one ended, or the connection began.
    last: Instant,
}

/// A request that is under way for as long as this value lives.
#[derive(Debug)]
pub(crate) struct Using<'a>(&'a Link);

impl Drop for Using<'_> {
    fn drop(&mut self) {
        let mut use_of = self.0.use_of.lock();
        use_of.under_way = use_of.under_way.saturating_sub(1);
        use_of.last = Instant::now();
    }
}

impl Link {
    pub(crate) fn id(&self) -> LinkId {
        self.id
    }

    pub(crate) fn direction(&self) -> Direction {
        self.direction
    }

    /// Begins a request.
    pub(crate) fn using(&self) -> Using<'_> {
        self.use_of.lock().under_way += 1;
        Using(self)
    }

    /// Since when no request is under way. `None`: one is.
    pub(crate) fn idle_since(&self) -> Option<Instant> {
        let use_of = self.use_of.lock();
        (use_of.under_way == 0).then_some(use_of.last)
    }

    pub(crate) fn connected(&self) -> Connected {
        Connected {
            peer: self.peer,
            remote: canonical(self.connection.remote_address()),
        }
    }

    pub(crate) fn info(&self) -> ConnectionInfo {
        let Connected { peer, remote } = self.connected();
        let stats = self.connection.stats();
        ConnectionInfo {
            peer,
            remote,
            direction: self.direction,
            rtt: self.connection.rtt(),
            sent: stats.udp_tx.bytes,
            received: stats.udp_rx.bytes,
            sent_packets: stats.udp_tx.datagrams,
            received_packets: stats.udp_rx.datagrams,
        }
    }

    /// Closes the connection. Only the first call's code counts.
    pub(crate) fn close(&self, code: CloseCode, reason: &str) {
        let _ = self.closed_with.set(code);
        self.connection.close(code.wire(), reason.as_bytes());
    }

    /// Counts a stream that was reset for the peer's fault, and closes the connection when there are
    /// too many.
    pub(crate) fn strike(&self) {
        if self.strikes.fetch_add(1, Ordering::Relaxed) + 1 >= MAX_STRIKES {
            self.close(CloseCode::PROTOCOL, "too many bad requests");
        }
    }

    /// Whether this node closed the connection because the peer broke the rules.
    pub(crate) fn is_closed_for_offence(&self) -> bool {
        matches!(
            self.closed_with.get(),
            Some(&(CloseCode::FLOOD | CloseCode::PROTOCOL))
        )
    }

    /// Why the connection ended, given QUIC's account of it.
    pub(crate) fn reason(&self, error: &ConnectionError) -> DisconnectReason {
        match self.closed_with.get() {
            Some(&CloseCode::REPLACED) => DisconnectReason::Replaced,
            code => DisconnectReason::new(error, code.copied().unwrap_or(CloseCode::DONE)),
        }
    }
}
