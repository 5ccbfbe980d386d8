//! The report of a command that changes something and has nothing else to say.

use std::io::{self, Write};

use grid_promises::core::Reply;
use serde::{Deserialize, Serialize};

use super::caller::{Caller, Report};
use crate::exit::Outcome;

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

/// Reports what holds now as JSON, where people have read it on standard error.
///
/// # Errors
/// It cannot be written.
pub fn show_json(caller: &Caller, changed: bool, text: &str) -> Outcome {
    if !caller.wants_json() {
        return Ok(());
    }
    caller.show(&ChangedReport {
        changed,
        text: text.to_owned(),
        stopping: false,
    })
}

impl Report for ChangedReport {
    fn show(&self, out: &mut dyn Write) -> io::Result<()> {
        let already = if self.changed { "" } else { "as before: " };
        writeln!(out, "{already}{}", self.text)
    }
}
