//! How far something is that takes long: on standard error, and only if it takes more than a second.
//! On a terminal one line that is written anew; elsewhere a line every ten seconds.

use std::io::{self, IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use crate::values::units::bytes;

/// How long nothing is said.
const PATIENCE: Duration = Duration::from_secs(1);
/// How often a terminal is written to.
const OFTEN: Duration = Duration::from_millis(100);
/// How often anything else is.
const SELDOM: Duration = Duration::from_secs(10);

/// Says how far something is. Takes its line off the terminal when it is dropped.
pub struct Progress {
    what: &'static str,
    total: Option<u64>,
    next: Instant,
    is_terminal: bool,
    has_line: bool,
}

impl Progress {
    /// Nothing is said yet. `total` is in bytes.
    pub fn new(what: &'static str, total: Option<u64>) -> Self {
        Self {
            what,
            total,
            next: Instant::now() + PATIENCE,
            is_terminal: io::stderr().is_terminal(),
            has_line: false,
        }
    }

    /// As far as this, in bytes.
    pub fn at(&mut self, done: u64) {
        let now = Instant::now();
        if now < self.next {
            return;
        }
        self.next = now + if self.is_terminal { OFTEN } else { SELDOM };
        let text = line(self.what, done, self.total);
        let mut err = io::stderr().lock();
        // There is nowhere to complain about standard error.
        let _ = if self.is_terminal {
            self.has_line = true;
            write!(err, "\r\x1b[K{text}").and_then(|()| err.flush())
        } else {
            writeln!(err, "{text}")
        };
    }

    /// As [`at`](Self::at), where the total is found out on the way.
    pub fn of(&mut self, done: u64, total: u64) {
        self.total = Some(total);
        self.at(done);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.has_line {
            let mut err = io::stderr().lock();
            let _ = write!(err, "\r\x1b[K").and_then(|()| err.flush());
        }
    }
}

fn line(what: &str, done: u64, total: Option<u64>) -> String {
    match total.filter(|total| *total > 0) {
        Some(total) => {
            let percent = u128::from(done) * 100 / u128::from(total);
            format!("{what}: {} of {} ({percent}%)", bytes(done), bytes(total))
        }
        None => format!("{what}: {}", bytes(done)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_how_far_and_of_how_much() {
        assert_eq!(
            line("storing", 512 << 10, Some(1 << 20)),
            "storing: 512.0 KiB of 1.0 MiB (50%)"
        );
        assert_eq!(line("storing", 7, None), "storing: 7 B");
        assert_eq!(line("storing", 0, Some(0)), "storing: 0 B");
        let most = line("storing", u64::MAX, Some(u64::MAX));
        assert!(most.ends_with("(100%)"), "{most}");
    }

    #[test]
    fn what_is_quick_says_nothing() {
        let mut progress = Progress::new("storing", None);
        progress.at(1);
        assert!(!progress.has_line);
        progress.next = Instant::now();
        progress.is_terminal = true;
        progress.at(2);
        assert!(progress.has_line);
    }
}
