//! What can go wrong when binding, dialling and asking, and why connections end.
//!
//! No error carries key material. Texts from a peer are shortened and stripped of control characters
//! before they are kept.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use grid_keys::NodeId;
use quinn::ConnectionError;

use crate::codes::{CloseCode, StreamCode};
use crate::peer_text::peer_text;

/// The endpoint could not start. Nothing is left open.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BindError {
    /// Another process holds the port.
    #[error("UDP {addr} is in use by another program")]
    AddrInUse {
        /// Where the endpoint was to listen.
        addr: SocketAddr,
    },
    /// The system forbids it: a port below 1024, or a security policy.
    #[error("no permission to listen on UDP {addr}")]
    PermissionDenied {
        /// Where the endpoint was to listen.
        addr: SocketAddr,
    },
    /// No interface of this host has the address.
    #[error("no interface of this host has the address of UDP {addr}")]
    AddrNotAvailable {
        /// Where the endpoint was to listen.
        addr: SocketAddr,
    },
    /// Any other failure of the socket.
    #[error("cannot listen on UDP {addr}: {source}")]
    Io {
        /// Where the endpoint was to listen.
        addr: SocketAddr,
        /// The system's error.
        source: io::Error,
    },
    /// `bind` was called outside a tokio runtime that has I/O and time enabled.
    #[error("no tokio runtime is running on this thread")]
    NoRuntime,
    /// The cryptography library could not be set up. Retrying does not help.
    #[error("TLS could not be set up: {0}")]
    Tls(String),
    /// This limit of the configuration cannot work.
    #[error("limit {0} is out of range")]
    Limits(&'static str),
}

/// No connection to the peer. The endpoint is as it was before.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The list of addresses was empty.
    #[error("no address to dial")]
    NoAddresses,
    /// The peer is this node.
    #[error("that node is this node")]
    Myself,
    /// Another node than the expected one answers there. Retrying does not help: check the address and
    /// the key.
    #[error("{remote} is node {found}, not {expected}")]
    IdentityMismatch {
        /// The node that was to be dialled.
        expected: NodeId,
        /// The node that answered.
        found: NodeId,
        /// The address at which it answered.
        remote: SocketAddr,
    },
    /// No address led to a connection. Worth retrying later.
    #[error("no connection: {}", list(.0))]
    Failed(Vec<(SocketAddr, AttemptError)>),
    /// This node has as many connections as it allows. Disconnect one first.
    #[error("this node already has {limit} connections, as many as it allows")]
    TooManyConnections {
        /// `Limits::max_connections`.
        limit: usize,
    },
    /// [`Endpoint::shutdown`](crate::Endpoint::shutdown) was called.
    #[error("the endpoint is shut down")]
    ShutDown,
}

/// Why one address did not lead to a connection.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AttemptError {
    /// Nothing answered in time.
    #[error("no answer in time")]
    TimedOut,
    /// Another node answered.
    #[error("found node {found}")]
    Identity {
        /// The node that answered.
        found: NodeId,
    },
    /// The address cannot be dialled from this socket (port 0, or IPv6 without IPv6).
    #[error("not usable from here: {0}")]
    Unusable(String),
    /// Something answered that does not speak `grid/1` with a node key.
    #[error("not a grid node: {0}")]
    NotAGridNode(String),
    /// The node there is turning connections away.
    #[error("the node is busy")]
    Busy,
    /// The node there closed the connection.
    #[error("closed by the peer: {code}{}", parenthesised(.reason))]
    Closed {
        /// The peer's code.
        code: CloseCode,
        /// The peer's words, at most 120 characters.
        reason: String,
    },
    /// The connection broke.
    #[error("{0}")]
    Lost(String),
}

/// Why a request has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// There is no connection to that node; nothing was sent. Connect first.
    #[error("not connected to node {0}")]
    NotConnected(NodeId),
    /// The message is longer than allowed; nothing was sent.
    #[error("the message has {size} bytes, {limit} are allowed")]
    TooLarge {
        /// The length of the message in bytes.
        size: usize,
        /// `Limits::max_message`.
        limit: u32,
    },
    /// The answer was longer than allowed and was discarded. The peer has acted on the request.
    #[error("the answer is longer than {limit} bytes")]
    AnswerTooLarge {
        /// `Limits::max_message`.
        limit: u32,
    },
    /// No whole answer in time. The peer may have acted on the request.
    #[error("no answer within {after:?}")]
    TimedOut {
        /// `Limits::request_timeout`.
        after: Duration,
    },
    /// The peer gave up on this request; the connection lives on.
    #[error("the peer gave up on the request: {0}")]
    Refused(StreamCode),
    /// The connection ended first. The peer may have acted on the request.
    #[error("disconnected: {0}")]
    Disconnected(DisconnectReason),
}

