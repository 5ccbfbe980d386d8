//! Code that keeps promises: the objects of a node, names for them, running what they hold, and asking
//! peers for what is missing.
//!
//! | file | concept |
//! |---|---|
//! | `settings`, `cache_dir` | what a person decided about modules, and where they are kept |
//! | `objects` | objects by content id, on disk |
//! | `roots`, `gc` | which objects are kept whatever the limit says, and making room |
//! | `builtins` | what the program brings along |
//! | `symbols` | the symbol table of a node |
//! | `publish` | from a file to a module under a name |
//! | `published` | what this node shows to others |
//! | `execute` | how code is run: WebAssembly, native executables |
//! | `memos` | results of pure calls that were computed before |
//! | `call` | from a name to the code, and running it for a person |
//! | `judge` | modules that say what they think of promised prefixes |
//! | `fetch` | the promise `fetch`: giving objects to peers, and getting them |
//! | `dispatch` | who handles the messages of peers |
//! | `clock` | what time it is in the world |
//! | `peer` | a node that can be asked |
//! | `caller` | a node that asks, and what is kept to it |
//! | `shares` | how many calls are worked on at once, and how they are shared out |
//!
//! The crate knows peers by [`grid_net`] and the program that it runs in by the trait [`Host`]. It
//! knows nothing of WireGuard or of a command line, and of networks no more than that a caller shares some.

pub mod builtins;
mod cache_dir;
pub mod call;
mod caller;
mod clock;
pub mod dispatch;
pub mod execute;
pub mod fetch;
pub mod gc;
pub mod judge;
pub mod memos;
pub mod objects;
mod peer;
pub mod publish;
mod published;
pub mod roots;
mod settings;
mod shares;
pub mod symbols;

pub use cache_dir::CacheDir;
pub use caller::{Admission, Caller};
pub use peer::Peer;
pub use settings::{Host, Settings};
