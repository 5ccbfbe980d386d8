//! A path: what is known of one target at one prefix.

use crate::routes::slab::Index;
use crate::routes::strength::Strength;
use crate::time::Timestamp;

/// What is known of one target at one prefix.
#[derive(Clone, Copy)]
pub(super) struct Path {
    pub(super) node: Index,
    pub(super) target: Index,
    /// Whether it has ever accepted. If not, there is a rejection.
    pub(super) accepted: bool,
    /// Until when a rejection stands.
    pub(super) rejected_until: Option<Timestamp>,
    pub(super) kept: u32,
    pub(super) broken: u32,
    pub(super) strength: Strength,
    pub(super) last_used: Timestamp,
    /// Which recording was the last one of it.
    pub(super) turn: u64,
    /// What it is counted as.
    pub(super) bytes: usize,
}

impl Path {
    pub(super) fn is_rejecting(&self, now: Timestamp) -> bool {
        self.rejected_until.is_some_and(|until| now < until)
    }
}
