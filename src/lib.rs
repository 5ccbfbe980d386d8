//! The program `grid`: the command line, the server, the store, and what they say to each other.
//!
//! What nodes say to one another, and what follows from it, is in `grid-promises`; how it travels in
//! `grid-net`; WireGuard in `grid-wg`; code that keeps promises in `grid-modules`, which a build can leave
//! out (feature `modules`). This crate drives them.

pub mod advice;
pub mod cli;
pub mod command;
pub mod commands;
pub mod console;
pub mod control;
pub mod exit;
pub mod home;
pub mod host;
pub mod node;
pub mod quota;
pub mod rehearsal;
pub mod server;
pub mod store;
pub mod symbols;
pub mod tunnels;
pub mod values;
pub mod wg_quick;

use std::process::ExitCode;

/// The whole program: reads the command line, does what it says, and says how it went.
#[must_use]
pub fn main() -> ExitCode {
    cli::main(std::env::args_os())
}
