//! Where this node stands in a network.

use std::collections::BTreeSet;

use crate::core::error::CommandError;
use crate::core::expulsion::Expulsion;
use crate::core::input::Ticket;
use crate::core::mesh::own_promise::OwnPromise;
use crate::network::admission::Admission;
use crate::network::receipt::Receipt;
use crate::network::statement::Signed;
use grid_keys::NodeId;

/// Where this node stands, and what it has there.
#[derive(Debug)]
pub(crate) enum Phase {
    /// It has no admission yet and asks for one.
    Waiting,
    /// It has an admission and looks for members before it claims an address.
    Joining {
        admission: Admission,
        /// Receipts for a promise that it withdrew, if it was a member before.
        receipts: Vec<Signed<Receipt>>,
    },
    /// It has promised.
    Member(OwnPromise),
    /// It is no longer a member.
    Expelled {
        why: Expulsion,
        /// What it had promised. Late evidence can make it a member again.
        last: Option<OwnPromise>,
    },
}

impl Phase {
    pub(crate) fn new(admission: Option<Admission>) -> Self {
        match admission {
            Some(admission) => Self::Joining {
                admission,
                receipts: Vec::new(),
            },
            None => Self::Waiting,
        }
    }

    pub(crate) const fn is_member(&self) -> bool {
        matches!(self, Self::Member(_))
    }

    pub(crate) const fn is_expelled(&self) -> bool {
        matches!(self, Self::Expelled { .. })
    }

    /// Why this node is no member any longer.
    pub(crate) const fn expulsion(&self) -> Option<Expulsion> {
        match self {
            Self::Expelled { why, .. } => Some(*why),
            Self::Waiting | Self::Joining { .. } | Self::Member(_) => None,
        }
    }

    /// What this node has promised.
    pub(crate) const fn own(&self) -> Option<&OwnPromise> {
        match self {
            Self::Member(own) => Some(own),
            Self::Expelled { last, .. } => last.as_ref(),
            Self::Waiting | Self::Joining { .. } => None,
        }
    }

    pub(crate) const fn own_mut(&mut self) -> Option<&mut OwnPromise> {
        match self {
            Self::Member(own) => Some(own),
            Self::Expelled { last, .. } => last.as_mut(),
            Self::Waiting | Self::Joining { .. } => None,
        }
    }

    pub(crate) const fn admission(&self) -> Option<&Admission> {
        match self {
            Self::Joining { admission, .. } => Some(admission),
            Self::Waiting | Self::Member(_) | Self::Expelled { .. } => match self.own() {
                Some(own) => Some(own.admission()),
                None => None,
            },
        }
    }

    /// Expels this node. Its promise is kept, in case late evidence reinstates it.
    pub(crate) fn expel(&mut self, why: Expulsion) {
        *self = match std::mem::replace(self, Self::Waiting) {
            Self::Member(own) => Self::Expelled {
                why,
                last: Some(own),
            },
            Self::Expelled { last, .. } => Self::Expelled { why, last },
            Self::Waiting | Self::Joining { .. } => Self::Expelled { why, last: None },
        };
    }

    /// Makes an expelled node a member again, if it was one.
    pub(crate) fn reinstate(&mut self) {
        if let Self::Expelled { last, .. } = self
            && let Some(own) = last.take()
        {
            *self = Self::Member(own);
        }
    }
}

/// A command that waits for something to happen in the network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Pending {
    /// To have joined.
    Join(Ticket),
    /// To have told the members.
    Leave {
        ticket: Ticket,
        /// Messages whose answers are missing.
        waiting: usize,
        /// Members that confirmed it.
        told: BTreeSet<NodeId>,
    },
}

/// How this node's part in a network ends.
#[derive(Debug)]
pub(crate) enum Ending {
    /// Joining cannot succeed; the network is as if it had never been.
    NotJoined { ticket: Ticket, error: CommandError },
    /// This node left, and `told` members confirmed that they know.
    Left { ticket: Ticket, told: usize },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_never_promised_anything_is_not_reinstated() {
        for mut phase in [Phase::new(None), Phase::new(Some(Admission::default()))] {
            phase.expel(Expulsion::Revoked);
            phase.reinstate();
            assert!(phase.is_expelled());
            assert!(phase.own().is_none() && phase.admission().is_none());
        }
    }
}
