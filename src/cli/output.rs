//! Standard output and standard error. A reader that went away is no failure.

use std::io::{self, Write as _};

use crate::exit::{Failure, Outcome};

/// Prints a result, as it is.
///
/// # Errors
/// It cannot be written, for another reason than that nobody reads any more.
pub(super) fn print(text: &str) -> Outcome {
    print_bytes(text.as_bytes())
}

/// As [`print`].
pub(super) fn print_bytes(bytes: &[u8]) -> Outcome {
    let mut out = io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Failure::failed(format!(
            "the result cannot be written to standard output: {error}"
        ))),
        _ => Ok(()),
    }
}

/// Says what is going on.
pub(super) fn say(text: &str) {
    // There is nowhere to complain about standard error.
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Says what went wrong.
pub(super) fn complain(text: &str) {
    let mut lines = text.trim_end().lines();
    let first = lines.next().unwrap_or_default();
    // clap's own errors, which the server may pass on, begin with this word.
    let first = first.strip_prefix("error: ").unwrap_or(first);
    say(&format!("grid: {first}"));
    for line in lines {
        say(line);
    }
}
