//! What every command is made of. The commands themselves, one file each, are in `commands`.
//!
//! | file | concept |
//! |---|---|
//! | `caller` | who called a command, and how its report is shown |
//! | `served` | a request that the server carries out |
//! | `asking` | asking the home's server, or a new one |
//! | `background` | starting a server in the background |
//! | `changed` | the report of commands that change something |
//! | `decisions` | what was decided about promises, for the commands that look at it |
//! | `described` | what a module is, in a sentence |
//! | `judging` | asking a judge |
//! | `names` | the names that this node knows |
//! | `tunnel_options` | the arguments that founding and joining a network share |

pub mod asking;
pub mod background;
pub mod caller;
pub mod changed;
pub mod decisions;
#[cfg(feature = "modules")]
pub mod described;
#[cfg(feature = "modules")]
pub mod judging;
pub mod names;
pub mod served;
pub mod tunnel_options;

pub use caller::{Caller, Command, Global, Program, Report};
pub use served::Served;
