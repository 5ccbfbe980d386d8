//! A test instrument that records every message to or from a peer in a file, in plaintext.
//!
//! What members of a network say to one another is nobody else's business: only `start-server --tap`
//! turns this on.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use grid_net::Tap;
use tracing::warn;

use crate::exit::{Failure, Outcome};

/// A tap that appends each message to the file at `path`: its length as four bytes in big-endian
/// order, then its bytes. The file is created with mode 0600.
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
        // In one write, so that a sudden end truncates at most the last record.
        let record = [&length.to_be_bytes(), message].concat();
        let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = file.write_all(&record) {
            warn!("the tap cannot write to {}: {error}", path.display());
        }
    }))
}
