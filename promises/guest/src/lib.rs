//! What a WebAssembly module needs to keep a promise on a grid node.
//!
//! ```
//! use grid_guest::{Answer, Parms, Verdict};
//!
//! grid_guest::promise! {
//!     name: "hello",
//!     promise: "I will say hello.\n",
//!     calls: [],
//!     pure: true,
//!     accept: accept,
//!     handle: handle,
//! }
//!
//! fn accept(parms: &Parms<'_>) -> Verdict {
//!     if parms.args.len() == 1 {
//!         Verdict::Accept
//!     } else {
//!         Verdict::Reject("say whom to greet".into())
//!     }
//! }
//!
//! fn handle(parms: &Parms<'_>, _payload: &[u8]) -> Answer {
//!     let mut text = b"hello, ".to_vec();
//!     text.extend_from_slice(parms.args.first().copied().unwrap_or_default());
//!     Answer::to(parms).payload(text)
//! }
//! # fn main() {}
//! ```
//!
//! Build it with `cargo build --release --target wasm32-unknown-unknown`, as a `cdylib`. Built for
//! anything else, the macro checks what it is given and makes nothing, so that a guest has ordinary
//! unit tests.
//!
//! The interface is described in `docs/modules.md`. The crate has no dependencies and does not need
//! the standard library, but an allocator. A guest cannot keep anything: every call has an instance
//! of its own.

#![no_std]

extern crate alloc;

mod cbor;
mod declare;
#[doc(hidden)]
pub mod entry;
pub mod host;
pub mod judge;
mod message;

#[doc(hidden)]
pub use declare::{array, is_good};
pub use message::{ACCEPT_MESSAGE, Answer, Malformed, Parms, REJECT_MESSAGE, Verdict};
