//! Values in the forms that people type and read, and that cross the control socket.
//!
//! | file | concept |
//! |---|---|
//! | `duration` | spans of time: `30s`, `7d` |
//! | `moment` | moments in time, and the wall clock |
//! | `prefix` | prefixes and addresses |
//! | `secret` | text that is wiped when dropped and never shown |
//! | `text` | serde for values that have a text form |
//! | `units` | seconds and bytes for people |

pub mod duration;
pub mod moment;
pub mod prefix;
pub mod secret;
pub mod text;
pub mod units;
