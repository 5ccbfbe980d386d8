//! What commands are built from. The commands themselves are in `commands`, one file each.
//!
//! | file | concept |
//! |---|---|
//! | `caller` | the person who runs a command, and how its report is printed |
//! | `raised` | the report of a command by which an owner admits or appoints a node |
//! | `served` | a request to the server, and both ends of it |
//! | `asking` | sending a request, and starting a server for it if need be |
//! | `background` | starting a server in the background |
//! | `changed` | the report of a command that changes something |
//! | `decisions` | past decisions about promises, for `replay` and `appoint-judge` |
//! | `deeds` | what owners did, in words |
//! | `departures` | who goes or comes back with what an owner decides, and who is kept |
//! | `described` | a module in one sentence |
//! | `judging` | asking a judge |
//! | `named` | nodes as people know them |
//! | `names` | the names in the symbol table |
//! | `plain` | the report of a command whose result is a text |
//! | `stopping` | the request that ends the server |
//! | `tunnel_options` | the arguments that `create-` and `join-wireguard-net` share |

pub mod asking;
pub mod background;
pub mod caller;
pub mod changed;
pub mod decisions;
pub mod deeds;
pub mod departures;
#[cfg(feature = "modules")]
pub mod described;
#[cfg(feature = "modules")]
pub mod judging;
pub mod named;
pub mod names;
pub mod plain;
pub mod raised;
pub mod served;
pub mod stopping;
pub mod tunnel_options;

pub use caller::{Caller, Command, Global, Program, Report};
pub use served::Served;
