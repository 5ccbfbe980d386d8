//! A test instrument: every message that goes to or comes from a peer, in plaintext, in a file.
//!
//! What people say to one another in a network is not secret among its members, but it is nobody
//! else's: nothing but `start-server --tap` sets this up.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::Arc;

use grid_net::Tap;
use parking_lot::Mutex;
use tracing::warn;

use crate::exit::{Failure, Outcome};

/// A tap that appends each message to the file at `path`: its length as four bytes, the most
/// significant one first, then its bytes. The file is made with mode 0600.
///
/// # Errors
/// The file cannot be opened, or is a symbolic link.
pub(super) fn open(path: &Path) -> Outcome<Tap> {
    let file = OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .custom_flags(nix::libc::O_NOFOLLOW)
        .open(path)
        .map_err(|error| {
            Failure::failed(format!(
                "the tap cannot write to {}: {error}; choose another file with --tap",
                path.display()
            ))
        })?;
    let file = Mutex::new(file);
    let path = path.to_owned();
    Ok(Arc::new(move |_, _, message| {
        let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
        // In one piece, so that a sudden end leaves at most the last one cut.
        let record = [&length.to_be_bytes(), message].concat();
        let mut file = file.lock();
        if let Err(error) = file.write_all(&record) {
            warn!("the tap cannot write to {}: {error}", path.display());
        }
    }))
}
