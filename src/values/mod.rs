//! Values as people type and read them, and as they cross the control socket.
//!
//! | file | concept |
//! |---|---|
//! | `duration` | spans of time: `30s`, `7d` |
//! | `moment` | moments in time, and the wall clock |
//! | `prefix` | prefixes and addresses |
//! | `secret` | text that is wiped, and never shown |
//! | `text` | values that serde writes as the text that people type |
//! | `units` | seconds and bytes for people |

pub mod duration;
pub mod moment;
pub mod prefix;
pub mod secret;
pub mod text;
pub mod units;
