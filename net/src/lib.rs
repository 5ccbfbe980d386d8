//! QUIC between nodes: who is at the other end, whole messages, and what a peer may cost.
//!
//! This crate carries bytes. It knows nodes by their keys, but neither what they say to one another
//! nor WireGuard.
//!
//! # `grid/1` on the wire
//!
//! - QUIC version 1 (RFC 9000), TLS 1.3 with ALPN `grid/1`, no SNI, no resumption, no 0-RTT. Key
//!   exchange is X25519MLKEM768, or X25519 if the peer offers nothing better.
//! - Both ends present their Ed25519 node key as a raw public key (RFC 7250), and nothing else.
//! - The dialler's first stream is the *greeting*: bidirectional and empty. The other end answers it
//!   if it makes this connection the one for the pair. The answer is empty, or it is the 16-byte name
//!   of a connection that the other end dialled itself and abandons in favour of this one. The name is
//!   the TLS exporter's value for the label `EXPORTER-grid-link` without context. The dialler opens no
//!   other stream before the answer. `pair.rs` says why, and how both ends make the same choice.
//! - From then on either end opens bidirectional streams: the request up to FIN, then the answer up
//!   to FIN. A stream that is reset carries no message. Unidirectional streams and datagrams are not
//!   allowed.
//! - [`CloseCode`] and [`StreamCode`] are the error codes.
//! - Either end may move to another address (RFC 9000 section 9): a connection survives a NAT that
//!   forgets a mapping.

#![forbid(unsafe_code)]

mod budget;
mod codes;
mod config;
mod connection;
mod dial;
mod endpoint;
mod error;
mod event;
mod gate;
mod link;
mod listen;
mod message;
mod pace;
mod pair;
mod peer_text;
mod registry;
mod requests;
mod reset;
mod socket;
mod throttle;
mod tls;
mod token_bucket;
mod transport;

// For the fuzzer, not for programs: may change at any time.
#[doc(hidden)]
pub use budget::{Budget, Collector, Hold, Refused};
pub use codes::{CloseCode, StreamCode};
pub use config::{Config, DEFAULT_LISTEN, DEFAULT_PORT, Limits, Tap, TapDirection};
pub use connection::{Connected, ConnectionInfo, Direction};
pub use endpoint::Endpoint;
pub use error::{AttemptError, BindError, ConnectError, DisconnectReason, RequestError};
pub use event::{Event, Responder};
pub use pace::Pace;
pub use peer_text::peer_text;
pub use tls::seed_early;
