//! The bodies of the fuzz targets: plain functions of bytes that panic when a law is broken.
//!
//! One file for each crate that has decoders. The crate's own `tests/corpus.rs` includes its file
//! and replays the corpus, so that what a fuzzer found once is tested on every run, without a
//! fuzzer and without a nightly compiler.

#[cfg(feature = "program")]
pub mod code;
pub mod dispatch;
pub mod judging;
/// The test kit of `grid-promises`: fixed keys, networks, statements.
#[path = "../../promises/tests/common/mod.rs"]
pub mod kit;
pub mod modules;
#[cfg(feature = "net")]
pub mod net;
#[cfg(feature = "program")]
pub mod program;
pub mod promises;
pub mod statements;
pub mod wg;
