//! The running node, as whoever asks it sees it: the way to the parts of the server, and what they
//! answer. What they are made of is in `server`.
//!
//! | file | concept |
//! |---|---|
//! | `config_file` | the configuration as it is now |
//! | `handle` | the way to the running node |
//! | `question` | what the driver of the core is asked |
//! | `service` | the form of what carries out the requests on the control socket |
//! | `joining` | what founding and joining a network have in common |
//! | `host_port` | `HOST:PORT`, and looking it up |
//! | `status` | what is known of the networks, as `status` tells it |

pub mod config_file;
pub mod handle;
pub mod host_port;
pub mod joining;
pub mod question;
pub mod service;
pub mod status;

pub use handle::NodeHandle;
pub use service::{Answer, Progress, Service};
