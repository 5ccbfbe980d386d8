//! Executables of this machine's own kind: run only when the person has allowed their content id.
//!
//! | file | concept |
//! |---|---|
//! | `mod` | the allow-list, and the token that only it gives |
//! | `sealed` | the bytes that were allowed, where nobody can exchange them before they run |
//! | `framed` | an executable that speaks messages: one process per call |
//! | `process` | a process that is held by its group, its pipes and its deadline |
//! | `plain` | an ordinary program in the person's terminal |
//!
//! An executable runs with the rights of this user. What is bounded is what it costs *this* program:
//! time, memory for its output, lines in the log, processes of its group. It is not a sandbox; the
//! person's `allow` is the decision.

mod framed;
mod plain;
mod process;
mod sealed;

use std::collections::BTreeSet;

use grid_promises::ContentId;

pub use framed::Framed;
#[doc(hidden)]
pub use framed::read_answer;
pub use plain::{Plain, PlainError};
pub use sealed::{SealError, Sealed};

/// The executables that may run here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AllowList(BTreeSet<ContentId>);

/// An executable that the allow-list has. There is no other way to get one.
#[derive(Debug)]
pub struct Allowed(ContentId);

impl AllowList {
    /// The list of these.
    pub fn new(ids: impl IntoIterator<Item = ContentId>) -> Self {
        Self(ids.into_iter().collect())
    }

    /// Whether an executable may run.
    ///
    /// # Errors
    /// It is not in the list. Normal: the person decides.
    pub fn check(&self, id: &ContentId) -> Result<Allowed, NotAllowed> {
        if self.0.contains(id) {
            Ok(Allowed(*id))
        } else {
            Err(NotAllowed { id: *id })
        }
    }
}

impl Allowed {
    /// The executable.
    #[must_use]
    pub const fn id(&self) -> &ContentId {
        &self.0
    }
}

/// An executable that the person has not allowed. It was not run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the executable {id} is not allowed to run here")]
pub struct NotAllowed {
    /// The executable.
    pub id: ContentId,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_listed_is_allowed() {
        let (yes, no) = (ContentId::of(b"yes"), ContentId::of(b"no"));
        let list = AllowList::new([yes]);
        assert_eq!(list.check(&yes).unwrap().id(), &yes);
        let refused = list.check(&no).unwrap_err();
        assert_eq!(refused, NotAllowed { id: no });
        assert!(refused.to_string().contains(&no.to_string()));
        assert!(AllowList::default().check(&yes).is_err());
    }
}
