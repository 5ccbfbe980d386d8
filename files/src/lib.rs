//! Files that survive a kill at any instruction and a power cut, for whoever keeps something on disk.
//!
//! | file | concept |
//! |---|---|
//! | `disk` | single file operations, and the file system |
//! | `atomic` | changes made of them that happen at once or not at all |
//! | `private` | reading files that may hold a secret, with suspicion |
//! | `error` | what can be wrong with a file |
//! | `crash` | a disk in memory that tests cut anywhere (feature `crash`) |
//! | `size` | numbers of bytes as people write them |
//!
//! The crate knows nothing of what is in the files.

#![forbid(unsafe_code)]

pub mod atomic;
#[cfg(feature = "crash")]
#[allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test instrument: a test that uses it wrongly fails"
)]
pub mod crash;
pub mod disk;
mod error;
pub mod private;
mod size;

pub use disk::{Disk, RealDisk};
pub use error::FileError;
pub use size::{ByteSize, ByteSizeError};
