//! The lab of `grid`: machines made of namespaces on one host, an internet between them, cuts,
//! losses and NATs, and the end-to-end tests that run the real program on them.
//!
//! Everything happens inside namespaces that end with the process that made them; the host's
//! network and files are never touched. Root is not needed where user namespaces are allowed.
//! The layers, from the kernel up: [`link`]; [`supervise`], [`holder`] and
//! [`namespaces`]; [`segment`], [`node`] and [`lab`]; [`mesh`] for the program; [`scenario`],
//! [`scenarios`] and [`harness`] for the tests; [`cli`] for `cargo lab`.

// Not published: what the names say is not said again.
#![allow(missing_docs)]

pub mod bench;
pub mod cargo_test;
pub mod cli;
pub mod cuts;
pub mod harness;
pub mod holder;
pub mod kept;
pub mod kernel;
pub mod lab;
pub mod link;
pub mod mesh;
mod mounted;
mod mounts;
pub mod namespaces;
pub mod netem;
pub mod nft;
pub mod node;
pub mod output;
pub mod ping;
mod processes;
pub mod requirements;
pub mod run;
pub mod scenario;
pub mod scenarios;
pub mod segment;
pub mod server;
mod signals;
pub mod snapshot;
pub mod status;
pub mod supervise;
mod tally;
pub mod tap;
pub mod up;
pub mod wait;
pub mod wireguard;

pub use crate::lab::Lab;
pub use crate::mesh::{Mesh, MeshOptions};
pub use crate::node::Node;
pub use crate::requirements::Missing;
