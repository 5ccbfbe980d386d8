//! How many messages a socket has exchanged with the kernel.

use std::ops::{Add, Sub};

/// Netlink messages between a process and the kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Requests sent, one system call each.
    pub requests: u64,
    /// Messages received, including acknowledgements.
    pub answers: u64,
}

impl Add for Traffic {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            requests: self.requests.saturating_add(other.requests),
            answers: self.answers.saturating_add(other.answers),
        }
    }
}

impl Sub for Traffic {
    type Output = Self;

    fn sub(self, earlier: Self) -> Self {
        Self {
            requests: self.requests.saturating_sub(earlier.requests),
            answers: self.answers.saturating_sub(earlier.answers),
        }
    }
}
