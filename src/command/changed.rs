//! The report of commands that change something and have nothing else to say.

use std::io::{self, Write};

use grid_promises::core::Reply;
use serde::{Deserialize, Serialize};

use super::caller::Report;

/// What is so now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangedReport {
    /// Whether it was otherwise before.
    pub changed: bool,
    /// What is so now, as a sentence.
    pub text: String,
    /// Whether the server ends with this answer.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stopping: bool,
}

impl ChangedReport {
    /// What the core's reply to a command means.
    pub fn of(reply: &Reply, text: impl Into<String>) -> Self {
        Self {
            changed: !matches!(reply, Reply::Unchanged),
            text: text.into(),
            stopping: false,
        }
    }
}

impl Report for ChangedReport {
    fn show(&self, out: &mut dyn Write) -> io::Result<()> {
        let already = if self.changed {
            ""
        } else {
            " (it was so already)"
        };
        writeln!(out, "{}{already}", self.text)
    }
}
