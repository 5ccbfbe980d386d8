//! The report of a command that changes something and has nothing else to say.

use std::io::{self, Write};

use grid_promises::core::Reply;
use serde::{Deserialize, Serialize};

use super::caller::Report;

/// What holds now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangedReport {
    /// Whether it did not hold before.
    pub changed: bool,
    /// What holds now, as a sentence.
    pub text: String,
    /// Whether the server ends after this report.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stopping: bool,
}

impl ChangedReport {
    /// The report that follows from the core's reply.
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
        let already = if self.changed { "" } else { " (already so)" };
        writeln!(out, "{}{already}", self.text)
    }
}
