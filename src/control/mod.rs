//! The control socket: how the command line talks to the server of its home.
//!
//! The messages have the form of those between nodes. A request is sent under the promise of its command,
//! with its content as JSON in the payload (`request`). The answer comes under `answer` or `refusal`, also
//! with JSON. Before it there may be answers with the argument `progress` (a sentence to show) or `more`
//! (the payload continues in the next message).

pub mod client;
pub mod confidential;
pub mod frame;
pub mod request;
pub mod waiting;

/// The argument of an answer that says how things are going.
pub const PROGRESS: &str = "progress";
/// The argument of an answer whose payload goes on in the next one.
pub const MORE: &str = "more";
/// The longest payload of all parts of an answer together: status of the largest network.
pub const MAX_ANSWER: usize = 64 << 20;
