//! The report of a command whose result is a text.

use std::io::{self, Write};

use serde::Serialize;

use super::caller::Report;

/// A text that is printed as it is.
#[derive(Debug, Serialize)]
pub struct TextReport {
    text: String,
}

impl TextReport {
    /// Reports this text.
    pub fn of(text: impl Into<String>) -> Self {
        Self { text: text.into() }
    }
}

impl Report for TextReport {
    fn show(&self, out: &mut dyn Write) -> io::Result<()> {
        out.write_all(self.text.as_bytes())
    }
}
