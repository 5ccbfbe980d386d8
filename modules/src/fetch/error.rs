//! Why an object was not fetched: what each peer did, in one sentence.

use std::collections::BTreeMap;
use std::fmt;

use grid_keys::NodeId;
use grid_promises::ContentId;

use super::session::Wanted;
use grid_files::ByteSize;

/// The most peers that one sentence names.
const NAMED: usize = 8;

/// What came of asking one peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// No connection to it came about. Normal; try again later.
    Unreachable(String),
    /// It did not answer in time. Try again later.
    Silent,
    /// The connection ended before it answered. Try again.
    Lost(String),
    /// It does not give the object. Normal.
    Refused(String),
    /// It takes no part in the promise. Normal.
    TakesNoPart,
    /// It says that the object is longer than is wanted, in bytes.
    TooLong(u64),
    /// What it sent does not hold. Hostile, or of another version; it is asked last from now on.
    Lied(String),
}

impl fmt::Display for Told {
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

/// What came of asking, peer by peer. Reads as the end of a sentence.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Peers(pub(super) BTreeMap<NodeId, Told>);

impl fmt::Display for Peers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (node, told)) in self.0.iter().take(NAMED).enumerate() {
            let comma = if index > 0 { ", " } else { "" };
            write!(f, "{comma}{} {told}", node.short())?;
        }
        match self.0.len().saturating_sub(NAMED) {
            0 => Ok(()),
            more => write!(f, ", and {more} more did not give it either"),
        }
    }
}

/// Why an object is not here. What was fetched of it before stays, and the next attempt goes on from
/// there, unless the text says otherwise.
#[derive(Clone, Debug, thiserror::Error)]
pub enum FetchError {
    /// Normal: nobody is known.
    #[error(
        "there is nobody to ask for {0}: no peer is known and no member of a network is connected"
    )]
    NoPeers(ContentId),
    /// The peer does not say which symbol table it stands by.
    #[error("there is no symbol table to be had: {0}")]
    NoTable(Peers),
    /// Normal: try again when they are there.
    #[error("nobody could be asked for {0}: {1}; try again when a peer can be reached")]
    Unreachable(ContentId, Peers),
    /// Normal: none of them serves it.
    #[error("nobody gives {0}: {1}")]
    Refused(ContentId, Peers),
    /// Hostile: somebody sent what it is not. None of it was used.
    #[error("{0} was not given by anybody who is to be believed, and nothing was kept: {1}")]
    Lied(ContentId, Peers),
    /// Try again.
    #[error("{0} was not given in time: {1}; what came of it is kept, try again")]
    TimedOut(ContentId, Peers),
    /// It is not what it was wanted as, or the cache is too small for it. Nothing was fetched.
    #[error("{id} is too long: {limit} are allowed for {what}; nothing was fetched: {peers}")]
    TooLong {
        /// The object.
        id: ContentId,
        /// What each peer says.
        peers: Peers,
        /// What is allowed.
        limit: ByteSize,
        /// As what.
        what: &'static str,
    },
    /// The disk is full. Make room.
    #[error("{id} needs {needed} bytes more, and the disk of {path} has {free}")]
    NoSpace {
        /// The object.
        id: ContentId,
        /// What is missing of it, in bytes.
        needed: u64,
        /// What is free, in bytes.
        free: u64,
        /// The folder.
        path: Box<str>,
    },
    /// The store, or the file system, refuses.
    #[error("{0} could not be stored: {1}")]
    Store(ContentId, String),
    /// An object of another kind than was promised. It stays in the store, unused.
    #[error("{id}, which {peer} gives as {what}, is none: {why}")]
    Kind {
        /// The object.
        id: ContentId,
        /// Who named it.
        peer: Box<str>,
        /// What it should be.
        what: &'static str,
        /// What is wrong with it.
        why: Box<str>,
    },
    /// An error in this program, or the server is about to end. Try again.
    #[error("fetching {0} was given up; try again")]
    GivenUp(ContentId),
}

