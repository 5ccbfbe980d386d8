//! What is asked of a kernel of the lab, and whether this process runs on one.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::ValueEnum;

use crate::requirements::Missing;

/// Set in the command's environment: which kernel it runs on.
pub(super) const INSIDE: &str = "GRID_LAB_INSIDE";

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Which {
    /// User-mode Linux: starts in a moment, needs no root.
    Uml,
    /// The distribution's own, emulated by qemu: slow.
    Unmodified,
}

/// A command, and the kernel to run it on.
#[derive(Debug, Clone)]
pub struct Run {
    pub which: Which,
    /// Sleeping takes no time: the clock of an idle kernel jumps to the next timer.
    pub simulated_time: bool,
    pub memory_mib: u32,
    /// After this time it is ended.
    pub limit: Duration,
    /// Folders whose changes outlive the kernel.
    pub writable: Vec<PathBuf>,
    pub command: Vec<OsString>,
}

/// Whether this process runs in a kernel that [`super::run`] started.
#[must_use]
pub fn is_inside() -> bool {
    std::env::var_os(INSIDE).is_some()
}

/// Fails in user-mode Linux, where one process cannot have more than about 250 MB: every page counts
/// against the host's limit on mappings (`vm.max_map_count`).
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
