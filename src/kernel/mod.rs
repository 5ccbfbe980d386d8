//! The kernel of the grid: from a name that a person types to code that keeps a promise.
//!
//! | file | concept |
//! |---|---|
//! | `builtins` | the modules that are part of the program |

pub mod builtins;
