//! Why a peer did not give an object, as half a sentence.

use std::collections::BTreeMap;
use std::fmt;

use grid_keys::NodeId;

/// The most peers that one sentence names.
const NAMED: usize = 8;

/// Why one peer did not give an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum PeerFailure {
    /// It cannot be connected. Normal; try again later.
    Unreachable(String),
    /// It did not answer in time. Try again later.
    Silent,
    /// The connection ended before it answered. Try again.
    Lost(String),
    /// It does not give the object. Normal.
    Refused(String),
    /// It takes no part in the promise. Normal.
    TakesNoPart,
    /// It says that the object is longer than wanted, in bytes.
    TooLong(u64),
    /// What it sent does not verify. Hostile, or another version; it is asked last from now on.
    Lied(String),
}

impl fmt::Display for PeerFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(why) => write!(f, "cannot be reached ({why})"),
            Self::Silent => f.write_str("did not answer in time"),
            Self::Lost(why) => write!(f, "went away ({why})"),
            Self::Refused(why) => write!(f, "refuses ({why})"),
            Self::TakesNoPart => f.write_str("takes no part in the promise \"fetch\""),
            Self::TooLong(length) => write!(f, "says that it has {length} bytes"),
            Self::Lied(what) => write!(f, "lied ({what})"),
        }
    }
}

/// Why the peers that were asked did not give an object. Reads as the end of a sentence.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeerFailures(pub(super) BTreeMap<NodeId, PeerFailure>);

impl fmt::Display for PeerFailures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (node, failure)) in self.0.iter().take(NAMED).enumerate() {
            let comma = if index > 0 { ", " } else { "" };
            write!(f, "{comma}{} {failure}", node.short())?;
        }
        match self.0.len().saturating_sub(NAMED) {
            0 => Ok(()),
            more => write!(f, ", and {more} more did not give it either"),
        }
    }
}
