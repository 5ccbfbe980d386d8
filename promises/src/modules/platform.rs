//! What a native executable was built for: `linux/x86_64`.
//!
//! The words are those of Rust's `std::env::consts` (`OS`, `ARCH`); two platforms are the same if
//! their texts are. That an executable says `linux/x86_64` does not make it run there: the host
//! compares before it tries, and finds out the rest by trying.

use std::fmt;
use std::str::FromStr;

/// An operating system and a processor: two words of `a-z`, `0-9` and `_`, of 1 to 31 bytes each,
/// with a `/` between them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Platform(String);

impl Platform {
    /// The longest word, in bytes.
    pub const MAX_WORD: usize = 31;
    /// The longest text, in bytes.
    pub const MAX_LEN: usize = 2 * Self::MAX_WORD + 1;

    /// The platform as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The operating system: what is before the `/`.
    #[must_use]
    pub fn os(&self) -> &str {
        self.0.split_once('/').map_or("", |(os, _)| os)
    }

    /// The processor: what is behind the `/`.
    #[must_use]
    pub fn arch(&self) -> &str {
        self.0.split_once('/').map_or("", |(_, arch)| arch)
    }
}

impl FromStr for Platform {
    type Err = PlatformError;

    fn from_str(text: &str) -> Result<Self, PlatformError> {
        let is_word = |word: &str| {
            (1..=Self::MAX_WORD).contains(&word.len())
                && word
                    .bytes()
                    .all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_'))
        };
        match text.split_once('/') {
            Some((os, arch)) if is_word(os) && is_word(arch) => Ok(Self(text.to_owned())),
            _ => Err(PlatformError),
        }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// A text that is not a platform. Nothing was changed; the same text will fail again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a platform is two words of a-z, 0-9 and '_' with a '/' between them, as in linux/x86_64; \
     a word has at most {} characters",
    Platform::MAX_WORD
)]
pub struct PlatformError;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_platform_is_two_words() {
        let platform: Platform = "linux/x86_64".parse().unwrap();
        assert_eq!((platform.os(), platform.arch()), ("linux", "x86_64"));
        assert_eq!(platform.to_string(), "linux/x86_64");
        let longest = format!("{0}/{0}", "x".repeat(31));
        assert_eq!(longest.len(), Platform::MAX_LEN);
        assert!(longest.parse::<Platform>().is_ok());
        let long_os = format!("{}/x", "x".repeat(32));
        let long_arch = format!("x/{}", "x".repeat(32));
        for bad in [
            "",
            "/",
            "linux",
            "linux/",
            "/x86_64",
            "linux/x86_64/gnu",
            "linux//x86_64",
            "Linux/x86_64",
            "linux/x86-64",
            "linux/x86_64\n",
            "linux/ü",
            long_os.as_str(),
            long_arch.as_str(),
        ] {
            assert_eq!(bad.parse::<Platform>(), Err(PlatformError), "{bad:?}");
        }
    }

    #[test]
    fn this_machine_has_a_platform() {
        use std::env::consts::{ARCH, OS};
        assert!(format!("{OS}/{ARCH}").parse::<Platform>().is_ok());
    }
}
