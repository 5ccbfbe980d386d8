//! One thing that the tree knows, for people and for the export.

use std::fmt;

use crate::routes::key::Prefix;
use crate::routes::strength::Strength;
use crate::routes::target::Target;
use crate::time::Timestamp;

/// What is known of one target at one prefix.
#[derive(Clone, PartialEq, Eq)]
pub struct Entry {
    /// Where.
    pub prefix: Prefix,
    /// Of whom.
    pub target: Target,
    /// Whether it accepted messages with this prefix.
    pub accepted: bool,
    /// Until when its last rejection stands. It may have lapsed: see [`Entry::sign`].
    pub rejected_until: Option<Timestamp>,
    /// How many accepted messages it handled well.
    pub kept: u32,
    /// How many accepted messages it failed at.
    pub broken: u32,
    /// The smoothed share of those that it kept.
    pub strength: Strength,
    /// When something was last recorded here.
    pub last_used: Timestamp,
}

/// What an entry says at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sign {
    /// The target accepts.
    Accepts,
    /// The target rejected lately.
    Rejects,
    /// The target rejected some time ago: the entry says nothing any more.
    Lapsed,
}

impl Entry {
    /// What this entry says now.
    #[must_use]
    pub fn sign(&self, now: Timestamp) -> Sign {
        match self.rejected_until {
            Some(until) if now < until => Sign::Rejects,
            _ if self.accepted => Sign::Accepts,
            _ => Sign::Lapsed,
        }
    }
}

/// Without the arguments: they may hold what does not belong in a log.
impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry")
            .field("promise", &self.prefix.promise)
            .field("depth", &self.prefix.key().depth())
            .field("target", &self.target)
            .field("accepted", &self.accepted)
            .field("rejected_until", &self.rejected_until)
            .field("kept", &self.kept)
            .field("broken", &self.broken)
            .field("strength", &self.strength)
            .field("last_used", &self.last_used)
            .finish()
    }
}
