//! What links, addresses, routes and rules share: how requests are encoded, and what the kernel's
//! answers mean.

use std::fmt::Display;
use std::io;

use netlink_packet_core::Emitable;

pub(super) fn emit(message: &impl Emitable) -> Vec<u8> {
    let mut bytes = vec![0; message.buffer_len()];
    message.emit(&mut bytes);
    bytes
}

/// An answer about `what` that cannot be decoded.
pub(super) fn malformed(what: &str, why: impl Display) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("the kernel's {what} is malformed: {why}"),
    )
}

/// Whether the kernel lacks an address family, or a feature in this family.
pub(super) fn is_unsupported(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EAFNOSUPPORT | libc::EOPNOTSUPP)
    )
}

/// Turns those errors into success which say that there is nothing to change.
pub(super) fn ignore(result: io::Result<()>, fine: &[i32]) -> io::Result<()> {
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
