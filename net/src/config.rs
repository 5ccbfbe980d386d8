//! An endpoint's configuration: address, key, limits. Nothing is read from the environment, not even
//! `SSLKEYLOGFILE`.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use grid_keys::{NodeId, NodeKey};

/// The UDP port that nodes listen on by default.
pub const DEFAULT_PORT: u16 = 51821;
/// Where an endpoint listens by default: on every address of both families.
pub const DEFAULT_LISTEN: SocketAddr =
    SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), DEFAULT_PORT);

/// How to set up an endpoint.
#[derive(Clone)]
pub struct Config {
    /// Where to listen. `[::]` also receives IPv4, and becomes `0.0.0.0` on a host without IPv6.
    pub listen: SocketAddr,
    /// The node's key, which is also its TLS identity.
    pub key: NodeKey,
    /// The mark on outgoing packets (`SO_MARK`), by which policy routing keeps them out of a tunnel
    /// that takes all traffic. 0 is no mark. A process without `CAP_NET_ADMIN` sends unmarked packets;
    /// it could not create a tunnel either.
    pub mark: u32,
    /// What peers may cost this node.
    pub limits: Limits,
    /// Where to log TLS secrets. `None` unless a test wants to decrypt captured traffic.
    pub key_log: Option<Arc<dyn rustls::KeyLog>>,
    /// A test instrument: sees every plaintext message. `None` in production.
    pub tap: Option<Tap>,
}

impl Config {
    /// A configuration with the default limits, listening on `[::]:51821`.
    #[must_use]
    pub fn new(key: NodeKey) -> Self {
        Self {
            listen: DEFAULT_LISTEN,
            mark: 0,
            key,
            limits: Limits::default(),
            key_log: None,
            tap: None,
        }
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("listen", &self.listen)
            .field("mark", &self.mark)
            .field("key", &self.key)
            .field("limits", &self.limits)
            .field("key_log", &self.key_log.is_some())
            .field("tap", &self.tap.is_some())
            .finish()
    }
}

/// Sees every whole message of the program, requests and answers, in plaintext: before it is
/// encrypted, or once it has been received. Runs on the connection's task and must not block.
///
/// A connection's greeting is not a message of the program, and is not shown.
pub type Tap = Arc<dyn Fn(TapDirection, &NodeId, &[u8]) + Send + Sync>;

/// Which way a tapped message went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TapDirection {
    /// To the peer.
    Sent,
    /// From the peer.
    Received,
}

/// What peers may cost this node. Every wait ends, every buffer is bounded.
///
/// At worst, with nothing but hostile peers, connections take `max_connections` and `max_strangers` times about
/// 0.5 MiB inside QUIC, and messages `max_buffered`. An idle connection takes a few tens of kB.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The longest message to send or accept, in bytes. Default 1 MiB.
    pub max_message: u32,
    /// From the first packet until the connection is usable. Default 10 s: the cost of four lost
    /// packets in a row.
    pub handshake_timeout: Duration,
    /// After this much silence a connection is dead. Default 60 s: two keepalives may get lost. The
    /// lower of both ends' values counts.
    pub idle_timeout: Duration,
    /// After this much silence the dialling end sends a small packet. The other end acknowledges it,
    /// and so the NATs of both stay open. Default 25 s: the shortest UDP timeout of NATs in the field
    /// is 30 s.
    pub keepalive: Duration,
    /// From sending a request to the last byte of its answer; also how long a peer may take to send
    /// one message. Default 30 s.
    pub request_timeout: Duration,
    /// How many peers may be connected at a time that the program [knows](crate::Endpoint::know) or that this node
    /// dialled. Default 256.
    pub max_connections: usize,
    /// How many others may be, strangers who came by themselves. One that asks nothing gives its place to the next, and
    /// networks (IPv4 /24 or IPv6 /48) share the places: from one that has more, one gives its place to another's.
    /// While more than half of these places are taken, whoever dials must first prove that it receives at its
    /// address. Default 128.
    pub max_strangers: usize,
    /// The same for strangers from one network (IPv4 /24 or IPv6 /48). Default 48: many may join at once from one.
    pub max_strangers_per_network: usize,
    /// How long a stranger may stay connected. Default 60 s.
    pub stranger_life: Duration,
    /// How many incoming connections may be in their handshake. Default 64.
    pub max_handshakes: usize,
    /// The same for one source address (IPv4 address or IPv6 /64). Default 32.
    pub max_handshakes_per_source: usize,
    /// With this many handshakes under way, a source must first prove that it receives at its
    /// address (QUIC Retry, one more round trip). Default 16.
    pub retry_threshold: usize,
    /// How many requests one peer may have under way. Default 64.
    pub max_streams: u32,
    /// How many bytes one peer's incomplete or unanswered requests may take. Those of up to 4 KiB do
    /// not count; an incomplete one counts as `max_message`. A request that finds no room is refused
    /// with [`BUSY`](crate::StreamCode::BUSY). To spare peers that, this end has at most
    /// `max_buffered_per_peer / max_message` requests of over 4 KiB under way to one peer; further
    /// ones wait their turn. A value below `max_message` counts as `max_message`. Default 4 MiB.
    pub max_buffered_per_peer: u32,
    /// The same for the requests of all peers together. Answers are bounded by `max_message` and by
    /// the number of requests that the program has under way. Default 64 MiB.
    pub max_buffered: u32,
    /// How many requests a second one peer may send in the long run. More are delayed. Default 100.
    pub request_rate: u32,
    /// How many requests one peer may send at once. Default 200.
    pub request_burst: u32,
    /// A peer is disconnected once its requests have been delayed without a break for this long.
    /// Default 30 s.
    pub flood_patience: Duration,
    /// How long to turn away a peer that was disconnected for an offence. Default 10 s.
    pub penalty: Duration,
}

