//! What can go wrong, in types: binding, dialling, asking, and the end of a connection.
//!
//! No error carries key material; texts that came from a peer are cut and stripped of control
//! characters before they are kept.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use grid_keys::NodeId;
use quinn::ConnectionError;

use crate::codes::{CloseCode, StreamCode};

/// The endpoint could not start. Nothing is left open.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BindError {
    /// Another process holds the port.
    #[error("UDP {addr} is in use by another program; stop it or listen on another port")]
    AddrInUse {
        /// The address asked for.
        addr: SocketAddr,
    },
    /// The system forbids it (a port below 1024, or a security policy).
    #[error("no permission to listen on UDP {addr}; use a port of 1024 or above")]
    PermissionDenied {
        /// The address asked for.
        addr: SocketAddr,
    },
    /// No interface of this host has the address.
    #[error("no interface of this host has the address of UDP {addr}")]
    AddrNotAvailable {
        /// The address asked for.
        addr: SocketAddr,
    },
    /// Any other failure of the socket.
    #[error("cannot listen on UDP {addr}: {source}")]
    Io {
        /// The address asked for.
        addr: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// `bind` was called outside a tokio runtime that has I/O and time enabled.
    #[error("no tokio runtime is running on this thread")]
    NoRuntime,
    /// The cryptography library could not be set up. Retrying does not help.
    #[error("TLS could not be set up: {0}")]
    Tls(String),
    /// A limit of the configuration cannot work. Names it.
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
    /// Whoever answers there is not the node that was expected. Retrying does not help: check the
    /// address and the key.
    #[error("{remote} is node {found}, not {expected}")]
    IdentityMismatch {
        /// The node that was asked for.
        expected: NodeId,
        /// The node that answered.
        found: NodeId,
        /// Where.
        remote: SocketAddr,
    },
    /// No address led to a connection. Worth retrying later.
    #[error("no connection: {}", list(.0))]
    Failed(Vec<(SocketAddr, AttemptError)>),
    /// This node holds as many connections as it may. Disconnect one first.
    #[error("this node already has {limit} connections, as many as it may")]
    TooManyConnections {
        /// `Limits::max_connections`.
        limit: usize,
    },
    /// The endpoint was shut down.
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
    /// The node there turns connections away at the moment.
    #[error("the node is busy")]
    Busy,
    /// The node there closed the connection.
    #[error("closed by the peer: {code}{}", parenthesised(.reason))]
    Closed {
        /// Its code.
        code: CloseCode,
        /// Its words, shortened.
        reason: String,
    },
    /// The connection broke.
    #[error("{0}")]
    Lost(String),
}

/// A request that has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// There is no connection to that node; nothing was sent. Connect first.
    #[error("not connected to node {0}")]
    NotConnected(NodeId),
    /// The message is longer than allowed; nothing was sent.
    #[error("the message has {size} bytes, {limit} are allowed")]
    TooLarge {
        /// Of the message.
        size: usize,
        /// `Limits::max_message`.
        limit: u32,
    },
    /// The answer was longer than allowed and was thrown away. The peer has acted on the request.
    #[error("the answer is longer than {limit} bytes")]
    AnswerTooLarge {
        /// `Limits::max_message`.
        limit: u32,
    },
    /// No whole answer in time. Whether the peer has acted on the request is not known.
    #[error("no answer within {after:?}")]
    TimedOut {
        /// `Limits::request_timeout`.
        after: Duration,
    },
    /// The peer gave this request up; the connection lives on.
    #[error("the peer gave the request up: {0}")]
    Refused(StreamCode),
    /// The connection ended first. Whether the peer has acted on the request is not known.
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
        /// Its code.
        code: CloseCode,
        /// Its words, shortened.
        reason: String,
    },
    /// Nothing was heard for `Limits::idle_timeout`.
    #[error("nothing heard for too long")]
    IdleTimeout,
    /// The peer no longer knows the connection, most likely because it was restarted.
    #[error("the peer has forgotten the connection")]
    Reset,
    /// One of the two ends broke the rules of QUIC or TLS.
    #[error("protocol error: {0}")]
    ProtocolError(String),
    /// The peer has given it up and opened a new one, which is in use now.
    #[error("replaced by a newer connection")]
    Replaced,
    /// This node closed it.
    #[error("closed here: {0}")]
    Local(CloseCode),
}

impl DisconnectReason {
    /// What QUIC says of the end, in our terms. `local` is the code if this node closed.
    pub(crate) fn new(error: &ConnectionError, local: CloseCode) -> Self {
        match error {
            ConnectionError::ApplicationClosed(close) => Self::PeerClosed {
                code: CloseCode::from_wire(close.error_code),
                reason: readable(&close.reason),
            },
            ConnectionError::TimedOut => Self::IdleTimeout,
            ConnectionError::Reset => Self::Reset,
            ConnectionError::LocallyClosed => Self::Local(local),
            ConnectionError::ConnectionClosed(close) => {
                Self::ProtocolError(readable(close.to_string().as_bytes()))
            }
            other => Self::ProtocolError(readable(other.to_string().as_bytes())),
        }
    }
}

impl AttemptError {
    /// What QUIC says of a failed dial, in our terms.
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
                        reason: readable(&close.reason),
                    },
                }
            }
            ConnectionError::ConnectionClosed(close) => match close.error_code {
                Code::CONNECTION_REFUSED => Self::Busy,
                code if is_tls(code) => Self::NotAGridNode(readable(close.to_string().as_bytes())),
                _ => Self::Lost(readable(close.to_string().as_bytes())),
            },
            ConnectionError::TransportError(error) if is_tls(error.code) => {
                Self::NotAGridNode(readable(error.to_string().as_bytes()))
            }
            other => Self::Lost(readable(other.to_string().as_bytes())),
        }
    }
}

/// Whether a transport error stands for a TLS alert (RFC 9001 section 4.8).
fn is_tls(code: quinn::TransportErrorCode) -> bool {
    (0x100..0x200).contains(&u64::from(code))
}

/// A text from a peer, fit for a log: at most 120 characters, none of them a control character.
fn readable(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes)
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(120)
        .collect()
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
    fn texts_of_peers_are_cut_and_cleaned() {
        let text = readable(&[b"a\x1b[31m\n".as_slice(), &[0xff; 300]].concat());
        assert_eq!(text.chars().count(), 120);
        assert!(!text.contains(char::is_control), "{text:?}");
    }

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
