//! The keys of a node: its identity, its WireGuard keys, and the secrets that never leave it.
//!
//! A leaf crate: QUIC and WireGuard need these types, and nothing else of what nodes promise one
//! another. It does no I/O; randomness is an argument.

#![forbid(unsafe_code)]

#[cfg(feature = "cbor")]
mod cbor;
mod node;
mod secret;
mod wireguard;
mod xeddsa;

pub use node::{NodeId, NodeKey, NotANodeId, SignatureBytes};
pub use secret::Secret;
pub use wireguard::{NotAWgKey, PresharedKey, WgPublicKey, WgSecretKey};
