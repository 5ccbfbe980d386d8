//! The recovery key of a network: a secret for paper, above every owner.
//!
//! Its text is nine groups of four letters and digits of Crockford's base32 (`0123456789ABCDEFGHJKMNPQRSTVWXYZ`): 160
//! random bits, then 20 bits of `H("grid/1 recovery checksum", secret)` against slips of the pen. It is read in either
//! case, with or without hyphens and white space, `I` and `L` as 1, and `O` as 0. The key that signs has the seed `H("grid/1 recovery", secret)`.

use std::sync::LazyLock;

use data_encoding::{Encoding, Specification};
use zeroize::Zeroizing;

use crate::network::address::hash;
use crate::network::crockford::{ALPHABET, meant};
use grid_keys::{NodeKey, Secret};

/// Letters and digits of a text, without its hyphens: 160 bits and 20.
const LENGTH: usize = 36;
const GROUP: usize = 4;

/// The key above all owners. Nothing but its public half is kept by any node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecoveryKey(Secret<20>);

/// Why a text is no recovery key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecoveryKeyError {
    /// Letters are missing, or too many.
    #[error("a recovery key has {LENGTH} letters and digits, and this has {0}")]
    Length(usize),
    /// A character that none has.
    #[error("{0:?} is in no recovery key; U is never used")]
    Letter(char),
    /// Something was misread.
    #[error(
        "the recovery key does not match its checksum: a letter is wrong, or two changed places"
    )]
    Checksum,
}

impl RecoveryKey {
    /// A new one. The caller vouches for the random source.
    pub fn generate(entropy: &mut dyn rand_core::Rng) -> Self {
        Self(Secret::generate(entropy))
    }

    /// The key that signs. A charter names its public half.
    #[must_use]
    pub fn key(&self) -> NodeKey {
        NodeKey::from_seed(&Secret::new(hash("grid/1 recovery", &[self.0.expose()])))
    }

    /// What a person writes down.
    #[must_use]
    pub fn to_text(&self) -> Zeroizing<String> {
        let mut bytes = Zeroizing::new(Vec::with_capacity(25));
        bytes.extend_from_slice(self.0.expose());
        bytes.extend_from_slice(&hash("grid/1 recovery checksum", &[self.0.expose()]));
        bytes.truncate(25);
        let letters = Zeroizing::new(BASE32.encode(&bytes));
        let mut text = Zeroizing::new(String::with_capacity(LENGTH + LENGTH / GROUP));
        for (at, letter) in letters.chars().take(LENGTH).enumerate() {
            if at > 0 && at % GROUP == 0 {
                text.push('-');
            }
            text.push(letter);
        }
        text
    }

    /// Reads what a person wrote down.
    ///
    /// # Errors
    /// It is no recovery key, or was misread.
    pub fn from_text(text: &str) -> Result<Self, RecoveryKeyError> {
        let mut letters = Zeroizing::new(String::with_capacity(LENGTH));
        let mut length = 0;
        for letter in text.chars().filter(|c| !c.is_whitespace() && *c != '-') {
            let digit = meant(letter).ok_or(RecoveryKeyError::Letter(letter))?;
            length += 1;
            if length <= LENGTH {
                letters.push(digit);
            }
        }
        if length != LENGTH {
            return Err(RecoveryKeyError::Length(length));
        }
        // 32 of them are whole bytes; the others are compared as letters.
        let bytes = letters.get(..32).map(str::as_bytes);
        let bytes = bytes
            .and_then(|letters| BASE32.decode(letters).ok())
            .map(Zeroizing::new);
        let secret = bytes.and_then(|bytes| <[u8; 20]>::try_from(bytes.as_slice()).ok());
        let key = Self(Secret::new(secret.ok_or(RecoveryKeyError::Checksum)?));
        let same = key
            .to_text()
            .chars()
            .filter(|c| *c != '-')
            .eq(letters.chars());
        if same {
            Ok(key)
        } else {
            Err(RecoveryKeyError::Checksum)
        }
    }
}

/// An alphabet of 32 different symbols makes an encoding, which a test shows.
static BASE32: LazyLock<Encoding> = LazyLock::new(|| {
    let mut specification = Specification::new();
    specification.symbols.push_str(ALPHABET);
    specification
        .encoding()
        .unwrap_or(data_encoding::BASE32_NOPAD)
});

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> RecoveryKey {
        RecoveryKey(Secret::new(std::array::from_fn(|n| {
            7 * u8::try_from(n).unwrap()
        })))
    }

    #[test]
    fn its_text_reads_back_in_either_case_with_or_without_groups() {
        let text = key().to_text();
        assert_eq!(*text, "003G-W58W-4CN3-2E1Z-8S6N-8PV2-D5R7-EZM5-Q8X7");
        let plain = text.replace('-', "").to_lowercase();
        for text in [
            text.as_str(),
            &plain,
            &format!(" {}\n{}", &plain[..9], &plain[9..]),
            &text.replace('0', "O").replace('1', "l"),
        ] {
            assert_eq!(RecoveryKey::from_text(text), Ok(key()));
        }
        assert_ne!(
            BASE32.encode(&[0xff]),
            data_encoding::BASE32_NOPAD.encode(&[0xff])
        );
        assert_eq!(format!("{:?}", key()), "RecoveryKey([redacted])");
    }

    #[test]
    fn slips_of_the_pen_are_noticed() {
        let text = key().to_text().replace('-', "");
        for at in 0..LENGTH {
            for letter in ALPHABET
                .chars()
                .filter(|c| text.chars().nth(at) != Some(*c))
            {
                let mut wrong = text.clone();
                wrong.replace_range(at..=at, &letter.to_string());
                assert_eq!(
                    RecoveryKey::from_text(&wrong),
                    Err(RecoveryKeyError::Checksum)
                );
            }
        }
        let (swapped, short) = (
            format!("{}{}{}", &text[..10], &text[11..12], &text[10..11]),
            &text[1..],
        );
        let swapped = format!("{swapped}{}", &text[12..]);
        assert_eq!(
            RecoveryKey::from_text(&swapped),
            Err(RecoveryKeyError::Checksum)
        );
        assert_eq!(
            RecoveryKey::from_text(short),
            Err(RecoveryKeyError::Length(35))
        );
        assert_eq!(RecoveryKey::from_text(""), Err(RecoveryKeyError::Length(0)));
        let long = "0".repeat(1000);
        assert_eq!(
            RecoveryKey::from_text(&long),
            Err(RecoveryKeyError::Length(1000))
        );
        let odd = text.replacen('W', "U", 1);
        assert_eq!(
            RecoveryKey::from_text(&odd),
            Err(RecoveryKeyError::Letter('U'))
        );
    }
}
