//! The few kinds of mounts that the lab makes, always in a mount namespace of its own.

use anyhow::{Context as _, Result};
use nix::mount::{MsFlags, mount};

const NONE: Option<&str> = None;

/// Keeps mounts made from here on out of the namespace that this one was copied from.
///
/// # Errors
/// What `mount` answers.
pub(crate) fn make_private() -> Result<()> {
    let flags = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(NONE, "/", NONE, flags, NONE).context("cannot make the mounts private")
}

/// Mounts the kernel's file system `kind` (`proc`, `sysfs`) as this process's namespaces show it.
///
/// # Errors
/// `EPERM` in a container that hides parts of it.
pub(crate) fn kernel_view(kind: &str, on: &str) -> Result<()> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some(kind), on, Some(kind), flags, NONE)
        .with_context(|| format!("cannot mount {kind} on {on}"))
}

/// Mounts an empty tmpfs without devices and set-user-id programs; `mode` is octal.
///
/// # Errors
/// When `on` does not exist.
pub(crate) fn empty(on: &str, mode: &str) -> Result<()> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    let options = format!("mode={mode}");
    mount(
        Some("grid-lab"),
        on,
        Some("tmpfs"),
        flags,
        Some(options.as_str()),
    )
    .with_context(|| format!("cannot mount a tmpfs on {on}"))
}

/// Shows the file or folder `what` at `on` too. `what` must lie in this mount namespace, which
/// `/proc/self/exe` need not.
///
/// # Errors
/// When either does not exist.
pub(crate) fn bind(what: &str, on: &str) -> Result<()> {
    mount(Some(what), on, NONE, MsFlags::MS_BIND, NONE)
        .with_context(|| format!("cannot mount {what} on {on}"))
}
