//! Why an object was not fetched.

use grid_files::ByteSize;
use grid_promises::ContentId;

use super::peer_failure::{PeerFailure, PeerFailures};
use super::wanted::Wanted;

/// Why an object was not fetched. Unless the text says otherwise, the next attempt resumes from what has
/// been downloaded.
#[derive(Clone, Debug, thiserror::Error)]
pub enum FetchError {
    /// Normal: this node knows no peer.
    #[error(
        "there is nobody to ask for {0}: no peer is known and no member of a network is connected"
    )]
    NoPeers(ContentId),
    /// The peer does not say which symbol table it stands by.
    #[error("there is no symbol table to be obtained: {0}")]
    NoTable(PeerFailures),
    /// Normal: try again when they are there.
    #[error("nobody could be asked for {0}: {1}; try again when a peer can be reached")]
    Unreachable(ContentId, PeerFailures),
    /// Normal: none of them serves it.
    #[error("nobody gives {0}: {1}")]
    Refused(ContentId, PeerFailures),
    /// Hostile: somebody sent something else. None of it was used.
    #[error("{0} was not given by anybody who is to be believed, and nothing was kept: {1}")]
    Lied(ContentId, PeerFailures),
    /// Try again.
    #[error("{0} was not given in time: {1}; what came of it is kept, try again")]
    TimedOut(ContentId, PeerFailures),
    /// It cannot be what it was wanted as, or the cache is too small. Nothing was fetched.
    #[error("{id} is too long: {limit} are allowed for {what}; nothing was fetched: {peers}")]
    TooLong {
        /// The object.
        id: ContentId,
        /// What each peer says.
        peers: PeerFailures,
        /// What is allowed.
        limit: ByteSize,
        /// What it was wanted as.
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
    /// The store or the file system refused.
    #[error("{0} could not be stored: {1}")]
    Store(ContentId, String),
    /// The object is of another kind than the peer said. It stays in the store, unused.
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
    /// The error for the worst that a peer did.
    pub(super) fn of(wanted: &Wanted, peers: PeerFailures) -> Self {
        let id = wanted.id;
        let any = |is: fn(&PeerFailure) -> bool| peers.0.values().any(is);
        if peers.0.is_empty() {
            Self::NoPeers(id)
        } else if any(|failure| matches!(failure, PeerFailure::Lied(_))) {
            Self::Lied(id, peers)
        } else if any(|failure| matches!(failure, PeerFailure::TooLong(_))) {
            Self::TooLong {
                id,
                peers,
                limit: ByteSize(wanted.limit),
                what: wanted.what,
            }
        } else if any(|failure| matches!(failure, PeerFailure::Silent | PeerFailure::Lost(_))) {
            Self::TimedOut(id, peers)
        } else if any(|failure| {
            matches!(failure, PeerFailure::Refused(_) | PeerFailure::TakesNoPart)
        }) {
            Self::Refused(id, peers)
        } else {
            Self::Unreachable(id, peers)
        }
    }

    /// What kind of failure this is.
    #[must_use]
    pub fn kind(&self) -> FetchFailure {
        match self {
            Self::Refused(..) => FetchFailure::Refused,
            Self::TimedOut(..) => FetchFailure::TimedOut,
            Self::NoTable(PeerFailures(peers)) => match peers.values().next() {
                Some(PeerFailure::Refused(_) | PeerFailure::TakesNoPart) => FetchFailure::Refused,
                Some(PeerFailure::Silent) => FetchFailure::TimedOut,
                _ => FetchFailure::Failed,
            },
            _ => FetchFailure::Failed,
        }
    }
}

/// What kind of failure a [`FetchError`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FetchFailure {
    /// Those who were asked refused.
    Refused,
    /// Nobody answered in time.
    TimedOut,
    /// Anything else.
    Failed,
}

#[cfg(test)]
mod tests {
    use super::*;
    use grid_keys::NodeId;

    fn peers(failure: &[PeerFailure]) -> PeerFailures {
        let each = failure.iter().zip(1..);
        PeerFailures(each.map(|(t, n)| (NodeId([n; 32]), t.clone())).collect())
    }

    #[test]
    fn the_worst_that_happened_names_the_error_and_everybody_is_named() {
        let wanted = Wanted {
            id: ContentId::of(b"x"),
            limit: 1 << 20,
            what: "a table",
        };
        let refused = PeerFailure::Refused("not mine".to_owned());
        let gone = PeerFailure::Unreachable("no answer".to_owned());
        let lied = PeerFailure::Lied("a wrong chunk".to_owned());
        for (failure, exit, words) in [
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
                vec![PeerFailure::TakesNoPart],
                FetchFailure::Refused,
                "takes no part",
            ),
            (
                vec![PeerFailure::Silent, PeerFailure::TooLong(1 << 30)],
                FetchFailure::Failed,
                "1MiB are",
            ),
            (
                vec![PeerFailure::Silent, refused.clone()],
                FetchFailure::TimedOut,
                "in time",
            ),
            (
                vec![refused, lied, PeerFailure::Silent],
                FetchFailure::Failed,
                "a wrong chunk",
            ),
        ] {
            let error = FetchError::of(&wanted, peers(&failure));
            let text = error.to_string();
            assert_eq!(error.kind(), exit, "{text}");
            assert!(text.contains(words), "{text}");
            for (node, _) in peers(&failure).0 {
                assert!(text.contains(&node.short()), "{text}");
            }
        }
        let many = PeerFailures(
            (1..=20)
                .map(|n| (NodeId([n; 32]), PeerFailure::Silent))
                .collect(),
        );
        assert!(
            many.to_string()
                .ends_with("and 12 more did not give it either")
        );
    }
}