impl FetchError {
    /// The error that follows from what each peer did.
    pub(super) fn of(wanted: &Wanted, peers: Peers) -> Self {
        let id = wanted.id;
        let any = |is: fn(&Told) -> bool| peers.0.values().any(is);
        if peers.0.is_empty() {
            Self::NoPeers(id)
        } else if any(|told| matches!(told, Told::Lied(_))) {
            Self::Lied(id, peers)
        } else if any(|told| matches!(told, Told::TooLong(_))) {
            Self::TooLong {
                id,
                peers,
                limit: ByteSize(wanted.limit),
                what: wanted.what,
            }
        } else if any(|told| matches!(told, Told::Silent | Told::Lost(_))) {
            Self::TimedOut(id, peers)
        } else if any(|told| matches!(told, Told::Refused(_) | Told::TakesNoPart)) {
            Self::Refused(id, peers)
        } else {
            Self::Unreachable(id, peers)
        }
    }

    /// What sort of failure it is.
    #[must_use]
    pub fn kind(&self) -> FetchFailure {
        match self {
            Self::Refused(..) => FetchFailure::Refused,
            Self::TimedOut(..) => FetchFailure::TimedOut,
            Self::NoTable(Peers(peers)) => match peers.values().next() {
                Some(Told::Refused(_) | Told::TakesNoPart) => FetchFailure::Refused,
                Some(Told::Silent) => FetchFailure::TimedOut,
                _ => FetchFailure::Failed,
            },
            _ => FetchFailure::Failed,
        }
    }
}

/// What sort of failure a [`FetchError`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FetchFailure {
    /// Those who have it do not give it.
    Refused,
    /// Nobody answered in time.
    TimedOut,
    /// Anything else.
    Failed,
}

/// A text from a peer, fit for a log and for a sentence: at most 200 characters, none of them a
/// control character.
pub(super) fn readable(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(200)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peers(told: &[Told]) -> Peers {
        let each = told.iter().zip(1..);
        Peers(each.map(|(t, n)| (NodeId([n; 32]), t.clone())).collect())
    }

    #[test]
    fn the_worst_that_happened_names_the_error_and_everybody_is_named() {
        let wanted = Wanted {
            id: ContentId::of(b"x"),
            limit: 1 << 20,
            what: "a table",
        };
        let refused = Told::Refused("not mine".to_owned());
        let gone = Told::Unreachable("no answer".to_owned());
        let lied = Told::Lied("a wrong chunk".to_owned());
        for (told, exit, words) in [
            (vec![], FetchFailure::Failed, "nobody to ask"),
            (
                vec![gone.clone()],
                FetchFailure::Failed,
                "cannot be reached",
            ),
            (
                vec![gone.clone(), refused.clone()],
                FetchFailure::Refused,
                "not mine",
            ),
            (
                vec![Told::TakesNoPart],
                FetchFailure::Refused,
                "takes no part",
            ),
            (
                vec![Told::Silent, Told::TooLong(1 << 30)],
                FetchFailure::Failed,
                "1MiB are",
            ),
            (
                vec![Told::Silent, refused.clone()],
                FetchFailure::TimedOut,
                "in time",
            ),
            (
                vec![refused, lied, Told::Silent],
                FetchFailure::Failed,
                "a wrong chunk",
            ),
        ] {
            let error = FetchError::of(&wanted, peers(&told));
            let text = error.to_string();
            assert_eq!(error.kind(), exit, "{text}");
            assert!(text.contains(words), "{text}");
            for (node, _) in peers(&told).0 {
                assert!(text.contains(&node.short()), "{text}");
            }
        }
        let many = Peers((1..=20).map(|n| (NodeId([n; 32]), Told::Silent)).collect());
        assert!(
            many.to_string()
                .ends_with("and 12 more did not give it either")
        );
    }

    #[test]
    fn a_peer_cannot_write_lines_of_the_log() {
        let text = readable(&format!("a\n\x1b[31m{}", "x".repeat(500)));
        assert_eq!(text.chars().count(), 200);
        assert!(text.starts_with("a  [31m"), "{text}");
    }
}
