//! What is asked of a kernel of the lab, and whether this process runs on one.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::ValueEnum;

use crate::requirements::Missing;

/// Set for the command: which kernel it runs on.
pub(super) const INSIDE: &str = "GRID_LAB_INSIDE";

/// Which kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Which {
    /// User-mode Linux: starts in a moment, needs no root.
    Uml,
    /// The distribution's own, in qemu without hardware virtualisation: slow.
    Unmodified,
}

/// One command for a kernel of its own.
#[derive(Debug, Clone)]
pub struct Run {
    /// The kernel.
    pub which: Which,
    /// Sleeping costs no time: the clock of an idle kernel jumps to the next timer.
    pub simulated_time: bool,
    /// The kernel's memory.
    pub memory_mib: u32,
    /// When it is ended at the latest.
    pub limit: Duration,
    /// Folders that the command may write to for good.
    pub writable: Vec<PathBuf>,
    /// The command and its arguments.
    pub command: Vec<OsString>,
}

/// Whether this process runs in a kernel that [`super::run`] started.
#[must_use]
pub fn is_inside() -> bool {
    std::env::var_os(INSIDE).is_some()
}

/// Fails in user-mode Linux, for what needs a process with more memory than that can give one: every
/// page counts against what the host lets one process map (`vm.max_map_count`), about 250 MB.
///
/// # Errors
/// [`Missing`].
pub fn require_large_processes() -> Result<(), Missing> {
    if std::env::var_os(INSIDE).is_some_and(|kernel| kernel == "uml") {
        return Err(Missing(
            "a process in user-mode Linux cannot have as much memory as this takes (the host's \
             vm.max_map_count): use `cargo lab --kernel=unmodified`"
                .to_owned(),
        ));
    }
    Ok(())
}
