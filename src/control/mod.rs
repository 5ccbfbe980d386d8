//! The control socket: how the command line talks to the server of its home.
//!
//! The messages have the form of those between nodes. A request is sent under the promise of its command,
//! with its content as JSON in the payload (`request`). The answer comes under `answer` or `refusal`, also
//! with JSON. Before it there may be answers with the argument `progress` (a sentence to show) or `more`
//! (the payload continues in the next message).

pub mod client;
pub mod confidential;
pub mod connecting;
pub mod frame;
pub mod request;
pub mod waiting;

use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use crate::exit::{Failure, Outcome};

/// The argument of an answer that says how things are going.
pub const PROGRESS: &str = "progress";
/// The argument of an answer whose payload goes on in the next one.
pub const MORE: &str = "more";
/// The longest path that a socket can have (`sun_path` of unix(7)), in bytes.
const LONGEST_PATH: usize = 107;
/// The longest payload of all parts of an answer together: status of the largest network.
pub const MAX_ANSWER: usize = 64 << 20;

/// Checks that the control socket can have this path.
///
/// # Errors
/// It is too long.
pub fn check_length(path: &Path) -> Outcome {
    let length = path.as_os_str().as_bytes().len();
    if length <= LONGEST_PATH {
        return Ok(());
    }
    Err(Failure::usage(format!(
        "the path of the control socket, {}, has {length} bytes, and a socket's may have {LONGEST_PATH}; choose \
         a home with a shorter path",
        path.display()
    )))
}
