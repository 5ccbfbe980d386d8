//! A blocking netlink socket (RFC 3549): one request at a time, with its answers and its
//! acknowledgement.
//!
//! [`Netlink`] sends and receives; [`Parts`] splits a datagram into its messages, for sockets that
//! only listen. What the messages mean is the caller's business: payloads are bytes here, but for
//! [`Netlink::request`], which encodes and decodes the messages of a netlink-packet crate.
//!
//! Payloads may hold keys, so every buffer is wiped, and the kernel is asked not to echo requests
//! in its errors.

mod message;
mod socket;
mod traffic;

pub use message::{Message, Part, Parts};
pub use socket::Netlink;
pub use traffic::Traffic;
