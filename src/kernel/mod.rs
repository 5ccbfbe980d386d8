//! The kernel of the grid: from a name that a person types to code that keeps a promise.
//!
//! | file | concept |
//! |---|---|
//! | `builtins` | the modules that are part of the program |
//! | `symbols` | the symbol table of a home |
//! | `publishing` | from a file to a module under a name |
//! | `judging` | modules that say what they think of promised prefixes |
//! | `memos` | results of pure calls that were computed before |
//! | `routes` | who keeps which promise: on disk, and for people |
//! | `running` | from a name to the code, and running it |

pub mod builtins;
pub mod judging;
pub mod memos;
pub mod publishing;
pub mod routes;
pub mod running;
pub mod symbols;
