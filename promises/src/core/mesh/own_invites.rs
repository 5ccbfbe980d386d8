//! The invites that this node made: until somebody uses one, nobody else knows of it.

use crate::core::record::Issued;
use crate::time::Timestamp;

/// Invites of its own that a node remembers until they expire; of more, those that expire last.
const MOST: usize = 1024;

/// The invites that this node made and that can still be used.
#[derive(Clone, Debug, Default)]
pub(crate) struct OwnInvites(Vec<Issued>);

impl OwnInvites {
    /// Those that were on disk, whatever the clock says.
    pub(crate) fn new(mut issued: Vec<Issued>) -> Self {
        issued.truncate(MOST);
        Self(issued)
    }

    /// Takes one more in.
    pub(crate) fn add(&mut self, invite: Issued, now: Timestamp) {
        self.0.retain(|invite| now <= invite.expires);
        if self.0.len() >= MOST {
            let first = self.0.iter().enumerate();
            let first = first.min_by_key(|(_, invite)| invite.expires);
            if let Some((position, _)) = first {
                self.0.remove(position);
            }
        }
        self.0.push(invite);
    }

    pub(crate) fn all(&self) -> &[Issued] {
        &self.0
    }
}
