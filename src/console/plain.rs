//! Text fit for a terminal or a log, whoever wrote it.

use std::borrow::Cow;

use grid_promises::network::invite::PREFIX;

/// The text with a space for each character that a terminal would obey instead of showing it, or that shows
/// nothing: control characters other than line breaks and tabs, and those that change the direction of writing.
#[must_use]
pub fn plain(text: &str) -> Cow<'_, str> {
    replaced(text, |c| {
        matches!(c, '\n' | '\t') || !c.is_control() && is_shown(c)
    })
}

/// The same for a line of the log, where control characters are dealt with already, and colours are wanted.
#[must_use]
pub fn plain_but_for_controls(text: &str) -> Cow<'_, str> {
    replaced(text, |c| c.is_control() || is_shown(c))
}

/// The text without the invites in it: whatever quotes them, they are secrets. One that was broken over lines goes
/// on behind white space.
#[must_use]
pub fn redacted(text: &str) -> Cow<'_, str> {
    if !text.contains(PREFIX) {
        return Cow::Borrowed(text);
    }
    let mut parts = text.split(PREFIX);
    let mut redacted = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let rest = behind_invite(part);
        redacted.push_str(PREFIX);
        if rest.len() < part.len() {
            redacted.push_str("[redacted]");
        }
        redacted.push_str(rest);
    }
    redacted.into()
}

/// What follows the invite that a text begins with.
fn behind_invite(text: &str) -> &str {
    /// A line of an invite is longer than words are.
    const LINE: usize = 20;
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let mut rest = text.trim_start_matches(is_part);
    if rest.len() == text.len() {
        return rest;
    }
    loop {
        let next = rest.trim_start();
        let behind = next.trim_start_matches(is_part);
        if next.len() == rest.len() || next.len() - behind.len() < LINE {
            return rest;
        }
        rest = behind;
    }
}

/// The beginning of what a person typed or a peer said, long enough to be recognised.
#[must_use]
pub fn quoted(text: &str) -> String {
    const LONGEST: usize = 60;
    match text.char_indices().nth(LONGEST) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}...", text.split_at(end).0),
    }
}

fn replaced(text: &str, is_fit: impl Fn(char) -> bool) -> Cow<'_, str> {
    if text.chars().all(&is_fit) {
        return Cow::Borrowed(text);
    }
    let fit = |c| if is_fit(c) { c } else { ' ' };
    text.chars().map(fit).collect::<String>().into()
}

/// Whether a character shows as what it is, at its place: none that turns the direction of writing (Unicode
/// Standard Annex 9), breaks a line, or takes no room without joining or parting others.
const fn is_shown(c: char) -> bool {
    !matches!(c,
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
        | '\u{2028}' | '\u{2029}'
        | '\u{200b}' | '\u{2060}'..='\u{2064}' | '\u{206a}'..='\u{206f}' | '\u{feff}'
        | '\u{115f}' | '\u{1160}' | '\u{3164}' | '\u{ffa0}' | '\u{fff9}'..='\u{fffb}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_obeys_is_not_passed_on() {
        for (text, expected) in [
            ("web1 ist grüßend da: 日本 e\u{301} 🙂 \"x\" \\", None),
            ("two\nlines\tand a tab", None),
            (
                "می\u{200c}خواهم क\u{94d}\u{200d}ष 👩\u{200d}👩\u{200d}👧 1\u{a0}000",
                None,
            ),
            ("red \u{1b}[31m", Some("red  [31m")),
            ("evil \u{202e}gnp.exe", Some("evil  gnp.exe")),
            ("\u{2066}a\u{2069}\u{2028}b\u{200b}c", Some(" a  b c")),
            ("\u{85}\r\u{7f}", Some("   ")),
        ] {
            assert_eq!(plain(text), expected.unwrap_or(text));
        }
        assert_eq!(
            plain_but_for_controls("\u{1b}[32mINFO\u{1b}[0m \u{202e}x\n"),
            "\u{1b}[32mINFO\u{1b}[0m  x\n"
        );
    }

    #[test]
    fn no_invite_is_quoted() {
        let text = format!("{PREFIX}abc-_9 is no name, nor is \"{PREFIX}x\"");
        let expected = format!("{PREFIX}[redacted] is no name, nor is \"{PREFIX}[redacted]\"");
        assert_eq!(redacted(&text), expected);
        let broken = format!("{PREFIX}{0}\n{0}\r\n {0} is one", "a".repeat(60));
        assert_eq!(redacted(&broken), format!("{PREFIX}[redacted] is one"));
        let path = format!("/tmp/{PREFIX}abc/file.txt");
        assert_eq!(redacted(&path), format!("/tmp/{PREFIX}[redacted]/file.txt"));
        let rule = format!("invites begin with \"{PREFIX}\"");
        for text in ["nothing", &rule] {
            assert_eq!(redacted(text), text);
        }
    }

    #[test]
    fn what_is_quoted_is_cut() {
        assert_eq!(quoted("stauts"), "stauts");
        assert_eq!(quoted(&"ü".repeat(60)), "ü".repeat(60));
        assert_eq!(quoted(&"ü".repeat(61)), format!("{}...", "ü".repeat(60)));
    }
}
