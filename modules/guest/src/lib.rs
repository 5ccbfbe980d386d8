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
//! the standard library. A guest cannot keep anything: every call has an instance of its own.
//!
//! # What makes a guest quick
//!
//! A call is mostly the making and the wiping of an instance, so it is the memory that counts:
//!
//! - The crate is the guest's allocator, one that does not look for what was given back and needs no
//!   more than what the memory has at the start. A guest that allocates without end, and must use the
//!   same memory again, switches it off (`default-features = false`).
//! - The linker gives Rust a stack of 1 MiB. A guest seldom needs that; 64 KiB, as in C, are set by a
//!   `build.rs` beside its `Cargo.toml`. Who needs more traps, and harms nothing.
//!
//! ```no_run
//! // build.rs
//! println!("cargo::rustc-link-arg-cdylib=-zstack-size=65536");
//! ```

#![no_std]

extern crate alloc;

mod cbor;
mod declare;
#[doc(hidden)]
pub mod entry;
#[cfg(any(test, all(target_arch = "wasm32", feature = "allocator")))]
mod heap;
pub mod host;
pub mod judge;
mod message;

#[doc(hidden)]
pub use declare::{array, is_good};
pub use message::{ACCEPT_MESSAGE, Answer, Malformed, Parms, REJECT_MESSAGE, Verdict};
