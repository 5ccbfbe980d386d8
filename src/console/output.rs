//! Standard output and standard error. A reader that went away is no failure.

use std::io::{self, Write};

use super::plain::{plain, redacted};
use crate::exit::{Failure, Outcome};

/// Prints a result, as it is.
///
/// # Errors
/// It cannot be written, for another reason than that nobody reads any more.
pub fn print(text: &str) -> Outcome {
    print_bytes(text.as_bytes())
}

/// As [`print()`].
///
/// # Errors
/// As [`print()`].
pub fn print_bytes(bytes: &[u8]) -> Outcome {
    print_with(|out| out.write_all(bytes))
}

/// As [`print()`], of what `write` writes.
///
/// # Errors
/// As [`print()`].
pub fn print_with(write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Outcome {
    let mut out = io::stdout().lock();
    match write(&mut out).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Failure::failed(format!(
            "the result cannot be written to standard output: {error}"
        ))),
        _ => Ok(()),
    }
}

/// Says what is going on.
pub fn say(text: &str) {
    // There is nowhere to complain about standard error.
    let _ = writeln!(io::stderr().lock(), "{}", plain(text));
}

/// Says what went wrong.
pub fn complain(text: &str) {
    let text = redacted(text);
    let mut lines = text.trim_end().lines();
    let first = lines.next().unwrap_or_default();
    // clap's own errors, which the server may pass on, begin with this word.
    let first = first.strip_prefix("error: ").unwrap_or(first);
    say(&format!("grid: {first}"));
    for line in lines {
        say(line);
    }
}