impl Limits {
    /// The name of the first limit that cannot work. The upper bounds are far above anything sensible;
    /// they keep sums from overflowing.
    pub(crate) fn unworkable(&self) -> Option<&'static str> {
        const DAY: Duration = Duration::from_secs(24 * 60 * 60);
        let time = |limit: Duration| !limit.is_zero() && limit <= DAY;
        let count = |limit: usize| (1..=1 << 20).contains(&limit);
        let checks = [
            ("max_message", self.max_message > 0),
            ("handshake_timeout", time(self.handshake_timeout)),
            ("idle_timeout", time(self.idle_timeout)),
            (
                "keepalive",
                time(self.keepalive) && self.keepalive < self.idle_timeout,
            ),
            ("request_timeout", time(self.request_timeout)),
            ("max_connections", count(self.max_connections)),
            ("max_strangers", count(self.max_strangers)),
            (
                "max_strangers_per_network",
                count(self.max_strangers_per_network),
            ),
            ("stranger_life", time(self.stranger_life)),
            ("max_handshakes", count(self.max_handshakes)),
            (
                "max_handshakes_per_source",
                count(self.max_handshakes_per_source),
            ),
            ("max_streams", (1..=1 << 20).contains(&self.max_streams)),
            ("request_rate", self.request_rate > 0),
            ("request_burst", self.request_burst > 0),
            ("flood_patience", self.flood_patience <= DAY),
            ("penalty", self.penalty <= DAY),
        ];
        checks
            .into_iter()
            .find(|(_, works)| !works)
            .map(|(name, _)| name)
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_message: 1 << 20,
            handshake_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(60),
            keepalive: Duration::from_secs(25),
            request_timeout: Duration::from_secs(30),
            max_connections: 256,
            max_strangers: 128,
            max_strangers_per_network: 48,
            stranger_life: Duration::from_secs(60),
            max_handshakes: 64,
            max_handshakes_per_source: 32,
            retry_threshold: 16,
            max_streams: 64,
            max_buffered_per_peer: 4 << 20,
            max_buffered: 64 << 20,
            request_rate: 100,
            request_burst: 200,
            flood_patience: Duration::from_secs(30),
            penalty: Duration::from_secs(10),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use grid_keys::Secret;

    #[test]
    fn debug_shows_no_secret() {
        let text = format!(
            "{:?}",
            Config::new(NodeKey::from_seed(&Secret::new([7; 32])))
        );
        assert!(
            text.contains("[redacted]") && !text.contains("7, 7"),
            "{text}"
        );
    }

    #[test]
    fn limits_that_cannot_work_are_named() {
        assert_eq!(Limits::default().unworkable(), None);
        let second = Duration::from_secs(1);
        for (limits, name) in [
            (
                Limits {
                    max_message: 0,
                    ..Limits::default()
                },
                "max_message",
            ),
            (
                Limits {
                    max_streams: 0,
                    ..Limits::default()
                },
                "max_streams",
            ),
            (
                Limits {
                    max_connections: usize::MAX,
                    ..Limits::default()
                },
                "max_connections",
            ),
            (
                Limits {
                    idle_timeout: Duration::MAX,
                    ..Limits::default()
                },
                "idle_timeout",
            ),
            (
                Limits {
                    handshake_timeout: Duration::MAX,
                    ..Limits::default()
                },
                "handshake_timeout",
            ),
            (
                Limits {
                    keepalive: second,
                    idle_timeout: second,
                    ..Limits::default()
                },
                "keepalive",
            ),
        ] {
            assert_eq!(limits.unworkable(), Some(name));
        }
    }

    #[test]
    fn keepalives_come_often_enough() {
        let limits = Limits::default();
        assert!(limits.keepalive * 2 < limits.idle_timeout);
    }
}
