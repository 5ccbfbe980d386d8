//! Executables of this machine's own kind: run only when the person has allowed their content id.
//!
//! | file | concept |
//! |---|---|
//! | `allowed` | the allow-list, and the token that only it gives |
//! | `sealed` | the bytes that were allowed, where nobody can exchange them before they run |
//! | `framed` | an executable that speaks messages: one process per call |
//! | `confined` | what it is kept from when it runs for a peer |
//! | `process` | a process that is held by its group, its pipes and its deadline |
//! | `plain` | an ordinary program in the person's terminal |
//!
//! For a person, an executable runs with the rights of this user. What is bounded is what it costs *this*
//! program: time, memory for its output, lines in the log, processes of its group. The person's `allow` is the
//! decision. For a peer, it runs confined.

mod allowed;
mod confined;
mod framed;
mod plain;
mod process;
mod sealed;

pub use allowed::{AllowList, Allowed, NotAllowed};
pub use confined::Confinement;
pub use framed::Framed;
#[doc(hidden)]
pub use framed::read_answer;
pub use plain::{Plain, PlainError};
pub use sealed::{SealError, Sealed};
