//! What grid nodes say to one another, and what follows from it.
//!
//! This crate does no I/O: it reads no clock, no socket, no file and no random source. Time and
//! entropy come in as arguments, and everything it wants done leaves as a value. The rules of the
//! crate's `clippy.toml` hold it to that.

#![forbid(unsafe_code)]

mod answer;
pub mod cbor;
pub mod content_id;
pub mod core;
pub mod envelope;
pub mod frame;
pub mod limits;
pub mod memo;
pub mod message;
pub mod modules;
pub mod network;
pub mod object;
pub mod routes;
#[cfg(feature = "sim")]
pub mod sim;
pub mod texts;
pub mod time;
pub mod wire;

pub use content_id::ContentId;
pub use envelope::Envelope;
pub use message::Message;
pub use time::{Millis, Timestamp};