/// Why a connection ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DisconnectReason {
    /// The peer closed it.
    #[error("closed by the peer: {code}{}", parenthesised(.reason))]
    PeerClosed {
        /// The peer's code.
        code: CloseCode,
        /// The peer's words, at most 120 characters.
        reason: String,
    },
    /// Silence for `Limits::idle_timeout`.
    #[error("silent for too long")]
    IdleTimeout,
    /// The peer no longer knows the connection, most likely because it restarted.
    #[error("the peer has forgotten the connection")]
    Reset,
    /// One of the two ends broke the rules of QUIC or TLS.
    #[error("protocol error: {0}")]
    ProtocolError(String),
    /// The peer gave it up and opened a new one, which is now in use.
    #[error("replaced by a newer connection")]
    Replaced,
    /// This node closed it.
    #[error("closed by this node: {0}")]
    Local(CloseCode),
}

impl DisconnectReason {
    /// Translates QUIC's error. `local` is the code to report if this node closed the connection.
    pub(crate) fn new(error: &ConnectionError, local: CloseCode) -> Self {
        match error {
            ConnectionError::ApplicationClosed(close) => Self::PeerClosed {
                code: CloseCode::from_wire(close.error_code),
                reason: peer_text(&close.reason),
            },
            ConnectionError::TimedOut => Self::IdleTimeout,
            ConnectionError::Reset => Self::Reset,
            ConnectionError::LocallyClosed => Self::Local(local),
            ConnectionError::ConnectionClosed(close) => {
                Self::ProtocolError(peer_text(close.to_string()))
            }
            other => Self::ProtocolError(peer_text(other.to_string())),
        }
    }
}

impl AttemptError {
    /// Translates QUIC's error of a failed dial.
    pub(crate) fn new(error: &ConnectionError) -> Self {
        use quinn::TransportErrorCode as Code;
        match error {
            ConnectionError::TimedOut => Self::TimedOut,
            ConnectionError::VersionMismatch => Self::NotAGridNode("another version".into()),
            ConnectionError::ApplicationClosed(close) => {
                match CloseCode::from_wire(close.error_code) {
                    CloseCode::BUSY => Self::Busy,
                    code => Self::Closed {
                        code,
                        reason: peer_text(&close.reason),
                    },
                }
            }
            ConnectionError::ConnectionClosed(close) => match close.error_code {
                Code::CONNECTION_REFUSED => Self::Busy,
                code if is_tls(code) => Self::NotAGridNode(peer_text(close.to_string())),
                _ => Self::Lost(peer_text(close.to_string())),
            },
            ConnectionError::TransportError(error) if is_tls(error.code) => {
                Self::NotAGridNode(peer_text(error.to_string()))
            }
            other => Self::Lost(peer_text(other.to_string())),
        }
    }
}

/// Whether a transport error stands for a TLS alert (RFC 9001 section 4.8).
fn is_tls(code: quinn::TransportErrorCode) -> bool {
    (0x100..0x200).contains(&u64::from(code))
}

fn parenthesised(text: &str) -> String {
    if text.is_empty() {
        String::new()
    } else {
        format!(" ({text})")
    }
}

fn list(attempts: &[(SocketAddr, AttemptError)]) -> String {
    let each: Vec<_> = attempts
        .iter()
        .map(|(addr, error)| format!("{addr}: {error}"))
        .collect();
    each.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_names_every_address() {
        let addr: SocketAddr = "192.0.2.1:1".parse().unwrap();
        let error = ConnectError::Failed(vec![
            (addr, AttemptError::TimedOut),
            (addr, AttemptError::Busy),
        ]);
        assert_eq!(
            error.to_string(),
            "no connection: 192.0.2.1:1: no answer in time; 192.0.2.1:1: the node is busy"
        );
    }
}
