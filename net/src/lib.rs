//! QUIC between nodes: who is at the other end, whole messages, and what a peer may cost.
//!
//! This crate carries bytes. It knows nodes by their keys, and knows nothing of what they say to
//! one another, nor of WireGuard.
//!
//! # `grid/1` on the wire
//!
//! - QUIC version 1 (RFC 9000), TLS 1.3 with ALPN `grid/1`, no SNI, no resumption, no 0-RTT. Key
//!   exchange X25519MLKEM768, or X25519 if the peer has no other.
//! - Both ends present their Ed25519 node key as a raw public key (RFC 7250), and nothing else.
//! - The dialler's first stream is the *greeting*: bidirectional, with nothing in it. The other end
//!   answers it if it makes this connection the one for the pair, either with nothing, or with the
//!   16-byte name of the connection that it had dialled itself and gives up in favour of this one.
//!   The name is the TLS exporter's value for the label `EXPORTER-grid-link` without context. Until
//!   the answer, the dialler opens no other stream. `pair.rs` says why, and how the two ends
//!   come to the same choice.
//! - After that either end opens bidirectional streams: the request up to FIN, then the answer up
//!   to FIN. A stream that is reset has no message. Unidirectional streams and datagrams are not
//!   used and not allowed.
//! - [`CloseCode`] and [`StreamCode`] are the error codes.
//! - Either end may move to another address (RFC 9000 section 9): a NAT that forgets a mapping does
//!   not end a connection.

#![forbid(unsafe_code)]

mod backoff;
mod budget;
mod codes;
mod config;
mod dial;
mod endpoint;
mod error;
mod event;
mod gate;
mod link;
mod message;
mod pace;
mod pair;
mod rate;
mod registry;
mod socket;
mod tls;
mod transport;

pub use backoff::Backoff;
// For the fuzzer, and not for programs: it may change at any time.
#[doc(hidden)]
pub use budget::{Budget, Collector, Hold, Refused};
pub use codes::{CloseCode, StreamCode};
pub use config::{Config, DEFAULT_LISTEN, DEFAULT_PORT, Limits, Tap, TapDirection};
pub use endpoint::{Connected, ConnectionInfo, Endpoint};
pub use error::{AttemptError, BindError, ConnectError, DisconnectReason, RequestError};
pub use event::{Direction, Event, Responder};
pub use pace::Pace;
