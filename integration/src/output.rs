//! What a person reads: lines, aligned tables, progress. Colours only on a terminal without
//! `NO_COLOR`; a broken pipe is not an error.

use std::io::{self, IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

/// Writes a line to standard error.
pub fn say(line: &str) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}

/// Writes a line to standard output.
pub fn print(line: &str) {
    let _ = writeln!(io::stdout().lock(), "{line}");
}

/// How text stands out.
#[derive(Debug, Clone, Copy)]
pub enum Style {
    /// For headings.
    Bold,
    /// For success.
    Good,
    /// For failure.
    Bad,
}

/// Styles `text` if standard output is a terminal that wants colours.
#[must_use]
pub fn styled(text: &str, style: Style) -> String {
    if !io::stdout().is_terminal() || std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty()) {
        return text.to_owned();
    }
    let code = match style {
        Style::Bold => 1,
        Style::Good => 32,
        Style::Bad => 31,
    };
    format!("\x1b[{code}m{text}\x1b[0m")
}

/// Aligns the columns of `rows` under `head`: the first to the left, the others to the right.
#[must_use]
pub fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let head: Vec<String> = head.iter().map(|&text| text.to_owned()).collect();
    let widths: Vec<usize> = (0..head.len())
        .map(|column| {
            std::iter::once(&head)
                .chain(rows)
                .filter_map(|row| row.get(column))
                .map(|cell| cell.chars().count())
                .max()
                .unwrap_or(0)
        })
        .collect();
    let line = |row: &Vec<String>| {
        let cells: Vec<String> = row
            .iter()
            .zip(&widths)
            .enumerate()
            .map(|(column, (cell, &width))| {
                if column == 0 {
                    format!("{cell:<width$}")
                } else {
                    format!("{cell:>width$}")
                }
            })
            .collect();
        cells.join("  ").trim_end().to_owned()
    };
    let mut lines = vec![styled(&line(&head), Style::Bold)];
    lines.extend(rows.iter().map(line));
    lines.join("\n")
}

/// Milliseconds, with as many digits as are significant.
#[must_use]
pub fn millis(time: Duration) -> String {
    let value = time.as_secs_f64() * 1000.0;
    if value < 10.0 {
        format!("{value:.2} ms")
    } else {
        format!("{value:.0} ms")
    }
}

/// Shows on standard error what is being done: on a terminal in one line that is overwritten,
/// elsewhere as at most one line a second.
pub struct Progress {
    terminal: bool,
    last: Option<Instant>,
}

impl Default for Progress {
    fn default() -> Self {
        Self {
            terminal: io::stderr().is_terminal(),
            last: None,
        }
    }
}

impl Progress {
    /// Shows `text` as what is being done now.
    pub fn step(&mut self, text: &str) {
        if self.terminal {
            let mut stderr = io::stderr().lock();
            let _ = write!(stderr, "\r\x1b[K{text} ...");
            let _ = stderr.flush();
            self.last = Some(Instant::now());
        } else if self
            .last
            .is_none_or(|last| last.elapsed() >= Duration::from_secs(1))
        {
            say(&format!("{text} ..."));
            self.last = Some(Instant::now());
        }
    }

    /// Erases the line, before something else is printed.
    pub fn clear(&mut self) {
        if self.terminal && self.last.take().is_some() {
            let mut stderr = io::stderr().lock();
            let _ = write!(stderr, "\r\x1b[K");
            let _ = stderr.flush();
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let rows = vec![
            vec!["a".to_owned(), "10.1.2.3".to_owned()],
            vec!["longer".to_owned(), "é".to_owned()],
        ];
        assert_eq!(
            table(&["node", "IPv4"], &rows),
            "node        IPv4\na       10.1.2.3\nlonger         é"
        );
    }
}
