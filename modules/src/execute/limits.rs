//! What code may use, in one place.

use std::time::Duration;

use grid_promises::Message;

/// The steps and the time of one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Steps of WebAssembly, about one an instruction. The same input takes the same number
    /// everywhere. Native code has no such bound.
    pub fuel: u64,
    /// Time on the clock, with everything the host does for the guest. WebAssembly is stopped within
    /// two ticks of 10 ms after it.
    pub time: Duration,
}

/// What modules may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// For `accept`, which is asked of many modules and should be quick.
    pub accept: Budget,
    /// For `handle`.
    pub handle: Budget,
    /// The most memory of an instance, in bytes; rounded down to whole pages of 64 KiB.
    pub memory: usize,
    /// How many instances may run at once, each on a thread of its caller. The address space for
    /// their memories is reserved when the engine starts.
    pub instances: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            accept: Budget {
                fuel: 100_000_000,
                time: Duration::from_secs(1),
            },
            handle: Budget {
                fuel: 10_000_000_000,
                time: Duration::from_secs(10),
            },
            memory: 64 * 1024 * 1024,
            instances: 32,
        }
    }
}

/// The longest module, in bytes. Compiling takes about two seconds a megabyte, on one core.
pub const MAX_MODULE: usize = 8 * 1024 * 1024;
/// The longest native executable, in bytes.
pub const MAX_EXECUTABLE: usize = 256 * 1024 * 1024;
/// The longest answer, in bytes.
pub(super) const MAX_ANSWER: usize = Message::MAX_LEN;
/// How often a guest may ask its host in one call.
pub(super) const MAX_CALLS: u32 = 1_000;
/// The longest thing that a guest may ask, in bytes.
pub(super) const MAX_REQUEST: usize = 16 * 1024;
/// The longest object that a guest can get, in bytes.
pub(super) const MAX_OBJECT: usize = 16 * 1024 * 1024;
/// How many lines of one call come to the log.
pub(super) const MAX_LOG_LINES: u32 = 64;
/// How much of a line comes to the log, in bytes.
pub(super) const MAX_LOG_LINE: usize = 1024;
/// The most elements of a table of a module.
pub(super) const MAX_TABLE: usize = 20_000;
