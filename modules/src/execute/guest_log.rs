//! What guests write to the log: bounded in lines and in length, and never more than text.

use grid_promises::ContentId;

use super::limits::{MAX_LOG_LINE, MAX_LOG_LINES};

/// The log of one call.
#[derive(Debug)]
pub(super) struct GuestLog {
    module: ContentId,
    left: u32,
}

impl GuestLog {
    pub(super) const fn new(module: ContentId) -> Self {
        Self {
            module,
            left: MAX_LOG_LINES,
        }
    }

    /// Writes one line. Control characters are escaped, what is too long is cut, and beyond the
    /// last allowed line nothing comes any more.
    pub(super) fn line(&mut self, text: &str) {
        let Some(left) = self.left.checked_sub(1) else {
            return;
        };
        self.left = left;
        let module = self.module.short();
        tracing::info!(target: "grid::guest", %module, "{}", shown(text));
        if left == 0 {
            tracing::info!(target: "grid::guest", %module, "(it may log no more in this call)");
        }
    }
}

fn shown(text: &str) -> String {
    let cut = text.floor_char_boundary(MAX_LOG_LINE);
    let mut out = String::with_capacity(cut);
    for character in text.split_at(cut).0.chars() {
        if character.is_control() {
            out.extend(character.escape_default());
        } else {
            out.push(character);
        }
    }
    if cut < text.len() {
        out.push_str("...");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_cut_and_escaped() {
        assert_eq!(shown("grüße"), "grüße");
        assert_eq!(shown("a\n\u{1b}[31mred"), "a\\n\\u{1b}[31mred");
        let long = "ü".repeat(MAX_LOG_LINE);
        assert_eq!(shown(&long), format!("{}...", "ü".repeat(MAX_LOG_LINE / 2)));
    }

    #[test]
    fn there_is_a_last_line() {
        let mut log = GuestLog::new(ContentId::of(b""));
        for _ in 0..MAX_LOG_LINES + 10 {
            log.line("x");
        }
        assert_eq!(log.left, 0);
    }
}
