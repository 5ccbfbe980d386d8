//! Crockford's base32: digits that nobody takes for one another, for what people read out or write down.

/// The digits, five bits each.
pub(crate) const ALPHABET: &str = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// The digit that a person means by a letter: in either case, and those that are none for what they look like. `None`: it
/// looks like none.
pub(crate) fn meant(letter: char) -> Option<char> {
    match letter.to_ascii_uppercase() {
        'O' => Some('0'),
        'I' | 'L' => Some('1'),
        other => ALPHABET.contains(other).then_some(other),
    }
}
