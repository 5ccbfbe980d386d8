//! The kernel's network configuration, by netlink (RFC 3549): links, addresses, routes, policy rules.
//!
//! Both back ends share it. Blocking sockets, one request at a time. What it refuses to do: start
//! `ip`, or keep a picture of the host of its own.

mod address;
mod link;
mod route;
mod rule;
mod socket;

pub(crate) use address::Address;
pub(crate) use link::Link;
pub(crate) use rule::is_our_rule;
pub(crate) use socket::{Netlink, Parts};

use std::io;

use netlink_packet_core::Emitable;

fn emit(message: &impl Emitable) -> Vec<u8> {
    let mut bytes = vec![0; message.buffer_len()];
    message.emit(&mut bytes);
    bytes
}

fn malformed(what: &str, why: impl std::fmt::Display) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("the kernel's {what} is malformed: {why}"),
    )
}

/// What the kernel says of an address family that it has not, or not with this feature.
fn no_such_family(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EAFNOSUPPORT | libc::EOPNOTSUPP)
    )
}

/// Turns the errors that mean "it is already so" into success.
fn already(result: io::Result<()>, fine: &[i32]) -> io::Result<()> {
    match result {
        Err(error)
            if error
                .raw_os_error()
                .is_some_and(|code| fine.contains(&code)) =>
        {
            Ok(())
        }
        other => other,
    }
}
