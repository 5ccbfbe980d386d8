//! The running node from the outside: the handle by which commands reach its parts, and what those answer.
//! How the parts work is in `server`.
//!
//! | file | concept |
//! |---|---|
//! | `config_file` | the configuration as it is now |
//! | `handle` | what commands can do with the running node |
//! | `requests` | the requests that are under way, and whether more are taken |
//! | `question` | what the driver of the core is asked |
//! | `service` | the function that carries out requests, which the server is given |
//! | `joining` | the steps that founding and joining a network share |
//! | `host_port` | `HOST:PORT`, and its lookup |
//! | `status` | the state of the networks, as `status` reports it |

pub mod config_file;
pub mod handle;
pub mod host_port;
pub mod joining;
pub mod question;
pub mod requests;
pub mod service;
pub mod status;

pub use handle::NodeHandle;
pub use service::{Answer, Progress, Service};
