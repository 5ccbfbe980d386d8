//! Texts of peers, made fit for people and for logs.

/// The longest that is kept, in characters.
const LONGEST: usize = 200;

/// What a peer said, in words: at most 200 characters, none of them a control character, so that it can
/// neither fill a log nor write lines of it. What is not UTF-8 is replaced.
#[must_use]
pub fn peer_text(said: impl AsRef<[u8]>) -> String {
    String::from_utf8_lossy(said.as_ref())
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(LONGEST)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_cannot_write_lines_of_the_log() {
        let text = peer_text([b"a\n\x1b[31m".as_slice(), &[0xff; 300]].concat());
        assert_eq!(text.chars().count(), LONGEST);
        assert!(text.starts_with("a  [31m\u{fffd}"), "{text:?}");
    }
}
