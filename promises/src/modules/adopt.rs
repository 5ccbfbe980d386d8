//! Merging a peer's symbol table into one's own.
//!
//! The rule: **a name that I have stays mine.** Names that I lack are taken as the peer has them. A
//! name that both have for different modules is reported as a [`Conflict`] and stays as it is, unless
//! the person named it and asked to replace it. There is no way to replace a name that nobody named.
//!
//! So adopting is a union in which the first one wins: adopting the same table again changes nothing,
//! the empty table adds nothing, and how a series of tables is grouped does not matter. Their order
//! does: what was adopted first is mine then. All of this is about the names; histories differ, as
//! each next table names the one before it.
//!
//! The peer's history is not looked at, and nothing of what the names stand for.

use std::collections::{BTreeMap, BTreeSet};

use super::name::ModuleName;
use super::table::{SymbolTable, TableFull};
use crate::content_id::ContentId;

/// Which names of a peer are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice<'a> {
    /// All of them. Replaces nothing.
    All,
    /// These, as a person gave them. Order and repetitions do not matter.
    Names {
        /// The names.
        names: &'a [ModuleName],
        /// Whether they replace those of one's own.
        replace: bool,
    },
}

/// A name that two tables have for different modules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// The name.
    pub name: ModuleName,
    /// What it stands for, or stood for, in one's own table.
    pub mine: ContentId,
    /// What it stands for in the peer's.
    pub theirs: ContentId,
}

/// What came of it. Each wanted name is in exactly one of the lists, all of which are ascending.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Adoption {
    /// The next table. None if nothing changes.
    pub next: Option<SymbolTable>,
    /// Names that are new, and what they stand for.
    pub adopted: BTreeMap<ModuleName, ContentId>,
    /// Names that were replaced, as they were asked to be.
    pub replaced: Vec<Conflict>,
    /// Names that stayed mine.
    pub conflicts: Vec<Conflict>,
    /// Names that stood for the same module before.
    pub same: Vec<ModuleName>,
    /// Names that the peer does not have.
    pub unknown: Vec<ModuleName>,
}

/// Adopts names of the peer's table `theirs` into `mine`.
///
/// # Errors
/// The next table would have too many names. Nothing is adopted then, not even a part.
pub fn adopt(
    mine: &SymbolTable,
    theirs: &SymbolTable,
    choice: Choice<'_>,
) -> Result<Adoption, TableFull> {
    let (wanted, replace): (BTreeSet<&ModuleName>, bool) = match choice {
        Choice::All => (theirs.names().keys().collect(), false),
        Choice::Names { names, replace } => (names.iter().collect(), replace),
    };
    let mut adoption = Adoption::default();
    let mut names = mine.names().clone();
    for name in wanted {
        let Some(&id) = theirs.names().get(name) else {
            adoption.unknown.push(name.clone());
            continue;
        };
        let conflict = |mine: ContentId| Conflict {
            name: name.clone(),
            mine,
            theirs: id,
        };
        match names.get(name) {
            Some(own) if *own == id => adoption.same.push(name.clone()),
            Some(own) if !replace => adoption.conflicts.push(conflict(*own)),
            Some(own) => {
                adoption.replaced.push(conflict(*own));
                names.insert(name.clone(), id);
            }
            None => {
                adoption.adopted.insert(name.clone(), id);
                names.insert(name.clone(), id);
            }
        }
    }
    adoption.next = mine.followed_by(names)?;
    Ok(adoption)
}
