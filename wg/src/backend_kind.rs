//! Who can run WireGuard: the kernel, or this process.

use std::fmt;

/// Who runs WireGuard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BackendKind {
    /// The Linux kernel.
    Kernel,
    /// This process, with boringtun.
    Userspace,
}

impl BackendKind {
    /// Whether it retries a stalled handshake within moments, rather than after WireGuard's
    /// `REKEY_TIMEOUT`.
    #[must_use]
    pub const fn retries_handshakes(self) -> bool {
        match self {
            Self::Kernel => false,
            Self::Userspace => true,
        }
    }
}

/// Who is to run WireGuard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BackendChoice {
    /// The kernel's WireGuard where there is one, otherwise userspace.
    #[default]
    Auto,
    /// The kernel's WireGuard or an error.
    Kernel,
    /// Userspace, whatever the kernel has.
    Userspace,
}

impl fmt::Display for BackendKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kernel => "kernel",
            Self::Userspace => "userspace",
        })
    }
}
